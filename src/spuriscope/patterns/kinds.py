"""The kinds of pattern: a picture that is added, a picture that covers, a mapping of colours.

A pattern is made for images of one shape, has a fingerprint of its effect, and is stamped on images by
`apply`. One that does not fill the image can be moved: `apply(images, at=shifts)`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_whole
from spuriscope.data.image_set import unit_float
from spuriscope.data.pixels import Images, as_asked, channels_first
from spuriscope.errors import DataError, PatternError

__all__ = ["Box", "Cover", "Kind", "Pattern", "Shade"]


class Box(NamedTuple):
    """A rectangle of an image: rows from top to bottom and columns from left to right, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left


class _Kind(ABC):
    """Base of all kinds. Two patterns are equal when they do the same, whatever their names."""

    kind: ClassVar[str]
    name: str

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, Tensor]:
        """What it consists of, float32 arrays by name: they make its fingerprint, and are kept in files."""

    @property
    @abstractmethod
    def picture(self) -> Tensor:
        """Its picture for a page, (channels, height, width) in [0, 1]."""

    @property
    @abstractmethod
    def touched(self) -> Tensor:
        """Which pixels it may change, a mask (height, width)."""

    @abstractmethod
    def _on(self, images: Tensor, at: Tensor | None) -> Tensor:
        """Stamped copies of `images`, floating point, before they are clipped."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what it consists of."""
        kind = "" if self.kind == "add" else self.kind  # keeps the fingerprints of older patterns
        content = b"".join(
            array.contiguous().numpy().astype("<f4").tobytes() for array in self.arrays.values()
        )
        return hashlib.sha256(kind.encode() + repr(self.shape).encode() + content).hexdigest()

    @cached_property
    def box(self) -> Box:
        """The smallest rectangle that holds all pixels it may change; the whole image if there are none."""
        touched = self.touched
        rows, columns = touched.any(dim=1).nonzero().flatten(), touched.any(dim=0).nonzero().flatten()
        if len(rows) == 0:
            return Box(0, 0, *touched.shape)
        return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @property
    def n_places(self) -> tuple[int, int]:
        """Number of places it has in an image, vertically and horizontally."""
        (rows, columns), (_, height, width) = self.box.size, self.shape
        return height - rows + 1, width - columns + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {'x'.join(map(str, self.shape))})"

    def _repr_html_(self) -> str:
        """Its picture in a notebook."""
        from spuriscope.report.notebook import as_pictures

        return as_pictures([self.picture], [repr(self)])

    def apply(self, images: Images, at: Tensor | None = None) -> Tensor:
        """Stamped copies of `images`.

        Args:
            images: a tensor (n, channels, height, width) or an array (n, height, width, channels), uint8, or
                floating point in [0, 1].
            at: (n, 2), whole numbers: rows down and columns right that it is moved on each image; by default
                it stands where it was made. What leaves the image is lost.

        Returns:
            (n, channels, height, width), floating point in [0, 1]; `images` is not changed.

        Raises:
            PatternError: `images` or `at` has another shape.
        """
        images = as_asked(images, shape=self.shape, error=PatternError)
        if tuple(images.shape[1:]) != self.shape:
            raise PatternError(
                f"pattern {self.name} is made for images of shape {self.shape} (channels, height, width), "
                f"got {tuple(images.shape[1:])}; make it anew for them"
            )
        if at is not None and (at.shape != (len(images), 2) or at.is_floating_point()):
            raise PatternError(
                f"at must be whole numbers of shape ({len(images)}, 2), rows and columns for each image, got "
                f"{at.dtype} of shape {tuple(at.shape)}"
            )
        return self._on(unit_float(images), at).clamp_(0, 1)


class _Picture(_Kind):
    """A pattern that is a picture."""

    pixels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""
        channels, height, width = self.pixels.shape
        return channels, height, width


@checked(PatternError, passing=("pixels",))
@dataclass(frozen=True, eq=False, repr=False)
class Pattern(_Picture):
    """A fixed picture that is added to an image: clip(image + pattern, 0, 1).

    Two patterns are equal when their pixels are, whatever their names.

    Attributes:
        name: what reports call it.
        pixels: (channels, height, width), float32 in [0, 1]; may be given as an array (height, width,
            channels) of floats, or (height, width) for grey images.

    Raises:
        PatternError: these are not pixels, or they have another shape or leave [0, 1].

    Source: the overlap model of Yang et al. (2022), Section 2.
    """

    kind: ClassVar[str] = "add"
    name: str
    pixels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _pixels(self.name, self.pixels))
        _check_range(self.name, "pixels", self.pixels)

    @property
    def arrays(self) -> Mapping[str, Tensor]:
        """Its pixels."""
        return {"pixels": self.pixels}

    @property
    def picture(self) -> Tensor:
        """The pixels, as they look on black."""
        return self.pixels

    @property
    def touched(self) -> Tensor:
        """Where some channel is above zero, a mask (height, width)."""
        return self.pixels.amax(dim=0) > 0

    def _on(self, images: Tensor, at: Tensor | None) -> Tensor:
        return images + _moved(self.pixels.to(images.device), at)


