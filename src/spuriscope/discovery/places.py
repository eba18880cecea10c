"""Compare images of a pool place by place: groups that agree in a window, and the carriers of their outline.

Marks that cover a place (`covers`) and marks in fine detail (`details`) are sought in the same way. They
differ in how an image is transformed first, and in when a group agrees in a pixel.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import in_pieces, unit_float
from spuriscope.discovery.marks import (
    MOST_OF_POOL,
    Pool,
    Rows,
    Sight,
    berth_of,
    gap_strength,
    is_same,
    mean_squares,
    widest_gaps,
)
from spuriscope.threads import in_threads

__all__ = [
    "Agreed",
    "Mask",
    "Outline",
    "Seen",
    "Windows",
    "chance_share",
    "edge_sharpness",
    "find_outlines",
    "in_full",
    "large_parts",
    "sharpness",
    "smaller",
]

SIDE = 64  # larger images are reduced to this
MOST_SEARCHED = 2500  # images of a class that groups start from, drawn; any image may join
GROUPS_OF_WINDOW = 2  # so that a mark all over the image does not fill the crowd of natural groups
N_PROPOSED = 24  # groups of windows whose outline is sought
MOST_STEPS = 3
MANY = 200  # images from which on threads pay
LEAST_PIXELS = 4
CHANCE = 1e-3  # probability that pixels of unrelated images agree so well
AROUND = 0.25  # quantile of the spread around an outline

Mask = NDArray[np.bool_]
Look = Callable[[Tensor], Tensor]  # (n, channels, height, width) to the same
Windows = Sequence[tuple[int, int]]  # side and step, pixels


@dataclass(frozen=True, eq=False)
class Seen:
    """Images of a pool, no larger than necessary, and what is usual in each pixel.

    Attributes:
        own: (n, channels, height, width) of the pool.
        others: (m, channels, height, width) of other classes.
        mean: (channels, height, width).
        variance: (height, width), the mean over the channels.
        noise: root mean square of the rounding error of a pixel.
    """

    own: Tensor
    others: Tensor
    mean: Tensor
    variance: Tensor
    noise: float

    @classmethod
    def of(cls, pool: Pool, look: Look | None = None) -> "Seen":
        """The images of a pool, reduced, and transformed by `look` if given."""
        own, others = (smaller(images, look) for images in (pool.images, pool.others))
        return cls(own, others, own.mean(dim=0), own.var(dim=0, correction=0).mean(dim=0), pool.noise)


@dataclass(frozen=True, eq=False)
class Outline:
    """Where a group agrees, and which images carry it.

    Attributes:
        mask: (height, width) of the images in their reduced size.
        rows: (k,) of the pool, nearest to the mean first.
        strength: of the gap behind them.
    """

    mask: Mask
    rows: Rows
    strength: float


Agreed = Callable[[Seen, Rows], Mask | None]  # where a group agrees; None where it hardly does


def find_outlines(seen: Seen, windows: Windows, ways: Sequence[Agreed]) -> list[Outline]:
    """Outlines of the strongest groups that agree in some window.

    Args:
        seen: the images.
        windows: the windows that propose groups.
        ways: decide in which pixels a group agrees and differs from its class; each is tried.
    """
    proposed: list[tuple[float, Rows]] = []
    for strength, rows in sorted(_of_windows(seen, windows), key=lambda one: -one[0]):
        if not any(is_same(rows, other) for _, other in proposed):
            proposed.append((strength, rows))
        if len(proposed) == N_PROPOSED:
            break

    def outline(group: tuple[float, Rows]) -> Outline | None:
        strength, rows = group
        return _outline(seen, ways, rows, strength)

    outlines = in_threads(outline, proposed, if_worth=len(seen.own) >= MANY)
    return [found for found in outlines if found is not None]


def large_parts(core: Mask, joined: Mask) -> Mask | None:
    """The connected parts of `joined` that hold at least four pixels of `core`; None where there are none."""
    from scipy import ndimage

    labels, n = ndimage.label(joined, np.ones((3, 3)))
    sizes = np.bincount(labels[core], minlength=n + 1)
    mask: Mask = joined & (sizes[labels] >= LEAST_PIXELS)
    return mask if mask.any() else None


def sharpness(seen: Seen, found: Outline) -> float:
    """How abruptly a group's likeness ends at its outline; see `edge_sharpness`."""
    group = seen.own[torch.from_numpy(found.rows)].var(dim=0, correction=0).mean(dim=0)
    return edge_sharpness(found.mask, group, seen.variance, seen.noise)


