"""What commands print, and options that several share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spuriscope.checks import strict_json

__all__ = [
    "DataArgument",
    "DeviceOption",
    "JsonOption",
    "ModelOption",
    "Placement",
    "PlacementOption",
    "Precision",
    "PrecisionOption",
    "RelabelOption",
    "RootOption",
    "SizeOption",
    "ThresholdOption",
    "WorkersOption",
    "announce_default_model",
    "print_json",
    "print_table",
]

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="digits, mnist, fashion-mnist, cifar10, pacs, a folder of class folders, of train and test or "
        "of contexts, a .tar of it, a .csv, a .parquet, or an .npz file.",
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the files of named data sets (else SPURISCOPE_DATA, else the user's cache)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Precision = Literal["float32", "tf32", "bfloat16", "auto"]  # as in training.recipe
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="Of matrix products in training; auto tries which is fastest here (default: float32)."),
]
Device = Literal["auto", "cpu", "cuda"]
DeviceOption = Annotated[
    Device, typer.Option(help="Where models train; auto takes a GPU where there is one.")
]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that train; one per core by default.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Architecture; `spuriscope models` lists them (default: mlp for small grey images, "
        "resnet10 or resnet20 for others)."
    ),
]
Placement = Literal["fixed", "anywhere"]  # as in planting, which imports torch
PlacementOption = Annotated[
    Placement, typer.Option(help="Where patterns stand: as they were made, or drawn for each image.")
]
SizeOption = Annotated[
    int | None,
    typer.Option(help="Of covers and pictures, in pixels: the longer side (default: their own)."),
]
RelabelOption = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS|all",
        help="Stamp images of this class, or of all but the target, and give them the target's label "
        "(default: images of the target, which keep theirs).",
    ),
]
ThresholdOption = Annotated[float, typer.Option(help="Least rise of a probability that counts.")]


def announce_default_model(shape: tuple[int, int, int], how: str = "") -> None:
    """Say on stderr which architecture is the default for images (channels, height, width).

    Args:
        shape: of the images.
        how: further text, on how it is trained.
    """
    from spuriscope.models import default_model

    channels, height, width = shape
    kind = "grey" if channels == 1 else "colour"
    said = (
        f"model: {default_model(shape)}, for {kind} images of {height}x{width}; --model names another" + how
    )
    typer.echo(said, err=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout; it never holds NaN or infinity."""
    typer.echo(strict_json(document))


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout, as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table)
