"""Commands for studies: run, list, status, export, draw, check."""

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spuriscope.cli.gate import Command
from spuriscope.cli.output import (
    DeviceOption,
    JsonOption,
    RootOption,
    WorkersOption,
    print_json,
    print_table,
)
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spuriscope.studies import Executor
    from spuriscope.studies.source import Source

__all__ = ["study_app"]

study_app = typer.Typer(
    help="Many trainings and their measures, kept in one store and resumed where they stopped.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

StoreOption = Annotated[Path, typer.Option(help="Folder of the store.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a study in the store.")]
DrawnArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a study, or all that can be drawn: all; or fig7, fig9, fig10, fig11: theory.",
    ),
]
RowsOption = Annotated[
    Path | None, typer.Option(help="Folder of files of study export, in place of a store.")
]


@study_app.command("run", cls=Command)
def study_run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study of the paper, or a .yaml file.")],
    *,
    data: Annotated[str, typer.Option(help="As for audit.")] = "digits",
    size: Annotated[
        Literal["smoke", "short", "paper"],
        typer.Option(help="How many seeds and epochs; a .yaml file says its own."),
    ] = "smoke",
    seeds: Annotated[
        int | None, typer.Option(help="Replications, in place of those of the size or the .yaml file.")
    ] = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option(help="CSV of study export: its cells are taken and not trained again; may be repeated."),
    ] = None,
    store: StoreOption = Path("store"),
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where trainings run: here, or on a cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster: host:6379, or auto; else Ray starts here.")
    ] = None,
    retry: Annotated[bool, typer.Option(help="Try failed cells again.")] = False,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors file to start from, such as ResNet50's of ImageNet.")
    ] = None,
    checkpoints: Annotated[bool, typer.Option(help="Keep the weights of every model.")] = True,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and measure what is not in the store yet.

    Example: spuriscope study run fig2 --data digits --size smoke
    """
    from dataclasses import asdict, replace

    from spuriscope.progress import training_progress
    from spuriscope.studies import THEORY, Store, paper_grid, read_grid, run_study
    from spuriscope.studies.exported import read_exported

    if name in THEORY:
        if as_json:
            print_json({"study": name, "n_cells": 0, "n_trained": 0, "n_failed": 0})
        else:
            typer.echo(
                f"{name} is theory and trains nothing; draw it: spuriscope study draw {name} --out figures"
            )
        return
    exported = [read_exported(path) for path in rows or ()]
    image_set = read_data(data, root, chosen(image_size, unreadable, background, columns))
    is_file = name.endswith((".yaml", ".yml"))
    grid = read_grid(Path(name)) if is_file else paper_grid(name, size, image_set.name)
    n_seeds = grid.n_seeds if seeds is None else seeds
    study = replace(grid, weights=weights or grid.weights, n_seeds=n_seeds).expand(image_set)
    trainer = _executor(executor, device, workers, address)
    try:
        with Store(store) as opened, training_progress() as on_progress:
            outcome = run_study(
                study,
                image_set,
                opened,
                trainer,
                retry=retry,
                keep_checkpoints=checkpoints,
                rows=exported,
                on_progress=on_progress,
            )
            failures = opened.failures(study.name)
    finally:
        trainer.close()
    if as_json:
        print_json({"study": study.name, "store": str(store), **asdict(outcome), "failures": failures})
        _refuse_all_failed(study.name, outcome.n_cells, failures)
        return
    if outcome.passed_over:
        typer.echo(f"passed over: {outcome.passed_over}")
    already = outcome.n_cells - outcome.n_trained - outcome.n_measured - outcome.n_failed - outcome.n_taken
    typer.echo(
        f"{study.name}: {outcome.n_cells} cells, {outcome.n_trained} trained, {already} done before, "
        + (f"{outcome.n_taken} from rows, " if rows else "")
        + f"{outcome.n_failed} failed"
        + (f"; {len(study.games)} games, {outcome.n_judged} judged" if study.games else "")
    )
    for cell, reason in failures.items():
        typer.echo(f"failed: {cell}: {reason}")
    _refuse_all_failed(study.name, outcome.n_cells, failures)


def _refuse_all_failed(study: str, n_cells: int, failures: Mapping[str, str]) -> None:
    """Raise TrainingError of a study that has nothing but failures."""
    from spuriscope.errors import TrainingError

    if failures and len(failures) == n_cells:
        reason = next(iter(failures.values())).rstrip(".")
        raise TrainingError(
            f"{study}: all {n_cells} cells failed, the first because {reason}; mend that, and add --retry"
        )


@study_app.command("list", cls=Command)
def study_list(as_json: JsonOption = False) -> None:
    """The studies of the paper, and their sizes.

    Example: spuriscope study list
    """
    from spuriscope.studies import SIZES, STUDIES, THEORY

    about = {name: study.title for name, study in STUDIES.items()} | THEORY
    if as_json:
        print_json({"studies": about, "sizes": list(SIZES)})
    else:
        print_table(["study", "shows"], [[name, text] for name, text in about.items()])
        typer.echo(f"sizes: {', '.join(SIZES)}")


@study_app.command("status", cls=Command)
def study_status(store: StoreOption = Path("store"), as_json: JsonOption = False) -> None:
    """What is done, failed and left in a store.

    Example: spuriscope study status --store store
    """
    from spuriscope.studies import Store
    from spuriscope.training.many import n_cores

    with Store(store, writes=False) as opened:
        studies = opened.studies()
        failures = {row["name"]: opened.failures(row["name"]) for row in studies}
    for row in studies:
        row["n_left"] = row["n_cells"] - row["n_done"] - row["n_failed"]
        seconds = row["mean_seconds"]
        row["seconds_left"] = None if seconds is None else round(row["n_left"] * seconds / n_cores())
        row["failures"] = failures[row["name"]]
    if as_json:
        print_json({"store": str(store), "studies": studies})
        return
    print_table(
        ["study", "cells", "done", "failed", "left", "time left"],
        [
            [
                row["name"],
                *(f"{row[key]:,}" for key in ("n_cells", "n_done", "n_failed", "n_left")),
                _time(row),
            ]
            for row in studies
        ],
    )


@study_app.command("export", cls=Command)
def study_export(
    name: NameArgument,
    *,
    out: Annotated[Path, typer.Option(help="File to write.")],
    form: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Of the file (default: what its name ends with, else csv)."),
    ] = None,
    store: StoreOption = Path("store"),
    root: RootOption = None,
) -> None:
    """Write one row for each cell and measure; of fig2 the norms of its patterns too, where images are found.

    Example: spuriscope study export fig2-digits --store store --out fig2-digits.csv
    """
    from spuriscope.errors import ConfigError, DataError
    from spuriscope.studies import Store
    from spuriscope.studies.claims import has_norms
    from spuriscope.studies.export import export, with_norm_rows

    with Store(store, writes=False) as opened:
        study = _called(opened, name)
        rows = opened.rows(study)
        if has_norms(study):
            try:
                rows = with_norm_rows(opened, rows, root)
            except (ConfigError, DataError) as error:
                typer.echo(f"without the norms of its patterns: {error}", err=True)
        n_rows = export(rows, out, form or _form_of(out))
    typer.echo(f"{n_rows:,} rows written to {out}")


@study_app.command("draw", cls=Command)
def study_draw(
    name: DrawnArgument,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    store: StoreOption = Path("store"),
    rows: RowsOption = None,
    form: Annotated[
        Literal["svg", "png"] | None, typer.Option("--format", help="Of figures (default: both).")
    ] = None,
    root: RootOption = None,
) -> None:
    """Draw a study as SVG and PNG, or write its table as CSV; from a store, or from exported rows alone.

    Example: spuriscope study draw fig2-digits --store store --out figures
    """
    from spuriscope.errors import ConfigError
    from spuriscope.studies import THEORY
    from spuriscope.studies.figures import FORMS, draw, draw_theory

    forms = FORMS if form is None else (form,)
    if name in THEORY:
        files = draw_theory(name, out, forms=forms)
    else:
        with _source(store, rows) as source:
            if name != "all":
                files = draw(source, _called(source, name), out, root=root, forms=forms)
            else:
                from spuriscope.studies.verdicts import figures, judge

                files = []
                for each in figures(source, judge(source, root=root)):
                    try:
                        files += draw(source, each, out, root=root, forms=forms)
                    except ConfigError as error:
                        typer.echo(f"{each} is not drawn: {error}", err=True)
    for path in files:
        typer.echo(str(path))


@study_app.command("check", cls=Command)
def study_check(
    *,
    store: StoreOption = Path("store"),
    rows: RowsOption = None,
    judge_on: Annotated[
        list[str] | None,
        typer.Option(help="Judge on this data set, not on those the paper speaks of; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the page of verdicts here; what stands around its marks stays.")
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(help="With --out: write its table in short between the marks of this page.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the paper's claims on a store, or on exported rows: each holds, fails, or has not enough data.

    Example: spuriscope study check --store store --judge-on mnist
    """
    from spuriscope.errors import ConfigError
    from spuriscope.studies.mitigation import choices
    from spuriscope.studies.results import read_results
    from spuriscope.studies.verdict_page import write_pages
    from spuriscope.studies.verdicts import judge

    if readme is not None and out is None:
        raise ConfigError("--readme has the table in short and links to the page; give --out too")
    with _source(store, rows) as source:
        verdicts = judge(source, judge_on, root)
        if out is not None:
            write_pages(source, verdicts, out, readme)
        studies = source.studies()
        compared = [row["name"] for row in studies if row["figure"] == "strengths"]
        chosen = {name: choices(read_results(source, name)) for name in compared}
    unfinished = [row for row in studies if row.get("n_done", 0) < row.get("n_cells", 0)]
    if as_json:
        claims = [each.to_json() for each in verdicts]
        strengths = {name: [choice.to_json() for choice in found] for name, found in chosen.items()}
        where = {"store": str(store)} if rows is None else {"rows": str(rows)}
        print_json(where | {"unfinished": unfinished, "claims": claims, "chosen_strengths": strengths})
        return
    if out is not None:
        typer.echo("\n".join(str(path) for path in (out, readme) if path is not None))
        return
    for row in unfinished:
        typer.echo(f"{row['name']} is not finished: {row['n_done']:,} of {row['n_cells']:,} cells")
    for each in verdicts:
        typer.echo(f"{each.claim.name}: {each.overall.verdict}")
        typer.echo(f"  rule: {each.claim.stated}")
        for case in each.overall.cases:
            typer.echo(f"  {case.name}: {case.verdict}: {case.numbers}")
        for on in each.on:
            if on.standing != "not run":
                typer.echo(f"  on {on.data} alone: {on.standing}, {on.n_seeds} seeds")
    for name, found in chosen.items():
        if found:
            typer.echo(f"{name}: the strength with the smallest score within a point of clean accuracy")
        for choice in found:
            typer.echo(f"  {choice}")


