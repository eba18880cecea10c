"""A pattern from a group: what its images have beyond the rest of their class.

The mean deviation of the group, minus that of its class, holds the pattern and features of the images
themselves, which average out only in large groups. So each coordinate is shrunk by what chance would explain
(the non-negative garrote): a change in a corner that is always black is believed at once, a stroke in the
middle only when many images share it.

A pattern adds light, and pixels saturate at white, so bright images show little of it. The pattern is
therefore what must be added to the images of the class to make them, on average, as bright as the group. It
is at most the darkest pixel of the group in each place.

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
MOST_IMAGES = 500  # of a class, from which brightness is estimated
LEVELS = 33  # of added light, from 0 to 1


class Brightness:
    """Mean brightness of images, pixel by pixel, with more and more light added."""

    def __init__(self, images: Tensor) -> None:
        some = unit_float(images[:: -(-len(images) // MOST_IMAGES)])
        self.levels = torch.linspace(0, 1, LEVELS)
        self.means = torch.stack([(some + level).clamp(0, 1).mean(dim=0) for level in self.levels])

    def added(self, rise: Tensor) -> Tensor:
        """Light to add so that the mean rises by `rise` (k, channels, height, width); 0 where it falls."""
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
        deviation: fitted; groups are described in its coordinates.
        shared: (k, n_coordinates) mean deviation of the images of each group.
        usual: (n_coordinates,) median deviation of their class.
        n_images: (k,) images of each group.
        brightness: of the images of the class.
        darkest: (k, channels, height, width) minimum over each group's images, pixel by pixel, in [0, 1].
    """
    shift = shared - usual
    explained = PENALTY / np.maximum(n_images[:, None] * shift**2, 1e-12)
    kept = shift * np.maximum(0, 1 - explained)
    rise = deviation.inverse_transform((usual + kept).astype(np.float32))
    rise -= deviation.inverse_transform(usual[None])
    return brightness.added(rise).minimum(darkest).clamp_(0, 1)
