"""Commands about data sets: list the known ones, verify them, and prepare photographs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spuriscope.cli.gate import Command
from spuriscope.cli.output import DataArgument, JsonOption, RootOption, print_json, print_table
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
)
from spuriscope.reading import Duplicates, Missing

if TYPE_CHECKING:
    from spuriscope.data import Verification

__all__ = ["data_app"]

data_app = typer.Typer(help="The data sets known by name.", no_args_is_help=True, rich_markup_mode=None)


@data_app.command("list", cls=Command)
def data_list(root: RootOption = None, as_json: JsonOption = False) -> None:
    """List the data sets known by name, and where they were found.

    Example: spuriscope data list
    """
    from spuriscope.data import list_data
    from spuriscope.data.added import DATA_SETS

    listings = list_data(root)
    of_plugins = list(DATA_SETS)
    if as_json:
        print_json({"data": [asdict(listing) for listing in listings], "of_plugins": of_plugins})
    else:
        rows = [
            [item.name, item.about, f"{item.n_train:,} + {item.n_test:,}", str(item.found or "not here")]
            for item in listings
        ]
        print_table(["name", "shows", "train + test", "found in"], rows)
        if of_plugins:
            typer.echo(f"of plugins: {', '.join(of_plugins)}")


@data_app.command("verify", cls=Command)
def data_verify(
    data: DataArgument,
    *,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read all of a data set and check it.

    Example: spuriscope data verify digits
    """
    from spuriscope.data import verify

    found = verify(data, root, chosen(image_size, unreadable, background, columns))
    if as_json:
        print_json(asdict(found))
    else:
        _print_verification(found)


@data_app.command("prepare", cls=Command)
def data_prepare(
    source: Annotated[Path, typer.Argument(help="Folder CONTEXT/CLASS/*.jpg, or a .tar of it.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to make; other commands take it as DATA.")],
    image_size: Annotated[
        int | None, typer.Option(help="Height and width in pixels (default: as the images are).")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Draws which seven tenths are for training.")] = 0,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    missing: Annotated[Missing, typer.Option(help="Contexts that lack a class.")] = "refuse",
    duplicates: Annotated[
        Duplicates, typer.Option(help="Test images almost equal to a training image; moved to training.")
    ] = "keep",
    as_json: JsonOption = False,
) -> None:
    """Decode photographs with contexts once, into a memory-mapped file: any number of them.

    Example: spuriscope data prepare NICO/train --image-size 64 --out nico-64
    """
    from spuriscope.data import verify
    from spuriscope.data.contexts import prepare_contexts

    prepare_contexts(
        source,
        out,
        image_size=image_size,
        seed=split_seed,
        unreadable=unreadable or "refuse",
        background=background or "white",
        missing=missing,
        duplicates=duplicates,
        name=out.resolve().name,
    )
    found = verify(out)
    if as_json:
        print_json({"out": str(out), **asdict(found)})
    else:
        _print_verification(found)
        typer.echo(f"written to {out}")


@data_app.command("cache", cls=Command)
def data_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete its content.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show where decoded photographs are kept, and their size.

    Example: spuriscope data cache --clear
    """
    from spuriscope.data.cache import cache_state, clear_cache

    state = clear_cache() if clear else cache_state()
    if as_json:
        print_json({**asdict(state), "cleared": clear})
    else:
        typer.echo(
            f"{state.folder}: {state.n_entries} decoded data sets, {state.n_bytes / 1e6:,.1f} MB"
            + (", deleted" if clear else "")
        )


def _print_verification(found: "Verification") -> None:
    typer.echo(
        f"{found.name}: images of {'x'.join(map(str, found.shape))}, fingerprint {found.fingerprint[:16]}"
    )
    rows = [[name, f"{n:,}", f"{found.test_counts[name]:,}"] for name, n in found.train_counts.items()]
    print_table(["class", "train", "test"], rows)
    if found.context_counts:
        rows = [[name, f"{train:,}", f"{test:,}"] for name, (train, test) in found.context_counts.items()]
        print_table(["context", "train", "test"], rows)
        typer.echo(f"{len(found.near_duplicates)} test images are almost equal to a training image")
    for name in found.skipped:
        typer.echo(f"skipped: {name}")
    for file in found.files:
        content = {
            True: "published content",
            False: "other content than published",
            None: "content not published",
        }
        same = "the published file" if file.is_identical else content[file.has_published_content]
        typer.echo(f"{file.path}: {same}")
