"""Patterns by name: the paper's seven, lifelike marks and colour mappings, pictures, and those of plugins.

The paper's are small squares (s1, s2, s3), uniform noise (r1, r2, r3) and a bar that looks like the digit 1
(inv), as in Yang, Chou and Chaudhuri (2022), Section 3.1; positions and noise equal those of the authors'
public code to the bit. That code numbers its patterns (v1, v3, v8, v18, v19, v20, v30); these names are
understood too.

The others cover or shade, and scale with the image: a sticker, a caption, a watermark, a border; a tint, less
contrast, less light, a negative.
"""

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed, check_whole
from spuriscope.errors import PatternError
from spuriscope.known_names import unknown_pattern
from spuriscope.limits import MOST_PIXELS
from spuriscope.patterns.kinds import Cover, Kind, Pattern, Shade
from spuriscope.registry import Registry

__all__ = [
    "ADDED_PATTERNS",
    "AUTHORS_NAMES",
    "COVER_NAMES",
    "PATTERN_NAMES",
    "SHADE_NAMES",
    "pattern",
    "register_pattern",
]

MakePattern = Callable[[Sequence[int], int], Kind]
AnyMake = TypeVar("AnyMake", bound=MakePattern)

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

SIZES = {  # as a share of the image's shorter side; of a frame the thickness, of text the width
    "square": 5 / 28,
    "black-square": 5 / 28,
    "disc": 7 / 28,
    "letters": 14 / 28,
    "watermark": 21 / 28,
    "frame": 1 / 28,
}
COVER_NAMES = tuple(SIZES)
MARGIN = 2 / 28  # between a mark and the edge of the image
DISC = (0.9, 0.2, 0.1)  # red; grey in images of other than 3 channels
GREY = 0.6
TEXT, FONT_SIZE, STROKE = "ABC", 64, 3  # drawn large and bold, and scaled down
STRENGTH = 0.5  # of a watermark

_DAMAGE = (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error)
GAINS = {"contrast": (0.5, 0.25), "dim": (0.6, 0.0), "invert": (-1.0, 1.0)}  # factor, offset
TINT = (1.0, 0.85, 0.6)  # as under a light bulb
SHADE_NAMES = ("tint", *GAINS)
OURS = (*PATTERN_NAMES, *COVER_NAMES, *SHADE_NAMES)
ADDED_PATTERNS: Registry[MakePattern] = Registry(
    "pattern", {}, PatternError, reserved=(*OURS, *AUTHORS_NAMES)
)


@checked(PatternError)
def register_pattern(name: str) -> Callable[[AnyMake], AnyMake]:
    """Register a pattern of your own under a name, for `pattern`, studies and the command line.

    Decorate a function of the shape (channels, height, width) of the images and of a seed for its draws. It
    returns a `Pattern`, a `Cover` or a `Shade`. The content of the pattern enters the hash of a cell, as for
    every pattern; the function's source does not.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        PatternError: the name is taken by us or by another module, or the decorated object is not a function.
    """
    return ADDED_PATTERNS.registering(name)


@checked(PatternError)
def pattern(name: str | Path, shape: Sequence[int], *, seed: int = 0, size: int | None = None) -> Kind:
    """Make the pattern called `name`, for images of `shape`.

    Args:
        name: one of `PATTERN_NAMES`, which are added; of `COVER_NAMES`, which cover; or of `SHADE_NAMES`; a
            name of the authors' code ("v8"), or of a plugin; or the path of a picture. A picture with
            transparency covers, by its alpha channel; one without is added. It lies in the top left corner.
        shape: (channels, height, width) of the images.
        seed: draws the noise of r1, r2 and r3; the others do not depend on it.
        size: of a cover or a picture, in pixels: its longer side, or a frame's thickness. By default a cover
            scales with the image, and a picture larger than the image is scaled down to fit.

    Raises:
        PatternError: the name is unknown, the images are too small or have too few channels, the pattern has
            no size to choose, or the picture cannot be read.

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
    if size is not None:
        check_whole("size", size, least=1, most=max(height, width), error=PatternError)
        if key in PATTERN_NAMES or key in SHADE_NAMES or key in ADDED_PATTERNS.added:
            raise PatternError(
                f"pattern {key} has one size; leave it out, or choose one of {', '.join(COVER_NAMES)}, or a "
                "picture"
            )
    if key in PATTERN_NAMES:
        return Pattern(key, torch.from_numpy(_of_the_paper(key, channels, height, width, seed)))
    if key in COVER_NAMES:
        side = max(1, round(SIZES[key] * min(height, width))) if size is None else size
        return _cover(key, channels, height, width, side)
    if key in SHADE_NAMES:
        return _shade(key, channels, height, width)
    if key in ADDED_PATTERNS.added:
        return _of_plugin(key, channels, height, width, seed)
    if Path(name).suffix or os.path.exists(name):
        return _read_picture(Path(name), channels, height, width, size)
    if key in ADDED_PATTERNS:  # asks installed packages
        return _of_plugin(key, channels, height, width, seed)
    raise PatternError(unknown_pattern(str(name), (*OURS, *ADDED_PATTERNS)))


def _of_plugin(name: str, channels: int, height: int, width: int, seed: int) -> Kind:
    made = ADDED_PATTERNS[name]((channels, height, width), seed)
    if not isinstance(made, Pattern | Cover | Shade) or made.shape != (channels, height, width):
        raise PatternError(
            f"the function of pattern {name} returned {made!r}; return an ss.Pattern, ss.Cover or ss.Shade "
            f"for images of shape {(channels, height, width)}"
        )
    return replace(made, name=name)


def _of_the_paper(key: str, channels: int, height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Pixels (channels, height, width) of a pattern of the paper."""
    pixels = np.zeros((channels, height, width), dtype=np.float32)
    if key in SQUARES:
        side = SQUARES[key]
        _check_size(key, (side, side), (height, width))
        pixels[:, :side, :side] = 1
    elif key in NOISES:
        noise = NOISES[key] * np.random.RandomState(seed).rand(height, width, channels)
        pixels[:] = noise.transpose(2, 0, 1)
    else:
        _check_size(key, (BAR_ROWS.stop, BAR_COLUMNS.stop), (height, width))
        pixels[:, BAR_ROWS, BAR_COLUMNS] = 1
    return pixels


