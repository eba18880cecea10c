"""The command that makes a run forget images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spuriscope.cli.model_options import (
    ModelArgument,
    ModelOptions,
    StateDictOption,
    form_of,
    is_model_file,
    takes_model,
)
from spuriscope.cli.output import JsonOption, RootOption, ThresholdOption, print_json, print_table
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
    read_data_of,
)
from spuriscope.errors import ConfigError

if TYPE_CHECKING:
    from spuriscope.reading import Reading

__all__ = ["forget"]


@takes_model
def forget(
    run: ModelArgument,
    *,
    options: ModelOptions,
    model: StateDictOption = None,
    method: Annotated[
        str,
        typer.Option(
            help="repair, influence-path, incremental, ascent, influence, influence-lissa, influence-ekfac, "
            "or retrain."
        ),
    ] = "repair",
    images: Annotated[
        str | None,
        typer.Option(
            help="Training images, by position as 1,2,3 or by name, or a file with one per line "
            "(default: those with a planted pattern)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the new run, or file for the new weights; it must be new.")
    ] = None,
    oracle: Annotated[
        bool, typer.Option(help="Compare with a training from the start without the images.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is in the folder already.")] = False,
    threshold: ThresholdOption = 0.1,
    data: Annotated[str | None, typer.Option(help="The data it was trained on, if it has moved.")] = None,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run forget training images, or repair weights of your own, and measure what is left.

    Weights (.pt, .pth, .safetensors) are searched, and each cue that is found is repaired. Other methods
    delete the images of each cue, or those that --images names; then nothing is searched.

    Example: spuriscope forget run --method repair --out repaired
    """
    import sys

    from spuriscope.deletion.methods import find_method
    from spuriscope.forgetting import forget as forget_images
    from spuriscope.places import kept_elsewhere
    from spuriscope.runs import check_out, load_run, save_run

    find_method(method)
    how = partial(chosen, image_size, unreadable, background, columns)
    if is_model_file(run):
        _mend_file(
            run,
            data,
            root,
            how(),
            options,
            model=model,
            images=images,
            out=out,
            threshold=threshold,
            method=method,
            refused={"--oracle": oracle, "--overwrite": overwrite},
            as_json=as_json,
        )
        return
    if options != ModelOptions() or model is not None:
        raise ConfigError(f"{run} is a run: leave out the options for a model in a file")
    loaded = load_run(run)
    reading = how(instead_of=loaded.reading)
    image_set = read_data_of(loaded, data, root, reading)
    positions = None if images is None else _positions(images, image_set.train.names)
    if out is not None:
        check_out(out, overwrite=overwrite)
    what = f"{method}, and a training without the images" if oracle else method
    print(f"forgetting: {what}", file=sys.stderr, flush=True)
    forgotten, found = forget_images(
        loaded, image_set, positions, method, with_oracle=oracle, threshold=threshold
    )
    if out is not None:
        kept_elsewhere(lambda place: save_run(place, forgotten, overwrite=overwrite), out)
    if as_json:
        print_json({"run": str(run), "out": None if out is None else str(out), **found})
    else:
        _print(found)
        typer.echo("not saved; --out names a folder" if out is None else f"written: {out}")


