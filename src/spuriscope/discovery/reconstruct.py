"""A pattern from a group: what its images have on top of the rest of their class.

The mean deviation of the group, less that of its class, holds the pattern and what the images have of
their own. The latter averages out in large groups only. So each coordinate is shrunk by as much as chance
would explain (the non-negative garrote): a corner that is always black is believed at once, a stroke in
the middle when many images share it. A pattern only ever adds light, so where one image of the group is
dark, the pattern is.

Source: Breiman (1995), "Better subset regression using the nonnegative garrote", for orthogonal coordinates.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.discovery.deviation import Deviation

__all__ = ["reconstruct"]

PENALTY = 2.0  # times the variance of a mean; as in Mallows' criterion


def reconstruct(
    deviation: Deviation,
    shared: NDArray[np.float32],
    usual: NDArray[np.float32],
    darkest: Tensor,
    n_images: NDArray[np.int64],
) -> Tensor:
    """Pixels (k, channels, height, width), float32 in [0, 1], of the patterns of k groups.

    Args:
        deviation: fitted; the coordinates that groups are described in.
        shared: (k, n_coordinates) mean deviation of the images of each group.
        usual: (n_coordinates,) mean deviation of their class.
        darkest: (k, channels, height, width) pixel by pixel the least of each group's images, in [0, 1].
        n_images: (k,) images of each group.
    """
    shift = shared - usual
    explained = PENALTY / np.maximum(n_images[:, None] * shift**2, 1e-12)
    kept = shift * np.maximum(0, 1 - explained)
    added = deviation.inverse_transform((usual + kept).astype(np.float32))
    added -= deviation.inverse_transform(usual[None])
    return added.minimum(darkest).clamp_(0, 1)
