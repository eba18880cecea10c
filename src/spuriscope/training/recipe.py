"""How a model is trained: the settings of Yang et al. (2022), Section 3 and Appendix D.1.

The defaults are the paper's for MNIST and Fashion: Adam, rate 0.01, batch 128, 70 epochs, rate divided by 10
after epochs 40, 50 and 60. With fewer epochs the milestones move in proportion. `paper_recipe` has the
settings of CIFAR-10 too. The paper has no photographs: `usual_recipe` has our settings for the network that
is the default for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from spuriscope.argument_types import checked
from spuriscope.checks import check_number, check_whole
from spuriscope.errors import ConfigError
from spuriscope.training.privacy import Privacy

__all__ = [
    "Clipping",
    "OptimizerName",
    "Recipe",
    "paper_recipe",
    "short_epochs",
    "short_recipe",
    "usual_recipe",
]

OptimizerName = Literal["adam", "sgd"]
Clipping = Literal["none", "value", "norm", "per-example"]
Augmentation = Literal["none", "crop-flip"]
N_STEPS = 250  # a short training is at least this long, and at least 8 epochs
Precision = Literal["float32", "tf32", "bfloat16", "auto"]
Freeze = Literal["none", "body"]
OF_PHOTOGRAPHS = ("resnet10",)  # architectures of ours, for which the paper has no recipe


@checked(ConfigError, passing=("milestones", "privacy"))
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        optimizer: "adam", or "sgd" with `momentum`.
        learning_rate: the rate of the first epochs.
        milestones: after each of these epochs the rate is multiplied by `decay`. By default after 4, 5
            and 6 sevenths of the epochs: 40, 50 and 60 of 70, or 5, 6 and 7 of 8; () keeps the rate.
        epochs: passes over the training images; 0 leaves the model as it was drawn.
        batch_size: images per step; the last batch of an epoch may be smaller.
        weight_decay: L2 term added to the gradient, for Adam too (this is not AdamW).
        input_noise: standard deviation of the Gaussian noise on every pixel while training.
        clipping: what `clip_at` bounds. "value": each element of the batch gradient (the authors' code);
            "norm": the norm of the batch gradient (the paper's text); "per-example": the norm of each image's
            gradient before the mean (as in differential privacy, without its noise).
        clip_at: the bound; unused when `clipping` is "none".
        augmentation: "crop-flip" pads by 4 pixels, crops at random and mirrors half of the images.
        precision: of the matrix products. "float32"; "tf32": float32 with rounded factors, on NVIDIA
            GPUs since Ampere (no effect elsewhere); "bfloat16": mixed precision, weights and moments stay
            float32; "auto": what a short trial of the network finds fastest here, by which a `Cell` replaces
            "auto". Effect on scores: docs/benchmarks.md.
        freeze: "body" trains only the head, the last fully connected layer; earlier layers stay as they are,
            in evaluation mode. Meant for weights from a file.
        privacy: train with differential privacy (needs the extra `privacy`); may be given as a mapping of
            the settings of `Privacy`. Images are then drawn one by one, so batches vary in size.

    Raises:
        ConfigError: a setting is out of range.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: float = 0.01
    momentum: float = 0.9
    milestones: tuple[int, ...] | None = None
    decay: float = 0.1
    epochs: int = 70
    batch_size: int = 128
    weight_decay: float = 0.0
    input_noise: float = 0.0
    clipping: Clipping = "none"
    clip_at: float = 0.0
    augmentation: Augmentation = "none"
    precision: Precision = "float32"
    freeze: Freeze = "none"
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", get_args(OptimizerName)),
            ("clipping", get_args(Clipping)),
            ("augmentation", get_args(Augmentation)),
            ("precision", get_args(Precision)),
            ("freeze", get_args(Freeze)),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("learning_rate", "momentum", "decay", "weight_decay", "input_noise", "clip_at"):
            check_number(name, getattr(self, name), least=0)
        if self.learning_rate == 0:
            raise ConfigError("learning_rate must be above 0; with epochs=0 nothing is trained")
        check_whole("epochs", self.epochs)
        if not isinstance(self.milestones, Sequence | None) or isinstance(self.milestones, str):
            raise ConfigError(f"milestones are epochs in a list, as [4, 6], got {self.milestones!r}")
        if self.milestones is None:
            sevenths = {-(-self.epochs * part // 7) for part in (4, 5, 6)}
            object.__setattr__(self, "milestones", tuple(sorted(sevenths)))
        else:
            object.__setattr__(self, "milestones", tuple(self.milestones))
        for milestone in self.milestones or ():
            check_whole("a milestone", milestone)
        object.__setattr__(self, "milestones", tuple(map(int, self.milestones or ())))
        check_whole("batch_size", self.batch_size, least=1)
        given: object = self.privacy  # from JSON or YAML
        if isinstance(given, Mapping):
            object.__setattr__(self, "privacy", _privacy(given))
        elif given is not None and not isinstance(given, Privacy):
            raise ConfigError(f"privacy is a mapping of settings, as noise_multiplier: 1, got {given!r}")
        self._check_gradient()

    def _check_gradient(self) -> None:
        """Raise unless privacy, clipping and freezing fit together."""
        if self.privacy is not None and self.clipping != "none":
            raise ConfigError(
                f"privacy already clips the gradient of each image; leave out clipping {self.clipping!r}, "
                "and set max_grad_norm"
            )
        if self.clipping != "none" and self.clip_at == 0:
            raise ConfigError(f"clipping {self.clipping!r} needs clip_at above 0, for example clip_at=0.1")

        if self.freeze != "none" and self.is_per_example:
            raise ConfigError(
                "the gradient of each image is clipped for whole networks only; leave out freeze, or privacy "
                "and per-example clipping"
            )

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        n_passed = sum(epoch >= milestone for milestone in self.milestones or ())
        return self.learning_rate * self.decay**n_passed

    @property
    def is_per_example(self) -> bool:
        """Whether the gradient of each image is computed by itself."""
        return self.clipping == "per-example" or self.privacy is not None

    @property
    def trains_alone(self) -> bool:
        """Whether a model cannot be stacked with others, see `bundle`."""
        return self.is_per_example or self.freeze != "none"

    def epsilon(self, n_images: int) -> float | None:
        """The epsilon of a training on `n_images` images, see `Privacy.epsilon`; None without privacy.

        Raises:
            ConfigError: Opacus is not installed.
        """
        if self.privacy is None:
            return None
        return self.privacy.epsilon(n_images=n_images, batch_size=self.batch_size, epochs=self.epochs)

    def to_json(self) -> dict[str, Any]:
        """All settings, as JSON values; `privacy` and `freeze` only where they are used."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}  # asdict copies deeply
        settings["milestones"] = list(self.milestones or ())
        if self.privacy is None:
            del settings["privacy"]
        else:
            settings["privacy"] = asdict(self.privacy)
            if self.privacy.randomness == "seed":  # the only kind once: those cells keep their hash
                del settings["privacy"]["randomness"]
        if self.freeze == "none":  # left out, so that older cells keep their hash
            del settings["freeze"]
        return settings

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Recipe":
        """Rebuild the recipe that `to_json` wrote; a whole number stays one, to keep the hash of its cell.

        Raises:
            ConfigError: a setting is unknown, of the wrong type or out of range.
        """
        privacy = settings.get("privacy")
        if isinstance(privacy, Mapping):
            settings = settings | {"privacy": {"randomness": "seed"} | dict(privacy)}
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigError(f"these are not the settings of a recipe: {error}") from None


