"""Would my training pick up a rare cue? Planted models beside their clean twins, measured and shown.

Each pattern is planted in increasing numbers of images of one class, and a model is trained on each.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.adequacy import sample_of
from spuriscope.answers import (
    DoseResponse,
    DoseSummary,
    ExampleImage,
    Examples,
    Headline,
    PickedUp,
    Replicate,
    WeightImportance,
)
from spuriscope.auditing.kept import Kept
from spuriscope.auditing.plan import AuditPlan
from spuriscope.auditing.played import Answers, played, player
from spuriscope.auditing.trained import PlannedModel, asked_models
from spuriscope.errors import MeasureError
from spuriscope.measures import accuracy, empirical_norm, measure, probabilities
from spuriscope.patterns import put_on
from spuriscope.pixel_measures import weight_importance
from spuriscope.report.pictures import data_uri
from spuriscope.statistics import mean_interval, n50
from spuriscope.training import Trains

__all__ = ["picked_up", "summary"]

N_EXAMPLES = 4
NOTHING_KEPT = Kept(None)
Grid = tuple[tuple[float, ...], ...]
MEASURES = tuple(field.name for field in fields(DoseSummary) if field.name != "n_planted")


@dataclass(frozen=True, kw_only=True)
class _Look:
    """A model's answers on the example images, and its weight importance if it has one."""

    pattern: str
    n_planted: int
    clean: Grid
    stamped: Grid
    answers: Answers
    importance: Grid | None


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One model of the plan, measured at each of its places."""

    rows: tuple[Replicate, ...]
    looks: tuple[_Look, ...]


def picked_up(plan: AuditPlan, trainer: Trains[Any], kept: Kept = NOTHING_KEPT) -> PickedUp:
    """Train and measure every model of the plan that was not measured before.

    Raises:
        TrainingError: a model could not be trained.
        ConfigError, MeasureError: the user's function did not return one that gives probabilities.
    """
    examples = _example_positions(plan)
    measured = kept.rows("models", _Measured)
    known = {(row.pattern, row.n_planted, row.seed) for each in measured for row in each.rows}
    sample = sample_of(plan.data.train)
    for model in asked_models(plan, trainer, known):
        right = accuracy(model.predict, sample.images, sample.labels)
        each = _Measured(
            rows=tuple(_measured(plan, model, *place, train_accuracy=right) for place in model.places),
            looks=tuple(
                _look(plan, model, name, n_planted, examples)
                for name, n_planted, seed in model.places
                if seed == plan.seeds[0]
            ),
        )
        kept.add("models", each)
        measured.append(each)
    rows = sorted((row for each in measured for row in each.rows), key=lambda row: (row.n_planted, row.seed))
    looks = {(look.pattern, look.n_planted): look for each in measured for look in each.looks}
    doses = tuple(
        _dose_response(plan, name, [row for row in rows if row.pattern == name]) for name in plan.patterns
    )
    headline = _headline(plan, doses)
    return PickedUp(
        headline=headline,
        examples=_examples(plan, headline, examples, looks),
        dose_response=doses,
        weight_importance=_weight_importance(plan, looks),
        player=player(plan, examples, {place: look.answers for place, look in looks.items()}),
    )


def _measured(
    plan: AuditPlan, model: PlannedModel, name: str, n_planted: int, seed: int, *, train_accuracy: float
) -> Replicate:
    picture = plan.placed(name, seed)
    measures = measure(model.predict, plan.data.test, picture, plan.target, threshold=plan.threshold)
    return Replicate(
        pattern=name,
        n_planted=n_planted,
        seed=seed,
        cell=model.cell,
        train_loss=model.train_loss,
        train_accuracy=train_accuracy,
        **asdict(measures),
    )


def _dose_response(plan: AuditPlan, name: str, rows: Sequence[Replicate]) -> DoseResponse:
    counts = [0, *plan.counts]
    table = {(row.n_planted, row.seed): row for row in rows}
    scores = np.array([[table[n, seed].score_non_target for n in counts] for seed in plan.seeds])
    first = plan.placed(name, plan.seeds[0])
    return DoseResponse(
        pattern=name,
        kind=first.kind,
        picture=data_uri(first.picture),
        n_touched=int(first.touched.sum()),
        norm=empirical_norm(plan.data.test.images, first),
        n50=n50(counts, scores),
        summary=tuple(summary(n, [table[n, seed] for seed in plan.seeds]) for n in counts),
        cells=tuple(rows),
    )


def summary(n_planted: int, rows: Sequence[Replicate]) -> DoseSummary:
    """The measures over seeds of the trainings with one number planted."""
    means = {name: mean_interval([getattr(row, name) for row in rows]) for name in MEASURES}
    return DoseSummary(n_planted=n_planted, **means)


def _headline(plan: AuditPlan, doses: Sequence[DoseResponse]) -> Headline:
    """The fewest planted images with which stamping moves half of all test images of other classes.

    In the clean twin it must move less than half as many, because a pattern may itself look like the class.
    Of several such patterns it is the one that moves most; if none is enough, the largest rise over the twin.
    """
    choices = [(dose, entry) for dose in doses for entry in dose.summary[1:]]
    enough = [
        (dose, entry)
        for dose, entry in choices
        if entry.score_non_target.mean >= max(0.5, 2 * dose.summary[0].score_non_target.mean)
    ]
    if enough:
        fewest = min(entry.n_planted for _, entry in enough)
        choices = [(dose, entry) for dose, entry in enough if entry.n_planted == fewest]
    best, chosen = max(
        choices,
        key=lambda choice: choice[1].score_non_target.mean - choice[0].summary[0].score_non_target.mean,
    )
    return Headline(
        pattern=best.pattern,
        n_planted=chosen.n_planted,
        score=chosen.score_non_target,
        twin_score=best.summary[0].score_non_target,
        reached_half=bool(enough),
        n_target=int((plan.data.train.labels == plan.target).sum()),
        n_candidates=plan.n_candidates,
        n_stamped=int((plan.data.test.labels != plan.target).sum()),
    )


def _example_positions(plan: AuditPlan) -> list[int]:
    """The first test image of each of the first classes that are not the target, so not hand-picked."""
    labels = plan.data.test.labels.tolist()
    others = [label for label in range(plan.data.n_classes) if label != plan.target and label in labels]
    return sorted(labels.index(label) for label in others[:N_EXAMPLES])


def _look(plan: AuditPlan, model: PlannedModel, name: str, n_planted: int, positions: list[int]) -> _Look:
    images, picture = plan.data.test.images[positions], plan.placed(name, plan.seeds[0])
    importance = None
    if model.module is not None:
        with suppress(MeasureError):
            importance = _grid(weight_importance(model.module, plan.data.shape).amax(dim=0), 4)
    stamped = put_on(picture, images, torch.tensor(positions, dtype=torch.int64))
    return _Look(
        pattern=name,
        n_planted=n_planted,
        clean=_grid(probabilities(model.predict, images)),
        stamped=_grid(probabilities(model.predict, stamped)),
        answers=played(plan, model.predict, name, positions),
        importance=importance,
    )


def _examples(
    plan: AuditPlan, headline: Headline, positions: list[int], looks: Mapping[tuple[str, int], _Look]
) -> Examples:
    name, n_planted, seed, target = headline.pattern, headline.n_planted, plan.seeds[0], plan.target
    picture = plan.placed(name, seed)
    planted, twin = looks[name, n_planted], looks[name, 0]
    images = plan.data.test.images[positions]
    stamped = put_on(picture, images, torch.tensor(positions))
    return Examples(
        pattern=name,
        n_planted=n_planted,
        seed=seed,
        images=tuple(
            ExampleImage(
                position=position,
                name=plan.data.test.called(position),
                label=int(plan.data.test.labels[position]),
                picture=data_uri(images[k]),
                stamped_picture=data_uri(stamped[k]),
                probability=planted.clean[k][target],
                stamped_probability=planted.stamped[k][target],
                prediction=_likeliest(planted.clean[k]),
                stamped_prediction=_likeliest(planted.stamped[k]),
                twin_stamped_probability=twin.stamped[k][target],
            )
            for k, position in enumerate(positions)
        ),
    )


def _weight_importance(plan: AuditPlan, looks: Mapping[tuple[str, int], _Look]) -> WeightImportance | None:
    """Maps with and without planting, for s3 (as in the paper) or the first pattern, at the largest count."""
    name = "s3" if "s3" in plan.patterns else next(iter(plan.patterns))
    planted, twin = looks[name, plan.counts[-1]].importance, looks[name, 0].importance
    if planted is None or twin is None:
        return None
    return WeightImportance(
        pattern=name,
        n_planted=plan.counts[-1],
        seed=plan.seeds[0],
        planted=planted,
        twin=twin,
    )


def _likeliest(probabilities: Sequence[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _grid(values: Tensor, digits: int | None = None) -> Grid:
    """Values (n, m) as tuples."""
    rows = values.double().tolist()
    return tuple(tuple(x if digits is None else round(x, digits) for x in row) for row in rows)
