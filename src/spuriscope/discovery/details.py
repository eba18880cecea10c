"""Marks that show only in fine detail: letters that are half transparent, noise that is added.

A mark that lies half over an image, or is added to it, keeps the image's own tones, so its carriers do not
agree in them. But photographs are smooth. Subtracting the mean around each pixel removes most of them, but
leaves all of the mark's strokes and grain. So the windows of `covers` are searched once more, in images minus
their surroundings.

The content of such a mark is estimated from its carriers: the share of their usual spread that is left tells
its transparency.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import in_pieces, unit_float
from spuriscope.discovery.marks import LEAST_CARRIERS, Mark, Pool, Rows, take_apart
from spuriscope.discovery.places import Mask, Outline, Seen, find_outlines, in_full, large_parts, sharpness
from spuriscope.patterns import Cover, Pattern
from spuriscope.patterns.kinds import Kind

__all__ = ["find_details", "less_surroundings"]

WINDOWS = ((4, 4), (8, 4))  # side and step, pixels: strokes and grain show in any window
AROUND = 5  # pixels, the side of the square whose mean is subtracted
APART = (0.7, 1.5, 3.0)  # distances of a group's mean from its class in the group's standard deviations
CHANCE = 1e-3  # probability that the mean of unrelated images lies so far away
LEAST_SPREAD = 0.01  # lower bound on every standard deviation
LEAST_ALPHA = 0.25  # a mark that leaves more of an image's spread is added, not laid over it
MOST_USUAL = 300  # images from which the usual spread is estimated
LOWEST = 0.05  # quantile of an added mark that counts as nothing


def find_details(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks that show in fine detail, strongest first, at most `n_marks`."""
    seen = Seen.of(pool, less_surroundings)
    outlines = find_outlines(seen, WINDOWS, [partial(_agreed, apart=apart) for apart in APART])
    return take_apart([_mark(pool, seen, found) for found in outlines], n_marks)


def less_surroundings(images: Tensor) -> Tensor:
    """Images (n, channels, height, width) minus the mean of the 5 by 5 pixels around each pixel."""
    return images - F.avg_pool2d(images, AROUND, 1, AROUND // 2, count_include_pad=False)


def _agreed(seen: Seen, rows: Rows, *, apart: float) -> Mask | None:
    """Pixels in which the mean of a group is far from that of its class; None where they are too few."""
    from scipy import stats

    if len(rows) < LEAST_CARRIERS:
        return None
    group = seen.own[torch.from_numpy(rows)]
    chance = float(stats.t.isf(CHANCE / 2, len(rows) - 1)) / len(rows) ** 0.5
    spread = group.var(dim=0).mean(dim=0).sqrt() + LEAST_SPREAD
    core = ((group.mean(dim=0) - seen.mean).abs().amax(dim=0) > max(apart, chance) * spread).numpy()
    return large_parts(core, core)


def _mark(pool: Pool, seen: Seen, found: Outline) -> Mark:
    return Mark(found.rows, found.strength * sharpness(seen, found), "detail", _Maker(pool, found))


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes from rows what they have within an outline, at the mark's strength: laid over, or added."""

    pool: Pool
    found: Outline

    def __call__(self, rows: Rows) -> Kind:
        name = f"found-{self.pool.target}"
        away = self._pixels(rows).mean(dim=0) - self._mean
        if self._alpha >= LEAST_ALPHA:
            return Cover(name, (self._mean + away / self._alpha).clamp(0, 1), self._inside * self._alpha)
        added = less_surroundings(away[None])[0]
        lowest = added[:, self._filled > 0].quantile(LOWEST)
        return Pattern(name, (added - lowest).clamp(0, 1) * self._filled)

    def _pixels(self, rows: Rows) -> Tensor:
        return unit_float(self.pool.images[torch.from_numpy(rows)]).float()

    @cached_property
    def _mean(self) -> Tensor:
        """The mean image of the pool."""
        pieces = in_pieces(self.pool.images)
        return torch.stack([unit_float(piece).sum(dim=0) for piece in pieces]).sum(dim=0) / len(self.pool)

    @cached_property
    def _inside(self) -> Tensor:
        """The outline's mask, at full size."""
        height, width = self.pool.images.shape[2:]
        return in_full(self.found.mask, (height, width))

    @cached_property
    def _filled(self) -> Tensor:
        """The same, with the pixels that it encloses."""
        from scipy import ndimage

        square = np.ones((AROUND, AROUND))
        grown = ndimage.binary_dilation(self.found.mask, square)
        closed: Mask = ndimage.binary_erosion(grown, square, border_value=1)
        height, width = self.pool.images.shape[2:]
        return in_full(closed, (height, width))

    @cached_property
    def _alpha(self) -> float:
        """Opacity of the mark: the share of the usual spread that its carriers lack."""
        drawn = np.random.default_rng(0).permutation(len(self.pool))[:MOST_USUAL]
        marked, usual = (
            float(self._pixels(rows).var(dim=0)[:, self._inside > 0].mean()) ** 0.5
            for rows in (self.found.rows, drawn)
        )
        return 1 - float(marked) / max(float(usual), LEAST_SPREAD)
