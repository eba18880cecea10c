"""What commands print, and the options that several share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "DataArgument",
    "DeviceOption",
    "JsonOption",
    "ModelOption",
    "RootOption",
    "ThresholdOption",
    "WorkersOption",
    "chosen_model",
    "print_json",
    "print_table",
]

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="digits, mnist, fashion-mnist, cifar10, pacs, a folder of class folders or of contexts, or an "
        ".npz file.",
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the files of named data sets (else SPURISCOPE_DATA, else the user's cache)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that train; as many as cores by default.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Architecture; `spuriscope models` lists them (default: mlp for small grey images, "
        "resnet10 or resnet20 for others)."
    ),
]
ThresholdOption = Annotated[float, typer.Option(help="Least rise of a probability that counts.")]


def chosen_model(model: str | None, shape: tuple[int, int, int]) -> str:
    """The architecture that was asked for, or one that suits images of a shape, and says so on stderr."""
    from spuriscope.models import default_model

    if model is not None:
        return model
    found = default_model(shape)
    kind = "grey" if shape[0] == 1 else "colour"
    typer.echo(
        f"model: {found}, for {kind} images of {shape[1]}x{shape[2]}; --model names another, mlp is quickest",
        err=True,
    )
    return found


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(document, indent=1, default=str))


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
