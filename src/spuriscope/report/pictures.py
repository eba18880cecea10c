"""Images as data URIs, so that a page contains them, and their size on the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from spuriscope.patterns.kinds import Box

__all__ = [
    "BLUE",
    "ORANGE",
    "Shown",
    "box_path",
    "css_colour",
    "data_uri",
    "icon",
    "pixels",
    "reduced",
    "save_picture",
    "shown",
    "tinted_uri",
]

HEAD = "data:image/png;base64,"
LARGE, SMALL = 128, 96  # most pixels of the page for a picture, in a wide and in a narrow window
ICON = 64  # the same for a picture that only reminds
BLUE, ORANGE = (0.13, 0.47, 0.76), (0.82, 0.38, 0.08)  # of heat maps, visible on white and on black


@dataclass(frozen=True)
class Shown:
    """A picture on the page.

    Attributes:
        uri: the PNG.
        alt: what it shows, in words.
        width: in its own pixels.
        height: in its own pixels.
        large: pixels of the page per pixel of its own: a whole number, or its reciprocal for large pictures.
        small: the same in a narrow window.
    """

    uri: str
    alt: str
    width: int
    height: int
    large: float
    small: float

    @property
    def is_crisp(self) -> bool:
        """Whether its pixels should be visible one by one."""
        return self.small >= 1


def data_uri(image: "Tensor") -> str:
    """An image as a PNG in a data URI.

    Args:
        image: (channels, height, width), uint8, or floating point in [0, 1]; 1 or 3 channels
            (of any other number the first is shown).
    """
    rounded = image if not image.is_floating_point() else (image * 255).round()
    array = rounded.numpy().astype(np.uint8)
    return _png(array.transpose(1, 2, 0) if len(array) == 3 else array[0])


def save_picture(image: "Tensor", path: Path) -> None:
    """Write an image, as for `data_uri`, as a PNG file."""
    path.write_bytes(base64.b64decode(data_uri(image).removeprefix(HEAD)))


def tinted_uri(values: NDArray[np.float64], colours: NDArray[np.float64], *, largest: float) -> str:
    """A heat map as a PNG in a data URI: the larger the value, the less transparent its colour.

    The background, light or dark, shows through where values are small.

    Args:
        values: (height, width).
        colours: (2, 3) in [0, 1], for values below zero and for the others.
        largest: absolute value that is opaque.
    """
    opacity = np.abs(values) / largest if largest > 0 else np.zeros_like(values)
    rgba = np.concatenate([colours[(values >= 0).astype(int)], opacity.clip(0, 1)[..., None]], axis=-1)
    return _png((rgba * 255).round().astype(np.uint8))


def css_colour(colour: tuple[float, float, float]) -> str:
    """A colour of heat maps in CSS: rgb(209, 97, 20)."""
    return f"rgb({', '.join(str(round(255 * share)) for share in colour)})"


def _png(array: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", optimize=True)
    return HEAD + base64.b64encode(file.getvalue()).decode()


def pixels(uri: str) -> NDArray[np.float64]:
    """Brightness (height, width) in [0, 1] of a picture made by `data_uri`: its brightest channel."""
    array = np.asarray(_read(uri), dtype=float) / 255
    return array if array.ndim == 2 else array.max(axis=2)


def _read(uri: str) -> "Image.Image":
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(HEAD))))


def shown(uri: str, alt: str, *, large: int = LARGE, small: int = SMALL) -> Shown:
    """A picture with the whole-number scale at which it fits into `large` or `small` pixels of the page."""
    header = base64.b64decode(uri.removeprefix(HEAD)[:32])  # a PNG starts with its size
    width, height = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    longest = max(width, height)
    return Shown(uri, alt, width, height, _scale(longest, large), _scale(longest, small))


def icon(uri: str, alt: str) -> Shown:
    """A picture at the size of an icon; a large one is reduced, so that a page can repeat it."""
    return reduced(uri, alt, ICON, ICON)


def reduced(uri: str, alt: str, large: int = LARGE, small: int = SMALL) -> Shown:
    """A picture as `shown`, but reduced if larger than `large` pixels, because a page holds many."""
    picture = _read(uri)
    factor = -(-max(picture.size) // large)
    if factor > 1:
        uri = _png(np.asarray(picture.reduce(factor)))
    return shown(uri, alt, large=large, small=small)


def box_path(box: "Box | None") -> str:
    """SVG path around a rectangle of an image, one unit per pixel; empty without one."""
    return "" if box is None else f"M{box.left} {box.top}H{box.right}V{box.bottom}H{box.left}Z"


def _scale(longest: int, room: int) -> float:
    return float(room // longest) if longest <= room else 1 / -(-longest // room)
