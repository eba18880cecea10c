"""Route Trace: training images of one label that share what no other image of their class has.

Images are compared in three ways: whole, as deviations from what fresh images have in common; through
windows, so that a small cue in a busy photograph shows; and singly, because an image that is alone with its
cue has no partner. `grouping` defines groups and their strength. The same search among fresh images, which no
training saw, gives natural groups: control groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.checks import check_whole
from spuriscope.data.duplicates import without_copies
from spuriscope.data.image_set import Split, unit_float
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.grouping import Crowd, Rows, find_groups, find_singles, grow, strength
from spuriscope.discovery.windows import Window, windows
from spuriscope.errors import DiscoveryError

__all__ = ["LEAST_OF_CLASS", "ClassTrace", "Side", "Trace"]

LEAST_OF_CLASS = 20  # a smaller class has no crowd to compare a group with
MOST_PAIRED = 8000  # whole images that groups start from: 256 MB for what pairs of them share
MOST_PAIRED_WINDOWS = 600  # the same for each window
GROUPS_OF_WINDOW = 4
MOST_SINGLES = 100  # and at most a tenth of a class: usual images are no controls for what stands out
ENOUGH = 20  # groups per class: three suspects, and a crowd behind them

Found = list[tuple[Rows, float]]


@dataclass(eq=False)
class Trace:
    """Searches training images for groups, class by class.

    Attributes:
        deviation: what is usual of whole images; fitted by `fit`.
        n_groups: number of groups of whole images, of windows, and of single images kept per class, strongest
            first; in large classes more single images are kept, because they are controls. Those behind the
            first are the crowd to judge it by.
        fresh_: the fresh images given to `fit`.

    Raises:
        ConfigError: `n_groups` is out of range.
    """

    deviation: Deviation = field(default_factory=Deviation)
    n_groups: int = 40
    fresh_: Split = field(init=False, repr=False)
    _of_all: list[Window] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        check_whole("n_groups", self.n_groups, least=1)

    def fit(self, fresh: Split) -> "Trace":
        """Learn what is usual from fresh images (n, channels, height, width), uint8 or in [0, 1]."""
        self.deviation.fit(fresh.images)
        self.fresh_ = fresh
        self._of_all = None
        return self

    def classes(self, train: Split) -> list[int]:
        """The classes that are searched: those with at least 20 images.

        Raises:
            DiscoveryError: there are none.
        """
        classes, counts = torch.unique(train.labels, return_counts=True)
        searched = [int(c) for c, n in zip(classes, counts, strict=True) if n >= LEAST_OF_CLASS]
        if not searched:
            raise DiscoveryError(
                f"a search needs a class of {LEAST_OF_CLASS} images or more, the largest has "
                f"{int(counts.max())}; give more images"
            )
        return searched

    def search(self, train: Split) -> list[Group]:
        """Groups and single images of all searched classes.

        Args:
            train: the images that a model was trained on, as it saw them, with their labels.

        Raises:
            DiscoveryError: no class has 20 images.
        """
        return [group for target in self.classes(train) for group in self.of_class(train, target).groups()]

    def of_class(self, train: Split, target: int) -> "ClassTrace":
        """Training and fresh images of one class, side by side, ready to be searched."""
        return ClassTrace(self, train, target)

    def windows_of(self, fresh: Tensor) -> list[Window]:
        """Windows fitted on the fresh images of a class, or on all fresh ones if these are too few."""
        if len(fresh) >= LEAST_OF_CLASS:
            return list(windows(fresh))
        if self._of_all is None:
            self._of_all = list(windows(self.fresh_.images))
        return self._of_all


class ClassTrace:
    """Training and fresh images of one class, as deviations from the usual.

    Attributes:
        target: the class.
        train: its training images.
        fresh: its fresh images; there may be none.
    """

    def __init__(self, trace: Trace, train: Split, target: int) -> None:
        self.target, self.n_groups = target, trace.n_groups
        self.train, self.fresh = (Side.of(split, target, trace.deviation) for split in (train, trace.fresh_))
        self._whole = Crowd.of(self.train.deviations, self.fresh.deviations)
        self._windows = [
            Crowd.of(window.transform(self.train.images), window.transform(self.fresh.images))
            for window in trace.windows_of(self.fresh.images)
        ]

    def groups(self, directions: Sequence[NDArray[np.float32]] = ()) -> list[Group]:
        """Groups of whole training images, of windows, and single images, each list strongest first.

        Args:
            directions: deviations (d,) that the probe suspects; the images that carry one form a group as
                well, with source "probe".
        """
        return self._search(self.train.positions, self._whole, self._windows, directions)

    def controls(self) -> list[Group]:
        """The groups found by the same search among the fresh images; positions are in the holdout."""
        windows_turned = [crowd.turned() for crowd in self._windows]
        return self._search(self.fresh.positions, self._whole.turned(), windows_turned)

    def _search(
        self,
        positions: Rows,
        whole: Crowd,
        through_windows: Sequence[Crowd],
        directions: Sequence[NDArray[np.float32]] = (),
    ) -> list[Group]:
        if len(positions) == 0:
            return []
        whole, groups = _whole_groups(whole, self.n_groups)
        of_windows = [
            group
            for crowd in through_windows
            for group in find_groups(crowd, GROUPS_OF_WINDOW, MOST_PAIRED_WINDOWS)
        ]
        listings: dict[Look, Found] = {
            "whole": _strongest(groups),
            "windows": list(_disjoint(_strongest(of_windows)))[: self.n_groups],
            "single": find_singles(whole, max(self.n_groups, min(MOST_SINGLES, len(positions) // 10))),
        }
        found = [
            Group(target=self.target, positions=positions[rows], strength=value, source="trace", look=look)
            for look, listing in listings.items()
            for rows, value in listing
        ]
        for direction in directions:
            rows = grow(whole, direction)
            value = strength(whole, rows)
            if value > 0:
                found.append(
                    Group(target=self.target, positions=positions[rows], strength=value, source="probe")
                )
        return found


@dataclass(frozen=True, eq=False)
class Side:
    """Images of one class without copies: copies share everything, though no cue made them.

    Attributes:
        positions: (n,) int64 in their split.
        images: (n, channels, height, width), float32 in [0, 1].
        deviations: (n, d) of whole images.
    """

    positions: Rows
    images: Tensor
    deviations: NDArray[np.float32]

    @classmethod
    def of(cls, split: Split, target: int, deviation: Deviation) -> "Side":
        """The images of a split that have the label `target`."""
        positions = (split.labels == target).nonzero().flatten()
        positions = positions[without_copies(split.images[positions])]
        images = unit_float(split.images[positions]).float()
        n_coordinates = len(deviation.mean_)
        deviations = deviation.transform(images) if len(images) else np.empty((0, n_coordinates), np.float32)
        return cls(positions.numpy(), images, deviations)


def _whole_groups(crowd: Crowd, n_groups: int) -> tuple[Crowd, Found]:
    """Groups of whole images, and the crowd in which they were found.

    In a small class one group may take what all its images share, and leave too few to judge a group by.
    There the median of the class is subtracted first.
    """
    groups = find_groups(crowd, n_groups, MOST_PAIRED)
    if len(groups) < ENOUGH:
        centre = np.median(crowd.rows, axis=0).astype(np.float32)
        crowd = Crowd.of(crowd.rows - centre, crowd.fresh - centre)
        groups = find_groups(crowd, n_groups, MOST_PAIRED)
    return crowd, groups


def _strongest(found: Found) -> Found:
    return sorted(found, key=lambda one: -one[1])


def _disjoint(found: Found) -> Iterator[tuple[Rows, float]]:
    """Groups without common images: of those that share images only the first."""
    seen: set[int] = set()
    for rows, value in found:
        if seen.isdisjoint(rows.tolist()):
            seen.update(rows.tolist())
            yield rows, value
