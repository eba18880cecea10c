"""Route Trace: training images of one label that share what no other image of their class has.

Their deviations from the usual (see `deviation`) point the same way, and far. Search within one class:
take the pair of images with the largest inner product, move to the mean of all images that carry at least
half of it, repeat until the group stands still; put it aside and go on with what is left. An image that is
alone with its cue has no partner: images far out on their own are listed beside the groups.

Natural look-alikes form groups too. What sets a planted one apart is that its images carry the cue whole
and all others not at all: a group's strength is the energy that its images share, times that contrast, times
the root of their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Split
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.group import Group
from spuriscope.errors import DiscoveryError

__all__ = ["LEAST_OF_CLASS", "Trace"]

LEAST_OF_CLASS = 20  # a smaller class has no crowd for a group to stand out from
MOST_OF_CLASS = 8000  # only those farthest out of a larger class are paired: 256 MB of inner products
MOST_STEPS = 20
ENOUGH = 20  # groups of a class: three suspects, and a crowd behind them
HALF = 0.5  # of the shared deviation: nearer to carrying it than not

Deviations = NDArray[np.float32]


@dataclass(eq=False)
class Trace:
    """Searches training images for groups, class by class.

    Attributes:
        deviation: what is usual; fitted by `fit`.
        n_groups: groups, and single images, that are kept of each class, strongest first. Those behind the
            first are the crowd that it is judged against.
    """

    deviation: Deviation = field(default_factory=Deviation)
    n_groups: int = 40

    def fit(self, images: Tensor) -> "Trace":
        """Learn what is usual from fresh images (n, channels, height, width), uint8 or in [0, 1]."""
        self.deviation.fit(images)
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

    def search_class(self, train: Split, target: int) -> list[Group]:
        """Groups, and then single images, of one class, each list strongest first.

        In a small class one group may take what all its images share, and leave too few to judge a group by:
        there the median of the class is taken away first.
        """
        positions = (train.labels == target).nonzero().flatten()
        deviations = self.deviation.transform(train.images[positions])
        if len(positions) > MOST_OF_CLASS:
            farthest = np.sort(np.argsort(-np.einsum("ij,ij->i", deviations, deviations))[:MOST_OF_CLASS])
            positions, deviations = positions[farthest], deviations[farthest]
        groups = list(_groups(deviations, self.n_groups))
        if len(groups) < ENOUGH:
            deviations = deviations - np.median(deviations, axis=0).astype(np.float32)
            groups = list(_groups(deviations, self.n_groups))
        found = []
        for listing in (groups, _singles(deviations, self.n_groups)):
            for rows, strength in sorted(listing, key=lambda item: -item[1]):
                found.append(
                    Group(target=target, positions=positions[rows].numpy(), strength=strength, source="trace")
                )
        return found


def _groups(deviations: Deviations, n_groups: int) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Groups of rows with their strengths, each from the strongest pair that earlier groups left."""
    products = deviations @ deviations.T
    np.fill_diagonal(products, -np.inf)
    is_free = np.ones(len(deviations), dtype=bool)
    partner, best = products.argmax(axis=1), products.max(axis=1)
    for _ in range(n_groups):
        seed = int(np.where(is_free, best, -np.inf).argmax())
        if not is_free[seed] or not best[seed] > 0:
            return
        pair = np.array([seed, partner[seed]])
        rows = _grow(deviations, pair, is_free)
        taken = np.union1d(rows, pair)
        is_free[taken] = False
        products[:, taken] = -np.inf
        stale = np.flatnonzero(is_free & ~is_free[partner])
        partner[stale] = products[stale].argmax(axis=1)
        best[stale] = products[stale, partner[stale]]
        if len(rows) > 1:
            yield rows, _strength(deviations, rows)


def _grow(deviations: Deviations, rows: NDArray[np.int64], is_free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The free rows that carry half or more of what a group shares, repeated until it stands still."""
    for _ in range(MOST_STEPS):
        shared = deviations[rows].mean(axis=0)
        carried = deviations @ shared / (shared @ shared)
        grown = np.flatnonzero((carried > HALF) & is_free)
        if len(grown) < 2 or np.array_equal(grown, rows):
            break
        rows = grown
    return rows


def _strength(deviations: Deviations, rows: NDArray[np.int64]) -> float:
    """Energy that the rows share, times how much more of it their least carries than any other row.

    Times the root of their number too, as the mean of many says more than that of two.
    """
    n = len(rows)
    if n == len(deviations):
        return 0.0
    total = deviations[rows].sum(axis=0)
    energy = (total @ total - (deviations[rows] ** 2).sum()) / max(1, n * (n - 1))
    carried = deviations @ (total / n)
    outside = np.delete(carried, rows).max()
    contrast = carried[rows].min() / max(outside, np.sqrt(total @ total) / n)
    return float(np.sqrt(n) * energy * contrast)


def _singles(deviations: Deviations, n_singles: int) -> list[tuple[NDArray[np.int64], float]]:
    """Images far out on their own: the energy above the usual one, times the same contrast."""
    squares = np.einsum("ij,ij->i", deviations, deviations)
    farthest = np.argsort(-squares)[: 4 * n_singles]
    carried = deviations[farthest] @ deviations.T
    carried[np.arange(len(farthest)), farthest] = -np.inf
    outside = np.maximum(carried.max(axis=1), np.sqrt(squares[farthest]))
    strengths = (squares[farthest] - np.median(squares)) * squares[farthest] / outside
    order = np.argsort(-strengths)[:n_singles]
    return [(farthest[[k]], float(strengths[k])) for k in order if strengths[k] > 0]
