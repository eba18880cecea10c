"""The audit: a user's questions about her data, answered in order, on one page.

Each question has its own module beside this one. The result is a value (`spuriscope.answers`); audit.json
holds it (docs/audit-json.md), and the page shows only its content.
"""

import inspect
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeGuard

import spuriscope
from spuriscope.adapters import Fit
from spuriscope.answers import FORMAT, Audit, Conditions, Settings
from spuriscope.argument_types import checked
from spuriscope.auditing.asking import LATE, ask_questions
from spuriscope.auditing.course import Course, OnAudit, time_limit as limited
from spuriscope.auditing.deletion import n_methods
from spuriscope.auditing.finished import data_facts
from spuriscope.auditing.kept import Kept, key_of, let_go, source_of
from spuriscope.auditing.plan import AuditPlan, plan_audit
from spuriscope.checks import check_number
from spuriscope.data.given import Given, as_image_set
from spuriscope.data.image_set import ImageSet
from spuriscope.data.pixels import ChannelOrder
from spuriscope.documents import from_document, parse_json, to_json_text
from spuriscope.environment import environment
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.places import check_place, written
from spuriscope.report.page import render
from spuriscope.training import Trainer, Trains
from spuriscope.training.fitted import FitTrainer

__all__ = ["Audit", "audit", "check_folder", "load_audit", "write_audit"]


@checked(ConfigError)
def audit(
    plan: AuditPlan | ImageSet | None = None,
    *,
    train: Given | None = None,
    test: Given | None = None,
    fit: Fit | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "your data",
    channels: ChannelOrder | None = None,
    image_size: int | None = None,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnAudit | None = None,
    time_limit: float | None = None,
    keep: str | Path | None = None,
    command: str | None = None,
    **settings: Any,
) -> Audit:
    """Is there a cue in the data already, and would one be picked up, noticed, and removed again?

    Give a plan, or a data set, or your own images; with the last two, optionally your own training:
    `audit(train=(images, labels), test=(more, their_labels), fit=my_training, effort="quick")`.

    Args:
        plan: see `plan_audit`; or a data set, from which it is made with the settings.
        train: training images in place of a plan's: a `Split`, a pair of arrays, a data set of torch,
            torchvision or Hugging Face, a pandas frame; see docs/data.md.
        test: test images, in the same forms.
        fit: your training function, `fit(images, labels, seed) -> predict`, see `plan_audit`.
        class_names: of the labels in `train` and `test`; by default their numbers.
        name: what the page calls these data.
        channels: "first" or "last", where the shape of arrays in `train` and `test` does not tell.
        image_size: height and width that their images are brought to.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; one per core by default.
        on_progress: called after each step with an `AuditProgress`.
        time_limit: in seconds; answers found by then are returned, the other questions are `unanswered`.
        keep: the folder that the page will be in. Answers are kept there until `write_audit` has written the
            page, so that a stopped audit continues where it was.
        command: the command that repeats the audit, for the page.
        settings: the other arguments of `plan_audit`, where there is no plan: patterns, counts, target, ...

    Returns:
        The answers; `write_audit` makes a page and a file of them.

    Raises:
        ConfigError: there is neither a plan nor images, or both, or `fit` gives no function.
        DataError: the images have no known form.
        MeasureError: the function that `fit` returns does not give probabilities.
        TrainingError: a model could not be trained, or `fit` failed.
    """
    start = time.monotonic()
    if train is not None and test is not None and plan is None:
        plan = as_image_set(
            train, test, class_names=class_names, name=name, channels=channels, image_size=image_size
        )
    elif plan is not None and (train is not None or test is not None):
        raise ConfigError(
            "a plan and a data set have their images; leave out train= and test=, or give them alone"
        )
    if time_limit is not None:
        check_number("time_limit", time_limit, above=0)
    plan = _settled(plan, fit, settings)
    course = Course(plan.stages(n_methods(plan)), on_progress)
    trainer: Trains[Any] = (
        Trainer(device, n_workers, course.trained)
        if plan.fit is None
        else FitTrainer(plan.fit, course.trained)
    )
    conditions = _conditions(plan, command, device)
    key = key_of((conditions.spuriscope, conditions.data, conditions.settings, source_of(plan.fit)))
    kept = Kept.at(None if keep is None else Path(keep), key)
    try:
        with limited(time_limit):
            answers = ask_questions(plan, conditions, trainer, course, kept)
    except SpuriscopeError as error:
        if kept.is_empty:
            raise
        raise type(error)(f"{error}; earlier answers are kept: call it again to continue") from None
    seconds = round(time.monotonic() - start, 1)
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    if not any(each.reason == LATE for each in answers.unanswered):
        kept.complete(created)
    return replace(answers, conditions=replace(answers.conditions, created=created, seconds=seconds))


