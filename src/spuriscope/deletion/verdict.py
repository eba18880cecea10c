"""The verdict on a deletion method, from its differences from the oracle, one per training.

Whether a cue stays is nearly all or nothing from training to training, so a few trainings often agree by
luck, and they cannot bound a mean in [-1, 1]: a cue that stays in one training of twenty has a mean of 0.05,
and at least 59 trainings are needed to meet it in 95 % of checks. So a verdict speaks of the share of
trainings, and each training is a hit or not. The tests are binomial, hence exact for any distribution, and n
trainings that agree have a p-value of share^n at best:

- *gone*, *alike*: in more than 4 of 5 trainings (`SHARE_ALIKE`) the difference lies within the margin. 0.8^14
  is .044, so it takes 14 trainings if none lies outside, 22 with one, 30 with two. A method that fails in a
  fifth of trainings or more is called so in at most 5 % of checks.
- *differs*: in more than half of the trainings (`MOST`) it lies beyond the margin, always on the same side.
  Another draw of the oracle differs from it equally on both sides, so noise alone, however wide, is called a
  difference in at most 5 % of checks.

"As if never seen" needs trainings in which every measure lies within its margin at once: one test. "Cue
stays" is said if one of two measures shows it, "traces remain" if one of seven others does: the smallest
p-value is multiplied by two and by seven (the first step of Holm, 1979, which decides whether any holds).
Each verdict by itself is wrong in at most 5 % of checks.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from spuriscope.statistics import fewest_seeds, share_test

__all__ = [
    "MARGINS",
    "SEEDS_NEEDED",
    "SEEDS_TO_BE_GONE",
    "SEEDS_TO_STAY",
    "DeletionVerdict",
    "State",
    "is_above",
    "judge_measure",
    "judge_method",
]

DeletionVerdict = Literal[
    "as if never seen",
    "cue gone but traces remain",
    "cue gone, traces cannot be told",
    "cue stays",
    "cannot be told",
]
State = Literal["alike", "differs", "cannot be told"]

MARGINS = {  # largest negligible difference from the oracle
    "score": 0.05,
    "spurious_accuracy": 0.05,
    "clean_accuracy": 0.01,
    "disagreement": 0.02,
    "membership": 0.1,
}
UP, DOWN = 1, -1
CUE = (("score", UP), ("spurious_accuracy", DOWN))  # the differences that a cue makes
TRACES = (  # other differences; agreeing with the oracle more than another oracle does is not one
    ("score", DOWN),
    ("spurious_accuracy", UP),
    ("clean_accuracy", UP),
    ("clean_accuracy", DOWN),
    ("disagreement", UP),
    ("membership", UP),
    ("membership", DOWN),
)
LEVEL = 0.05
SHARE_ALIKE = 0.8  # more than this share of trainings must be within the margin to be called alike
MOST = 0.5

SEEDS_TO_BE_GONE = fewest_seeds(SHARE_ALIKE, level=LEVEL)  # 14
SEEDS_TO_STAY = fewest_seeds(MOST, level=LEVEL, n_tests=len(CUE))  # 6
SEEDS_NEEDED = {"stays": SEEDS_TO_STAY, "gone": SEEDS_TO_BE_GONE}


def is_above(differences: Sequence[float], margin: float) -> bool:
    """Whether in most trainings the difference is shown to exceed the margin; never with fewer than 5."""
    return _p_beyond(differences, UP, margin) < LEVEL


def judge_measure(name: str, differences: Sequence[float]) -> State:
    """The state of one measure by itself.

    Args:
        name: of `MARGINS`.
        differences: from the oracle, one per training.
    """
    sides = [side for measure, side in (*CUE, *TRACES) if measure == name]
    within = [not _is_beyond(name, difference, sides) for difference in differences]
    if _p_share(within, SHARE_ALIKE) < LEVEL:
        return "alike"
    p_values = [_p_beyond(differences, side, MARGINS[name]) for side in sides]
    return "differs" if len(sides) * min(p_values) < LEVEL else "cannot be told"


def judge_method(differences: Mapping[str, Sequence[float]]) -> DeletionVerdict:
    """The verdict on a method.

    Args:
        differences: from the oracle, for each measure of `MARGINS` one per training.
    """
    if _any_beyond(differences, CUE):
        return "cue stays"
    trainings = [dict(zip(differences, row, strict=True)) for row in zip(*differences.values(), strict=True)]
    is_gone = [not any(_is_beyond(name, row[name], [side]) for name, side in CUE) for row in trainings]
    if _p_share(is_gone, SHARE_ALIKE) >= LEVEL:
        return "cannot be told"
    is_alike = [
        not any(_is_beyond(name, row[name], [side]) for name, side in (*CUE, *TRACES)) for row in trainings
    ]
    if _p_share(is_alike, SHARE_ALIKE) < LEVEL:
        return "as if never seen"
    if _any_beyond(differences, TRACES):
        return "cue gone but traces remain"
    return "cue gone, traces cannot be told"


def _is_beyond(name: str, difference: float, sides: Sequence[int]) -> bool:
    return any(side * difference > MARGINS[name] for side in sides)


def _any_beyond(differences: Mapping[str, Sequence[float]], sides: Sequence[tuple[str, int]]) -> bool:
    p_values = [_p_beyond(differences[name], side, MARGINS[name]) for name, side in sides]
    return len(sides) * min(p_values) < LEVEL


def _p_beyond(differences: Sequence[float], side: int, margin: float) -> float:
    return _p_share([side * difference > margin for difference in differences], MOST)


def _p_share(is_hit: Sequence[bool], share: float) -> float:
    return share_test(sum(is_hit), len(is_hit), share)
