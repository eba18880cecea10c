"""A finished model: the questions of an audit that need no training, and one that takes shadow models.

It searches for a cue, as far as one model can tell, and tries how it reacts to named patterns. A model that
was trained here can be trained again without the images of a finding, to prove it. With shadow models it also
asks whose images can be recognised.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import spuriscope
from spuriscope.adapters import Fit
from spuriscope.answers import (
    Audit,
    Conditions,
    DataFacts,
    Reaction,
    Recognition,
    Settings,
    Unanswered,
)
from spuriscope.argument_types import checked
from spuriscope.auditing.already import already, quality_of, trained_again
from spuriscope.auditing.course import Course, OnAudit, Stage, WorkKind
from spuriscope.auditing.kept import Kept
from spuriscope.auditing.recognition import Shadowing, plan_shadows
from spuriscope.checks import check_number
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.environment import environment
from spuriscope.errors import ConfigError, PatternError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import PATTERN_NAMES, AnyPattern, pattern
from spuriscope.report.pictures import data_uri
from spuriscope.searching import data_seen
from spuriscope.training import TrainedModel, Trainer

__all__ = ["audit_model", "data_facts"]

N_ASKED = 1000  # most test images that patterns are tried on
NEEDS_TRAINING = "it takes trainings, and a finished model was given: audit the data themselves"
NEEDS_SHADOWS = "it takes shadow models, trained as this one was: --shadows 8 (from Python shadows=8)"
LEARNT_NOTHING = "the model learnt nothing, so there is nothing to ask it"


@checked(ConfigError)
def audit_model(
    model: TrainedModel | Predict,
    data: ImageSet,
    *,
    name: str = "your model",
    patterns: Sequence[str] | None = None,
    threshold: float = 0.1,
    shadows: int | Shadowing | None = None,
    fit: Fit | None = None,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnAudit | None = None,
    keep: str | Path | None = None,
    command: str | None = None,
) -> Audit:
    """Ask a finished model whether it picked up a cue, how it reacts to patterns, and whom it betrays.

    Args:
        model: one of ours, or a function from images to class probabilities; `module_predict` and
            `open_model` make one.
        data: what it was trained on; its test images are fresh.
        name: what the page calls the model.
        patterns: names or paths of pictures; by default the seven of the paper that fit the images.
        threshold: least rise of a probability that counts for the spurious score.
        shadows: models trained beside it on halves of the training and test images together, an even number
            from 4 on, to ask who can be recognised. Or the result of `plan_shadows`.
        fit: your training function, `fit(images, labels, seed) -> predict`: trains the shadow models of a
            model that is not ours, as that was trained.
        device: of the trainings: "cpu", "cuda", or "auto".
        n_workers: processes that train shadow models on the CPU; one per core by default.
        on_progress: called after each step.
        keep: the folder that the page will be in. Answers of shadow models are kept there until the page is
            written, so that a stopped audit trains only the others.
        command: the command that repeats it, for the page.

    Returns:
        The answers; questions that need trainings are `unanswered`.

    Raises:
        CheckpointError: a model of ours was trained on other data.
        ConfigError, PatternError: a setting is out of range, or shadow models lack `fit`.
        DiscoveryError, MeasureError: the model does not fit the data, or does not return probabilities.
        MembershipError: the number of shadow models is odd or out of range, or images are too few for them.
        TrainingError: a model could not be trained, or `fit` failed.
    """
    start = time.monotonic()
    check_number("threshold", threshold, above=0, below=1)
    ours = model if isinstance(model, TrainedModel) else None
    predict: Predict = model.predict if isinstance(model, TrainedModel) else model
    searched = data if ours is None else data_seen(ours, data)
    shadowing = _shadowing(model, data, shadows, fit)
    drawn = _drawn(patterns, data)
    kept = Kept(None) if shadowing is None else shadowing.kept(keep)
    course = Course(_stages(shadowing, kept, is_ours=ours is not None), on_progress)
    course.begin("already")
    quality, sure = quality_of([predict], searched)
    there = None
    if not quality.is_near_chance:
        trainer = Trainer(device, 1, course.trained)
        there = already(
            searched,
            {0 if ours is None else ours.cell.seed: predict},
            sure,
            threshold=threshold,
            again=None if ours is None else trained_again([ours.cell], data, trainer),
            on_search=partial(course.did, "search"),
        )
    tried = [] if quality.is_near_chance else drawn
    recognition = None
    if shadowing is not None and not quality.is_near_chance:
        course.begin("recognition")
        recognition = shadowing.recognition(
            kept, device=device, n_workers=n_workers, on_progress=course.trained
        )
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    kept.complete(created)
    return Audit(
        conditions=Conditions(
            spuriscope=spuriscope.__version__,
            created=created,
            command=command,
            seconds=round(time.monotonic() - start, 1),
            environment=environment(device),
            data=data_facts(data),
            settings=Settings(
                model=name,
                recipe=None if ours is None else ours.cell.recipe,
                target=None,
                patterns=tuple(each.name for each in drawn),
                counts=(0,),
                seeds=(0 if ours is None else ours.cell.seed,),
                threshold=threshold,
            ),
            quality=quality,
        ),
        already=there,
        reactions=tuple(_reaction(predict, data, each, threshold) for each in tried),
        recognition=recognition,
        unanswered=_unanswered(recognition, is_near_chance=quality.is_near_chance),
    )


def _shadowing(
    model: TrainedModel | Predict, data: ImageSet, shadows: int | Shadowing | None, fit: Fit | None
) -> Shadowing | None:
    if shadows is not None and not isinstance(shadows, Shadowing):
        return plan_shadows(model, data, shadows, fit)
    if fit is not None:
        raise ConfigError("fit trains shadow models; say how many, shadows=8, or leave it out")
    return shadows


def _stages(shadowing: Shadowing | None, kept: Kept, *, is_ours: bool) -> tuple[Stage, ...]:
    """The questions that take time, in order."""
    search: dict[WorkKind, int] = {"search": 1, "training": int(is_ours)}
    stages = (Stage("already", "is there one already", search),)
    if shadowing is None:
        return stages
    return (*stages, Stage("recognition", "who can be recognised", {"training": shadowing.n_left(kept)}))


def _unanswered(recognition: Recognition | None, *, is_near_chance: bool) -> tuple[Unanswered, ...]:
    """What a finished model was not asked, and why."""
    who = LEARNT_NOTHING if is_near_chance else NEEDS_SHADOWS
    reasons = dict.fromkeys(
        ("picked_up", "found_again", "membership", "canaries", "deletion"), NEEDS_TRAINING
    )
    reasons["membership"] = who
    if recognition is not None:
        del reasons["membership"]
    return tuple(Unanswered(question=key, reason=reason) for key, reason in reasons.items())


def data_facts(data: ImageSet) -> DataFacts:
    """The facts about its data that an audit states."""
    return DataFacts(
        name=data.name,
        fingerprint=data.fingerprint,
        shape=data.shape,
        n_train=len(data.train),
        n_test=len(data.test),
        largest_share=int(data.test.labels.bincount().max()) / len(data.test),
        class_names=data.class_names,
    )


def _drawn(names: Sequence[str] | None, data: ImageSet) -> list[AnyPattern]:
    """The patterns of these names; by default those that fit the images."""
    drawn: list[AnyPattern] = []
    for name in PATTERN_NAMES if names is None else names:
        try:
            drawn.append(pattern(name, data.shape, seed=0))
        except PatternError:
            if names is not None:
                raise
    return drawn


def _reaction(predict: Predict, data: ImageSet, stamp: AnyPattern, threshold: float) -> Reaction:
    """The class to which a pattern pulls most test images of other classes."""
    test = Split(data.test.images[:N_ASKED], data.test.labels[:N_ASKED])
    rise = probabilities(predict, stamp.apply(test.images)) - probabilities(predict, test.images)
    moved = rise > threshold
    others = [test.labels != label for label in range(data.n_classes)]
    scores = [
        float(moved[rows, label].double().mean()) if rows.any() else 0.0 for label, rows in enumerate(others)
    ]
    best = max(range(data.n_classes), key=scores.__getitem__)
    return Reaction(
        pattern=stamp.name,
        picture=data_uri(stamp.picture),
        target=best,
        score=scores[best],
        n_asked=int(others[best].sum()),
    )
