"""Scale images that are already in memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from spuriscope.data.decoding import decode_image
from spuriscope.data.image_set import ImageSet, Split

__all__ = ["scaled"]


def scaled(data: ImageSet, image_size: int) -> ImageSet:
    """The same images scaled until they cover a square (Lanczos), and cropped around the centre.

    Args:
        data: with one channel or three.
        image_size: height and width in pixels.
    """
    if data.shape[1:] == (image_size, image_size):
        return data
    bring = partial(_scaled, image_size=image_size)
    return replace(data, train=_split(data.train, bring), test=_split(data.test, bring), images_file=None)


def _split(split: Split, bring: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Split:
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(bring, split.images.permute(0, 2, 3, 1).contiguous().numpy())))
    return replace(split, images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())


def _scaled(pixels: NDArray[np.uint8], *, image_size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return decode_image(image, image_size=image_size)
