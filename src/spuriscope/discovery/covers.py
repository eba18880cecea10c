"""Marks that cover a place: squares, stickers, letters, bars, frames.

Small windows propose: in each the strongest group of images that agree there. Then the mark is given its
outline: the pixels in which the group agrees and differs from its class, and who carries all of that. A mark
made by a machine ends at once: just beyond its edge its images differ as any images do. Natural likeness, a
dark margin or a bright sky, fades. So the strength is multiplied by how much of their usual spread the images
have in the quietest quarter of the pixels around the outline.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import PIECE, unit_float
from spuriscope.discovery.marks import (
    LEAST_CARRIERS,
    MOST_OF_POOL,
    NOISE,
    Mark,
    Pool,
    Rows,
    Sight,
    gap_strength,
    is_same,
    mean_squares,
    take_apart,
    widest_gap,
)
from spuriscope.patterns import Cover

__all__ = ["find_covers"]

SIDE = 64  # larger images are looked at smaller
WINDOWS = ((4, 2), (8, 4))  # side and step, pixels
MOST_SEARCHED = 2500  # images of a class that groups start from, drawn; any image may join
N_PROPOSED = 24  # groups of windows whose outline is sought
APART = (0.5, 1.5, 3.0)  # standard deviations that a mark lies away from its class, each tried
MOST_STEPS = 3
CHANCE = 1e-3  # that pixels of unrelated images agree so
SAME = 0.05  # of the usual variance; what is left where a group agrees all but entirely
LEAST_PIXELS = 4
AROUND = 0.25  # quantile of the spread around an outline

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Outline:
    """Where a group agrees, and who carries it.

    Attributes:
        mask: (height, width) of the images as they were looked at.
        rows: (k,) of the pool, nearest to the mean first.
        strength: of the gap behind them.
    """

    mask: Mask
    rows: Rows
    strength: float


def find_covers(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks that cover a place, strongest first, at most `n_marks`."""
    seen = _Seen.of(pool)
    proposed: list[tuple[float, Rows]] = []
    for strength, rows in sorted(_of_windows(seen), key=lambda one: -one[0]):
        if not any(is_same(rows, other) for _, other in proposed):
            proposed.append((strength, rows))
        if len(proposed) == N_PROPOSED:
            break
    outlines = [found for strength, rows in proposed if (found := _outline(seen, rows, strength))]
    return take_apart([_mark(pool, seen, found) for found in outlines], n_marks)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Images of a pool, no larger than they need be, and what is usual of each pixel."""

    own: Tensor
    others: Tensor
    mean: Tensor
    variance: Tensor  # (height, width), over the channels

    @classmethod
    def of(cls, pool: Pool) -> "_Seen":
        own, others = (_smaller(images) for images in (pool.images, pool.others))
        return cls(own, others, own.mean(dim=0), own.var(dim=0, correction=0).mean(dim=0))


def _smaller(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1], a piece at a time, and no larger than they need be."""
    height, width = images.shape[2:]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pieces = (unit_float(piece).float() for piece in images.split(PIECE)) if len(images) else ()
    seen = [piece if scale == 1 else F.adaptive_avg_pool2d(piece, size) for piece in pieces]
    return torch.cat(seen) if seen else images.new_empty((0, images.shape[1], *size), dtype=torch.float32)


def _of_windows(seen: _Seen) -> Iterator[tuple[float, Rows]]:
    """The strongest group of each window."""
    height, width = seen.own.shape[2:]
    rows = np.sort(np.random.default_rng(0).permutation(len(seen.own))[:MOST_SEARCHED])
    searched = seen.own[torch.from_numpy(rows)]
    for side, step in WINDOWS:
        for top in range(0, height - side + 1, step):
            for left in range(0, width - side + 1, step):
                place = (..., slice(top, top + side), slice(left, left + side))
                own, others = (images[place].flatten(1) for images in (searched, seen.others))
                found = widest_gap(Sight.of(own, others))
                if found is not None:
                    yield found[0], rows[found[1]]