def edge_sharpness(mask: Mask, group: Tensor, usual: Tensor, noise: float) -> float:
    """Standard deviation of a group around its outline over the usual one, at most 1; 1 if none is around.

    Args:
        mask: (height, width), the outline.
        group: (height, width) variance of each pixel in the group; NaN where it is not known.
        usual: (height, width), in all images.
        noise: root mean square of the rounding error of a pixel.
    """
    from scipy import ndimage

    near, far = (ndimage.binary_dilation(mask, np.ones((3, 3)), n) for n in (1, 2))
    around = torch.from_numpy(far & ~near) & group.isfinite()
    if not around.any():
        return 1.0
    shares = (group[around] + noise**2) / (usual[around] + noise**2)
    return math.sqrt(min(1.0, float(shares.quantile(AROUND))))


def in_full(mask: Mask, size: tuple[int, int]) -> Tensor:
    """A mask as floats (height, width) of the full size of the images."""
    return F.interpolate(torch.from_numpy(mask).float()[None, None], size=size, mode="nearest")[0, 0]


def smaller(images: Tensor, look: Look | None = None) -> Tensor:
    """Images as float32 in [0, 1], no larger than necessary, converted piece by piece."""
    height, width = images.shape[2:]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pieces = (unit_float(piece).float() for piece in in_pieces(images)) if len(images) else ()
    seen = [piece if scale == 1 else F.adaptive_avg_pool2d(piece, size) for piece in pieces]
    if not seen:
        return images.new_empty((0, images.shape[1], *size), dtype=torch.float32)
    return torch.cat(seen if look is None else [look(piece) for piece in seen])


def _of_windows(seen: Seen, windows: Windows) -> list[tuple[float, Rows]]:
    """The strongest groups of each window."""
    height, width = seen.own.shape[2:]
    rows = np.sort(np.random.default_rng(0).permutation(len(seen.own))[:MOST_SEARCHED])
    searched, others = (  # channels last, so that a window is few pieces of memory
        images.permute(0, 2, 3, 1).contiguous() for images in (seen.own[torch.from_numpy(rows)], seen.others)
    )
    places = [
        (slice(None), slice(top, top + side), slice(left, left + side))
        for side, step in windows
        for top in range(0, height - side + 1, step)
        for left in range(0, width - side + 1, step)
    ]

    def groups(place: tuple[slice, ...]) -> list[tuple[float, Rows]]:
        sight = Sight.of(searched[place].flatten(1), others[place].flatten(1), seen.noise)
        return [(strength, rows[group]) for strength, group in widest_gaps(sight, GROUPS_OF_WINDOW)]

    return [group for found in in_threads(groups, places, if_worth=len(searched) >= MANY) for group in found]


def _outline(seen: Seen, ways: Sequence[Agreed], rows: Rows, strength: float) -> Outline | None:
    """The outline in which a group agrees, and all images that carry it; None where there is none.

    The carriers of one outline give the next, until they stay the same or the gap no longer grows. An outline
    of a weaker group does not replace the original group.
    """
    best: Outline | None = None
    for agreed in ways:
        carriers = rows
        for _ in range(MOST_STEPS):
            mask = agreed(seen, carriers)
            if mask is None:
                break
            best = best or Outline(mask, rows, strength)
            found = _carriers(seen, mask, carriers)
            if found is None:
                break
            if found.strength > best.strength:
                best = found
            if np.array_equal(np.sort(found.rows), np.sort(carriers)):
                break
            carriers = found.rows
    return best


@cache
def chance_share(freedom: int) -> float:
    """Share of the usual variance left by chance, once in a thousand, with so many degrees of freedom."""
    from scipy import stats

    return float(stats.chi2.ppf(CHANCE, freedom)) / freedom


def _carriers(seen: Seen, mask: Mask, rows: Rows) -> Outline | None:
    """The images that agree with the mean of a group within a mask, up to the widest gap."""
    pixels = torch.from_numpy(np.flatnonzero(np.broadcast_to(mask, seen.mean.shape)))
    mean = seen.own[torch.from_numpy(rows)].mean(dim=0).flatten()[None, pixels]
    own, others = (
        mean_squares(mean, each.flatten(1).index_select(1, pixels), seen.noise)[0]
        for each in (seen.own, seen.others)
    )
    nearest = own.topk(int(MOST_OF_POOL * len(own)) + 1, largest=False)
    strengths, sizes = gap_strength(nearest.values[None], berth_of(others[None]), seen.noise)
    strength = float(strengths[0])
    return Outline(mask, nearest.indices[: int(sizes[0])].numpy(), strength) if strength > 0 else None
