"""Answers to play with: the first test images, each pattern at several strengths, in models of one seed."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spuriscope.answers import PlayedAnswer, PlayedPattern, Player
from spuriscope.auditing.plan import AuditPlan
from spuriscope.data.image_set import unit_float
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import put_on
from spuriscope.report.pictures import data_uri

__all__ = ["STRENGTHS", "played", "player"]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_CHARACTERS = 500_000  # of the pictures: more would fill the page
DIGITS = 4  # decimals of a probability

Answers = tuple[tuple[PlayedAnswer, ...], ...]  # by strength, by image


def _mixed(plan: AuditPlan, name: str, positions: Sequence[int]) -> list[Tensor]:
    """The images (n, channels, height, width) with the pattern mixed in, at each strength."""
    clean = unit_float(plan.data.test.images[list(positions)])
    stamped = put_on(plan.placed(name, plan.seeds[0]), clean, torch.tensor(positions, dtype=torch.int64))
    return [clean + strength * (stamped - clean) for strength in STRENGTHS]


def played(plan: AuditPlan, predict: Predict, name: str, positions: Sequence[int]) -> Answers:
    """A model's answers on the images at these positions, with the pattern at each strength."""
    labels = plan.data.test.labels[list(positions)].tolist()
    found = []
    for images in _mixed(plan, name, positions):
        said = probabilities(predict, images).double()
        found.append(
            tuple(
                PlayedAnswer(
                    target=round(row[plan.target], DIGITS),
                    own=round(row[label], DIGITS),
                    prediction=max(range(len(row)), key=row.__getitem__),
                )
                for row, label in zip(said.tolist(), labels, strict=True)
            )
        )
    return tuple(found)


def player(
    plan: AuditPlan, positions: Sequence[int], answers: Mapping[tuple[str, int], Answers]
) -> Player | None:
    """The player of all models of the first seed; None where its pictures are too large for a page.

    Args:
        plan: the audit's.
        positions: of the test images.
        answers: of each pattern and number planted, see `played`.
    """
    counts = (0, *plan.counts)
    if not positions:
        return None
    patterns = [
        PlayedPattern(
            pattern=name,
            pictures=tuple(
                tuple(data_uri(image) for image in images) for images in _mixed(plan, name, positions)[1:]
            ),
            answers=tuple(answers[name, n] for n in counts),
        )
        for name in plan.patterns
    ]
    size = sum(len(uri) for each in patterns for row in each.pictures for uri in row)
    if size > MOST_CHARACTERS:
        return None
    return Player(
        seed=plan.seeds[0],
        images=tuple(data_uri(image) for image in plan.data.test.images[list(positions)]),
        labels=tuple(plan.data.test.labels[list(positions)].tolist()),
        counts=counts,
        strengths=STRENGTHS,
        patterns=tuple(patterns),
    )
