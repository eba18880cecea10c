"""The built-in names, and messages about unknown ones, without importing the code that computes.

Importing torch takes seconds. So what a list of names or a refusal needs stands here: the packages with the
things themselves take titles and messages from here, and a test compares the names and the counts with them.
"""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "AUTHORS_PATTERNS",
    "DATA_NAMES",
    "EMBEDDING_NAMES",
    "METHOD_NAMES",
    "MODELS",
    "PATTERNS",
    "STUDY_NAMES",
    "THEORY_NAMES",
    "KnownModel",
    "is_name_alone",
    "no_run",
    "unknown",
    "unknown_data",
    "unknown_pattern",
    "unknown_study",
]


class KnownModel(NamedTuple):
    """An architecture of ours, see `spuriscope.models.Architecture`.

    Attributes:
        title: the name in the paper, or a usual one.
        shape: (channels, height, width) of the images for which its parameters are counted.
        n_parameters: number of trainable ones, with 10 classes.
    """

    title: str
    shape: tuple[int, int, int]
    n_parameters: int


GREY, COLOUR, SMALL_PHOTO, PHOTO = (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 224, 224)
MODELS = {
    "small-mlp": KnownModel("small MLP", GREY, 203_530),
    "mlp": KnownModel("MLP", GREY, 335_114),
    "large-mlp": KnownModel("large MLP", GREY, 932_362),
    "cnn": KnownModel("CNN", GREY, 312_202),
    "resnet20": KnownModel("ResNet20", COLOUR, 269_722),
    "resnet32": KnownModel("ResNet32", COLOUR, 464_154),
    "resnet110": KnownModel("ResNet110", COLOUR, 1_727_962),
    "vgg16": KnownModel("VGG16", COLOUR, 134_301_514),
    "resnet10": KnownModel("ResNet10", SMALL_PHOTO, 310_746),
    "resnet18": KnownModel("ResNet18", PHOTO, 11_181_642),
    "resnet50": KnownModel("ResNet50", PHOTO, 23_528_522),
    "efficientnet-lite0": KnownModel("EfficientNet-Lite0", PHOTO, 3_383_818),
}
METHOD_NAMES = (
    *("retrain", "incremental", "influence", "influence-lissa", "influence-ekfac", "influence-path"),
    *("ascent", "repair"),
)
EMBEDDING_NAMES = ("pca", "vae")
PATTERNS = (
    *("s1", "s2", "s3", "r1", "r2", "r3", "inv"),
    *("square", "black-square", "disc", "letters", "watermark", "frame"),
    *("tint", "contrast", "dim", "invert"),
)
AUTHORS_PATTERNS = ("v1", "v3", "v8", "v18", "v19", "v20", "v30", "core")  # as their code calls them
DATA_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "pacs", "fashion", "cifar-10")
STUDY_NAMES = (
    *("fig2", "fig3", "fig4", "fig5", "fig6", "fig8", "fig12", "fig13", "mitigation"),
    *(f"fig{number}" for number in range(14, 26)),
    *("norms", "table1", "table2"),
)
THEORY_NAMES = ("fig7", "fig9", "fig10", "fig11")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message about an unknown name of some kind."""
    there = ", ".join(known)
    if not there:
        return f"there is no {kind} {name!r}: none is registered; --plugin names a module that adds some"
    return f"there is no {kind} {name!r}; choose one of {there}"


def unknown_data(name: str, known: Iterable[str]) -> str:
    """The message about a data set that is neither a name nor a file."""
    return (
        f"there is no data set {name!r}; give one of {', '.join(known)}, or a folder of class folders, "
        "or an .npz file, a .tar, a .csv or a .parquet"
    )


def unknown_pattern(name: str, known: Iterable[str]) -> str:
    """The message about a pattern that is neither a name nor a picture."""
    return f"{unknown('pattern', name, known)}, or give the path of a picture such as logo.png"


def unknown_study(name: str, known: Iterable[str]) -> str:
    """The message about a study that is not one of the paper's."""
    return f"{unknown('study', name, known)}, or give a .yaml file"


def no_run(folder: str | os.PathLike[str]) -> str:
    """The message about a folder without a run."""
    return f"{folder} holds no run; `spuriscope train ... --out {folder}` writes one"


def is_name_alone(given: str) -> bool:
    """Whether a value can only be a name: it has no suffix and no folder, and no file has this name."""
    return re.fullmatch(r"[\w-]+", given) is not None and not os.path.exists(given)
