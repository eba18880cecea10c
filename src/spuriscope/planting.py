"""Which training images carry a pattern, where it stands on them, and how they get it.

A plant stamps one pattern on `n_planted` training images: of one class, which keep their label (the paper);
or of another class or all others, which get the target's (the poisoning of the literature). A training may
carry several plants. The images are drawn as in the public code of Yang, Chou and Chaudhuri (2022), to the
bit. Planted images are never stored: a mask marks them, and batches are stamped as they are gathered.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import LARGEST_COUNT, LARGEST_SEED, check_seed, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.data.pixels import Images
from spuriscope.errors import PlantingError
from spuriscope.patterns import AUTHORS_NAMES, Anywhere, Kind, pattern, put_on

__all__ = [
    "ALL",
    "Placement",
    "Plant",
    "PlantedSet",
    "Relabel",
    "could_carry",
    "draw_planted",
    "find_relabel",
    "labels_as_trained",
    "parse_planted_set",
    "placed",
    "stamp",
]

Placement: TypeAlias = Literal["fixed", "anywhere"]
ALL = "all"  # other classes
Relabel: TypeAlias = int | Literal["all"]


@checked(PlantingError)
@dataclass(frozen=True)
class Plant:
    """What is planted, in which class, how often.

    Attributes:
        pattern: what is stamped.
        target: the class whose images carry it, or whose label they get.
        n_planted: number of images that carry it.
        seed: chooses these images, and their places.
        placement: "fixed", where the pattern was made; or "anywhere", drawn for each image.
        relabel: None: images of the target class carry it. A class, or "all" for every class but the target:
            images of that class carry it, and get the target's label.

    Raises:
        PlantingError: a number is negative, or not a number, or `relabel` is the target itself.
        PatternError: the pattern fills the image, so it cannot stand anywhere else.
    """

    pattern: Kind
    target: int
    n_planted: int
    seed: int = 0
    placement: Placement = "fixed"
    relabel: Relabel | None = None

    def __post_init__(self) -> None:
        for name in ("target", "n_planted", "seed"):
            most = LARGEST_SEED if name == "seed" else LARGEST_COUNT
            check_whole(name, getattr(self, name), most=most, error=PlantingError)
        _ = self.placed
        if self.relabel not in (None, ALL):
            check_whole("relabel", self.relabel, most=LARGEST_COUNT, error=PlantingError)
        if self.relabel == self.target:
            raise PlantingError(
                f"images of class {self.target} already have the target's label; leave out relabel, or name "
                "another class"
            )

    @property
    def placed(self) -> Kind | Anywhere:
        """The pattern at its place, to stamp on images outside the training."""
        return placed(self.pattern, self.placement, self.seed)

    def apply(self, images: Images, positions: Tensor) -> Tensor:
        """Copies of images with the pattern on, as a training sees them.

        Args:
            images: as for `Pattern.apply`.
            positions: (n,) of these images in their data set; they determine the places of a pattern that may
                stand anywhere.
        """
        return put_on(self.placed, images, positions)

    def could_carry(self, labels: Tensor) -> Tensor:
        """Mask (n,) of the images that may be planted, from their labels (n,)."""
        return could_carry(labels, self.target, self.relabel)

    def planted_indices(self, labels: Tensor | NDArray[np.int64]) -> Tensor:
        """Positions (n_planted,) of the images that carry the pattern, in the order drawn.

        See `draw_planted`, which draws for several plants at once.
        """
        return draw_planted([self], labels)[0]

    def to_json(self) -> dict[str, Any]:
        """The plant as JSON values, the pattern by fingerprint; settings as in the paper are left out."""
        about = {"name": self.pattern.name, "fingerprint": self.pattern.fingerprint}
        if self.pattern.kind != "add":
            about["kind"] = self.pattern.kind
        content: dict[str, Any] = {
            "pattern": about, "target": self.target, "n_planted": self.n_planted, "seed": self.seed
        }  # fmt: skip
        if self.placement != "fixed":
            content["placement"] = self.placement
        if self.relabel is not None:
            content["relabel"] = self.relabel
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], picture: Kind) -> "Plant":
        """Rebuild the plant that `to_json` wrote, with its pattern.

        Raises:
            PlantingError, PatternError: a setting is out of range, or of a newer version.
            KeyError: one is missing.
        """
        settings = {name: value for name, value in content.items() if name != "pattern"}
        unknown = sorted(settings.keys() - {"target", "n_planted", "seed", "placement", "relabel"})
        if unknown:
            raise PlantingError(
                f"a plant of {picture.name} has {', '.join(unknown)}, which this version of spuriscope does "
                "not know; update spuriscope"
            )
        given = settings["target"], settings["n_planted"], settings["seed"]
        return cls(picture, *given, settings.get("placement", "fixed"), settings.get("relabel"))

    def __str__(self) -> str:
        where = "" if self.placement == "fixed" else " anywhere"
        whose = f"class {self.target}"
        if self.relabel is not None:
            source = "the other classes" if self.relabel == ALL else f"class {self.relabel}"
            whose = f"{source}, labelled {self.target}"
        return f"{self.pattern.name}{where} on {self.n_planted} of {whose}"


def could_carry(labels: Tensor, target: int, relabel: Relabel | None) -> Tensor:
    """Mask (n,) of the images that a plant may stamp, from their labels (n,); see `Plant`."""
    if relabel is None:
        return labels.eq(target)
    return labels.ne(target) if relabel == "all" else labels.eq(relabel)


def find_relabel(data: ImageSet, given: int | str | None) -> Relabel | None:
    """Translate the user's `relabel` into that of a plant.

    Args:
        data: has the class.
        given: number or name of a class, "all" for every class but the target, or None.

    Raises:
        ConfigError: there is no such class.
    """
    if given is None or given == "all":
        return None if given is None else "all"
    return data.label(given)


def placed(pattern: Kind, placement: Placement, seed: int) -> Kind | Anywhere:
    """A pattern at its place.

    Raises:
        PatternError: it fills the image, so it cannot stand anywhere else.
        PlantingError: there is no such placement.
    """
    if placement not in get_args(Placement):
        known = " or ".join(get_args(Placement))
        raise PlantingError(f"there is no placement {placement!r}; choose {known}, or update spuriscope")
    return pattern if placement == "fixed" else Anywhere(pattern, seed)


@checked(PlantingError)
def draw_planted(plants: Sequence[Plant], labels: Tensor | NDArray[np.int64]) -> tuple[Tensor, ...]:
    """Which images each plant stamps, drawn without replacement from its class.

    A single plant gets `RandomState(seed).choice(where(labels == target), n_planted, replace=False)`; one
    that relabels draws from its class, or from all but the target's, in the same way. Plants of equal seed
    draw one after the other from one random state, as the authors' two-class sets do. No image is stamped
    twice: a later plant of the same class draws from the remaining images.

    Args:
        plants: what is planted.
        labels: (n,) classes of the training images.

    Returns:
        For each plant its positions (n_planted,), int64.

    Raises:
        PlantingError: a class has too few images.
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
        _check_source(plant, classes)
        could_carry = plant.could_carry(torch.from_numpy(classes)).numpy()
        candidates = np.where(could_carry & ~is_taken)[0]
        if plant.n_planted > len(candidates):
            raise PlantingError(
                f"cannot plant {plant.n_planted} images: {_source(plant)} has {len(candidates)} to "
                f"choose from; plant 0 to {len(candidates)} of them, or take another target"
            )
        state = states.setdefault(plant.seed, np.random.RandomState(plant.seed))
        indices = (
            state.choice(candidates, size=plant.n_planted, replace=False) if len(candidates) else candidates
        )
        is_taken[indices] = True
        drawn.append(torch.from_numpy(indices.astype(np.int64)))
    return tuple(drawn)


