"""Images that a user has in her program already: tensors, arrays, or a `torch.utils.data.Dataset`.

They are copied into an `ImageSet`: uint8, 0 to 255. Images in floating point are rounded to 8 bits, and have
to lie in [0, 1]: normalising is the model's own business, for a pattern is added to what a camera sees.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import DataError

__all__ = ["Given", "as_image_set", "as_split"]

Given: TypeAlias = Split | tuple[Any, Any] | Dataset[Any]


def as_image_set(
    train: Given, test: Given, *, class_names: Sequence[str] | None = None, name: str = "your data"
) -> ImageSet:
    """A data set of a training and a test part.

    Args:
        train: see `as_split`.
        test: likewise.
        class_names: one for each label; by default their numbers.
        name: what reports call it.

    Raises:
        DataError: a part is not of a form that is understood, or the parts do not fit together.
    """
    parts = as_split(train, "train"), as_split(test, "test")
    if class_names is None:
        n_classes = 1 + max((int(part.labels.max()) for part in parts if len(part)), default=-1)
        class_names = tuple(map(str, range(n_classes)))
    return ImageSet(name, *parts, tuple(class_names))


def as_split(given: Given, part: str = "images") -> Split:
    """Images with their labels.

    Args:
        given: a `Split`; a pair (images, labels) of tensors or arrays; or a Dataset whose items are such
            pairs for one image. Images are uint8, or floating point in [0, 1]: tensors (n, channels, height,
            width), arrays (n, height, width, channels), either without channels too; items of a Dataset
            also Pillow images. Labels are whole numbers from 0.
        part: what errors call it.

    Raises:
        DataError: it is none of these, images differ in size, or floats leave [0, 1].
    """
    if isinstance(given, Split):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        images = [_pixels(given[0], part, ndim=4)]
        labels = given[1]
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        pairs = [_item(given[position], position, part) for position in range(len(given))]
        images = [pixels[None] for pixels, _ in pairs]
        labels = [label for _, label in pairs]
    else:
        raise DataError(
            f"{part} must be a Split, a pair (images, labels), or a Dataset with a length whose items are "
            f"such pairs, got {type(given).__name__}"
        )
    sizes = {tuple(some.shape[1:]) for some in images}
    if len(sizes) > 1:
        raise DataError(f"{part} has images of several shapes, {sorted(sizes)[:2]}; bring them to one")
    pixels = torch.cat(images) if images else torch.empty(0, 1, 1, 1, dtype=torch.uint8)
    return Split(pixels.contiguous(), _labels(labels, part))


def _item(item: Any, position: int, part: str) -> tuple[Tensor, int]:
    try:
        image, label = item
        return _pixels(image, part, ndim=3), int(label)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"item {position} of {part} is not a pair of an image and a label ({error}); give a Dataset of "
            "pairs"
        ) from None


def _pixels(images: Any, part: str, *, ndim: int) -> Tensor:
    """One image (channels, height, width), or with `ndim` 4 many, as uint8."""
    is_tensor = isinstance(images, Tensor)
    pixels = images.detach().cpu() if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if pixels.ndim == ndim - 1:
        pixels = pixels.unsqueeze(ndim - 3)
    elif pixels.ndim == ndim and not is_tensor:
        pixels = pixels.movedim(-1, ndim - 3)
    if pixels.ndim != ndim:
        raise DataError(
            f"images of {part} must be tensors (channels, height, width) or arrays (height, width, "
            f"channels), one or many, got shape {tuple(pixels.shape)}"
        )
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise DataError(f"images of {part} must be uint8, or floating point in [0, 1], got {pixels.dtype}")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"images of {part} must lie in [0, 1], got {low:.3g} to {high:.3g}; leave out what normalises "
            "them, and normalise inside the model"
        )
    return (255 * pixels.double()).round().to(torch.uint8)


def _labels(labels: Any, part: str) -> Tensor:
    found = labels.detach().cpu() if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
    if found.numel() == 0:
        return found.reshape(-1).long()
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool or found.ndim != 1:
        raise DataError(
            f"labels of {part} must be whole numbers from 0, shape (n,), got {found.dtype} of shape "
            f"{tuple(found.shape)}"
        )
    return found.long()