def _settled(plan: AuditPlan | ImageSet | None, fit: Fit | None, settings: dict[str, Any]) -> AuditPlan:
    """The plan itself, or that of a data set with these settings."""
    if plan is None:
        raise ConfigError(
            "an audit needs a plan, or train= and test= with images, or a data set; see plan_audit"
        )
    if isinstance(plan, AuditPlan):
        if fit is not None or settings:
            raise ConfigError("a plan already has fit and all settings; give them to plan_audit instead")
        return plan
    known = [name for name in inspect.signature(plan_audit).parameters if name != "data"]
    for name in settings:
        if name not in known:
            raise ConfigError(f"an audit has no setting {name!r}; choose from {', '.join(known)}")
    return plan_audit(plan, fit=fit, **settings)


def check_folder(folder: str | Path) -> None:
    """Refuse, before anything is trained, a folder that cannot be written to.

    Raises:
        ConfigError: it is a file, cannot be made or written to, or holds a file in the way that is not an
            audit's.
    """
    folder = Path(folder)
    check_place(folder)
    for name in ("audit.json", "report.html"):
        if (folder / name).exists() and not _is_audit(folder / "audit.json"):
            raise ConfigError(
                f"{folder} holds {name}, which is not an audit's; choose another folder with --out"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write in {folder} ({error.strerror}); choose another folder with --out"
        ) from None


@checked(ConfigError)
def write_audit(answers: Audit, folder: str | Path) -> Path:
    """Write `audit.json` and `report.html` into `folder`; each replaces an older one once complete.

    Args:
        answers: of an audit.
        folder: created if it does not exist.

    Returns:
        The path of the page.

    Raises:
        ConfigError: see `check_folder`; or it can no longer be written to.
    """
    folder = Path(folder)
    check_folder(folder)
    page = render(answers)
    try:
        for name, text in (("audit.json", to_json_text(answers)), ("report.html", page)):
            with written(folder / name) as file:
                file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write in {folder} ({error.strerror}); choose another folder") from None
    let_go(folder, answers.conditions.created)
    return folder / "report.html"


@checked(ConfigError)
def load_audit(folder: str | Path) -> Audit:
    """Read what `write_audit` wrote.

    Args:
        folder: of the page; or the file `audit.json` itself.

    Raises:
        ConfigError: there is no audit, it is of another version, or it is damaged; in one line.
    """
    path = Path(folder)
    if path.is_dir():
        path = path / "audit.json"
    if not path.is_file():
        raise ConfigError(f"there is no audit in {folder}; `spuriscope audit --out {folder}` writes one")
    document = parse_json(path)
    if not _is_document(document):
        raise ConfigError(f"{path} is not an audit; give the folder that `spuriscope audit` wrote")
    if document["format"] != FORMAT:
        raise ConfigError(
            f"{path} is an audit of format {document['format']!r}, and this version reads format {FORMAT}; "
            "audit the data again"
        )
    return from_document(Audit, document, source=str(path))


def _is_audit(path: Path) -> bool:
    """Whether a file is the document of an audit, of this version or another."""
    try:
        return _is_document(parse_json(path))
    except ConfigError:
        return False


def _is_document(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether JSON values are an audit's: they have `format` and `conditions`, or the keys of format 1."""
    if not isinstance(document, dict) or "format" not in document:
        return False
    return "conditions" in document or {"spuriscope", "dose_response"} <= document.keys()


def _conditions(plan: AuditPlan, command: str | None, device: str) -> Conditions:
    """The conditions that the answers hold under, before there are any answers."""
    data = plan.data
    return Conditions(
        spuriscope=spuriscope.__version__,
        created="",
        command=command,
        seconds=0.0,
        environment=environment(device),
        data=data_facts(data),
        settings=Settings(
            model=plan.model_name,
            recipe=plan.recipe if plan.fit is None else None,
            target=plan.target,
            patterns=tuple(plan.patterns),
            counts=(0, *plan.counts),
            seeds=plan.seeds,
            threshold=plan.threshold,
            placement=plan.placement,
            size=plan.size,
            relabel=plan.relabel,
        ),
    )
