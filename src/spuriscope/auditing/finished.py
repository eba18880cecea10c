"""A finished model: the questions of an audit that need no training.

Is there a cue in it already, as far as one model tells; and how it takes to named patterns. A model that was
trained here can be trained again without the images of a finding, so that is proved.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import spuriscope
from spuriscope.answers import Audit, Conditions, DataFacts, Environment, Reaction, Settings, Unanswered
from spuriscope.argument_types import checked
from spuriscope.auditing.already import already, quality_of, trained_again
from spuriscope.auditing.course import Course, Kind, OnAudit, Stage
from spuriscope.checks import check_number
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.environment import environment
from spuriscope.errors import ConfigError, PatternError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import PATTERN_NAMES, AnyPattern, pattern
from spuriscope.report.pictures import data_uri
from spuriscope.searching import images_seen
from spuriscope.training import TrainedModel, Trainer

__all__ = ["audit_model", "data_facts"]

N_ASKED = 1000  # test images that patterns are tried on, at most
NEEDS_TRAINING = "it takes trainings, and a finished model was given: audit the data themselves"


@checked(ConfigError)
def audit_model(
    model: TrainedModel | Predict,
    data: ImageSet,
    *,
    name: str = "your model",
    patterns: Sequence[str] | None = None,
    threshold: float = 0.1,
    device: str = "auto",
    on_progress: OnAudit | None = None,
    command: str | None = None,
) -> Audit:
    """Ask a finished model whether it has picked up a cue, and how it takes to patterns.

    Args:
        model: one of ours, or a function from images to class probabilities; `module_predict` and
            `open_model` make one.
        data: what it was trained on; its test images are fresh.
        name: what the page calls the model.
        patterns: names or paths of pictures; by default the seven of the paper that fit the images.
        threshold: least rise of a probability that counts for the spurious score.
        device: of the training that proves a finding, of a model of ours.
        on_progress: called after each step.
        command: the command that repeats it, for the page.

    Returns:
        The answers; what needs trainings is `unanswered`.

    Raises:
        CheckpointError: a model of ours was trained on other data.
        ConfigError, PatternError: a setting is out of range.
        DiscoveryError, MeasureError: the model does not fit the data, or does not answer with probabilities.
    """
    start = time.monotonic()
    check_number("threshold", threshold, above=0, below=1)
    ours = model if isinstance(model, TrainedModel) else None
    predict: Predict = model.predict if isinstance(model, TrainedModel) else model
    if ours is not None:
        ours.cell.data.check(data, "the model was trained on")
    drawn = _drawn(patterns, data)
    work: dict[Kind, int] = {"search": 1, "training": int(ours is not None)}
    course = Course((Stage("already", "is there one already", work),), on_progress)
    course.begin("already")
    searched = data if ours is None else _as_seen(ours, data)
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
    asked = [] if quality.is_near_chance else drawn
    others = ("picked_up", "found_again", "membership", "canaries", "deletion")
    return Audit(
        conditions=Conditions(
            spuriscope=spuriscope.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            seconds=round(time.monotonic() - start, 1),
            environment=Environment(**environment(device)),
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
        reactions=tuple(_reaction(predict, data, each, threshold) for each in asked),
        unanswered=tuple(Unanswered(question=key, reason=NEEDS_TRAINING) for key in others),
    )


def data_facts(data: ImageSet) -> DataFacts:
    """What an audit says of its data."""
    return DataFacts(
        name=data.name,
        fingerprint=data.fingerprint,
        shape=data.shape,
        n_train=len(data.train),
        n_test=len(data.test),
        largest_share=int(data.test.labels.bincount().max()) / len(data.test),
        class_names=data.class_names,
    )


def _as_seen(model: TrainedModel, data: ImageSet) -> ImageSet:
    """The data as a model of ours saw them: stamped where they were. A part of them is not searched alone."""
    if model.cell.part is not None:
        raise ConfigError("the model was trained on a part of the data; audit one that was trained on all")
    return ImageSet(data.name, images_seen(model.cell, data), data.test, data.class_names)


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
    """The class that a pattern pulls most test images of others to."""
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
