"""The pictures that are planted: the seven patterns of the paper, or a picture of one's own.

Small squares (s1, s2, s3), uniform noise (r1, r2, r3) and a bar that looks like the digit 1 (inv), as
in Yang, Chou and Chaudhuri (2022), Section 3.1; the positions and the noise are those of the authors'
public code, to the bit. The authors' code numbers its patterns (v1, v3, v8, v18, v19, v20, v30); these
names are understood too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed
from spuriscope.data.image_set import unit_float
from spuriscope.data.pixels import Images, as_asked, channels_first
from spuriscope.errors import DataError, PatternError

__all__ = ["AUTHORS_NAMES", "PATTERN_NAMES", "Pattern", "pattern"]

SQUARES = {"s1": 1, "s2": 3, "s3": 5}  # side in pixels
NOISES = {"r1": 0.25, "r2": 0.5, "r3": 1.0}  # largest brightness
BAR_ROWS, BAR_COLUMNS = slice(3, 25), slice(13, 16)

PATTERN_NAMES = (*SQUARES, *NOISES, "inv")
AUTHORS_NAMES = {
    "v1": "s1",
    "v3": "s2",
    "v8": "s3",
    "v18": "r1",
    "v19": "r2",
    "v20": "r3",
    "v30": "inv",
    "core": "inv",
}


@checked(PatternError, passing=("pixels",))
@dataclass(frozen=True, eq=False)
class Pattern:
    """A fixed picture that is added to an image (overlap model of Yang et al., 2022, Section 2).

    Two patterns are equal when their pixels are, whatever their names.

    Attributes:
        name: what reports call it.
        pixels: (channels, height, width), float32 in [0, 1]; may be given as an array (height, width,
            channels) of floats, or (height, width) for grey images.

    Raises:
        PatternError: these are not pixels, the pixels have another shape or leave [0, 1].
    """

    name: str
    pixels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _pixels(self.name, self.pixels))
        low, high = float(self.pixels.min()), float(self.pixels.max())
        if not 0 <= low <= high <= 1:
            raise PatternError(
                f"pattern {self.name}: pixels must lie in [0, 1], got {low:g} to {high:g}; "
                "divide 8-bit pixels by 255"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""
        channels, height, width = self.pixels.shape
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels."""
        pixels = self.pixels.contiguous().numpy().astype("<f4")
        return hashlib.sha256(repr(self.shape).encode() + pixels.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Pattern({self.name!r}, {'x'.join(map(str, self.shape))})"

    def apply(self, images: Images) -> Tensor:
        """Stamped copies of `images`: clip(image + pattern, 0, 1).

        Args:
            images: a tensor (n, channels, height, width) or an array (n, height, width, channels), uint8, or
                floating point in [0, 1].

        Returns:
            (n, channels, height, width), floating point in [0, 1]; `images` is left alone.

        Raises:
            PatternError: the images are of another shape.
        """
        images = as_asked(images, shape=self.shape, error=PatternError)
        if tuple(images.shape[1:]) != self.shape:
            raise PatternError(
                f"pattern {self.name} is made for images of shape {self.shape} (channels, height, width), "
                f"got {tuple(images.shape[1:])}; make it anew for them"
            )
        return (unit_float(images) + self.pixels.to(images.device)).clamp_(0, 1)


def _pixels(name: str, given: Any) -> Tensor:
    """The pixels of a pattern as float32 (channels, height, width)."""
    if isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.ndim in (2, 3):
        try:
            values = given if given.ndim == 3 else given[..., None]
            return channels_first(values, f"pixels of pattern {name}", many=False).float().contiguous()
        except DataError as error:
            raise PatternError(f"{error}; or give a tensor (channels, height, width)") from None
    if isinstance(given, Tensor) and given.ndim == 3 and given.dtype == torch.float32:
        return given
    if isinstance(given, np.ndarray | Tensor):
        divided = " / 255" if "uint8" in str(given.dtype) else ""
        found = f"{given.dtype} of shape {tuple(given.shape)}; torch.as_tensor(pixels).float(){divided}"
        found += " has the type"
    else:
        found = f"{type(given).__name__}; ss.pattern(name, shape) makes one of a picture or by name"
    raise PatternError(
        f"pattern {name}: pixels must be a tensor of float32, shape (channels, height, width), or an "
        f"array of floats (height, width, channels), got {found}"
    )


@checked(PatternError)
def pattern(name: str | Path, shape: Sequence[int], *, seed: int = 0) -> Pattern:
    """The pattern called `name`, for images of `shape`.

    Args:
        name: one of `PATTERN_NAMES`, a name of the authors' code ("v8"), or the path of a picture.
            A picture's colours are weighted by its alpha channel: what is transparent adds nothing. It
            lies in the top left corner; one larger than the images is scaled down to fit.
        shape: (channels, height, width) of the images.
        seed: draws the noise of r1, r2 and r3; the others do not depend on it.

    Raises:
        PatternError: the name is unknown, the images are too small, or the picture cannot be read.

    Source: Yang et al. (2022), Section 3.1; noise as `numpy.random.RandomState(seed).rand(height, width,
    channels)` in the authors' code.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise PatternError(
            f"shape must be (channels, height, width) of the images, got {tuple(shape)}; data.shape has it"
        )
    check_seed("seed", seed, error=PatternError)
    channels, height, width = shape
    key = str(name).lower()
    key = AUTHORS_NAMES.get(key, key)
    pixels = np.zeros((channels, height, width), dtype=np.float32)
    if key in SQUARES:
        side = SQUARES[key]
        _check_size(key, (side, side), (height, width))
        pixels[:, :side, :side] = 1
    elif key in NOISES:
        noise = NOISES[key] * np.random.RandomState(seed).rand(height, width, channels)
        pixels[:] = noise.transpose(2, 0, 1)
    elif key == "inv":
        _check_size(key, (BAR_ROWS.stop, BAR_COLUMNS.stop), (height, width))
        pixels[:, BAR_ROWS, BAR_COLUMNS] = 1
    elif Path(name).suffix or Path(name).exists():
        path = Path(name)
        return Pattern(path.stem, torch.from_numpy(_read_picture(path, channels, height, width)))
    else:
        raise PatternError(
            f"there is no pattern {str(name)!r}; choose one of {', '.join(PATTERN_NAMES)}, "
            "or give the path of a picture such as logo.png"
        )
    return Pattern(key, torch.from_numpy(pixels))


def _check_size(name: str, least: tuple[int, int], found: tuple[int, int]) -> None:
    if found[0] < least[0] or found[1] < least[1]:
        raise PatternError(
            f"pattern {name} needs images of at least {least[0]} rows and {least[1]} columns, "
            f"these have {found[0]} and {found[1]}; choose a smaller pattern or enlarge the images"
        )


def _read_picture(path: Path, channels: int, height: int, width: int) -> np.ndarray:
    from PIL import Image

    if channels not in (1, 3):
        raise PatternError(f"a picture can be a pattern for images of 1 or 3 channels, these have {channels}")
    try:
        with Image.open(path) as file:
            picture = file.convert("RGBA")
    except FileNotFoundError:
        raise PatternError(f"there is no picture {path}; check the path") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PatternError(
            f"{path} cannot be read as a picture ({reason}); give a PNG or JPEG file"
        ) from None
    picture.thumbnail((width, height))
    rgba = np.asarray(picture, dtype=np.float32) / 255
    colours = rgba[..., :3] * rgba[..., 3:]
    if channels == 1:  # the weights of ITU-R 601, as Pillow's own grey
        colours = (colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    pixels = np.zeros((channels, height, width), dtype=np.float32)
    pixels[:, : colours.shape[0], : colours.shape[1]] = colours.transpose(2, 0, 1).clip(0, 1)
    if not pixels.any():
        raise PatternError(f"{path} is black or transparent throughout, so stamping it changes nothing")
    return pixels
