"""A list for Monday: at most five things to do, each with its reason and who does it.

It is for readers who do not program. It follows from the tiles, so it relies on nothing that is unknown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from spuriscope.answers import Audit
from spuriscope.membership.shadows import MOST_SHADOWS
from spuriscope.report import wording
from spuriscope.report.gone import NAMES, recommended
from spuriscope.report.verdicts import ACT, FINE, NOT_KNOWN, WATCH, tiles

__all__ = ["ToDo", "monday"]

MOST = 5
OWNER, TRAINER, RELEASER = "whoever knows the images", "whoever trains", "whoever releases the model"


@dataclass(frozen=True, kw_only=True)
class ToDo:
    """An action, why, and who."""

    action: str
    reason: str
    who: str


def monday(audit: Audit) -> tuple[ToDo, ...]:
    """The most urgent things to do, in order; for models that learnt nothing only to train them."""
    return tuple(_all(audit))[:MOST]


def _all(audit: Audit) -> Iterator[ToDo]:
    quality = audit.conditions.quality
    if quality is not None and quality.is_near_chance:
        yield ToDo(
            action="Train longer, or another model, or check that the labels belong to the images; then "
            "audit again.",
            reason="Models that learnt nothing pick up no cue, so nothing follows from them.",
            who=TRAINER,
        )
        return
    words = {tile.anchor: tile.word for tile in tiles(audit)}
    yield from _of_the_data(audit)
    yield from _of_people(audit, words)
    yield from _of_training(audit, words)
    yield ToDo(
        action="Run the audit again when the data or the training changes.",
        reason="All of this holds only for these images and this training.",
        who=TRAINER,
    )


def _of_the_data(audit: Audit) -> Iterator[ToDo]:
    """What to do about cues already in the data."""
    there, names = audit.already, audit.conditions.data.class_names
    if there is None:
        return
    for cue in there.cues[:2]:
        images = wording.images(len(cue.cue.examples))
        target = wording.quoted(names[cue.cue.target])
        after = (
            f"; without these images {wording.percent(cue.score_without.mean)}"
            if cue.score_without is not None
            else ""
        )
        yield ToDo(
            action=f"Look at the {images} of {target} below. If what they share does not belong to {target}, "
            "take them out, or remove it from them.",
            reason=f"It pulls {wording.percent(cue.score.mean)} of other test images towards "
            f"{target}{after}.",
            who=OWNER,
        )
    if there.cues:
        yield ToDo(
            action="Then train again without them, and audit again.",
            reason="A model that has learnt a cue keeps it until it is trained again or repaired.",
            who=TRAINER,
        )
    if there.once:
        images = wording.images(sum(len(each.examples) for each in there.once))
        yield ToDo(
            action=f"Look at the {images} that single models named, below.",
            reason="Most models did not name them, so it may be nothing.",
            who=OWNER,
        )


def _of_people(audit: Audit, words: dict[str, str]) -> Iterator[ToDo]:
    """What to do before others see the model."""
    if audit.recognition is not None:
        yield from _of_this_model(words["recognised"], audit.recognition.n_shadows)
    elif words.get("recognised") == ACT:
        yield ToDo(
            action="Do not publish the model, nor its answers to images that others choose, before cues are "
            "removed.",
            reason="Those whose images carry a cue can be recognised as trained on.",
            who=RELEASER,
        )
    elif words.get("recognised") == WATCH:
        yield ToDo(
            action="Keep the model to yourselves if it is a secret that some image carried a cue.",
            reason="Whoever holds a cue can tell that it was there, but not in whose image.",
            who=RELEASER,
        )


def _of_this_model(word: str, n_shadows: int) -> Iterator[ToDo]:
    """What to do with a finished model that reveals its training images."""
    more = min(4 * n_shadows, MOST_SHADOWS)
    if word == ACT:
        yield ToDo(
            action="Do not publish the model, nor its probabilities for images that others choose.",
            reason="Some of its training images can be recognised, and with them the people on them.",
            who=RELEASER,
        )
    elif word == WATCH and n_shadows < MOST_SHADOWS:
        yield ToDo(
            action=f"Attack the model with more shadow models before it is released (--shadows {more}).",
            reason="It reveals something about its training images; a stronger attacker may name some.",
            who=RELEASER,
        )
    elif word == NOT_KNOWN:
        yield ToDo(
            action="Ask again with more test images before the model is released.",
            reason="With so few it cannot be told whether its training images can be recognised.",
            who=RELEASER,
        )


def _of_training(audit: Audit, words: dict[str, str]) -> Iterator[ToDo]:
    """What to do about future cues."""
    if (
        audit.already is not None
        and not audit.already.cues
        and words.get("noticed") in (ACT, NOT_KNOWN, WATCH)
        and not _is_found_as_rare_as_learnt(audit)
    ):
        yield ToDo(
            action="Look through the images of each class for marks that a few share: stickers, captions, "
            "borders.",
            reason="A search would not have found a cue in as few images as a model may learn it from.",
            who=OWNER,
        )
    if words.get("pick-up") in (ACT, WATCH) and audit.picked_up is not None:
        line = audit.picked_up.headline
        yield ToDo(
            action="Measure also on copies of the test images that carry a mark, not only on clean ones.",
            reason=f"{wording.images(line.n_planted)} with {line.pattern} were enough to pull "
            f"{wording.percent(line.score.mean)} of them; clean images do not show it.",
            who=TRAINER,
        )
    entry = None if audit.deletion is None else recommended(audit.deletion)
    if entry is not None and words.get("gone") == FINE:
        yield ToDo(
            action=f"If a cue turns up in a model you cannot train again soon: {NAMES[entry.method]}.",
            reason=f"It took {wording.duration(entry.seconds.mean)}, and left no more than a training "
            "without the images.",
            who=TRAINER,
        )
    if audit.picked_up is not None:
        yield ToDo(
            action="Audit the class that matters most: --target names it. Only "
            f"{wording.quoted(audit.conditions.target_name)} was planted in.",
            reason="Other classes may pick up cues from fewer images.",
            who=TRAINER,
        )


def _is_found_as_rare_as_learnt(audit: Audit) -> bool:
    """Whether a search found a planted cue in as few images as the models learnt it from."""
    fewest = None if audit.found_again is None else audit.found_again.fewest
    return fewest is not None and audit.picked_up is not None and fewest <= audit.picked_up.headline.n_planted
