"""How photographs are read: settings that a user chooses once, wherever data are given."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from spuriscope.checks import is_whole
from spuriscope.errors import ConfigError
from spuriscope.limits import LARGEST_SIDE

__all__ = [
    "Background",
    "Duplicates",
    "Missing",
    "Reading",
    "Unreadable",
    "check_choice",
    "check_image_size",
]

Background: TypeAlias = Literal["white", "black"]
Unreadable: TypeAlias = Literal["refuse", "skip"]
Missing: TypeAlias = Literal["refuse", "allow"]
Duplicates: TypeAlias = Literal["keep", "move"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read from folders, archives and tables.

    Attributes:
        image_size: height and width in pixels that images are brought to: scaled until they cover the square
            (Lanczos), then cropped around the centre. With None they keep their size, the same for all.
        unreadable: "refuse" images that cannot be decoded, or "skip" them; the data set names those skipped.
        background: behind transparent pixels, "white" or "black".
        columns: of a table: names of the columns for "image", "label" and "split", where they are not the
            usual ones.

    Raises:
        ConfigError: a setting is invalid.
    """

    image_size: int | None = None
    unreadable: Unreadable = "refuse"
    background: Background = "white"
    columns: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        check_choice("unreadable", self.unreadable, get_args(Unreadable))
        check_choice("background", self.background, get_args(Background))
        for kind, column in self.columns:
            check_choice("a column", kind, ("image", "label", "split"))
            if not column:
                raise ConfigError(f"the column for {kind} has no name; give one, as {kind}=NAME")


def check_image_size(image_size: int | None) -> None:
    """Refuse a size that images cannot be brought to.

    Raises:
        ConfigError: it is not a whole number from 1 to 1024.
    """
    if image_size is None:
        return
    if not is_whole(image_size) or not 1 <= image_size <= LARGEST_SIDE:
        raise ConfigError(f"image_size is a number of pixels, 1 to {LARGEST_SIDE}, got {image_size!r}")


def check_choice(setting: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those allowed.

    Raises:
        ConfigError: it is not allowed.
    """
    if value not in allowed:
        raise ConfigError(f"{setting} must be one of {', '.join(allowed)}, got {value!r}")
