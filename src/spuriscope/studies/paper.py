"""The studies of Yang, Chou and Chaudhuri (2022) by name, each at three sizes.

"smoke" takes seconds on digits. "short" has 8 epochs, 3 seeds and fewer counts, and on CIFAR-10, where a
training takes a CPU ten minutes, less of all. "paper" has the paper's settings: 70 epochs, 5 seeds, every
count. Figures of the same models share their cells, which are trained once.

The paper's text and its authors' code leave some settings open; the choices and their reasons are in
docs/studies.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spuriscope.errors import ConfigError
from spuriscope.known_names import unknown_study
from spuriscope.patterns import PATTERN_NAMES
from spuriscope.studies.study import Grid

__all__ = ["SIZES", "STUDIES", "THEORY", "PaperStudy", "Size", "paper_grid"]

Settings = Mapping[str, Any]

BOTH = ("s3", "r3")  # a small and a random pattern: those of the paper's comparisons
WEIGHT_DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 5e-2, 1e-1)
NOISES = (0.05, 0.1, 0.2, 0.5, 0.75, 1.0, 5.0)
BOUNDS = (0.1, 0.01, 0.001, 1e-4, 1e-5)
DP_NOISES = (0.25, 0.5, 1.0, 2.0, 4.0)  # multiples of the bound, which is 1
CIFAR_NOISES = (0.1, 0.2, 0.5, 1.0, 2.0)
CIFAR_BOUNDS = (10.0, 1.0, 0.1, 0.01)


@dataclass(frozen=True)
class Size:
    """The extent of a study.

    Attributes:
        epochs: of each training.
        n_seeds: replications.
        counts: numbers planted in MNIST and Fashion.
        cifar_counts: numbers planted in CIFAR-10.
        few_counts: numbers planted in MNIST and Fashion where many recipes are compared.
        game_counts: numbers planted in each half of a membership game.
        game_seeds: games with other draws.
        context_counts: images of the target class that keep a context.
        context_epochs: of each training on photographs, 20 in the paper.
        is_brief: CIFAR-10 with fewer patterns, architectures and strengths.
    """

    epochs: int
    n_seeds: int
    counts: tuple[int, ...]
    cifar_counts: tuple[int, ...]
    few_counts: tuple[int, ...]
    game_counts: tuple[int, ...]
    game_seeds: int
    context_counts: tuple[int, ...]
    context_epochs: int
    is_brief: bool = False


MNIST_COUNTS = (0, 1, 3, 5, 10, 20, 100, 2000, 5000)
SIZES = {
    "smoke": Size(2, 2, (0, 3, 30), (0, 3, 30), (0, 3, 30), (0, 3, 30), 2, (0, 10), 1, is_brief=True),
    "short": Size(
        8,
        3,
        (0, 1, 3, 10, 100, 2000),
        (0, 3, 100),
        (0, 3, 100),
        (0, 1, 3, 10, 100),
        5,
        (0, 1, 3, 10, 30),
        6,
        is_brief=True,
    ),
    "paper": Size(
        70,
        5,
        MNIST_COUNTS,
        (0, 1, 3, 5, 10, 20, 100, 500, 1000),
        MNIST_COUNTS,
        (0, 1, 3, 5, 10, 20, 100, 1000),
        10,
        (0, 1, 3, 5, 10, 20, 50),
        20,
    ),
}


@dataclass(frozen=True)
class PaperStudy:
    """A figure or table of the paper.

    title: what it shows.
    figure: how it is drawn, see `spuriscope.studies.figures`.
    cells_of: the study whose models it uses; it is drawn from that one if it was not run itself.
    settings: of its `Grid`, for a size and a data set; numbers of epochs and seeds come from the size
        unless they say otherwise.
    """

    title: str
    figure: str
    cells_of: str
    settings: Callable[[Size, str], Settings]


def _dose(size: Size, data: str) -> Settings:
    is_brief = data == "cifar10" and size.is_brief
    return {
        "models": (_model(data),),
        "patterns": BOTH if is_brief else PATTERN_NAMES,
        "targets": (0, 1),
        "counts": _counts(size, data),
    }


def _second_target(size: Size, data: str) -> Settings:
    return {**_dose(size, data), "targets": (1,)}


def _clean(size: Size, data: str) -> Settings:
    return {**_dose(size, data), "targets": (0,), "counts": (0,)}


def _maps(size: Size, data: str) -> Settings:
    return {"models": ("mlp",), "patterns": ("s3",), "counts": _counts(size, data)}


def _architectures(size: Size, data: str) -> Settings:
    models: tuple[str, ...] = ("small-mlp", "mlp", "large-mlp", "cnn")
    recipe: Settings = {}
    if data == "cifar10":
        models, recipe = ("resnet20", "resnet32", "resnet110", "vgg16"), {"optimizer": "sgd"}
        models = models[:2] if size.is_brief else models
    return {"models": models, "patterns": BOTH, "counts": _counts(size, data), "recipes": (recipe,)}


def _clean_architectures(size: Size, data: str) -> Settings:
    return {**_architectures(size, data), "patterns": BOTH[:1], "counts": (0,)}


def _optimizers(size: Size, data: str) -> Settings:
    return _variants(size, data, {"optimizer": "adam"}, {"optimizer": "sgd"})


def _clipping(size: Size, data: str) -> Settings:
    clipped = [{"clipping": clipping, "clip_at": 0.1} for clipping in ("norm", "value")]
    return _variants(size, data, {}, *clipped)


def _variants(size: Size, data: str, *recipes: Settings) -> Settings:
    return {"models": (_model(data),), "patterns": BOTH, "counts": _counts(size, data), "recipes": recipes}


def _strengths(size: Size, data: str) -> Settings:
    """The paper's own recipe, and variants with one regulariser each."""
    is_cifar = data == "cifar10"
    is_brief = is_cifar and size.is_brief
    own_decay = 1e-4 if is_cifar else 0.0
    decays = (1e-2,) if is_brief else tuple(decay for decay in WEIGHT_DECAYS if decay != own_decay)
    noises = CIFAR_NOISES if is_cifar else NOISES
    bounds = CIFAR_BOUNDS if is_cifar else BOUNDS
    recipes: list[Settings] = [{}]
    recipes += [{"weight_decay": decay} for decay in decays]
    recipes += [{"input_noise": noise} for noise in (noises[1:2] if is_brief else noises)]
    recipes += [{"clipping": "value", "clip_at": bound} for bound in (bounds[2:3] if is_brief else bounds)]
    return {
        "models": (_model(data),),
        "patterns": BOTH[1:] if is_brief else BOTH,
        "counts": _counts(size, data)[:2] if is_brief else _few_counts(size, data),
        "recipes": tuple(recipes),
    }


