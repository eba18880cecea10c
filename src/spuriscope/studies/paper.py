"""The studies of Yang, Chou and Chaudhuri (2022) by name, each at three sizes.

"smoke" takes seconds on digits; "short" has 8 epochs, 3 seeds and fewer counts; "paper" has all of the
paper's: 70 epochs, 5 seeds, every count.
"""

from collections.abc import Callable
from dataclasses import dataclass

from spuriscope.errors import ConfigError
from spuriscope.patterns import PATTERN_NAMES
from spuriscope.studies.study import Grid

__all__ = ["SIZES", "STUDIES", "Size", "paper_grid"]


@dataclass(frozen=True)
class Size:
    """How much of a study is run.

    Attributes:
        epochs: of each training.
        n_seeds: replications.
        counts: numbers planted in MNIST and Fashion.
        cifar_counts: numbers planted in CIFAR-10.
    """

    epochs: int
    n_seeds: int
    counts: tuple[int, ...]
    cifar_counts: tuple[int, ...]


SIZES = {
    "smoke": Size(2, 2, (0, 3, 30), (0, 3, 30)),
    "short": Size(8, 3, (0, 1, 3, 10, 100, 2000), (0, 1, 3, 10, 100, 1000)),
    "paper": Size(70, 5, (0, 1, 3, 5, 10, 20, 100, 2000, 5000), (0, 1, 3, 5, 10, 20, 100, 500, 1000)),
}


def _counts(size: Size, data: str) -> tuple[int, ...]:
    return size.cifar_counts if data == "cifar10" else size.counts


def _model(data: str) -> str:
    return "resnet20" if data == "cifar10" else "mlp"


def _fig2(size: Size, data: str) -> Grid:
    return Grid(
        name=f"fig2-{data}",
        title=f"Spurious score against the number planted: {data}",
        figure="dose",
        models=(_model(data),),
        patterns=PATTERN_NAMES,
        targets=(0, 1),
        counts=_counts(size, data),
        n_seeds=size.n_seeds,
        epochs=size.epochs,
    )


STUDIES: dict[str, Callable[[Size, str], Grid]] = {"fig2": _fig2}


def paper_grid(name: str, size: str, data: str) -> Grid:
    """The grid of a study of the paper.

    Args:
        name: one of `STUDIES`.
        size: "smoke", "short" or "paper".
        data: name of the data set it is for.

    Raises:
        ConfigError: there is no such study or size.
    """
    if name not in STUDIES:
        raise ConfigError(
            f"there is no study {name!r}; choose one of {', '.join(STUDIES)}, or give a .yaml file"
        )
    if size not in SIZES:
        raise ConfigError(f"there is no size {size!r}; choose one of {', '.join(SIZES)}")
    return STUDIES[name](SIZES[size], data)
