"""The command that answers the questions in order, on one page."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spuriscope.cli.model_options import ModelOptions, Subject, open_subject, takes_model
from spuriscope.cli.output import (
    DataArgument,
    DeviceOption,
    JsonOption,
    ModelOption,
    PlacementOption,
    PrecisionOption,
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
    from spuriscope.adapters import Fit
    from spuriscope.auditing import Audit, AuditPlan

__all__ = ["audit"]


@takes_model
def audit(
    data: DataArgument = "digits",
    *,
    options: ModelOptions,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|MODEL",
            help="A finished model, in the folder of a run or a file of your own (docs/models.md): asks the "
            "questions that need no training.",
        ),
    ] = None,
    shadows: Annotated[
        int | None,
        typer.Option(
            help="With --run: ask who can be recognised in the model, using this many models trained beside "
            "it, such as 8; for a file of your own with --fit."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and audit.json (default: audit-DATA).")
    ] = None,
    model: ModelOption = None,
    target: Annotated[
        str | None,
        typer.Option(help="Class whose training images carry the pattern, by name or number (default: 0)."),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="Names or pictures, as s3,letters,logo.png, or repeated (default: the paper's seven, as far "
            "as they fit; for slow models s3,r3). Slow are all but MLPs and the CNN."
        ),
    ] = None,
    planted: Annotated[
        str | None,
        typer.Option(
            help="Numbers of images that carry it, as 1,3,10 (default: 1,3,10,30,100; slow models 1,10,100)."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Replications (default: 5, for slow models 3). From 5 on, deletion gets a verdict."
        ),
    ] = None,
    placement: PlacementOption = "fixed",
    size: SizeOption = None,
    relabel: RelabelOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data (default: 8, resnet10 15; more on small data)."),
    ] = None,
    precision: PrecisionOption = None,
    threshold: ThresholdOption = 0.1,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Your own training, fit(images, labels, seed) -> predict, in place of ours: "
            "docs/audit.md. It is executed.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Ask every question with fewer trainings.")] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="Ask with more trainings.")] = False,
    time_limit: Annotated[
        str | None,
        typer.Option(
            help="As 90s, 10m or 2h: shows the answers found by then; the same command continues later."
        ),
    ] = None,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Is there a rare cue in my data already, and would my training pick one up? Writes one page.

    Example: spuriscope audit digits --out audit-digits
    """
    from spuriscope.adapters.imported import import_function
    from spuriscope.auditing import audit as run_audit, check_folder, plan_audit
    from spuriscope.auditing.asking import LATE
    from spuriscope.auditing.estimate import told_estimate
    from spuriscope.progress import audit_progress, rough_duration

    if run is not None:
        given = {"--planted": planted, "--seeds": seeds, "--epochs": epochs, "--target": target}
        given |= {"--fit": fit} if shadows is None else {}
        given |= {"--precision": precision}
        unfit = [name for name, value in given.items() if value is not None]
        if unfit:
            raise ConfigError(f"a finished model is not trained; leave out {', '.join(unfit)}")
        training = None if fit is None else import_function(fit, "fit", ConfigError)
        how = partial(chosen, image_size, unreadable, background, columns)
        subject = open_subject(run, data, root, how, replace(options, anyway=True), model=model)
        _audit_model(
            subject,
            run,
            out,
            as_json=as_json,
            shadows=shadows,
            fit=training,
            patterns=_names(pattern),
            threshold=threshold,
            device=device,
            n_workers=workers,
        )
        return
    if shadows is not None:
        raise ConfigError(
            "--shadows attacks a finished model; name it with --run, or leave it out: an audit of data "
            "always asks who can be recognised"
        )
    if options != ModelOptions():
        raise ConfigError(
            "--factory, --mean and similar options are for a finished model; name it with --run"
        )
    if quick and thorough:
        raise ConfigError("an audit is --quick or --thorough, not both")
    seconds = None if time_limit is None else _seconds(time_limit)
    training = None if fit is None else import_function(fit, "fit", ConfigError)
    image_set = read_data(data, root, chosen(image_size, unreadable, background, columns))
    folder = out if out is not None else Path(f"audit-{image_set.name}")
    plan = plan_audit(
        image_set,
        model=model,
        target=0 if target is None else target,
        patterns=_names(pattern),
        counts=_numbers(planted),
        n_seeds=seeds,
        epochs=epochs,
        threshold=threshold,
        fit=training,
        placement=placement,
        size=size,
        relabel=relabel,
        effort="quick" if quick else "thorough" if thorough else "usual",
        precision=precision or "float32",
    )
    check_folder(folder)
    if model is None and training is None:
        announce_default_model(image_set.shape)
    _announce_plan(plan)
    asks_less = "" if quick else "; --quick asks less"
    typer.echo(f"time: {told_estimate(plan, rough_duration, workers)}{asks_less}", err=True)
    with audit_progress() as on_progress:
        answers = run_audit(
            plan,
            device=device,
            n_workers=workers,
            on_progress=on_progress,
            time_limit=seconds,
            keep=folder,
            command=_command_line(),
        )
    _write(answers, folder, as_json=as_json)
    for missing in answers.unanswered:
        if missing.reason == LATE:
            typer.echo(
                f"unanswered: {missing.question} ({missing.reason}); the same command continues", err=True
            )


