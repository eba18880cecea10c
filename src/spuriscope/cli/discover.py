"""The command that searches a run, or a model in an ONNX file, for a cue, without being told of any."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spuriscope.cli.output import JsonOption, RootOption, ThresholdOption, print_json, print_table
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    announce,
    chosen,
    read_data,
    read_data_of,
)

if TYPE_CHECKING:
    from spuriscope.discovery import Finding

__all__ = ["check_patterns_folder", "discover"]

N_SHOWN = 8


def discover(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="Folder of a run, or an ONNX file of your own.")
    ],
    *,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on, as it saw them (default: as in the run).")
    ] = None,
    root: RootOption = None,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    logits: Annotated[bool, typer.Option(help="The ONNX file gives logits, not probabilities.")] = False,
    probe: Annotated[
        str | None,
        typer.Option(
            help="Data of unrelated images, or a folder of them without classes: what the model calls alike "
            "there proposes where to look."
        ),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Train again without the suspected images: is the effect gone?")
    ] = False,
    patterns: Annotated[
        Path | None, typer.Option(help="New folder for the reconstructed patterns, as found-1.png and so on.")
    ] = None,
    level: Annotated[float, typer.Option(help="False discovery rate.")] = 0.05,
    threshold: ThresholdOption = 0.1,
    seed: Annotated[int, typer.Option(help="Draws the fresh images and the controls.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Has the model picked up a cue? Nobody says which.

    Example: spuriscope discover run --prove --json
    """
    import torch

    from spuriscope.adapters import load_onnx
    from spuriscope.data.catalog import read_unlabelled
    from spuriscope.discovery import discover as search_images
    from spuriscope.errors import ConfigError
    from spuriscope.progress import class_progress
    from spuriscope.runs import load_run
    from spuriscope.searching import search_model

    loaded = None if run.suffix.lower() == ".onnx" else load_run(run)
    reading = chosen(
        image_size, unreadable, background, columns, instead_of=loaded.reading if loaded else None
    )
    if patterns is not None:
        check_patterns_folder(patterns)
    search: dict[str, Any] = {"level": level, "threshold": threshold, "seed": seed}
    if probe is not None:
        unrelated = announce(read_unlabelled(probe, reading, root=root))
        search["unrelated"] = torch.cat([unrelated.train.images, unrelated.test.images])
    if loaded is None:
        if data is None or prove:
            raise ConfigError(f"{run} is searched with --data, its training images, and without --prove")
        about, images = {"model": str(run)}, read_data(data, root, reading)
        predict = load_onnx(run, logits=logits)
        with class_progress() as on_class:
            findings = search_images(
                predict, train=images.train, holdout=images.test, on_class=on_class, **search
            )
    else:
        about = {"cell": loaded.model.cell.hash}
        images = read_data_of(loaded, data, root, reading)
        with class_progress() as on_class:
            findings = search_model(loaded.model, images, prove=prove, on_class=on_class, **search)
    if patterns is not None:
        _save_patterns(findings, patterns)
    if as_json:
        print_json(
            {
                **about,
                "data": images.name,
                "level": level,
                "threshold": threshold,
                "findings": [finding.to_json() for finding in findings],
            }
        )
    else:
        _print(findings, images.class_names, len(images.train))


def _print(findings: "list[Finding]", class_names: tuple[str, ...], n_train: int) -> None:
    if not findings:
        typer.echo(
            f"nothing to report: no group of the {n_train:,} training images both stands out from its class "
            "and moves fresh images"
        )
        return
    rows = []
    for finding in findings:
        shown = ", ".join(map(str, finding.examples[:N_SHOWN]))
        rows.append(
            [
                class_names[finding.target],
                f"{len(finding.examples)}: {shown}" + (", ..." if len(finding.examples) > N_SHOWN else ""),
                f"{finding.score:.3f}",
                f"{max(finding.null, default=0.0):.3f}",
                f"{finding.p_value:.2g}",
                "not asked" if finding.proof is None else f"{finding.proof.score:.3f}",
            ]
        )
    print_table(["pulls to", "training images", "score", "largest control", "p", "score without them"], rows)
    typer.echo("score: share of fresh images of other classes that the reconstructed pattern moves.")


def check_patterns_folder(folder: Path) -> None:
    """Raise ConfigError unless a folder is new or empty: nothing is replaced, no two searches are mixed."""
    from spuriscope.errors import ConfigError

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} holds files already; give a new folder with --patterns")


def _save_patterns(findings: "list[Finding]", folder: Path) -> None:
    from spuriscope.report.pictures import save_picture

    folder.mkdir(parents=True, exist_ok=True)
    for number, finding in enumerate(findings, start=1):
        save_picture(finding.pattern.pixels, folder / f"found-{number}.png")