def _mend_file(
    path: Path,
    source: str | None,
    root: Path | None,
    reading: "Reading",
    options: ModelOptions,
    *,
    model: str | None,
    images: str | None,
    out: Path | None,
    threshold: float,
    method: str,
    refused: dict[str, bool],
    as_json: bool,
) -> None:
    """Search a user's weights for cues and remove each, or make them forget named images."""
    from spuriscope.adapters.stored import is_whole_model, save_weights, state_dict_module
    from spuriscope.forgetting import forget_of_module, mend_module
    from spuriscope.places import check_new_file, kept_elsewhere
    from spuriscope.progress import class_progress

    if path.suffix.lower() not in (".pt", ".pth", ".safetensors") or is_whole_model(path):
        raise ConfigError(
            f"{path} cannot be trained on; give its weights, a state dict (.pt, .pth, .safetensors), with "
            "--model or --factory"
        )
    given = [name for name, is_given in refused.items() if is_given]
    if given:
        raise ConfigError(f"{', '.join(given)} is for a run, and {path} is a file of weights; leave it out")
    if source is None:
        raise ConfigError(f"say what {path} was trained on, for example --data digits")
    if out is not None:
        check_new_file(out)
    data = read_data(source, root, reading)
    form = form_of(options, data.class_names)
    module = state_dict_module(
        path, architecture=model, factory=options.factory, shape=data.shape, n_classes=data.n_classes
    )
    positions = None if images is None else _positions(images, data.train.names)
    if positions is not None and method != "repair":
        found = forget_of_module(module, data, positions, method, **form)
    else:
        with class_progress() as on_class:
            found = mend_module(
                module, data, images=positions, method=method, threshold=threshold, on_class=on_class, **form
            )
    if out is not None:
        kept_elsewhere(partial(save_weights, found.module), out)
    if as_json:
        cues = [
            {**each.finding.to_json(), "before": each.before, "after": each.after} for each in found.mended
        ]
        accuracies = {"clean_accuracy_before": found.accuracy_before, "clean_accuracy": found.accuracy_after}
        images_forgotten = {
            "images": found.images,
            "confidence_before": found.confidence_before,
            "confidence": found.confidence_after,
        }
        print_json(
            {
                "model": str(path),
                "out": None if out is None else str(out),
                "method": method,
                "cues": cues,
                **(images_forgotten if found.images else {}),
                **accuracies,
            }
        )
        return
    if found.images:
        typer.echo(
            f"{method}: {len(found.images):,} images; mean probability of their own class "
            f"{found.confidence_before:.3f} before, {found.confidence_after:.3f} after"
        )
    elif not found.mended:
        typer.echo("nothing found, so nothing to repair")
    rows = [
        [
            data.class_names[each.finding.target],
            f"{len(each.finding.examples)}: {', '.join(each.finding.shown[:8])}",
            f"{each.before:.3f}",
            f"{each.after:.3f}",
        ]
        for each in found.mended
    ]
    if rows:
        print_table(["pulls to", "training images", "score before", "score after"], rows)
    typer.echo(f"clean accuracy {found.accuracy_before:.3f} before, {found.accuracy_after:.3f} after")
    typer.echo("not saved; --out names a file" if out is None else f"written: {out}")


def _positions(text: str, names: tuple[str, ...] | None) -> list[int]:
    """Positions, or names of images: from the text, separated by commas, or from the lines of a file."""
    known = {name: position for position, name in enumerate(names or ())}
    parts = _parts(text)
    if len(parts) == 1 and not parts[0].isdecimal() and text not in known:
        try:
            parts = _parts(Path(text).read_text(encoding="utf-8"))
        except (ValueError, OSError):
            raise ConfigError(
                f"no training image is called {text!r}, nor is it a file with their positions or names; "
                "give positions as 1,2,3, or names as `discover` prints them"
            ) from None
    unknown = [part for part in parts if not part.isdecimal() and part not in known]
    if unknown:
        raise ConfigError(
            f"no training image is called {unknown[0]!r} ({len(unknown)} of {len(parts)} are unknown); "
            "give positions as 1,2,3, or names as `discover` prints them"
        )
    return [known[part] if part in known else int(part) for part in parts]


def _parts(text: str) -> list[str]:
    """Whole numbers separated by commas, spaces or lines; or names, which may hold spaces."""
    numbers = text.replace(",", " ").split()
    if all(part.isdecimal() for part in numbers):
        return numbers
    return [part.strip() for part in text.replace(",", "\n").splitlines() if part.strip()]


def _print(found: dict[str, Any]) -> None:
    n = len(found["images"])
    typer.echo(f"{found['method']}: {n:,} {'image' if n == 1 else 'images'} in {found['seconds']:.1f} s")
    keys = ("spurious_score", "spurious_score_non_target", "spurious_accuracy")
    rows = []
    for state in (state for state in ("before", "after", "oracle") if state in found):
        for plant in found[state]["plants"] or [None]:
            name = f"{plant['pattern']} -> {plant['target']}" if plant else "none"
            numbers = [f"{plant[key]:.3f}" if plant else "" for key in keys]
            rows.append([name, state, *numbers, f"{found[state]['clean_accuracy']:.3f}"])
    header = ["plant", "", "score (all)", "score (non-target)", "spurious accuracy", "clean accuracy"]
    print_table(header, rows)
