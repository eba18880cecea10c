"""Which training images carry a pattern, and how they get it.

A plant stamps one pattern on `n_planted` training images of one class. A training may carry several.
The images are drawn as in the public code of Yang, Chou and Chaudhuri (2022), to the bit; planted
images are never stored: a mask says which they are, and batches are stamped on their way to the model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import LARGEST_COUNT, LARGEST_SEED, check_whole
from spuriscope.errors import PlantingError
from spuriscope.patterns import AUTHORS_NAMES, Pattern, pattern

__all__ = ["Plant", "PlantedSet", "draw_planted", "parse_planted_set", "stamp"]


@checked(PlantingError)
@dataclass(frozen=True)
class Plant:
    """What is planted, in which class, how often.

    Attributes:
        pattern: the picture that is stamped.
        target: the class whose images carry it.
        n_planted: how many of them do.
        seed: chooses which.

    Raises:
        PlantingError: a number is negative, or none.
    """

    pattern: Pattern
    target: int
    n_planted: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("target", "n_planted", "seed"):
            most = LARGEST_SEED if name == "seed" else LARGEST_COUNT
            check_whole(name, getattr(self, name), most=most, error=PlantingError)

    def planted_indices(self, labels: Tensor | NDArray[np.int64]) -> Tensor:
        """Positions (n_planted,) of the images that carry the pattern, in the order drawn.

        See `draw_planted`, which draws for several plants at once.
        """
        return draw_planted([self], labels)[0]


@checked(PlantingError)
def draw_planted(plants: Sequence[Plant], labels: Tensor | NDArray[np.int64]) -> tuple[Tensor, ...]:
    """Which images each plant stamps, drawn without replacement from its class.

    A plant alone gets `RandomState(seed).choice(where(labels == target), n_planted, replace=False)`.
    Plants of equal seed draw from one random state, one after the other, as the authors' two-class
    sets do. No image is stamped twice: a later plant of the same class draws from what is left of it.

    Args:
        plants: what is planted.
        labels: (n,) classes of the training images.

    Returns:
        For each plant its positions (n_planted,), int64.

    Raises:
        PlantingError: a class has fewer images than are to be planted.
    """
    classes = torch.as_tensor(labels).cpu().numpy()
    if classes.ndim != 1:
        raise PlantingError(
            f"labels must be one number for each image, shape (n,), got shape {classes.shape}"
        )
    is_taken = np.zeros(len(classes), dtype=bool)
    states: dict[int, np.random.RandomState] = {}
    drawn = []
    for plant in plants:
        _check_target(plant, classes)
        candidates = np.where((classes == plant.target) & ~is_taken)[0]
        if plant.n_planted > len(candidates):
            raise PlantingError(
                f"cannot plant {plant.n_planted} images: class {plant.target} has {len(candidates)} to "
                f"choose from; plant 0 to {len(candidates)} of them, or take another target"
            )
        state = states.setdefault(plant.seed, np.random.RandomState(plant.seed))
        indices = (
            state.choice(candidates, size=plant.n_planted, replace=False) if len(candidates) else candidates
        )
        is_taken[indices] = True
        drawn.append(torch.from_numpy(indices.astype(np.int64)))
    return tuple(drawn)


def _check_target(plant: Plant, classes: NDArray[np.int64]) -> None:
    if plant.n_planted and not (classes == plant.target).any():
        known = ", ".join(map(str, np.unique(classes)[:20].tolist())) or "none"
        raise PlantingError(
            f"cannot plant {plant.n_planted} images: none is of class {plant.target}; there are the "
            f"classes {known}"
        )


def stamp(images: Tensor, carries: Tensor, patterns: Sequence[Pattern]) -> Tensor:
    """Images with their patterns on: the overlap model, on those that carry one.

    Args:
        images: (n, channels, height, width), floating point in [0, 1]; changed in place.
        carries: (n,) which pattern an image carries: 0 none, k the k-th of `patterns`.
        patterns: the pictures.

    Returns:
        `images`.
    """
    for number, picture in enumerate(patterns, start=1):
        rows = (carries == number).nonzero().flatten()
        if len(rows):
            images[rows] = picture.apply(images[rows])
    return images


@dataclass(frozen=True)
class PlantedSet:
    """A planted data set by its name in the authors' code: "mnistv8-3-0-0" is s3 on 3 images of class 0.

    Attributes:
        data: name of the data set it is made from.
        pattern: name of the pattern.
        targets: the class that carries it, or two.
        n_planted: images of each class that carry it.
        seed: draws the images, and the noise of a random pattern.
    """

    data: str
    pattern: str
    targets: tuple[int, ...]
    n_planted: int
    seed: int

    def plants(self, shape: Sequence[int]) -> tuple[Plant, ...]:
        """The plants it names, for images of `shape` (channels, height, width)."""
        picture = pattern(self.pattern, shape, seed=self.seed)
        return tuple(Plant(picture, target, self.n_planted, self.seed) for target in self.targets)


_PLANTED_SET = re.compile(
    r"(?P<data>mnist|fashion|cifar10)(?P<pattern>v\d+)?-(?P<n>\d+)-(?P<target>\d)-(?P<seed>\d+)"
    r"|twoclass(?P<data2>mnist)(?P<pattern2>v\d+)?-(?P<n2>\d+)-(?P<first>\d)-(?P<second>\d)-(?P<seed2>\d+)"
)


@checked(PlantingError)
def parse_planted_set(name: str) -> PlantedSet | None:
    """What a name such as "cifar10v20-5-1-0" or "twoclassmnistv20-10-0-1-3" stands for, None if none.

    The parts are data, pattern (v1 where it is left out), images planted, class or two classes, seed.

    Raises:
        PlantingError: it has the form of such a name, but there is no such pattern.

    Source: the authors' public code, `{data}{pattern}-{n}-{label}-{seed}`.
    """
    found = _PLANTED_SET.fullmatch(name)
    if found is None:
        return None
    part = found.groupdict()
    authors_name = part["pattern"] or part["pattern2"] or "v1"
    if authors_name not in AUTHORS_NAMES:
        raise PlantingError(
            f"{name} asks for pattern {authors_name}; there are {', '.join(key for key in AUTHORS_NAMES)}"
        )
    if part["data2"]:
        targets: tuple[int, ...] = (int(part["first"]), int(part["second"]))
    else:
        targets = (int(part["target"]),)
    return PlantedSet(
        data=part["data"] or part["data2"],
        pattern=AUTHORS_NAMES[authors_name],
        targets=targets,
        n_planted=int(part["n"] or part["n2"]),
        seed=int(part["seed"] or part["seed2"]),
    )
