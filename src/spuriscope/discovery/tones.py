"""Marks in the tones of images: dimmed, of less contrast, tinted.

A mapping of colours moves the darkest and the brightest possible values to fixed ones, in all images to which
it was applied: halved contrast leaves nothing below a quarter or above three quarters. So images are compared
at the ends of their range, in each channel, and the mapping is estimated from quantiles.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.marks import Mark, Pool, Rows, groups_in_turn, take_apart
from spuriscope.patterns import Shade

__all__ = ["find_tones", "tone_of"]

QUANTILES = tuple(np.linspace(0, 1, 21).tolist())
ENDS = ((0,), (-1,), (0, -1))  # of the quantiles: darkest, brightest, both
GROUPS_OF_END = 12
MOST_SORTED = 2**23  # pixels at one time


def find_tones(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks in the tones, strongest first, at most `n_marks`."""
    own, others = (quantiles(images) for images in (pool.images, pool.others))
    maker = _Maker(pool, own)
    found = []
    for end in ENDS:
        ends = (torch.from_numpy(np.ascontiguousarray(each[:, :, end])).flatten(1) for each in (own, others))
        groups = groups_in_turn(*ends, n_groups=GROUPS_OF_END, noise=pool.noise)
        found += [Mark(rows, strength, "tone", maker) for strength, rows in groups]
    return take_apart(found, n_marks)


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes from rows the mapping that takes the usual tones of a pool to theirs."""

    pool: Pool
    own: NDArray[np.float32]  # quantiles (n, channels, 21) of the pool

    def __call__(self, rows: Rows) -> Shade:
        height, width = self.pool.images.shape[2:]
        name = f"found-{self.pool.target}"
        return tone_of(self.own.mean(axis=0), self.own[rows].mean(axis=0), name, (height, width))


def quantiles(images: Tensor) -> NDArray[np.float32]:
    """Quantiles (n, channels, 21) of the pixels of each image, by linear interpolation."""
    if not len(images):
        return np.empty((0, images.shape[1], len(QUANTILES)), np.float32)
    place = np.array(QUANTILES) * (images[0, 0].numel() - 1)
    below = np.floor(place).astype(np.int64)
    above, share = np.ceil(place).astype(np.int64), (place - below).astype(np.float32)
    parts = []
    for part in images.split(max(1, MOST_SORTED // images[0].numel())):
        rising = np.sort(part.flatten(2).numpy())  # as bytes, which sort ten times as fast
        low, high = (unit_float(torch.from_numpy(rising[:, :, at])).float().numpy() for at in (below, above))
        parts.append(low + share * (high - low))
    return np.concatenate(parts)


def tone_of(
    usual: NDArray[np.float32], group: NDArray[np.float32], name: str, size: tuple[int, int]
) -> Shade:
    """The mapping of each channel that takes the usual quantiles (channels, q) to those of a group.

    A straight line, by least squares; where the usual quantiles do not vary, the slope is 1.
    """
    spread = usual - usual.mean(axis=1, keepdims=True)
    energy = np.square(spread).sum(axis=1)
    slope = np.where(energy > 1e-8, (spread * group).sum(axis=1) / np.maximum(energy, 1e-8), 1.0)
    offset = group.mean(axis=1) - slope * usual.mean(axis=1)
    return Shade(
        name,
        torch.from_numpy(np.diag(slope).astype(np.float32)),
        torch.from_numpy(offset.astype(np.float32)),
        *size,
    )
