"""Route Trace: training images of one label that share what no other image of their class has.

Images are looked at in three ways: whole, as deviations from what fresh images have in common; through
windows, so that a small cue in a busy photograph shows; and one by one, as an image that is alone with its
cue has no partner. What groups are, and how strong, is said in `grouping`. The same search among fresh
images, which no training saw, gives the groups that nature makes: control groups.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Split
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.grouping import Crowd, Rows, find_groups, find_singles, grow, strength
from spuriscope.discovery.windows import windows
from spuriscope.errors import DiscoveryError

__all__ = ["LEAST_OF_CLASS", "Trace"]

LEAST_OF_CLASS = 20  # a smaller class has no crowd for a group to stand out from
MOST_PAIRED = 8000  # whole images that groups start from: 256 MB of what pairs of them share
MOST_PAIRED_WINDOWS = 600  # the same for each window
GROUPS_OF_WINDOW = 6
ENOUGH = 20  # groups of a class: three suspects, and a crowd behind them

Found = list[tuple[Rows, float]]


@dataclass(eq=False)
class Trace:
    """Searches training images for groups, class by class.

    Attributes:
        deviation: what is usual of whole images; fitted by `fit`.
        n_groups: groups of whole images, of windows, and single images, that are kept of each class,
            strongest first. Those behind the first are the crowd that it is judged against.
        fresh_: the fresh images that were given to `fit`.
    """

    deviation: Deviation = field(default_factory=Deviation)
    n_groups: int = 40
    fresh_: Split = field(init=False, repr=False)

    def fit(self, fresh: Split) -> "Trace":
        """Learn what is usual from fresh images (n, channels, height, width), uint8 or in [0, 1]."""
        self.deviation.fit(fresh.images)
        self.fresh_ = fresh
        return self

    def classes(self, train: Split) -> list[int]:
        """The classes that are searched: those of 20 images or more.

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
        """Groups and single images of all classes that are searched.

        Args:
            train: the images that a model was trained on, as it saw them, with their labels.

        Raises:
            DiscoveryError: no class has 20 images.
        """
        return [group for target in self.classes(train) for group in self.search_class(train, target)]

    def search_class(
        self, train: Split, target: int, directions: Sequence[NDArray[np.float32]] = ()
    ) -> list[Group]:
        """Groups of whole images, of windows, and single images, of one class, each list strongest first.

        Args:
            train: the images that a model was trained on, with their labels.
            target: the class.
            directions: deviations (d,) that the probe suspects; the images that carry one are a group as
                well, whose source is "probe".
        """
        return self._search(train, self.fresh_, target, directions)

    def controls(self, train: Split, target: int) -> list[Group]:
        """What the same search finds among the fresh images of a class; positions are among those."""
        return self._search(self.fresh_, train, target)

    def _search(
        self, searched: Split, others: Split, target: int, directions: Sequence[NDArray[np.float32]] = ()
    ) -> list[Group]:
        positions = _of_class(searched, target)
        mine, beside = searched.images[positions], others.images[_of_class(others, target)]
        crowd, groups = self._whole(mine, beside)
        listings: dict[Look, Found] = {
            "whole": groups,
            "windows": self._windows(mine, beside, target),
            "single": find_singles(crowd, self.n_groups),
        }
        found = [
            Group(target=target, positions=positions[rows].numpy(), strength=value, source="trace", look=look)
            for look, listing in listings.items()
            for rows, value in _strongest(listing)
        ]
        for direction in directions:
            rows = grow(crowd, direction)
            value = strength(crowd, rows)
            if value > 0:
                found.append(
                    Group(target=target, positions=positions[rows].numpy(), strength=value, source="probe")
                )
        return found

    def _whole(self, images: Tensor, others: Tensor) -> tuple[Crowd, Found]:
        """Groups of whole images.

        In a small class one group may take what all its images share, and leave too few to judge a group by:
        there the median of the class is taken away first.
        """
        crowd = _crowd(self.deviation.transform, images, others)
        groups = find_groups(crowd, self.n_groups, MOST_PAIRED)
        if len(groups) < ENOUGH:
            centre = np.median(crowd.rows, axis=0).astype(np.float32)
            crowd = Crowd.of(crowd.rows - centre, crowd.fresh - centre)
            groups = find_groups(crowd, self.n_groups, MOST_PAIRED)
        return crowd, groups

    def _windows(self, images: Tensor, others: Tensor, target: int) -> Found:
        """The strongest groups of all windows that have no image in common."""
        of_class = _of_class(self.fresh_, target)
        usual = self.fresh_.images[of_class] if len(of_class) >= LEAST_OF_CLASS else self.fresh_.images
        found: Found = []
        for window in windows(usual):
            crowd = _crowd(window.transform, images, others)
            found += find_groups(crowd, GROUPS_OF_WINDOW, MOST_PAIRED_WINDOWS)
        return list(_disjoint(_strongest(found)))[: self.n_groups]


def _of_class(split: Split, target: int) -> Tensor:
    return (split.labels == target).nonzero().flatten()


def _crowd(transform: Callable[[Tensor], NDArray[np.float32]], images: Tensor, others: Tensor) -> Crowd:
    rows = transform(images)
    return Crowd.of(rows, transform(others) if len(others) else rows[:0])


def _strongest(found: Found) -> Found:
    return sorted(found, key=lambda one: -one[1])


def _disjoint(found: Found) -> Iterator[tuple[Rows, float]]:
    """Of groups that have images in common the first."""
    seen: set[int] = set()
    for rows, value in found:
        if seen.isdisjoint(rows.tolist()):
            seen.update(rows.tolist())
            yield rows, value
