"""How commands read DATA: the options for it, and the line on stderr that says how it was interpreted."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spuriscope.errors import ConfigError
from spuriscope.reading import Background, Reading, Unreadable

if TYPE_CHECKING:
    from spuriscope.data import ImageSet
    from spuriscope.runs import Run

__all__ = [
    "BackgroundOption",
    "ColumnsOption",
    "ImageSizeOption",
    "UnreadableOption",
    "announce",
    "chosen",
    "read_data",
    "read_data_of",
]

ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Height and width in pixels that images are brought to: scaled to cover, cropped at the centre "
        "(default: as they are)."
    ),
]
UnreadableOption = Annotated[
    Unreadable | None, typer.Option(help="Photographs that cannot be decoded (default: refuse).")
]
BackgroundOption = Annotated[
    Background | None, typer.Option(help="Behind transparent pixels (default: white).")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Of a table: where images, labels and parts are, as image=FILE,label=KIND,split=PART "
        "(default: columns with usual names)."
    ),
]


def chosen(
    image_size: int | None = None,
    unreadable: Unreadable | None = None,
    background: Background | None = None,
    columns: str | None = None,
    *,
    instead_of: Reading | None = None,
) -> Reading:
    """How to read, from the options given; the rest as in `instead_of`.

    Raises:
        ConfigError: a setting is invalid.
    """
    reading = instead_of or Reading()
    if image_size is not None:
        reading = replace(reading, image_size=image_size)
    if unreadable is not None:
        reading = replace(reading, unreadable=unreadable)
    if background is not None:
        reading = replace(reading, background=background)
    if columns is not None:
        reading = replace(reading, columns=_columns(columns))
    return reading


def read_data(source: str, root: Path | None, reading: Reading) -> "ImageSet":
    """Read DATA, and say on stderr how it was interpreted."""
    from spuriscope.data import read

    return announce(read(source, reading, root=root))


def read_data_of(run: "Run", source: str | None, root: Path | None, reading: Reading) -> "ImageSet":
    """Read the data of a run, and say on stderr how they were interpreted."""
    return announce(run.data(source, root, reading))


def announce(data: "ImageSet") -> "ImageSet":
    """Say on stderr how data were interpreted; nothing if only one way was possible."""
    if data.origin is not None:
        print(f"{data.name}: {data.origin}", file=sys.stderr, flush=True)
    return data


def _columns(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise ConfigError(f"columns are given as image=FILE,label=KIND,split=PART; got {text!r}")
    return tuple(sorted((kind.strip(), name.strip()) for kind, _, name in pairs))
