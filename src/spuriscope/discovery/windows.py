"""How far each part of an image departs from what is usual in its place, in standard deviations.

A small cue in a busy photograph is lost among everything that varies there. So images are also seen through
square windows, each a quarter of the image wide and half overlapping the next: seen alone, the place of the
cue is unusual.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.deviation import least_spread

__all__ = ["Window", "windows"]

PART = 4  # windows across an image, without overlap
LEAST_SIDE = 5  # pixels; smaller windows contain too little to compare
MOST_SIDE = 12  # a larger window is reduced to this many squares across


@dataclass(frozen=True, eq=False)
class Window:
    """One place of an image and what is usual there.

    Attributes:
        top, left, height, width: the place, in pixels.
        mean: (d,) of its pixels over fresh images, or of its squares if it is wider than 12 pixels.
        whitening: (d, d) maps them to uncorrelated coordinates of spread 1.
    """

    top: int
    left: int
    height: int
    width: int
    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]

    def transform(self, images: Tensor) -> NDArray[np.float32]:
        """Deviations (n, d) of images (n, channels, height, width), uint8 or in [0, 1]."""
        pixels = _cut(images, self.top, self.left, self.height, self.width)
        return np.asarray((pixels - self.mean) @ self.whitening, dtype=np.float32)


def windows(fresh: Tensor) -> Iterator[Window]:
    """All windows of an image, row by row, each fitted on fresh images (n, channels, height, width).

    Principal components of a window's pixels are scaled to spread 1, with the same floor as in `Deviation`.
    """
    floor = least_spread(fresh)
    height, width = (min(side, max(LEAST_SIDE, round(side / PART))) for side in fresh.shape[2:])
    for top in _places(fresh.shape[2], height):
        for left in _places(fresh.shape[3], width):
            pixels = _cut(fresh, top, left, height, width)
            mean = pixels.mean(axis=0)
            variances, directions = np.linalg.eigh(np.cov(pixels, rowvar=False, bias=True))
            spreads = np.sqrt(np.maximum(variances, floor**2))
            yield Window(top, left, height, width, mean, (directions / spreads).astype(np.float32))


def _places(side: int, length: int) -> list[int]:
    """Starts of windows of a length along a side, evenly spaced, each half over the next."""
    return sorted({round(start) for start in np.linspace(0, side - length, 2 * PART - 1)})


def _cut(images: Tensor, top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
    part = unit_float(images[:, :, top : top + height, left : left + width]).to(torch.float32)
    if max(height, width) > MOST_SIDE:
        part = adaptive_avg_pool2d(part, (min(height, MOST_SIDE), min(width, MOST_SIDE)))
    pixels: NDArray[np.float32] = part.flatten(1).numpy(force=True)
    return pixels