def _cover(key: str, channels: int, height: int, width: int, side: int) -> Cover:
    """A mark of ours: squares at the bottom right, a disc at the top right, letters at the bottom left."""
    margin = round(MARGIN * min(height, width))
    colour = torch.full((channels,), 0.0 if key == "black-square" else 1.0)
    if key == "frame":
        _check_size(key, (2 * side, 2 * side), (height, width))
        alpha = torch.ones(height, width)
        alpha[side : height - side, side : width - side] = 0
    else:
        mark = torch.ones(side, side)
        if key == "disc":
            mark = _disc(side)
            colour = torch.tensor(DISC) if channels == 3 else torch.full((channels,), GREY)
        elif key in ("letters", "watermark"):
            mark = _text(side) * (STRENGTH if key == "watermark" else 1)
        rows, columns = mark.shape
        _check_size(key, (rows, columns), (height, width))
        top = min(margin, height - rows) if key == "disc" else max(0, height - margin - rows)
        left = min(margin, width - columns) if key == "letters" else max(0, width - margin - columns)
        if key == "watermark":
            top, left = (height - rows) // 2, (width - columns) // 2
        alpha = torch.zeros(height, width)
        alpha[top : top + rows, left : left + columns] = mark
    return Cover(key, colour.float()[:, None, None].expand(channels, height, width), alpha.float())


def _disc(side: int, n_steps: int = 8) -> Tensor:
    """Share of each pixel (side, side) that a disc covers, from `n_steps` squared points in it."""
    steps = (torch.arange(side * n_steps) + 0.5) / n_steps - side / 2
    is_inside = (steps[:, None] ** 2 + steps**2 <= (side / 2) ** 2).float()
    return is_inside.view(side, n_steps, side, n_steps).mean(dim=(1, 3))


def _text(width: int) -> Tensor:
    """Share of each pixel (rows, width) that the strokes of `TEXT` cover, in Pillow's own font."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    left, top, right, bottom = font.getbbox(TEXT, stroke_width=STROKE)
    large = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(large).text((-left, -top), TEXT, fill=255, font=font, stroke_width=STROKE)
    rows = max(1, round(width * large.height / large.width))
    return torch.from_numpy(np.asarray(large.resize((width, rows), Image.Resampling.BOX)) / np.float32(255))


def _shade(key: str, channels: int, height: int, width: int) -> Shade:
    if key == "tint":
        if channels != 3:
            raise PatternError(
                f"tint needs colour images of 3 channels, these have {channels}; take {', '.join(GAINS)}"
            )
        return Shade(key, torch.tensor(TINT).diag().float(), torch.zeros(3).float(), height, width)
    factor, offset = GAINS[key]
    matrix, offsets = factor * torch.eye(channels), torch.full((channels,), offset)
    return Shade(key, matrix.float(), offsets.float(), height, width)


def _check_size(name: str, least: tuple[int, int], found: tuple[int, int]) -> None:
    if found[0] < least[0] or found[1] < least[1]:
        raise PatternError(
            f"pattern {name} needs images of at least {least[0]} rows and {least[1]} columns, "
            f"these have {found[0]} and {found[1]}; choose a smaller pattern or enlarge the images"
        )


def _read_picture(path: Path, channels: int, height: int, width: int, size: int | None) -> Kind:
    """Read a picture as a pattern: a cover where any of it is transparent, else added."""
    from PIL import Image

    if channels not in (1, 3):
        raise PatternError(f"a picture can be a pattern for images of 1 or 3 channels, these have {channels}")
    try:
        with Image.open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise PatternError(f"{path} has {file.width}x{file.height} pixels; give a smaller picture")
            picture = file.convert("RGBA")
    except FileNotFoundError:
        raise PatternError(f"there is no picture {path}; check the path") from None
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PatternError(
            f"{path} cannot be read as a picture ({reason}); give a PNG or JPEG file"
        ) from None
    is_transparent = np.asarray(picture)[..., 3].min() < 255
    if size is not None:
        factor = size / max(picture.size)
        scaled = (max(1, round(factor * picture.width)), max(1, round(factor * picture.height)))
        picture = picture.resize(scaled, Image.Resampling.BICUBIC)
    picture.thumbnail((width, height))
    rgba = np.asarray(picture, dtype=np.float32) / 255
    colours = rgba[..., :3]
    if channels == 1:  # the weights of ITU-R 601, as in Pillow's own grey
        colours = (colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    pixels = torch.zeros((channels, height, width), dtype=torch.float32)
    rows, columns = colours.shape[:2]
    pixels[:, :rows, :columns] = torch.from_numpy(colours.transpose(2, 0, 1).clip(0, 1))
    alpha = torch.zeros(height, width)
    alpha[:rows, :columns] = torch.from_numpy(rgba[..., 3])
    if not (alpha if is_transparent else pixels).any():
        raise PatternError(f"{path} is black or transparent throughout, so stamping it changes nothing")
    return Cover(path.stem, pixels, alpha) if is_transparent else Pattern(path.stem, pixels)
