"""Where in each image a picture fits best: one Fourier transform for all places."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Matcher"]


class Matcher:
    """Images (n, channels, height, width) in which pictures are sought.

    The square distance to a picture within an outline is a sum of three terms: the squares of the image
    correlated with the outline, the image correlated with the picture, and the picture's own squares.
    """

    def __init__(self, images: Tensor) -> None:
        self._size = images.shape[2:]
        self._images = torch.fft.rfft2(images)
        self._squares = torch.fft.rfft2(images.square().sum(dim=1))

    def best(self, picture: Tensor, mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Find the place of the smallest mean square difference, with the whole outline in the image.

        Args:
            picture: (channels, h, w), zero beyond the mask.
            mask: (h, w), the outline; not larger than the images.

        Returns:
            Mean squares (n,) there, and the row and column (n, 2) of the picture's upper left corner, which
            may lie outside.
        """
        height, width = self._size
        inside = torch.from_numpy(mask)
        template, window = (
            torch.fft.rfft2(each, s=[height, width]).conj() for each in (picture, inside.float())
        )
        product = self._squares * window
        for channel in range(len(template)):
            product.addcmul_(self._images[:, channel], template[channel], value=-2)
        squares = torch.fft.irfft2(product, s=[height, width])
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        (top, bottom), (left, right) = ((int(each[0]), int(each[-1]) + 1) for each in (rows, columns))
        squares = squares.roll((top, left), dims=(1, 2))  # corners from -top and -left on
        squares = squares[:, : height - bottom + top + 1, : width - right + left + 1]
        lowest = squares.flatten(1).min(dim=1)
        across = squares.shape[2]
        places = torch.stack([lowest.indices // across, lowest.indices % across], dim=1)
        mean_square = (lowest.values + picture.square().sum()) / (inside.sum() * len(picture))
        return mean_square.clamp(min=0), places - torch.tensor([top, left])
