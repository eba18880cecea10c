"""How far an image departs from the usual, in standard deviations.

An embedding splits an image into latents and a residual. Both are scaled by their spread over fresh images:
in directions that images have in common much is usual, in a corner that is always black almost nothing is. So
what a cue adds stands out whether the embedding has kept it or lost it.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.embed import Embedding, PCAEmbedding, check_images

__all__ = ["Deviation", "least_spread"]

MOST_COMPONENTS = 512
MOST_FITTED = 2**26  # most values of images to fit on: 256 MB, and some copies of them
COORDINATES = 4096  # coordinates summed at once in double precision, to save memory
FLOOR = 0.05  # least spread, as a share of that of pixels at large


@dataclass(eq=False)
class Deviation:
    """Scales images so that each coordinate has mean 0 and spread 1 over fresh images.

    Attributes:
        embedding: splits images; None: principal components, half as many as there are pixels, at most 512.
        embedding_: the fitted one.
        mean_: (n_components + n_pixels,) of latents and residuals over the fresh images, float32.
        spread_: their standard deviations, at least a twentieth of the root mean square spread of pixels.
        shape_: (channels, height, width) of the images.
    """

    embedding: Embedding | None = None
    embedding_: Embedding = field(init=False, repr=False)
    mean_: NDArray[np.float32] = field(init=False, repr=False)
    spread_: NDArray[np.float32] = field(init=False, repr=False)
    shape_: tuple[int, int, int] = field(init=False, repr=False)

    def fit(self, images: Tensor) -> Self:
        """Learn what is usual from fresh images (n, channels, height, width), uint8 or in [0, 1].

        If the images are large, a random part is used: 445 of 224 by 224 pixels.

        Raises:
            DiscoveryError: there are fewer than 4 images, or they have another form.
        """
        self.shape_ = check_images(images, least=4)
        most = max(4, MOST_FITTED // prod(self.shape_))
        if len(images) > most:
            images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:most]]
        self.embedding_ = self.embedding or PCAEmbedding(
            max(1, min(MOST_COMPONENTS, prod(self.shape_) // 2, len(images) // 2))
        )
        self.embedding_.fit(images)
        latents, residuals = self._split(images)
        moments = [_moments(latents), _moments(residuals)]
        self.mean_, spread = (np.concatenate(each) for each in zip(*moments, strict=True))
        self.spread_ = spread.clip(least_spread(images))
        return self

    def transform(self, images: Tensor) -> NDArray[np.float32]:
        """Deviations (n, n_components + n_pixels), float32."""
        scaled = np.concatenate(self._split(images), axis=1)
        scaled -= self.mean_
        scaled /= self.spread_
        return scaled

    def inverse_transform(self, deviations: NDArray[np.float32]) -> Tensor:
        """Images (n, channels, height, width) with these deviations; they may leave [0, 1]."""
        values = deviations * self.spread_ + self.mean_
        n_components = values.shape[1] - prod(self.shape_)
        decoded = self.embedding_.inverse_transform(torch.from_numpy(values[:, :n_components]))
        return decoded + torch.from_numpy(values[:, n_components:]).reshape(-1, *self.shape_)

    def _split(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        latents = self.embedding_.transform(images)
        residuals = unit_float(images).float() - self.embedding_.inverse_transform(latents)
        return latents.numpy(), residuals.flatten(1).numpy()


def _moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each column.

    A column is summed in double precision: in single precision the mean of 20,000 values is off by more than
    a thousandth of a spread of 0.005.
    """
    means, spreads = np.empty((2, rows.shape[1]), np.float32)
    for start in range(0, rows.shape[1], COORDINATES):
        here = slice(start, start + COORDINATES)
        block = rows[:, here].astype(np.float64)
        means[here], spreads[here] = block.mean(axis=0), block.std(axis=0)
    return means, spreads


def least_spread(images: Tensor) -> float:
    """The least spread of a coordinate: a twentieth of that of the pixels of fresh images.

    Without it, in a pixel that never varies, the smallest speck of dust would be a proof.
    """
    of_pixels = unit_float(images).float().std(dim=0, correction=0)
    return max(FLOOR * float(of_pixels.square().mean().sqrt()), 1 / 255)
