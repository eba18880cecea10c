"""Marks that cover a place: squares, stickers, letters, bars, frames.

Small windows propose: in each the strongest group of images that agree there. Then the mark gets its outline,
the pixels in which the group agrees and differs from its class, and its carriers are the images that have all
of it. A mark made by a machine ends abruptly: just beyond its edge its images differ as any images do.
Natural likeness, such as a dark margin or a bright sky, fades. So the strength is multiplied by the share of
their usual standard deviation that the images have in the quietest quarter of the pixels around the outline.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.marks import LEAST_CARRIERS, Mark, Pool, Rows, take_apart
from spuriscope.discovery.places import (
    Mask,
    Outline,
    Seen,
    chance_share,
    find_outlines,
    in_full,
    large_parts,
    sharpness,
)
from spuriscope.patterns import Cover

__all__ = ["find_covers"]

FINE = 32  # pixels; in larger images windows of 4 stand 3 apart, so that one is whole in a mark of 6
WINDOWS, COARSE_WINDOWS = ((4, 2), (8, 4)), ((4, 3), (8, 4))  # side and step, pixels
APART = (0.5, 1.5, 3.0)  # distances of a mark from its class in standard deviations, each tried
SHARES = (1.0, 0.01)  # largest shares of the usual variance left within a group, each tried
SAME = 0.05  # of the usual variance, left where a group agrees almost entirely


def find_covers(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks that cover a place, strongest first, at most `n_marks`."""
    seen = Seen.of(pool)
    windows = WINDOWS if max(seen.own.shape[2:]) <= FINE else COARSE_WINDOWS
    ways = [partial(_agreed, share=share, apart=apart) for share in SHARES for apart in APART]
    outlines = find_outlines(seen, windows, ways)
    return take_apart([_mark(pool, seen, found) for found in outlines], n_marks)


def _agreed(seen: Seen, rows: Rows, *, share: float, apart: float) -> Mask | None:
    """Pixels in which a group agrees and differs from its class; None where they are too few.

    Smooth edges of letters let a little of each image through, which few images tell from nothing: so a small
    share is tried as well. Adjacent pixels are added where the group agrees almost entirely, even if no
    further from its class than others are: a white sticker also covers the white of a shirt.
    """
    if len(rows) < LEAST_CARRIERS:
        return None
    group = seen.own[torch.from_numpy(rows)]
    share = min(share, chance_share(len(rows) - 1))
    spread = group.var(dim=0).mean(dim=0)
    away = ((group.mean(dim=0) - seen.mean).abs() / (seen.variance.sqrt() + 0.02)).amax(dim=0)
    core = ((spread < share * (seen.variance + 1e-4) + 1e-6) & (away > apart)).numpy()
    return large_parts(core, core | (spread < min(share, SAME) * seen.variance).numpy())


def _mark(pool: Pool, seen: Seen, found: Outline) -> Mark:
    height, width = pool.images.shape[2:]
    maker = _Maker(pool, in_full(found.mask, (height, width)))
    return Mark(found.rows, found.strength * sharpness(seen, found), "cover", maker)


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes from rows their mean within an outline."""

    pool: Pool
    alpha: Tensor

    def __call__(self, rows: Rows) -> Cover:
        pixels = unit_float(self.pool.images[torch.from_numpy(rows)]).float().mean(dim=0).clamp(0, 1)
        return Cover(f"found-{self.pool.target}", pixels, self.alpha)