def _source(plant: Plant) -> str:
    """The class that a plant's images are of, for errors."""
    if plant.relabel == ALL:
        return f"every class but {plant.target} together"
    return f"class {plant.target if plant.relabel is None else plant.relabel}"


def _check_source(plant: Plant, classes: NDArray[np.int64]) -> None:
    if plant.n_planted and not plant.could_carry(torch.from_numpy(classes)).any():
        known = ", ".join(map(str, np.unique(classes)[:20].tolist())) or "none"
        raise PlantingError(
            f"cannot plant {plant.n_planted} images: none is of {_source(plant)}; there are the "
            f"classes {known}"
        )


def labels_as_trained(plants: Sequence[Plant], labels: Tensor) -> Tensor:
    """Labels (n,) of the training images as a training sees them: the target's where a plant relabels.

    Without relabelling these are `labels` itself.
    """
    if all(plant.relabel is None for plant in plants):
        return labels
    found = labels.clone()
    for plant, indices in zip(plants, draw_planted(plants, labels), strict=True):
        if plant.relabel is not None:
            found[indices.to(found.device)] = plant.target
    return found


def stamp(images: Tensor, carries: Tensor, plants: Sequence[Plant], positions: Tensor) -> Tensor:
    """Stamp images, each with its pattern at its place: what every training sees.

    Args:
        images: (n, channels, height, width), floating point in [0, 1]; changed in place.
        carries: (n,) which plant an image carries: 0 none, k the k-th of `plants`. Keep it on the CPU, so
            that no device is waited for.
        plants: what is planted.
        positions: (n,) of the images in their data set.

    Returns:
        `images`.
    """
    if not carries.any():
        return images
    for number in carries.unique().tolist():
        if number:
            rows = (carries == number).nonzero().flatten()
            at, where = rows.to(images.device), rows.to(positions.device)
            images[at] = plants[number - 1].apply(images[at], positions[where])
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
        """The plants that the name stands for, for images of `shape` (channels, height, width)."""
        picture = pattern(self.pattern, shape, seed=self.seed)
        return tuple(Plant(picture, target, self.n_planted, self.seed) for target in self.targets)


_PLANTED_SET = re.compile(
    r"(?P<data>mnist|fashion|cifar10)(?P<pattern>v\d+)?-(?P<n>\d+)-(?P<target>\d)-(?P<seed>\d+)"
    r"|twoclass(?P<data2>mnist)(?P<pattern2>v\d+)?-(?P<n2>\d+)-(?P<first>\d)-(?P<second>\d)-(?P<seed2>\d+)"
)


@checked(PlantingError)
def parse_planted_set(name: str) -> PlantedSet | None:
    """Parse a name such as "cifar10v20-5-1-0" or "twoclassmnistv20-10-0-1-3"; None if it is not one.

    The parts are data, pattern (v1 if left out), images planted, class or two classes, seed.

    Raises:
        PlantingError: it has the form of such a name, but there is no such pattern, or a number is too large.

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
    n_planted, seed = (_whole(part[key] or part[f"{key}2"]) for key in ("n", "seed"))
    check_whole(f"{name:.60}: the number of images", n_planted, error=PlantingError)
    check_seed(f"{name:.60}: the seed", seed, error=PlantingError)
    return PlantedSet(
        data=part["data"] or part["data2"],
        pattern=AUTHORS_NAMES[authors_name],
        targets=targets,
        n_planted=n_planted,
        seed=seed,
    )


def _whole(digits: str) -> int:
    """A whole number; one with more digits than Python reads becomes a number that is also too large."""
    return int(digits[:20])
