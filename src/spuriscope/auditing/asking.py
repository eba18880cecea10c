"""The questions of an audit, asked in order; each has its own module beside this one.

The audit first looks for cues already in the data. It takes their images out before it plants anything, so
that a later search names nothing already known. Models that learnt nothing are asked nothing more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.answers import (
    AlreadyThere,
    Audit,
    Conditions,
    Deletion,
    FoundAgain,
    PickedUp,
    Quality,
    Unanswered,
)
from spuriscope.auditing.already import already, quality_of, trained_again
from spuriscope.auditing.canaries import canaries
from spuriscope.auditing.course import Course, OutOfTime
from spuriscope.auditing.deletion import deletion
from spuriscope.auditing.doses import picked_up
from spuriscope.auditing.found_again import found_again
from spuriscope.auditing.kept import Kept
from spuriscope.auditing.membership import membership
from spuriscope.auditing.plan import AuditPlan
from spuriscope.data.image_set import ImageSet
from spuriscope.membership.attacked import Membership
from spuriscope.membership.canaries import Canaries
from spuriscope.training import AnyModel, Cell, FailedCell, OnProgress, Trains, train_all

__all__ = ["LATE", "ask_questions"]

Value = TypeVar("Value")
LATE = "the time limit was reached before it was answered"
TOO_SMALL = "class {} has too few images for it"


@dataclass(frozen=True, kw_only=True)
class _First:
    """The answer to the first question, and how good the models are."""

    quality: Quality
    found: AlreadyThere | None


@dataclass(frozen=True, eq=False)
class _Remembering:
    """A trainer that reuses models it has already trained."""

    trainer: Trains[Any]
    models: dict[Cell, AnyModel] = field(default_factory=dict)

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[AnyModel | FailedCell]:
        """See `Trains.run`."""
        yield from (self.models[cell] for cell in cells if cell in self.models)
        rest = [cell for cell in cells if cell not in self.models]
        if rest:
            yield from self.trainer.run(rest, data, on_progress)


def ask_questions(
    plan: AuditPlan, conditions: Conditions, trainer: Trains[Any], course: Course, kept: Kept
) -> Audit:
    """Ask all questions of a plan.

    Args:
        plan: what is trained.
        conditions: of the audit; the quality of the models is added.
        trainer: trains the models, and reports to the course.
        course: told about progress.
        kept: earlier answers.

    Returns:
        The answers, and why others are missing, including those that the time limit cut off.
    """
    audit = Audit(conditions=conditions)
    questions = [stage.key for stage in course.stages]
    for reached in _answered(plan, audit, trainer, course, kept):
        audit = reached
    left = {each.question for each in audit.unanswered}
    missing = [key for key in questions if getattr(audit, key) is None and key not in left]
    late = tuple(Unanswered(question=key, reason=LATE) for key in missing)
    return replace(audit, unanswered=(*audit.unanswered, *late))


def _answered(
    plan: AuditPlan, audit: Audit, trainer: Trains[Any], course: Course, kept: Kept
) -> Iterator[Audit]:
    """The audit after each answer; it ends when time is up."""
    try:
        first_models = _Remembering(trainer)

        def first() -> _First:
            cells = [plan.cell(next(iter(plan.patterns)), 0, seed) for seed in plan.searched_seeds]
            models = train_all(cells, plan.data, trainer)
            first_models.models.update(models)
            predicts = {cell.seed: models[cell].predict for cell in cells}
            quality, sure = quality_of(list(predicts.values()), plan.data)
            there = None
            if not quality.is_near_chance:
                there = already(
                    plan.data,
                    predicts,
                    sure,
                    threshold=plan.threshold,
                    again=trained_again(cells, plan.data, trainer),
                    on_search=partial(course.did, "search"),
                )
            return _First(quality=quality, found=there)

        course.begin("already")
        found = kept.answer("already", _First, first)
        audit = replace(
            audit, conditions=replace(audit.conditions, quality=found.quality), already=found.found
        )
        if found.found is None and not found.quality.is_near_chance:
            audit = _without(audit, "already", "no class has the 20 training images that a search needs")
        yield audit
        if found.quality.is_near_chance:
            yield _nothing_more(audit, course)
            return
        yield from _planted(plan, audit, first_models, course, kept)
    except OutOfTime:
        return


def _nothing_more(audit: Audit, course: Course) -> Audit:
    """End the audit: models that learnt nothing are asked nothing more."""
    reason = "the models learnt nothing, so there is nothing to ask them"
    for stage in course.stages:
        audit = _without(audit, stage.key, reason)
    return audit


def _planted(
    plan: AuditPlan, audit: Audit, trainer: Trains[Any], course: Course, kept: Kept
) -> Iterator[Audit]:
    """The questions that plant, in the data without the images of earlier findings."""
    gone = () if audit.already is None else audit.already.taken_out
    in_data = _positions_without(len(plan.data.train), gone)
    if gone:
        plan = plan.on(plan.data.without(torch.tensor(gone)))

    def answer(key: str, kind: type[Value], make: Callable[[], Value | None], why: str) -> Audit:
        course.begin(key)
        value = kept.answer(key, kind | None, make)  # type: ignore[arg-type]  # msgspec takes a union
        if value is None:
            return _without(audit, key, why)
        found: dict[str, Any] = {key: value}
        return replace(audit, **found)

    small = TOO_SMALL.format(repr(plan.data.class_names[plan.target]))
    audit = answer("picked_up", PickedUp, lambda: picked_up(plan, trainer, kept), "")
    yield audit
    assert audit.picked_up is not None  # every plan answers it
    line = audit.picked_up.headline

    def again() -> FoundAgain | None:
        return found_again(plan, line, trainer, on_search=partial(course.did, "search"), in_data=in_data)

    audit = answer("found_again", FoundAgain, again, small)
    yield audit
    audit = answer("membership", Membership, lambda: membership(plan, line, trainer), small)
    yield audit
    audit = answer("canaries", Canaries, lambda: canaries(plan, trainer), "there are fewer than 40 images")
    yield audit

    def deleted() -> Deletion | None:
        return deletion(plan, line, trainer, on_deleted=partial(course.did, "deletion"))

    audit = answer("deletion", Deletion, deleted, small)
    yield audit


def _without(audit: Audit, question: str, reason: str) -> Audit:
    """The audit without an answer to a question, and why; an earlier reason stays."""
    if any(each.question == question for each in audit.unanswered):
        return audit
    return replace(audit, unanswered=(*audit.unanswered, Unanswered(question=question, reason=reason)))


def _positions_without(n: int, gone: Sequence[int]) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Map positions in data from which images were taken out to positions in all of it."""
    kept = np.setdiff1d(np.arange(n), np.array(gone, dtype=np.int64))
    return lambda positions: kept[positions]