@checked(PatternError, passing=("pixels", "alpha"))
@dataclass(frozen=True, eq=False, repr=False)
class Cover(_Picture):
    """A picture that hides what is behind it: image * (1 - alpha) + pixels * alpha.

    Two covers are equal when they do the same: fully transparent pixels are set to zero.

    Attributes:
        name: what reports call it.
        pixels: (channels, height, width), as for `Pattern`; not multiplied by alpha.
        alpha: (height, width), float32 in [0, 1]: 1 where it is opaque, 0 where the image shows through. May
            be given as (1, height, width), or as an array of floats.

    Raises:
        PatternError: these are not pixels, or the two have different sizes or leave [0, 1].
    """

    kind: ClassVar[str] = "cover"
    name: str
    pixels: Tensor
    alpha: Tensor

    def __post_init__(self) -> None:
        pixels, alpha = _pixels(self.name, self.pixels), _alpha(self.name, self.alpha)
        if alpha.shape != pixels.shape[1:]:
            raise PatternError(
                f"pattern {self.name}: alpha must have the height and width of the pixels, "
                f"{tuple(pixels.shape[1:])}, got {tuple(alpha.shape)}"
            )
        for what, values in (("pixels", pixels), ("alpha", alpha)):
            _check_range(self.name, what, values)
        object.__setattr__(self, "pixels", pixels * (alpha > 0))
        object.__setattr__(self, "alpha", alpha)

    @property
    def arrays(self) -> Mapping[str, Tensor]:
        """Its pixels and alpha."""
        return {"pixels": self.pixels, "alpha": self.alpha}

    @property
    def picture(self) -> Tensor:
        """The picture on mid-grey, so that black and white both show."""
        return self._on(torch.full((1, *self.shape), 0.5), None)[0]

    @property
    def touched(self) -> Tensor:
        """Where it is not transparent, a mask (height, width)."""
        return self.alpha > 0

    def _on(self, images: Tensor, at: Tensor | None) -> Tensor:
        alpha = _moved(self.alpha[None].to(images.device), at)
        return images * (1 - alpha) + _moved(self.pixels.to(images.device), at) * alpha


@checked(PatternError)
@dataclass(frozen=True, eq=False, repr=False)
class Shade(_Kind):
    """A mapping of the colours of each pixel: clip(matrix @ colour + offset, 0, 1).

    Contrast, brightness, tints and inversion are of this kind. It acts everywhere, so it cannot be moved.

    Attributes:
        name: what reports call it.
        matrix: (channels, channels), float32: each output channel (row) as a mixture of inputs (columns).
        offset: (channels,), float32: added afterwards.
        height: rows of the images it fits.
        width: their columns.

    Raises:
        PatternError: the two do not fit the channels, or are not finite.
    """

    kind: ClassVar[str] = "shade"
    name: str
    matrix: Tensor
    offset: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        for what in ("height", "width"):
            check_whole(what, getattr(self, what), least=1, error=PatternError)
        channels = self.matrix.shape[0] if self.matrix.ndim else 0
        for what, size in (("matrix", (channels, channels)), ("offset", (channels,))):
            values = getattr(self, what)
            if values.shape != size or values.dtype != torch.float32 or not values.isfinite().all():
                raise PatternError(
                    f"pattern {self.name}: {what} must be finite, float32 and of shape {size} for images of "
                    f"{channels} channels, got {values.dtype} of shape {tuple(values.shape)}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""
        return len(self.offset), self.height, self.width

    @property
    def arrays(self) -> Mapping[str, Tensor]:
        """Its matrix and offset."""
        return {"matrix": self.matrix, "offset": self.offset}

    @property
    def pixels(self) -> Tensor:
        """Its picture, so that code that looks at a pattern's pixels finds something to show."""
        return self.picture

    @property
    def picture(self) -> Tensor:
        """A ramp from black to white, and below it the same ramp after the mapping."""
        channels, height, width = self.shape
        ramp = torch.linspace(0, 1, width).expand(1, channels, height, width)
        shaded = self._on(ramp, None).clamp(0, 1)
        return torch.where(torch.arange(height)[:, None] < height // 2, ramp, shaded)[0]

    @property
    def touched(self) -> Tensor:
        """Everywhere, a mask (height, width)."""
        return torch.ones((self.height, self.width), dtype=torch.bool)

    def _on(self, images: Tensor, at: Tensor | None) -> Tensor:
        if at is not None:
            raise PatternError(f"pattern {self.name} maps colours all over the image, so it cannot be moved")
        matrix, offset = self.matrix.to(images), self.offset.to(images)
        return torch.einsum("ij,njhw->nihw", matrix, images) + offset[:, None, None]


Kind: TypeAlias = Pattern | Cover | Shade


def _moved(values: Tensor, at: Tensor | None) -> Tensor:
    """Values (c, height, width), or moved copies (n, c, height, width); zeros fill the gaps."""
    if at is None:
        return values
    _, height, width = values.shape
    at = at.to(values.device)
    rows = torch.arange(height, device=values.device) - at[:, :1]  # (n, height), where each comes from
    columns = torch.arange(width, device=values.device) - at[:, 1:]
    is_inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    moved = values[:, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return moved.movedim(1, 0) * is_inside[:, None]


def _check_range(name: str, what: str, values: Tensor) -> None:
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:
        raise PatternError(
            f"pattern {name}: {what} must lie in [0, 1], got {low:g} to {high:g}; divide 8-bit pixels by 255"
        )


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


def _alpha(name: str, given: Any) -> Tensor:
    """An alpha channel as float32 (height, width)."""
    values = torch.from_numpy(given.copy()) if isinstance(given, np.ndarray) else given
    if isinstance(values, Tensor) and values.is_floating_point():
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
            values = values[0] if values.shape[0] == 1 else values[..., 0]
        if values.ndim == 2:
            return values.float().contiguous()
    if isinstance(values, Tensor):
        told = f"{values.dtype} of shape {tuple(values.shape)}"
    else:
        told = type(given).__name__
    raise PatternError(
        f"pattern {name}: alpha must be floats of shape (height, width), in [0, 1], got {told}"
    )
