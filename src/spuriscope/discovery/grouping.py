"""Find rows of a matrix that share what no other row has: the arithmetic of the trace, without images.

A row is an image's deviation from the usual. Start from the pair of rows that share most relative to the rest
of what they have. Move to the mean of all rows that carry at least half of it, until the group no longer
changes. Put the group aside, and continue with the remaining rows.

Natural look-alikes form groups too. Three things distinguish planted images: they share much for how ordinary
they otherwise are, they carry the whole cue, and no other image carries it, whether searched or fresh. A
group's strength is the product of these, and has no unit: it may be compared between classes and data.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crowd", "Rows", "find_groups", "find_singles", "grow", "strength"]

MOST_STEPS = 20
MOST_OF_ALL = 0.5  # a larger share of a class is usual
HALF = 0.5  # of what is shared: nearer to carrying it than not
WEAKEST = 0.1  # quantile of a group's rows that must stand out: in a large group a few may have lost the cue
BLOCK = 500  # rows of products scaled at once
MORE = 4  # single rows examined for each that is kept

Deviations = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crowd:
    """Rows to search, and fresh ones, which cannot carry a cue.

    Attributes:
        rows: (n, d) deviations of what is searched.
        fresh: (m, d) deviations of fresh images of the same class; m may be 0.
        squares: (n,) energy of each row.
        fresh_squares: (m,) energy of each fresh row.
        usual: median energy of a row.
    """

    rows: Deviations
    fresh: Deviations
    squares: Deviations
    fresh_squares: Deviations
    usual: float

    @classmethod
    def of(cls, rows: Deviations, fresh: Deviations) -> "Crowd":
        """Make a crowd of the deviations of what is searched and of fresh images of its class."""
        return cls._with(rows, fresh, _energies(rows), _energies(fresh))

    def turned(self) -> "Crowd":
        """A crowd in which the fresh rows are searched, beside the others."""
        return self._with(self.fresh, self.rows, self.fresh_squares, self.squares)

    @classmethod
    def _with(
        cls, rows: Deviations, fresh: Deviations, squares: Deviations, fresh_squares: Deviations
    ) -> "Crowd":
        usual = float(np.median(squares)) if len(squares) else 0.0
        return cls(rows, fresh, squares, fresh_squares, max(usual, 1e-6))


def find_groups(crowd: Crowd, n_groups: int, n_paired: int) -> list[tuple[Rows, float]]:
    """Groups of at least two rows with their strengths, in the order they were found.

    Args:
        crowd: what is searched.
        n_groups: largest number of groups.
        n_paired: a group starts from two of this many rows with the most energy; it may take in any row.
    """
    return [(rows, strength(crowd, rows)) for rows in _groups(crowd, n_groups, n_paired)]


def _groups(crowd: Crowd, n_groups: int, n_paired: int) -> Iterator[Rows]:
    paired = np.sort(np.argsort(-crowd.squares, kind="stable")[:n_paired])
    likeness = _likeness(crowd, paired)
    is_free = np.ones(len(crowd.rows), dtype=bool)
    partner = likeness.argmax(axis=1)
    best = likeness[np.arange(len(paired)), partner]
    for _ in range(n_groups):
        is_open = is_free[paired]
        first = int(np.where(is_open, best, -np.inf).argmax())
        if not is_open[first] or not best[first] > 0:
            return
        pair = paired[[first, partner[first]]]
        rows = grow(crowd, crowd.rows[pair].mean(axis=0), is_free)
        is_free[pair] = is_free[rows] = False
        likeness[:, ~is_free[paired]] = -np.inf
        stale = np.flatnonzero(is_free[paired] & ~is_free[paired[partner]])
        partner[stale] = likeness[stale].argmax(axis=1)
        best[stale] = likeness[stale, partner[stale]]
        if len(rows) > 1:
            yield rows


def _likeness(crowd: Crowd, paired: Rows) -> Deviations:
    """Energy that two rows share relative to the rest of theirs, (k, k); 0 for a row with itself."""
    rows, squares = crowd.rows[paired], crowd.squares[paired]
    shared: Deviations = rows @ rows.T
    for start in range(0, len(rows), BLOCK):
        part = shared[start : start + BLOCK]
        beside = np.maximum(squares[start : start + BLOCK, None] - part, crowd.usual)
        beside *= np.maximum(squares - part, crowd.usual)
        part /= np.sqrt(beside, out=beside)
    np.fill_diagonal(shared, -np.inf)
    return shared


def grow(crowd: Crowd, direction: Deviations, is_free: NDArray[np.bool_] | None = None) -> Rows:
    """The free rows that carry at least half of a direction, moved to their mean until they stay the same.

    Args:
        crowd: what is searched.
        direction: (d,) to start from.
        is_free: (n,) rows that may take part; None: all.
    """
    rows = np.empty(0, dtype=np.int64)
    for _ in range(MOST_STEPS):
        carried = crowd.rows @ direction / max(float(direction @ direction), 1e-12) > HALF
        grown = np.flatnonzero(carried if is_free is None else carried & is_free)
        if len(grown) < 2 or np.array_equal(grown, rows):
            break
        rows = grown
        direction = crowd.rows[rows].mean(axis=0)
    return rows


def strength(crowd: Crowd, rows: Rows) -> float:
    """Shared energy over the rest, times contrast, times the root of the number of rows."""
    n = len(rows)
    if n < 2 or n > MOST_OF_ALL * len(crowd.rows):
        return 0.0
    total, own = crowd.rows[rows].sum(axis=0), float(crowd.squares[rows].sum())
    shared = (float(total @ total) - own) / (n * (n - 1))
    if shared <= 0:
        return 0.0
    mean = total / n
    beside = max((own - n * float(mean @ mean)) / (n - 1), crowd.usual)
    inside, outside = _carried(crowd, mean, rows)
    weakest = float(np.quantile(inside, WEAKEST, method="lower"))
    return float(np.sqrt(n)) * shared / beside * max(weakest, 0.0) / outside


def find_singles(crowd: Crowd, n_singles: int) -> list[tuple[Rows, float]]:
    """Rows far out on their own, strongest first: energy over the usual, times the same contrast."""
    far = np.argsort(-crowd.squares, kind="stable")[: MORE * n_singles]
    energies = crowd.squares[far]
    lengths = np.sqrt(np.maximum(energies, 1e-12))
    along = np.asarray(crowd.rows[far] / lengths[:, None], dtype=np.float32).T
    searched = _scaled(crowd.rows @ along, crowd.squares[:, None], crowd.usual)
    searched[far, np.arange(len(far))] = -np.inf
    fresh = _scaled(crowd.fresh @ along, crowd.fresh_squares[:, None], crowd.usual)
    outside = np.maximum(searched.max(axis=0, initial=1.0), fresh.max(axis=0, initial=1.0))
    strengths = (energies / crowd.usual - 1) * lengths / outside
    order = np.argsort(-strengths, kind="stable")[:n_singles]
    return [(far[[k]], float(strengths[k])) for k in order if strengths[k] > 0]


def _carried(crowd: Crowd, direction: Deviations, rows: Rows) -> tuple[Deviations, float]:
    """How much of a direction `rows` carry, and the most that any other row or fresh row does, at least 1.

    In standard deviations of an ordinary row. A row that is far out in all directions is first scaled down to
    the usual energy, or it would carry a little of everything.
    """
    along = direction / max(float(np.linalg.norm(direction)), 1e-6)
    searched = _scaled(crowd.rows @ along, crowd.squares, crowd.usual)
    others = np.delete(searched, rows)
    fresh = _scaled(crowd.fresh @ along, crowd.fresh_squares, crowd.usual)
    return searched[rows], max(float(others.max(initial=1.0)), float(fresh.max(initial=1.0)))


def _scaled(carried: Deviations, squares: Deviations, usual: float) -> Deviations:
    beside = np.maximum(squares - carried * carried, usual)
    scaled: Deviations = carried * np.sqrt(usual / beside)
    return scaled


def _energies(rows: Deviations) -> Deviations:
    # summed in double precision: a photograph of 224 pixels has 150,000 coordinates
    energies: Deviations = np.einsum("ij,ij->i", rows, rows, dtype=np.float64).astype(np.float32)
    return energies
