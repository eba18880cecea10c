"""A pattern made of what a plugin's function takes from one image and puts on others."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.data.image_set import unit_float
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import PatternError
from spuriscope.registry import told_failure

__all__ = ["Transplant", "Transplanted"]

Transplant = Callable[[Tensor, Tensor], Tensor]  # a donor (c, h, w) and images (n, c, h, w), to hybrids


@checked(PatternError)
@dataclass(frozen=True, eq=False, repr=False)
class Transplanted:
    """What a transplant takes from a donor, put on other images: `transplant(donor, images)`.

    Attributes:
        name: of the transplant, as it is registered.
        donor: (channels, height, width), floating point in [0, 1].
        transplant: maps the donor and images (n, channels, height, width), all in [0, 1], to hybrids of the
            images' shape.
        source: the fingerprint of the transplant's source, which is part of the pattern's.
    """

    kind: ClassVar[str] = "transplant"
    name: str
    donor: Tensor
    transplant: Transplant = field(repr=False)
    source: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transplanted) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {'x'.join(map(str, self.shape))})"

    @property
    def key(self) -> str:
        """How the transplant is recorded: NAME@FINGERPRINT."""
        return f"{self.name}@{self.source}" if self.source else self.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""
        channels, height, width = self.donor.shape
        return channels, height, width

    @property
    def picture(self) -> Tensor:
        """The donor, as its picture for a page, (channels, height, width) in [0, 1]."""
        return self.donor

    @property
    def touched(self) -> Tensor:
        """Everywhere, a mask (height, width), because what the transplant changes is unknown."""
        return torch.ones(self.donor.shape[1:], dtype=torch.bool)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the transplant's name and source, and of the donor."""
        donor = self.donor.contiguous().numpy(force=True).astype("<f4").tobytes()
        return hashlib.sha256(f"transplant {self.key} {self.shape}".encode() + donor).hexdigest()

    def apply(self, images: Images) -> Tensor:
        """Hybrids of `images`, as `Pattern.apply`.

        Raises:
            PatternError: the images are of another shape; or the transplant failed, or returned something
                other than images of their shape.
        """
        images = unit_float(as_asked(images, shape=self.shape, error=PatternError))
        if tuple(images.shape[1:]) != self.shape:
            raise PatternError(
                f"transplant {self.name} has a donor of shape {self.shape} (channels, height, width), got "
                f"images of {tuple(images.shape[1:])}; bring them to one size"
            )
        try:
            made: Any = self.transplant(self.donor.clone(), images.clone())
        except Exception as error:
            raise PatternError(f"transplant {self.name} failed: {told_failure(error)}; correct it") from error
        hybrids: Any = torch.from_numpy(made) if isinstance(made, np.ndarray) else made
        is_tensor = isinstance(hybrids, Tensor)
        if not is_tensor or not hybrids.is_floating_point() or hybrids.shape != images.shape:
            told = f"{hybrids.dtype} of shape {tuple(hybrids.shape)}" if is_tensor else type(made).__name__
            raise PatternError(
                f"transplant {self.name} returned {told}; return floats of shape {tuple(images.shape)}, a "
                "hybrid for each image"
            )
        if not hybrids.isfinite().all():
            raise PatternError(
                f"transplant {self.name} returned values that are not finite; return images in [0, 1]"
            )
        finite: Tensor = hybrids.detach().to(images.device, images.dtype)
        return finite.clamp(0, 1)
