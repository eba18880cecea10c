"""Pixels in any form that programs use, converted to uint8, channels first.

A tensor is read as channels first and an array as channels last, as is usual in torch and numpy, unless its
shape says otherwise: a picture has 1 or 3 channels. Floats lie in [0, 1] or in [0, 255]; the largest value of
all images of a part decides which, never one image.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from spuriscope.data.decoding import decode_image
from spuriscope.errors import DataError, SpuriscopeError

__all__ = ["ChannelOrder", "Images", "Scale", "as_asked", "channels_first", "eight_bits", "resized"]

ChannelOrder = Literal["first", "last"]
Images: TypeAlias = Tensor | NDArray[Any]

_PICTURE = (1, 3)  # channels of a grey and of a colour picture
_MOST = 4  # channels of a picture with transparency: a longer axis holds rows or columns
_LARGE = 16.0  # floats that reach it cannot come from [0, 1] by raising the contrast


def channels_first(
    images: Any, what: str, *, many: bool = True, channels: ChannelOrder | None = None, asks: bool = True
) -> Tensor:
    """One image (channels, height, width) or many (n, ...) as a tensor on the CPU, with unchanged values.

    Args:
        images: a tensor, or anything that numpy turns into an array; grey ones may lack channels.
        what: what errors call them.
        many: whether these are many images, or one.
        channels: position of the channels; None to tell by type and shape.
        asks: whether an array that can be read in both ways is refused; else it is read as channels last.

    Raises:
        DataError: it has another form, or `channels` is needed to read it.
    """
    is_tensor = isinstance(images, Tensor)
    pixels = images.detach().cpu() if isinstance(images, Tensor) else _array(images, what)
    pixels = pixels if many else pixels[None]
    if pixels.ndim == 3:
        return _out(pixels.unsqueeze(1), many)
    if pixels.ndim != 4:
        shape = tuple(pixels.shape if many else pixels.shape[1:])
        raise DataError(
            f"{what} must be tensors (channels, height, width) or arrays (height, width, channels), one or "
            f"many, got shape {shape}; reshape what is flat"
        )
    axis = {"first": 1, "last": 3, None: 0}[channels] or _channel_axis(pixels, what, is_tensor, asks)
    return _out(pixels.movedim(axis, 1), many)


def _out(pixels: Tensor, many: bool) -> Tensor:
    return pixels if many else pixels[0]


def _array(images: Any, what: str) -> Tensor:
    try:
        values = np.array(images)
        if values.dtype.kind == "u" and values.dtype.itemsize > 1:
            values = values.astype(np.int64)  # torch barely supports larger unsigned types
        return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} must be a tensor or an array of numbers, or a list of images ({_line(error)}); "
            f"got {type(images).__name__}"
        ) from None


def _channel_axis(pixels: Tensor, what: str, is_tensor: bool, asks: bool) -> int:
    """Which axis of (n, ., ., .) holds the channels: 1 or 3."""
    first, last = pixels.shape[1], pixels.shape[3]
    if is_tensor:
        return 3 if last in _PICTURE and first > _MOST else 1
    if first in _PICTURE and last > _MOST:
        return 1
    if last in _PICTURE:
        if first in _PICTURE and asks:
            raise _unsure(pixels, what)
        return 3
    if last < first:
        return 3
    if first <= _MOST < last:
        return 1
    raise _unsure(pixels, what)


def _unsure(pixels: Tensor, what: str) -> DataError:
    return DataError(
        f"{what} of shape {tuple(pixels.shape)} may have their channels first or last; say which: "
        'channels="first" or channels="last"'
    )


Scale = Literal["unit", "bytes"]


def eight_bits(pixels: Tensor, what: str) -> tuple[Tensor, Scale | None]:
    """Pixels as uint8, 0 to 255, and how floats were read.

    Returns:
        The pixels, and "unit" for floats in [0, 1], "bytes" for floats in [0, 255], None for whole numbers.

    Raises:
        DataError: values lie in neither range, or are not numbers.
    """
    if pixels.dtype == torch.uint8:
        return pixels, None
    if pixels.dtype == torch.bool or pixels.is_complex():
        raise DataError(f"{what} must be uint8, or floating point in [0, 1] or [0, 255], got {pixels.dtype}")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.numel() else (0.0, 0.0)
    if not pixels.is_floating_point():
        if not (low >= 0 and 1 < high <= 255):
            raise DataError(
                f"{what} must be uint8, or floating point in [0, 1] or [0, 255], got {pixels.dtype} from "
                f"{low:g} to {high:g}; scale them, and say .astype('uint8') or .to(torch.uint8)"
            )
        return pixels.to(torch.uint8), None
    if 0 <= low <= high <= 1:
        return (255 * pixels.double()).round().to(torch.uint8), "unit"
    if 0 <= low <= high <= 255 and (high >= _LARGE or bool((pixels == pixels.round()).all())):
        return pixels.double().round().to(torch.uint8), "bytes"
    raise DataError(
        f"{what} must lie in [0, 1] or [0, 255], got {low:.3g} to {high:.3g}; leave out what normalises "
        "them, and normalise inside the model"
    )


def resized(pixels: Tensor, size: int, what: str) -> Tensor:
    """One image (channels, height, width), uint8, scaled to cover a square of `size`, and cropped.

    Raises:
        DataError: it is not a picture: it has other than 1, 3 or 4 channels, or no pixels.
    """
    channels, height, width = pixels.shape
    if (height, width) == (size, size):
        return pixels
    if channels not in (*_PICTURE, _MOST) or 0 in pixels.shape:
        raise DataError(f"{what} of shape {tuple(pixels.shape)} cannot be resized; give 1 or 3 channels")
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(values[..., 0] if channels == 1 else values)
    return torch.from_numpy(decode_image(picture, image_size=size, name=what).copy()).permute(2, 0, 1)


def as_asked(
    images: Any,
    what: str = "images",
    *,
    shape: tuple[int, int, int] | None = None,
    error: type[SpuriscopeError] = DataError,
) -> Tensor:
    """Images in the form for a model: (n, channels, height, width), uint8 or floating point in [0, 1].

    Args:
        images: a tensor (n, channels, height, width), or an array (n, height, width, channels), uint8 or
            floating point in [0, 1]; either the other way round where the shape says so, and arrays of grey
            images without channels.
        what: what errors call them.
        shape: (channels, height, width) that the images should have, which decides between two readings.
        error: class of the error to raise.

    Raises:
        SpuriscopeError: it has another form; the class is `error`.
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise error(
            f"{what} must be a tensor (n, channels, height, width) or an array (n, height, width, channels), "
            f"got {_told(images)}"
        )
    if images.ndim not in (3, 4) or (images.ndim == 3 and isinstance(images, Tensor)):
        raise error(
            f"{what} must have the shape (n, channels, height, width), or as an array (n, height, width, "
            f"channels), got {tuple(images.shape)}; of one image give images[None]"
        )
    if isinstance(images, Tensor):
        is_turned = shape is not None and tuple(images.shape[1:]) == (*shape[1:], shape[0]) != shape
        found = images.movedim(3, 1) if is_turned else images
    else:
        try:
            found = channels_first(images, what, channels=_known_channels(images, shape))
        except DataError as caught:
            raise error(str(caught)) from None
        found = found.float().contiguous() if found.is_floating_point() else found.contiguous()
    if found.dtype != torch.uint8 and not found.is_floating_point():
        raise error(f"{what} must be uint8, or floating point in [0, 1], got {found.dtype}")
    return found


def _known_channels(images: NDArray[Any], shape: tuple[int, int, int] | None) -> ChannelOrder | None:
    """Where an array has its channels, given the shape (channels, height, width) of one image."""
    if shape is None:
        return None
    if images.shape[1:] == (*shape[1:], shape[0]):
        return "last"
    return "first" if images.shape[1:] == shape else None


def _told(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