def _audit_model(
    subject: Subject,
    run: Path,
    out: Path | None,
    *,
    as_json: bool,
    shadows: int | None,
    fit: "Fit | None",
    patterns: list[str] | None,
    threshold: float,
    device: str,
    n_workers: int | None,
) -> None:
    """The questions about a finished model, on one page."""
    from spuriscope.auditing import audit_model, check_folder
    from spuriscope.auditing.recognition import plan_shadows
    from spuriscope.progress import audit_progress, rough_duration

    folder = out if out is not None else Path(f"audit-{run.stem}")
    check_folder(folder)
    subject.say_mend()
    model = subject.predict if subject.run is None else subject.run.model
    plan = None if shadows is None else plan_shadows(model, subject.data, shadows, fit)
    if plan is not None:
        told = plan.told(plan.kept(folder), rough_duration, n_workers)
        typer.echo(f"time: {told}, plus a search", err=True)
    with audit_progress() as on_progress:
        answers = audit_model(
            model,
            subject.data,
            name=str(run),
            shadows=plan,
            n_workers=n_workers,
            on_progress=on_progress,
            keep=folder,
            command=_command_line(),
            patterns=patterns,
            threshold=threshold,
            device=device,
        )
    _write(answers, folder, as_json=as_json)


def _write(answers: "Audit", folder: Path, *, as_json: bool) -> None:
    """Write the page, and print its first sentence and its place, or everything as JSON."""
    from spuriscope.auditing import write_audit
    from spuriscope.documents import to_document
    from spuriscope.places import kept_elsewhere
    from spuriscope.report.front import headline

    page = kept_elsewhere(partial(write_audit, answers), folder)
    if as_json:
        print_json(to_document(answers))
    else:
        typer.echo(headline(answers))
        typer.echo(f"report: {page.resolve()}")


def _announce_plan(plan: "AuditPlan") -> None:
    """Say on stderr what will be trained; if that is little, how to ask for more."""
    seeds = f"{len(plan.seeds)} {'seed' if len(plan.seeds) == 1 else 'seeds'}"
    said = (
        f"audit: the data as they are, then {', '.join(plan.patterns)} in {', '.join(map(str, plan.counts))} "
        f"images of {plan.data.class_names[plan.target]!r}, {seeds}"
    )
    if plan.fit is None:
        said += f", {plan.recipe.epochs} epochs"
        if plan.recipe.precision != "float32":
            said += f" in {plan.recipe.precision}"
    if plan.is_lean and plan.effort == "usual":
        slow = "your training may be" if plan.fit is not None else f"{plan.model} is"
        said += f"; few, as {slow} slow: --thorough asks for more, --seeds 5 for all verdicts on deletion"
    typer.echo(said, err=True)


def _seconds(text: str) -> float:
    """Seconds of a time as 90s, 10m or 2h; a bare number means seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError:
        raise ConfigError(f"a time limit is written as 90s, 10m or 2h; got {text!r}") from None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _names(given: Sequence[str] | None) -> list[str] | None:
    """Names, separated by commas or repeated."""
    return None if given is None else [name for text in given for name in _parts(text)]


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in _parts(text)]
    except ValueError:
        raise ConfigError(
            f"--planted takes whole numbers with commas between, as 1,3,10; got {text!r}"
        ) from None


def _command_line() -> str:
    return shlex.join(["spuriscope", *sys.argv[1:]])
