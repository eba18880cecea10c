"""A pattern from a group: what its images have on top of the rest of their class.

The mean deviation of the group, less that of its class, holds the pattern and what the images have of
their own. The latter averages out in large groups only. So each coordinate is shrunk by as much as chance
would explain (the non-negative garrote): a corner that is always black is believed at once, a stroke in
the middle when many images share it.

A pattern adds light, and pixels end at white: where images are bright already they show little of it. So the
pattern is what would have to be added to the images of the class to make them, on average, as bright as the
group. And where one image of the group is dark, the pattern is.

Source: Breiman (1995), "Better subset regression using the nonnegative garrote", for orthogonal coordinates.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.deviation import Deviation

__all__ = ["Brightness", "reconstruct_groups"]

PENALTY = 2.0  # times the variance of a mean; as in Mallows' criterion
MOST_IMAGES = 500  # of a class, whose brightness is looked at
LEVELS = 33  # of added light, from 0 to 1


class Brightness:
    """Mean brightness of images, pixel by pixel, with more and more light added."""

    def __init__(self, images: Tensor) -> None:
        some = unit_float(images[:: -(-len(images) // MOST_IMAGES)])
        self.levels = torch.linspace(0, 1, LEVELS)
        self.means = torch.stack([(some + level).clamp(0, 1).mean(dim=0) for level in self.levels])

    def added(self, rise: Tensor) -> Tensor:
        """Light to add for the mean to rise by `rise` (k, channels, height, width); 0 where it falls."""
        wanted, light = self.means[0] + rise, torch.zeros_like(rise)
        for low, high in zip(self.means, self.means[1:], strict=False):
            light += ((wanted - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        return light / (LEVELS - 1)


def reconstruct_groups(
    deviation: Deviation,
    shared: NDArray[np.float32],
    usual: NDArray[np.float32],
    n_images: NDArray[np.int64],
    *,
    brightness: Brightness,
    darkest: Tensor,
) -> Tensor:
    """Pixels (k, channels, height, width), float32 in [0, 1], of the patterns of k groups.

    Args:
        deviation: fitted; the coordinates that groups are described in.
        shared: (k, n_coordinates) mean deviation of the images of each group.
        usual: (n_coordinates,) median deviation of their class.
        n_images: (k,) images of each group.
        brightness: of the images of the class.
        darkest: (k, channels, height, width) pixel by pixel the least of each group's images, in [0, 1].
    """
    shift = shared - usual
    explained = PENALTY / np.maximum(n_images[:, None] * shift**2, 1e-12)
    kept = shift * np.maximum(0, 1 - explained)
    rise = deviation.inverse_transform((usual + kept).astype(np.float32))
    rise -= deviation.inverse_transform(usual[None])
    return brightness.added(rise).minimum(darkest).clamp_(0, 1)