def _mitigations(size: Size, data: str) -> Settings:
    """The regularisers of fig8, clipping of every kind, and differential privacy.

    Clipping the gradient of each image costs 35 plain steps without Opacus, so per-example clipping is tried
    only at the paper's size. These models are measured and never published, so their noise comes from their
    seeds: the figure repeats.
    """
    regularised = _strengths(size, data)
    bounds = sorted(
        {recipe["clip_at"] for recipe in regularised["recipes"] if "clip_at" in recipe}, reverse=True
    )
    kinds = ("norm",) if size.is_brief else ("norm", "per-example")
    recipes = [*regularised["recipes"]]
    recipes += [{"clipping": kind, "clip_at": bound} for kind in kinds for bound in bounds]
    if data != "cifar10":  # its ResNets have batch normalisation
        recipes += [{"privacy": {"noise_multiplier": noise, "randomness": "seed"}} for noise in DP_NOISES]
    return {**regularised, "recipes": tuple(recipes)}


def _strengths_s3(size: Size, data: str) -> Settings:
    return {**_strengths(size, data), "patterns": ("s3",)}


def _strengths_r3(size: Size, data: str) -> Settings:
    return {**_strengths(size, data), "patterns": ("r3",)}


def _deletions(size: Size, data: str) -> Settings:
    """The paper's two methods, ours, and the oracle."""
    return {
        "models": (_model(data),),
        "patterns": ("r3",),
        "counts": tuple(n for n in _counts(size, data) if 3 <= n <= 100),
        "deletions": ("retrain", "incremental", "influence", "influence-path", "repair"),
    }


def _games(size: Size, data: str) -> Settings:
    is_brief = data == "cifar10" and size.is_brief
    return {
        "models": (_model(data),),
        "patterns": BOTH if is_brief else PATTERN_NAMES,
        "counts": _counts(size, data) if is_brief else size.game_counts,
        "n_seeds": size.n_seeds if is_brief else size.game_seeds,
        "halves": 6 if size.is_brief else 16,
    }


def _games_r3(size: Size, data: str) -> Settings:
    return {**_games(size, data), "patterns": ("r3",)}


def _contexts(size: Size, data: str) -> Settings:
    """The first three contexts, for NICO++ the paper's: autumn, dim, grass; and the first classes."""
    is_smoke = size.context_epochs == 1
    return {
        "models": ("resnet10",) if size.is_brief else ("resnet50",),
        "contexts": (0,) if is_smoke else (0, 1, 2),
        "targets": (0, 1, 2),
        "counts": size.context_counts,
        "epochs": size.context_epochs,
        "recipes": ({"batch_size": 64},) if size.is_brief else ({"learning_rate": 1e-3, "batch_size": 64},),
    }