@contextmanager
def _source(store: Path, rows: Path | None) -> "Iterator[Source]":
    """The rows of a folder of exported files if one is given, else those of a store."""
    from spuriscope.studies import Store
    from spuriscope.studies.exported import ExportedFolder

    if rows is not None:
        yield ExportedFolder(rows)
        return
    with Store(store, writes=False) as opened:
        yield opened


def _called(source: "Source", name: str) -> str:
    """The name of a study or a figure: as given, or with its data set, if there is only one."""
    from spuriscope.errors import ConfigError

    names = [str(row["name"]) for row in source.studies()]
    of_data = [each for each in names if each.startswith(f"{name}-")]
    if name in names or "-" in name:
        return name
    if not of_data:  # a figure that other studies are drawn in
        of_data = [f"{name}-{data}" for data in {each.partition("-")[2] for each in names} if data]
    if len(of_data) > 1:
        raise ConfigError(f"{source.folder} has several data sets; name one of {', '.join(sorted(of_data))}")
    return of_data[0] if of_data else name


def _form_of(out: Path) -> Literal["csv", "parquet"]:
    """What the name of a file ends with."""
    return "parquet" if out.suffix.lower() in (".parquet", ".pq") else "csv"


def _executor(
    name: Literal["local", "ray"], device: str, workers: int | None, address: str | None
) -> "Executor":
    from spuriscope.training import Trainer

    if name == "local":
        return Trainer(device, workers)
    from spuriscope.studies.ray_executor import RayExecutor

    return RayExecutor(address, n_gpus_per_task=0 if device == "cpu" else None)


def _time(row: dict[str, Any]) -> str:
    seconds = row["seconds_left"]
    return "unknown" if seconds is None else f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