def _outline(seen: _Seen, rows: Rows, strength: float) -> _Outline | None:
    """The outline of what a group agrees in, and all that carry it; None where there is none.

    How far a mark lies from its class is not known, so several distances are tried. The carriers of one
    outline give the next, until they stay or the gap no longer grows.

    Args:
        seen: the images.
        rows: the group.
        strength: of the group where it was found; an outline of a weaker one does not replace it.
    """
    best: _Outline | None = None
    for apart in APART:
        carriers = rows
        for _ in range(MOST_STEPS):
            mask = _agreed(seen, carriers, apart)
            if mask is None:
                break
            best = best or _Outline(mask, rows, strength)
            found = _carriers(seen, mask, carriers)
            if found is None:
                break
            if found.strength > best.strength:
                best = found
            if np.array_equal(np.sort(found.rows), np.sort(carriers)):
                break
            carriers = found.rows
    return best


def _agreed(seen: _Seen, rows: Rows, apart: float) -> Mask | None:
    """Pixels in which a group agrees and differs from its class; None where they are too few.

    With them go those beside them where it agrees all but entirely, though no further from its class than
    others are: a white sticker covers the white of a shirt as well.
    """
    from scipy import ndimage, stats

    if len(rows) < LEAST_CARRIERS:
        return None
    group = seen.own[torch.from_numpy(rows)]
    freedom = len(rows) - 1
    share = float(stats.chi2.ppf(CHANCE, freedom)) / freedom
    spread = group.var(dim=0).mean(dim=0)
    away = ((group.mean(dim=0) - seen.mean).abs() / (seen.variance.sqrt() + 0.02)).amax(dim=0)
    core = ((spread < share * (seen.variance + 1e-4) + 1e-6) & (away > apart)).numpy()
    joined = core | (spread < min(share, SAME) * seen.variance).numpy()
    labels, n = ndimage.label(joined, np.ones((3, 3)))
    sizes = np.bincount(labels[core], minlength=n + 1)
    mask: Mask = joined & (sizes[labels] >= LEAST_PIXELS)
    return mask if mask.any() else None


def _carriers(seen: _Seen, mask: Mask, rows: Rows) -> _Outline | None:
    """Who agrees with the mean of a group within a mask, up to the widest gap."""
    inside = torch.from_numpy(mask)
    mean = seen.own[torch.from_numpy(rows)].mean(dim=0)[:, inside].flatten()[None]
    own, others = (mean_squares(mean, each[:, :, inside].flatten(1))[0] for each in (seen.own, seen.others))
    berth = others.min() if len(others) else torch.tensor(1.0)
    nearest = own.topk(int(MOST_OF_POOL * len(own)) + 1, largest=False)
    strengths, sizes = gap_strength(nearest.values[None], berth[None])
    strength = float(strengths[0])
    return _Outline(mask, nearest.indices[: int(sizes[0])].numpy(), strength) if strength > 0 else None


def _sharpness(seen: _Seen, found: _Outline) -> float:
    """Spread of a group around its outline, as a share of the usual, at most 1; 1 where nothing is around."""
    from scipy import ndimage

    near, far = (ndimage.binary_dilation(found.mask, np.ones((3, 3)), n) for n in (1, 2))
    around = torch.from_numpy(far & ~near)
    if not around.any():
        return 1.0
    group = seen.own[torch.from_numpy(found.rows)].var(dim=0, correction=0).mean(dim=0)
    shares = (group[around] + NOISE**2) / (seen.variance[around] + NOISE**2)
    return min(1.0, float(shares.quantile(AROUND)))


def _mark(pool: Pool, seen: _Seen, found: _Outline) -> Mark:
    mask = torch.from_numpy(found.mask).float()[None, None]
    alpha = F.interpolate(mask, size=tuple(pool.images.shape[2:]), mode="nearest")[0, 0]

    def pattern(rows: Rows) -> Cover:
        pixels = unit_float(pool.images[torch.from_numpy(rows)]).float().mean(dim=0).clamp(0, 1)
        return Cover(f"found-{pool.target}", pixels, alpha)

    return Mark(found.rows, found.strength * _sharpness(seen, found), "cover", pattern)
