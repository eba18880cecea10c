"""Commands that list what is built in: patterns and architectures."""

from typing import Annotated

import typer

from spuriscope.cli.output import DataArgument, JsonOption, RootOption, SizeOption, print_json, print_table
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
)

__all__ = ["models", "patterns"]


def patterns(
    data: DataArgument,
    *,
    pattern: Annotated[
        list[str] | None, typer.Option(help="A name or a picture; repeat for several.")
    ] = None,
    size: SizeOption = None,
    seed: Annotated[int, typer.Option(help="Draws the noise of r1, r2 and r3.")] = 0,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the patterns, and how strong each is on a data set (Table 1 has the paper's seven).

    Example: spuriscope patterns digits --seed 4
    """
    from spuriscope.errors import PatternError
    from spuriscope.measures import empirical_norm
    from spuriscope.patterns import (
        ADDED_PATTERNS,
        COVER_NAMES,
        PATTERN_NAMES,
        SHADE_NAMES,
        pattern as make_pattern,
    )

    image_set = read_data(data, root, chosen(image_size, unreadable, background, columns))
    norms: dict[str, float] = {}
    too_large: dict[str, str] = {}
    for name in pattern or (*PATTERN_NAMES, *COVER_NAMES, *SHADE_NAMES, *ADDED_PATTERNS):
        try:
            made = make_pattern(name, image_set.shape, seed=seed, size=size)
        except PatternError as error:
            if pattern:
                raise
            too_large[name] = str(error)
        else:
            norms[made.name] = round(empirical_norm(image_set.test.images, made), 2)
    if as_json:
        print_json({"data": image_set.name, "seed": seed, "norms": norms, "do_not_fit": too_large})
    else:
        rows = [[name, f"{norm:.2f}"] for name, norm in norms.items()] + [
            [name, "does not fit"] for name in too_large
        ]
        print_table(["pattern", "mean L2 distance when stamped"], rows)


def models(as_json: JsonOption = False) -> None:
    """List the architectures and their parameters (Table 2).

    Example: spuriscope models --json
    """
    from spuriscope.cli.names import may_have_plugins
    from spuriscope.known_names import MODELS, KnownModel

    known = dict(MODELS)
    if may_have_plugins():
        from spuriscope.models import ARCHITECTURES, count_parameters

        known |= {
            name: KnownModel(each.title, each.table_shape, count_parameters(name))
            for name, each in ARCHITECTURES.items()
            if name not in MODELS
        }
    if as_json:
        counts = {name: each.n_parameters for name, each in known.items()}
        shapes = {name: list(each.shape) for name, each in known.items()}
        print_json({"parameters": counts, "shapes": shapes, "n_classes": 10})
    else:
        rows = [
            [name, each.title, "x".join(map(str, each.shape)), f"{each.n_parameters:,}"]
            for name, each in known.items()
        ]
        print_table(["name", "in the paper", "input", "parameters"], rows)
