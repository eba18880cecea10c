"""Marks that nothing natural makes: images of a class that agree to the last grey value where others differ.

What is stuck over a photograph, printed into it or done to all its colours is the same in each image that
carries it, whatever lies beside it. So images are compared *place by place*: through small windows (`covers`,
`details`), or by the darkest and brightest values that they reach (`tones`). From one image, all others are
ranked by distance. A mark is a gap in that ranking: some images of the class are almost equal, and then for a
long stretch none follows, neither of the class nor of another one.

How long is long? If points lie at random in d dimensions, the ratio of the distances to the next and the k-th
neighbour exceeds g with probability g ** -(k d). So k log g is exponential for every k: a pair must be
followed by a much wider gap than twenty images, and both are measured on one scale. That is the strength of a
mark. Natural places differ in d. A mixture of exponentials with gamma distributed rates falls off as a power
of c + strength (Lomax), and how fast is estimated from the crowd of the class (`statistics.Tail`). The scale
c tells from where on it does so; 12 for places and 1 for tones were chosen on photographs without any model
(docs/discovery.md).

Training and fresh images of the class are searched as one crowd, without regard to which are which. So if
nothing was done to the training images, those that carry a mark are a random draw of the crowd, and the
number of fresh ones among them is hypergeometric, whatever the strength: `p_absent` is exact, and independent
of it.

Sources: spacings of a Poisson process, as in Levina and Bickel (2004), "Maximum likelihood estimation of
intrinsic dimension"; Lomax (1954), "Business failures"; Fisher's exact test.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.duplicates import without_copies
from spuriscope.data.image_set import Split, unit_float
from spuriscope.discovery.finding import Carriers
from spuriscope.discovery.group import Look
from spuriscope.patterns import AnyPattern

__all__ = [
    "LEAST_CARRIERS",
    "Mark",
    "Pool",
    "Sight",
    "berth_of",
    "gap_strength",
    "groups_in_turn",
    "noise_of",
    "take_apart",
    "widest_gaps",
]

LEAST_CARRIERS = 3  # two images that agree somewhere are not rare
MOST_OF_POOL = 0.5  # a larger share of a class is usual
MOST_OTHERS, FEWEST_OTHERS = 600, 200  # images of other classes that bound a mark, drawn
OTHERS_OF_EACH = 10  # per image of the class, within these bounds
MOST_SEEDS = 150  # images around which a mark is sought: those farthest from other classes
NOISE = 1.5 / 255  # least root mean square of the error that rounding and mild compression make in a pixel
N_ASKED = 50  # images from which the coarseness of grey levels is estimated

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pool:
    """Training and fresh images of one class as one crowd, and images of other classes.

    Attributes:
        target: the class.
        images: (n, channels, height, width), uint8 or in [0, 1]; of near-duplicates only one.
        others: (m, channels, height, width) of other classes, likewise.
        is_fresh: (n,) which of them are fresh. The search must not use it.
        positions: (n,) of them in their split.
    """

    target: int
    images: Tensor
    others: Tensor
    is_fresh: NDArray[np.bool_]
    positions: Rows

    @classmethod
    def of(cls, train: Split, fresh: Split, target: int, *, seed: int = 0) -> "Pool":
        """The images of class `target`, in a random order, without copies of an earlier one."""
        rng = np.random.default_rng([seed, target])
        own = [(split.labels == target).nonzero().flatten() for split in (train, fresh)]
        images = torch.cat([split.images[rows] for split, rows in zip((train, fresh), own, strict=True)])
        is_fresh = np.repeat([False, True], [len(rows) for rows in own])
        order = rng.permutation(len(images))
        order = np.sort(order[without_copies(images[torch.from_numpy(order)]).numpy()])
        return cls(
            target,
            images[torch.from_numpy(order)],
            _others(train, fresh, target, _n_others(len(order)), rng),
            is_fresh[order],
            torch.cat(own).numpy()[order],
        )

    @classmethod
    def at(
        cls, train: Split, fresh: Split, target: int, is_fresh: NDArray[np.bool_], positions: Rows
    ) -> "Pool":
        """A pool with these images of its class, and none of other classes, as it was searched."""
        images = torch.empty(len(positions), *train.images.shape[1:], dtype=train.images.dtype)
        for split, here in ((train, ~is_fresh), (fresh, is_fresh)):
            images[torch.from_numpy(here)] = split.images[torch.from_numpy(positions[here])]
        return cls(target, images, images[:0], is_fresh, positions)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def noise(self) -> float:
        """Root mean square of the rounding error of a pixel of these images; see `noise_of`."""
        return noise_of(self.images)

    def of_training(self, rows: Rows) -> Rows:
        """Positions in the training split of those of `rows` that are not fresh, ascending."""
        return np.sort(self.positions[rows[~self.is_fresh[rows]]])

    def carriers(self, rows: Rows) -> Carriers:
        """Numbers of training and fresh images among `rows`, and in all."""
        n_fresh, of_fresh = int(self.is_fresh[rows].sum()), int(self.is_fresh.sum())
        return Carriers(
            n_train=len(rows) - n_fresh,
            of_train=len(self) - of_fresh,
            n_fresh=n_fresh,
            of_fresh=of_fresh,
        )

    def p_absent(self, rows: Rows) -> float:
        """Probability that so few of `rows` are fresh, if they are a random draw of the pool."""
        from scipy import stats

        n_fresh = int(self.is_fresh[rows].sum())
        return float(stats.hypergeom.cdf(n_fresh, len(self), int(self.is_fresh.sum()), len(rows)))


def noise_of(images: Tensor) -> float:
    """Root mean square of the error that rounding, and mild compression, make in a pixel of images.

    If images have few grey levels, many are exactly equal by chance, and the next differ by a whole level. A
    level of width w has a root mean square rounding error of w / sqrt(12). The width is the median gap
    between neighbouring levels of an image, and of that the median over images.

    Args:
        images: (n, channels, height, width), uint8 or in [0, 1].
    """
    gaps = []
    for image in images[:: max(1, len(images) // N_ASKED)]:
        levels = unit_float(image.unique())
        if len(levels) > 1:
            gaps.append(float(levels.diff().median()))
    return max(NOISE, float(np.median(gaps)) / math.sqrt(12)) if gaps else NOISE


def _n_others(n: int) -> int:
    return min(MOST_OTHERS, max(FEWEST_OTHERS, OTHERS_OF_EACH * n))


def _others(train: Split, fresh: Split, target: int, n: int, rng: np.random.Generator) -> Tensor:
    places = [(split, (split.labels != target).nonzero().flatten().numpy()) for split in (train, fresh)]
    n_train = len(places[0][1])
    drawn = np.sort(rng.permutation(sum(len(rows) for _, rows in places))[:n])
    parts = [
        places[0][0].images[torch.from_numpy(places[0][1][drawn[drawn < n_train]])],
        places[1][0].images[torch.from_numpy(places[1][1][drawn[drawn >= n_train] - n_train])],
    ]
    return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class Mark:
    """Images of a pool that agree in something.

    Attributes:
        rows: (k,) of the pool, the most typical first.
        strength: see above; among marks of one kind and class, larger is rarer.
        look: "cover", "detail", "tone", "stray" or "transplant".
        pattern: makes from rows of the pool what they have in the place, or the respect, of this mark. From
            its own rows that is the cue, from any other image a natural pattern to compare with.
    """

    rows: Rows
    strength: float
    look: Look
    pattern: Callable[[Rows], AnyPattern]


@dataclass(frozen=True, eq=False)
class Sight:
    """Distances of images from a few of them.

    Attributes:
        seeds: (s,) rows of these few.
        squares: (s, n) mean square difference of each seed to each image, itself included.
        berth: (s,) that to the nearest image of another class.
        noise: root mean square of the rounding error, in `squares` and `berth`.
    """

    seeds: Tensor
    squares: Tensor
    berth: Tensor
    noise: float = NOISE

    @classmethod
    def of(cls, own: Tensor, others: Tensor, noise: float = NOISE) -> "Sight":
        """From the rows of `own` (n, d) that are farthest from `others` (m, d)."""
        own, others = _scaled(own), _scaled(others)
        squares = own.square().sum(dim=1)
        berth = berth_of(_mean_squares(own, others, squares, others.square().sum(dim=1), noise))
        seeds = berth.topk(min(MOST_SEEDS, len(own))).indices.sort().values
        squares_of_seeds = _mean_squares(own[seeds], own, squares[seeds], squares, noise)
        return cls(seeds, squares_of_seeds, berth[seeds], noise)


def mean_squares(a: Tensor, b: Tensor, noise: float = NOISE) -> Tensor:
    """Mean square differences (n, m) of rows (n, d) and (m, d), plus that of noise.

    For equal rows rounding may leave less than the noise; `gap_strength` corrects that where it matters.
    """
    a, b = _scaled(a), _scaled(b)
    return _mean_squares(a, b, a.square().sum(dim=1), b.square().sum(dim=1), noise)


def _scaled(rows: Tensor) -> Tensor:
    """Rows (n, d) whose square distances are mean square differences."""
    scaled: Tensor = rows / rows.shape[1] ** 0.5
    return scaled


def _mean_squares(a: Tensor, b: Tensor, squares_of_a: Tensor, squares_of_b: Tensor, noise: float) -> Tensor:
    """The same of scaled rows, whose squares (n,) and (m,) are known."""
    return torch.addmm((squares_of_a + noise**2)[:, None] + squares_of_b, a, b.T, alpha=-2)


def berth_of(squares: Tensor) -> Tensor:
    """Where the ranking of each seed (s,) ends: at the nearest (s, m) of other classes; 1 without any."""
    return squares.amin(dim=1) if squares.shape[1] else torch.ones(len(squares))


def widest_gaps(sight: Sight, n_groups: int = 1) -> list[tuple[float, Rows]]:
    """The strongest of the groups around all seeds, with their strengths, strongest first.

    Args:
        sight: the images.
        n_groups: largest number of groups; a seed in a stronger group gives no other.
    """
    near = (sight.squares < sight.berth[:, None]).sum(dim=1)
    around = (near >= LEAST_CARRIERS).nonzero().flatten()
    if len(around) == 0:
        return []
    n = sight.squares.shape[1]
    most = min(int(near[around].max()), int(MOST_OF_POOL * n)) + 1
    nearest = sight.squares[around].topk(min(most, n), largest=False)
    strengths, sizes = gap_strength(nearest.values, sight.berth[around], sight.noise)
    groups: list[tuple[float, Rows]] = []
    while len(groups) < n_groups:
        best = int(strengths.argmax())
        if strengths[best] <= 0:
            break
        rows = nearest.indices[best, : int(sizes[best])]
        groups.append((float(strengths[best]), rows.numpy()))
        strengths[torch.isin(sight.seeds[around], rows)] = 0
    return groups


def groups_in_turn(
    own: Tensor, others: Tensor, *, n_groups: int, noise: float
) -> Iterator[tuple[float, Rows]]:
    """Groups of rows of `own` (n, d) that agree, strongest first, each image in only one, with strengths.

    Args:
        own: images of the class.
        others: (m, d) of other classes.
        n_groups: at most so many.
        noise: root mean square of what rounding does.
    """
    rest = np.arange(len(own))
    for _ in range(n_groups):
        found = widest_gaps(Sight.of(own[torch.from_numpy(rest)], others, noise))
        if not found:
            return
        ((strength, rows),) = found
        yield strength, rest[rows]
        rest = np.delete(rest, rows)


def gap_strength(nearest: Tensor, berth: Tensor, noise: float = NOISE) -> tuple[Tensor, Tensor]:
    """The largest k log g (s,) of ascending distances (s, k_max), and the number of images before that gap.

    Args:
        nearest: squares of the distances from each seed, its own first. The last column serves only as the
            next distance.
        berth: (s,) square of the distance where the ranking ends.
        noise: root mean square of the rounding error; no distance is smaller.
    """
    nearest = nearest.clamp(min=noise**2)
    following = torch.minimum(nearest[:, 1:], berth[:, None])
    counts = torch.arange(nearest.shape[1] - 1)
    strengths = counts * (following / nearest[:, :-1]).log() / 2
    strengths[:, : LEAST_CARRIERS - 1] = 0
    best = strengths.clamp(min=0).max(dim=1)
    return best.values, best.indices + 1


def take_apart(marks: Sequence[Mark], n_marks: int) -> list[Mark]:
    """The strongest marks, at most `n_marks`; of those that share a third of their images only the first."""
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda one: -one.strength):
        if len(kept) == n_marks:
            break
        if not any(is_same(mark.rows, other.rows) for other in kept):
            kept.append(mark)
    return kept


def is_same(a: Rows, b: Rows) -> bool:
    """Whether two groups have a third of the smaller in common."""
    return 3 * len(np.intersect1d(a, b)) > min(len(a), len(b))