def _other_contexts(size: Size, data: str) -> Settings:
    settings = _contexts(size, data)
    return {**settings, "contexts": settings["contexts"][-2:]}


def _model(data: str) -> str:
    return "resnet20" if data == "cifar10" else "mlp"


def _counts(size: Size, data: str) -> tuple[int, ...]:
    return size.cifar_counts if data == "cifar10" else size.counts


def _few_counts(size: Size, data: str) -> tuple[int, ...]:
    return size.cifar_counts if data == "cifar10" else size.few_counts


STUDIES = {
    "fig2": PaperStudy("Spurious score against the number planted", "score", "fig2", _dose),
    "fig3": PaperStudy("Weight importance against the number planted", "maps", "fig2", _maps),
    "fig4": PaperStudy("Natural contexts against the number that keep them", "contexts", "fig4", _contexts),
    "fig5": PaperStudy("Membership of stamped images, R3", "exposure", "fig22", _games_r3),
    "fig6": PaperStudy("Spurious accuracy against the number planted", "spurious-accuracy", "fig2", _dose),
    "fig8": PaperStudy("Regularisers of growing strength", "strengths", "fig8", _strengths),
    "fig12": PaperStudy("Regularisers of growing strength, S3", "strengths", "fig8", _strengths_s3),
    "fig13": PaperStudy("Regularisers of growing strength, R3", "strengths", "fig8", _strengths_r3),
    "mitigation": PaperStudy("Mitigations of growing strength", "strengths", "mitigation", _mitigations),
    "fig14": PaperStudy("Spurious score of each architecture", "variants", "fig14", _architectures),
    "fig15": PaperStudy("Sensitivity to removed pixels", "sensitivity", "fig14", _clean_architectures),
    "fig16": PaperStudy("Spurious score with Adam and with SGD", "variants", "fig16", _optimizers),
    "fig17": PaperStudy("Spurious score with clipped gradients", "variants", "fig17", _clipping),
    "fig18": PaperStudy("Spurious score after data deletion", "deletions", "fig18", _deletions),
    "fig19": PaperStudy("Weight importance, each map on its own scale", "scaled-maps", "fig2", _maps),
    "fig20": PaperStudy("Spurious score for the other target", "score", "fig2", _second_target),
    "fig21": PaperStudy("Clean accuracy against the number planted", "clean-accuracy", "fig2", _dose),
    "fig22": PaperStudy("Membership of stamped images", "exposure", "fig22", _games),
    "fig23": PaperStudy(
        "Spurious accuracy for the other target", "spurious-accuracy", "fig2", _second_target
    ),
    "fig24": PaperStudy("Natural contexts, two others", "contexts", "fig4", _other_contexts),
    "fig25": PaperStudy("Normalised score against the number planted", "normalised-score", "fig2", _dose),
    "norms": PaperStudy("Mean score over counts against the norm of the pattern", "norms", "fig2", _dose),
    "table1": PaperStudy("Empirical norm of each pattern", "norm-table", "fig2", _clean),
    "table2": PaperStudy("Parameters of each architecture", "parameters", "fig14", _clean_architectures),
}

THEORY = {  # figures without training: `spuriscope.studies.theory_sheets` draws them from `spuriscope.theory`
    "fig7": "The ridge model: training, clean and spurious images",
    "fig9": "What ridge regression learns as more images carry the cue",
    "fig10": "Ridge regression against the share planted, with noise and with weight decay",
    "fig11": "Ridge regression with weight decay and noise of growing strength",
}


def paper_grid(name: str, size: str, data: str) -> Grid:
    """The grid of a study of the paper.

    Args:
        name: one of `STUDIES`.
        size: "smoke", "short" or "paper".
        data: name of the data set it is for.

    Raises:
        ConfigError: there is no such study or size.
    """
    if name in THEORY:
        raise ConfigError(
            f"{name} is theory and trains nothing; `spuriscope study draw {name} --out figures` draws it"
        )
    if name not in STUDIES:
        raise ConfigError(unknown_study(name, STUDIES))
    if size not in SIZES:
        raise ConfigError(f"there is no size {size!r}; choose one of {', '.join(SIZES)}")
    study, chosen = STUDIES[name], SIZES[size]
    own = study.settings(chosen, data)
    settings = {"n_seeds": chosen.n_seeds, "epochs": chosen.epochs, **own}
    return Grid(name=f"{name}-{data}", title=f"{study.title}: {data}", figure=study.figure, **settings)
