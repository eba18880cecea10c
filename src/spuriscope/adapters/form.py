"""The form of a model: how it wants its images and gives its answers.

Spuriscope has images in [0, 1], red first, and needs class probabilities in the order of the data's classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.argument_types import checked
from spuriscope.data.image_set import unit_float
from spuriscope.errors import ConfigError, MeasureError
from spuriscope.limits import LARGEST_INPUT

__all__ = ["FormSettings", "ModelForm", "pieces"]

PIECE = 500  # most images that a model is asked about at once
PIECE_NUMBERS = PIECE * 3 * 64 * 64  # most values at once: fewer images where they are large
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns colour into grey
SURE = 1e-3  # allowed difference between 1 and the sum of probabilities


class FormSettings(TypedDict, total=False):
    """The settings of `ModelForm`, as keyword arguments."""

    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    scale: float
    image_size: int | None
    channels: Literal[1, 3] | None
    bgr: bool
    channels_last: bool
    logits: bool | None
    output: str | None
    classes: Sequence[int] | None


@checked(ConfigError)
@dataclass(frozen=True, kw_only=True)
class ModelForm:
    """How images are prepared for a model, in this order, and how its answers are read.

    Attributes:
        channels: 3 repeats grey images, 1 makes colour grey (ITU-R BT.601); None changes nothing, except that
            grey images are repeated where a file asks for three channels.
        image_size: side of the square they are scaled to, bilinear with antialiasing; None leaves their size.
        bgr: whether blue comes first.
        scale: factor on pixels in [0, 1]: 255 for a model that takes 0 to 255.
        mean: subtracted after scaling: one number, or one per channel.
        std: divisor after that.
        channels_last: images are (n, height, width, channels), where a file does not say so itself.
        logits: whether the answers are logits. None: they are where rows do not sum to 1.
        output: name of the output, where there are several.
        classes: the label of each column of the answers, where they are in another order.

    Raises:
        ConfigError: a setting is out of range.
    """

    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    scale: float = 1.0
    image_size: int | None = None
    channels: Literal[1, 3] | None = None
    bgr: bool = False
    channels_last: bool = False
    logits: bool | None = None
    output: str | None = None
    classes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            numbers = _numbers(getattr(self, name))
            is_good = all(isfinite(number) and (name == "mean" or number > 0) for number in numbers)
            if not is_good or len(numbers) not in (0, 1, 3):
                above = "" if name == "mean" else " above 0"
                raise ConfigError(
                    f"{name} is a number{above}, or one for each of three channels, got {getattr(self, name)}"
                )
        if not isfinite(self.scale) or self.scale <= 0:
            raise ConfigError(f"scale is what [0, 1] is multiplied by, as 255; got {self.scale}")
        if self.image_size is not None and not 1 <= self.image_size <= LARGEST_INPUT:
            raise ConfigError(
                f"image_size is a number of pixels, 1 to {LARGEST_INPUT}, got {self.image_size}"
            )
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels is 1 for grey or 3 for colour, got {self.channels}")
        if self.classes is not None and sorted(self.classes) != list(range(len(self.classes))):
            raise ConfigError(
                f"classes names the label of each column, each of 0 to {len(self.classes) - 1} once, got "
                f"{', '.join(map(str, self.classes))}"
            )

    @property
    def changes_values(self) -> bool:
        """Whether prepared pixels leave [0, 1]."""
        return self.scale != 1 or self.mean is not None or self.std is not None

    def prepare(self, images: Tensor) -> Tensor:
        """Images (n, channels, height, width), uint8 or in [0, 1], as the model wants them; channels first.

        Raises:
            MeasureError: the settings are for another number of channels.
        """
        x = self.with_channels(unit_float(images))
        if self.image_size is not None and x.shape[2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        if self.bgr:
            x = x.flip(1)
        if self.scale != 1:
            x = x * self.scale
        for name in ("mean", "std"):
            numbers = _numbers(getattr(self, name))
            if not numbers:
                continue
            if len(numbers) not in (1, x.shape[1]):
                raise MeasureError(
                    f"{name} has {len(numbers)} numbers for images of {x.shape[1]} channel"
                    f"{'s' * (x.shape[1] > 1)}; give one number, or one for each channel"
                )
            each = torch.tensor(numbers, dtype=x.dtype, device=x.device).view(-1, 1, 1)
            x = x - each if name == "mean" else x / each
        return x

    def with_channels(self, images: Tensor, default: int | None = None) -> Tensor:
        """Images with as many channels as the model takes; `default` is the number that a file asks for."""
        wanted = self.channels or (default if default == 3 else None)
        if wanted == 3 and images.shape[1] == 1:
            return images.expand(-1, 3, -1, -1)
        if wanted == 1 and images.shape[1] == 3:
            weights = torch.tensor(GREY, dtype=images.dtype, device=images.device).view(-1, 1, 1)
            return (images * weights).sum(dim=1, keepdim=True)
        return images

    def read(self, answers: Tensor, n_images: int, source: str = "the model") -> Tensor:
        """Class probabilities (n_images, n_classes), float32, in the order of the data's classes.

        A single column holds the probability, or the logit, of the second of two classes.

        Raises:
            MeasureError: `answers` is not one row for each image, or a class is missing.
        """
        found = answers.detach().float()
        if found.ndim > 2 and set(found.shape[2:]) == {1}:  # (n, classes, 1, 1)
            found = found.flatten(1)
        if found.ndim == 1:
            found = found[:, None]
        if found.ndim != 2 or len(found) != n_images:
            raise MeasureError(
                f"{source} must answer one row of class probabilities for each image: asked about "
                f"{n_images}, it returned shape {tuple(answers.shape)}; wrap it in a function that does"
            )
        if found.shape[1] == 1:
            is_logit = self.logits or (self.logits is None and not ((found >= 0) & (found <= 1)).all())
            found = found.sigmoid() if is_logit else found
            found = torch.cat([1 - found, found], dim=1)
        elif self.logits or (self.logits is None and not are_probabilities(found)):
            found = found.softmax(dim=1)
        if self.classes is not None:
            if len(self.classes) != found.shape[1]:
                raise MeasureError(
                    f"{source} answers for {found.shape[1]} classes, but {len(self.classes)} are named; name "
                    "all of them, in the order of its answers"
                )
            found = torch.empty_like(found).index_copy_(1, torch.tensor(list(self.classes)), found)
        return found


def are_probabilities(answers: Tensor) -> bool:
    """Whether the rows (n, n_classes) sum to 1 and hold nothing negative."""
    return bool(((answers.sum(dim=1) - 1).abs() <= SURE).all() and (answers >= -1e-6).all())


def pieces(images: Tensor, side: int | None = None) -> Iterator[Tensor]:
    """Split images (n, channels, height, width) into pieces that a model is asked about at once.

    Args:
        images: of any size.
        side: they will be scaled to this size.
    """
    channels, height, width = images.shape[1:]
    pixels = height * width if side is None else side * side
    yield from images.split(max(1, min(PIECE, PIECE_NUMBERS // max(1, max(channels, 3) * pixels))))


def _numbers(value: float | Sequence[float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return (float(value),) if isinstance(value, int | float) else tuple(map(float, value))
