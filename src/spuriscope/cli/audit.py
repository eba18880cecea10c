"""The command that answers the questions in order, on one page."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spuriscope.cli.output import (
    DataArgument,
    DeviceOption,
    JsonOption,
    ModelOption,
    PlacementOption,
    RelabelOption,
    RootOption,
    SizeOption,
    ThresholdOption,
    WorkersOption,
    announce_default_model,
    print_json,
)
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
)
from spuriscope.errors import ConfigError

if TYPE_CHECKING:
    from spuriscope.auditing import AuditPlan

__all__ = ["audit"]


def audit(
    data: DataArgument = "digits",
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and audit.json (default: audit-DATA).")
    ] = None,
    model: ModelOption = None,
    target: Annotated[
        str | None,
        typer.Option(help="Class whose training images carry the pattern, by name or number (default: 0)."),
    ] = None,
    patterns: Annotated[
        str | None,
        typer.Option(
            help="Names or pictures, as s3,letters,logo.png (default: the paper's seven, as far as they fit; "
            "for slow models s3,r3). Slow are all but MLPs and the CNN."
        ),
    ] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            help="How many images carry it, as 1,3,10 (default: 1,3,10,30,100; for slow models 1,10,100)."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Replications (default: 5, for slow models 3). From 5 on, deletion has enough for a verdict."
        ),
    ] = None,
    placement: PlacementOption = "fixed",
    size: SizeOption = None,
    relabel: RelabelOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data (default: 8, resnet10 15; more on small data)."),
    ] = None,
    threshold: ThresholdOption = 0.1,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Would my training pick up a rare cue? Writes one page.

    Example: spuriscope audit digits --out audit-digits
    """
    from spuriscope.auditing import audit as run_audit, check_folder, plan_audit, write_audit
    from spuriscope.progress import Estimate, training_progress
    from spuriscope.report.front import headline

    image_set = read_data(data, root, chosen(image_size, unreadable, background, columns))
    folder = out if out is not None else Path(f"audit-{image_set.name}")
    plan = plan_audit(
        image_set,
        model=model,
        target=0 if target is None else target,
        patterns=_parts(patterns),
        counts=_numbers(counts),
        n_seeds=seeds,
        epochs=epochs,
        threshold=threshold,
        placement=placement,
        size=size,
        relabel=relabel,
    )
    check_folder(folder)
    if model is None:
        announce_default_model(image_set.shape)
    _announce_plan(plan)
    with training_progress() as on_progress:
        estimate = Estimate(plan.n_trainings, on_progress, more="searches and deletions besides")
        document = run_audit(
            plan, device=device, n_workers=workers, on_progress=estimate, command=_command_line()
        )
    page = write_audit(document, folder)
    if as_json:
        print_json(document)
    else:
        typer.echo(headline(document))
        typer.echo(f"report: {page.resolve()}")


def _announce_plan(plan: "AuditPlan") -> None:
    """Say on stderr what will be trained; where that is little, how to ask for more."""
    seeds = f"{len(plan.seeds)} {'seed' if len(plan.seeds) == 1 else 'seeds'}"
    said = (
        f"audit: {', '.join(plan.patterns)} in {', '.join(map(str, plan.counts))} images, {seeds}, "
        f"{plan.recipe.epochs} epochs; about {plan.n_trainings:,} trainings"
    )
    if plan.is_lean:
        said += (
            f"; few, as {plan.model} is slow: --patterns, --counts and --epochs ask for others, --seeds 5 "
            "for every verdict on deletion"
        )
    typer.echo(said, err=True)


def _parts(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def _numbers(text: str | None) -> list[int] | None:
    parts = _parts(text)
    try:
        return [int(part) for part in parts] if parts is not None else None
    except ValueError:
        raise ConfigError(f"counts are whole numbers with commas between, as 1,3,10; got {text!r}") from None


def _command_line() -> str:
    return shlex.join(["spuriscope", *sys.argv[1:]])