def _privacy(settings: Mapping[str, Any]) -> Privacy:
    try:
        return Privacy(**settings)
    except TypeError as error:
        raise ConfigError(f"these are not the settings of privacy: {error}") from None


@checked(ConfigError)
def paper_recipe(data: str, model: str, *, optimizer: OptimizerName = "adam", epochs: int = 70) -> Recipe:
    """The paper's recipe for a data set and a model.

    CIFAR-10: weight decay 1e-4 and augmentation; SGD at rate 0.1, VGG16 at 0.01. MNIST, Fashion and all other
    data: neither, SGD at 0.01. Adam at 0.01 everywhere.

    Source: Yang et al. (2022), Appendix D.1, with the numbers of the authors' public code.
    """
    is_cifar = data == "cifar10"
    sgd_rate = 0.1 if is_cifar and model != "vgg16" else 0.01
    return Recipe(
        optimizer=optimizer,
        learning_rate=0.01 if optimizer == "adam" else sgd_rate,
        epochs=epochs,
        weight_decay=1e-4 if is_cifar else 0.0,
        augmentation="crop-flip" if is_cifar else "none",
    )


def short_epochs(n_images: int) -> int:
    """Epochs of a short training on `n_images` images: 8, or on small data as many as make 250 steps."""
    return _epochs(n_images, least=8, batch_size=Recipe().batch_size)


@checked(ConfigError)
def usual_recipe(
    data: str, model: str, n_images: int, *, optimizer: OptimizerName = "adam", epochs: int | None = None
) -> Recipe:
    """The default recipe: the paper's, or for resnet10 one measured on photographs.

    For resnet10 with Adam: rate 0.003, batches of 32, 15 epochs, or on small data as many as make 250 steps.
    Its accuracies and times are in docs/models.md.

    Args:
        data: name of the data set.
        model: name of the architecture.
        n_images: number of images trained on.
        optimizer: "sgd" takes the paper's recipe.
        epochs: replaces the default number.
    """
    if model not in OF_PHOTOGRAPHS or optimizer != "adam":
        return paper_recipe(data, model, optimizer=optimizer, epochs=70 if epochs is None else epochs)
    batch_size = 32
    if epochs is None:
        epochs = _epochs(n_images, least=15, batch_size=batch_size)
    return Recipe(learning_rate=0.003, batch_size=batch_size, epochs=epochs)


def short_recipe(data: str, model: str, n_images: int, *, epochs: int | None = None) -> Recipe:
    """The usual recipe for training many models: instead of 70 epochs a few, see `short_epochs`."""
    if epochs is None and model not in OF_PHOTOGRAPHS:
        epochs = short_epochs(n_images)
    return usual_recipe(data, model, n_images, epochs=epochs)


def _epochs(n_images: int, *, least: int, batch_size: int) -> int:
    return max(least, -(-N_STEPS // -(-n_images // batch_size)))
