"""From an image file, or an open Pillow image, to pixels: 8 bits, grey or RGB, of one size.

The content of a file decides its format, not its name: PNG, JPEG, WEBP, BMP, TIFF and GIF, of which the first
image is taken. The rotation that a camera noted (EXIF) is applied. Transparent pixels are laid over white, or
over black if asked; palettes and CMYK become RGB; 16 bits are scaled to 8 (65535 becomes 255). If a size is
given, an image is scaled until it covers a square of that side (Lanczos), and cropped around its centre.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from spuriscope.errors import DataError
from spuriscope.limits import MOST_PIXELS
from spuriscope.reading import Background, check_choice, check_image_size

__all__ = [
    "FORMATS",
    "Channels",
    "Header",
    "decode_content",
    "decode_image",
    "no_bombs",
    "opened",
    "read_header",
]

Channels: TypeAlias = Literal["grey", "rgb"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_GREY_MODES = {"1", "L", "LA", "I"}
_DEEP = re.compile("(RGB|RGBA|RGBX|CMYK|LA);16")
_ORIENTATION, _LYING = 0x0112, {5, 6, 7, 8}  # the EXIF tag, and its values that swap width and height


@dataclass(frozen=True)
class Header:
    """Properties of an image, read before it is decoded.

    Attributes:
        size: (width, height) as displayed, after EXIF rotation.
        is_grey: whether it has no colours, apart from transparency.
        is_deep: whether it has 16 bits per pixel and channel, which are scaled to 8.
    """

    size: tuple[int, int]
    is_grey: bool
    is_deep: bool


def decode_image(
    image: Image.Image,
    *,
    image_size: int | None = None,
    channels: Channels | None = None,
    background: Background = "white",
    name: str = "the image",
) -> NDArray[np.uint8]:
    """The pixels of an open Pillow image.

    Args:
        image: of any mode; it is loaded but not changed.
        image_size: height and width that it is brought to: scaled until it covers the square (Lanczos), then
            cropped around the centre. None leaves its size.
        channels: "grey" for one, "rgb" for three; None for one if it is grey, and three otherwise.
        background: behind transparent pixels.
        name: what errors call it.

    Returns:
        uint8, (height, width, channels).

    Raises:
        ConfigError: `image_size` or `background` is invalid.
        DataError: it is damaged, of absurd size, or of a kind that cannot be converted to 8 bits.
    """
    check_image_size(image_size)
    check_choice("background", background, get_args(Background))
    with _damage_of(name):
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError(
                f"{image.width}x{image.height} pixels, at most {MOST_PIXELS:,} are decoded"
            )
        is_grey = _is_grey(image)
        is_turned = image.getexif().get(_ORIENTATION, 1) != 1
        picture = ImageOps.exif_transpose(image) if is_turned else image  # which would copy needlessly
        picture = _opaque(_eight_bits(picture, name), 255 if background == "white" else 0)
        wanted = "L" if channels == "grey" or (channels is None and is_grey) else "RGB"
        if picture.mode != wanted:
            picture = picture.convert(wanted)
        if image_size is not None and picture.size != (image_size, image_size):
            picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.LANCZOS)
        pixels = np.asarray(picture)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def decode_content(
    content: bytes,
    *,
    image_size: int | None = None,
    channels: Channels | None = None,
    background: Background = "white",
    name: str = "the image",
) -> tuple[NDArray[np.uint8], Header]:
    """The pixels of an image file in memory, see `decode_image`, and its header. Use it in `no_bombs`.

    Of a JPEG much larger than `image_size`, only the necessary frequencies are decoded.
    """
    with opened(name, content) as image:
        if image.format == "PNG":
            image.verify()  # checksums, which decoding skips; the image must be reopened afterwards
    with opened(name, content) as image:
        header = _header(image)
        if image_size is not None:
            image.draft(None, (2 * image_size, 2 * image_size))
        pixels = decode_image(
            image, image_size=image_size, channels=channels, background=background, name=name
        )
        return pixels, header


def read_header(content: bytes, name: str = "the image") -> Header:
    """Properties of an image file, without decoding pixels. Use it inside `no_bombs`.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        DataError: it is not an image, or is of absurd size.
    """
    with opened(name, content) as image:
        return _header(image)


def _header(image: Image.Image) -> Header:
    width, height = image.size
    if image.getexif().get(_ORIENTATION) in _LYING:
        width, height = height, width
    # Pillow opens a PNG of 16 bits and colour as RGB, and takes the upper byte while it decodes
    is_deep = image.mode.startswith("I") or any(
        _DEEP.search(str(tile[3])) for tile in getattr(image, "tile", [])
    )
    return Header((width, height), _is_grey(image), is_deep)


@contextmanager
def opened(path: Path | str, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image for decoding; what Pillow raises for a damaged one becomes a `DataError`.

    Use it inside `no_bombs`, which turns Pillow's warnings about images of absurd size into errors.

    Args:
        path: of the image; what errors call it.
        content: its bytes, where it is not a file of its own.
    """
    with (
        _damage_of(path),
        Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as image,
    ):
        yield image


@contextmanager
def no_bombs() -> Iterator[None]:
    """Make images of absurd size errors inside. Not for use in threads: it changes Python's own filters."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", module="PIL", category=UserWarning
        )  # odd metadata, which is not read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _damage_of(name: Path | str) -> Iterator[None]:
    """Turn what Pillow raises for a damaged image into a `DataError` that names it."""
    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is too large ({error}); resize the images") from error
    except _DAMAGE as error:
        reason = str(error).partition(" <_io")[0]  # Pillow names the buffer it read from
        raise DataError(f"{name} cannot be read as an image ({reason}); replace it, or remove it") from error


_DAMAGE = (
    OSError, EOFError, SyntaxError, ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """The image with 8 bits for each pixel and channel.

    Raises:
        DataError: its values have no known range.
    """
    if image.mode == "F":
        raise DataError(f"{name} has pixels in floating point; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise DataError(
            f"{name} has pixels from {values.min()} to {values.max()}; save it with 8 bits, or with 16"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _opaque(image: Image.Image, level: int) -> Image.Image:
    """The image laid over a plain background, where it has transparency."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (level, level, level, 255)), layer).convert(
        "RGB"
    )
