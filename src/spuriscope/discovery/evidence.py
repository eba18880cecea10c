"""What is reported: groups that are marks, and that the model responds to. Both, or nothing.

A finding makes two claims. The group is a *mark*: it stands out further than nature's groups do. And it
*moves* others: its pattern pulls fresh images into the class more than patterns of natural groups do. Each
claim has its p-value, and neither makes up for the other: a mark that the model ignores is no finding,
however far it stands out, and natural look-alikes that move others are none either. So the null of a finding
is that *either* claim is false, and its p-value the larger of the two (Berger's intersection-union test),
whatever the dependence between them.

The level is held over a whole search, in two steps that share it equally.

1. All suspects of all classes are tested for being marks, with Bonferroni's correction. Any natural group
   passes with a chance of half the level at most, whatever its effect.
2. What passes are marks but for that chance. Marks that share images are one cue, and one of them speaks for
   it. These few are tested for moving others, with Holm's correction. One that the model ignores passes with
   a chance of half the level at most: a true mark owes the first step to no luck.

Together the chance that a search reports anything false is at most the level, as far as the two p-values are
what they claim. Of Fisher's method nothing of the kind can be said: it rejects that *both* claims are false.

Source: Berger (1982), "Multiparameter hypothesis testing and acceptance sampling"; Benjamini and Heller
(2008), "Screening for partial conjunction hypotheses".
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spuriscope.statistics import Tail, holm

__all__ = ["LEAST_POOLED", "joint_p_value", "marks", "one_for_each_cue", "tails"]

LEAST_POOLED = 5  # classes whose crowds speak together; fewer may differ too much to be averaged
LEAST_P = 1e-12  # what the tail of a crowd says beyond it is not believed


def tails(strengths: Mapping[int, Sequence[float]]) -> dict[int, Tail]:
    """How heavy the tail of natural groups is, for each class that has a crowd.

    Seventeen values behind the suspects know little of a tail. Where five classes and more have a crowd, all
    of them tell how fast it falls off, and each class where it begins.

    Args:
        strengths: of the groups of one look, for each class.
    """
    found = {target: tail for target, values in strengths.items() if (tail := Tail.of(values)) is not None}
    if len(found) < LEAST_POOLED:
        return found
    together = list(found.values())
    return {target: tail.beside(together) for target, tail in found.items()}


def marks(p_values: Sequence[float], level: float) -> dict[int, float]:
    """Positions of the suspects that are marks, with p-values adjusted for all suspects (Bonferroni)."""
    adjusted = {place: min(1.0, max(p, LEAST_P) * len(p_values)) for place, p in enumerate(p_values)}
    return {place: p for place, p in adjusted.items() if p <= level / 2}


def one_for_each_cue(
    places: Mapping[int, float], images: Callable[[int], tuple[int, NDArray[np.int64]]]
) -> list[int]:
    """Of marks that share images of one class the surest; of equals the one of more images.

    Nothing enters but what made them marks, so the test that follows is not told what it will find.

    Args:
        places: marks with their p-values.
        images: class and positions of the images of a mark.
    """
    kept: list[int] = []
    for place in sorted(places, key=lambda one: (places[one], -len(images(one)[1]), one)):
        target, own = images(place)
        if not any(
            target == images(other)[0] and np.intersect1d(own, images(other)[1]).size for other in kept
        ):
            kept.append(place)
    return kept


def joint_p_value(p_marks: Sequence[float], p_effects: Sequence[float]) -> list[float]:
    """p-values of findings: the larger of both adjusted p-values, doubled: each step has half the level.

    Args:
        p_marks: of the cues that are tried, adjusted for all suspects.
        p_effects: of their effects, not adjusted; that is done here, by Holm's method.
    """
    return [min(1.0, 2 * max(mark, effect)) for mark, effect in zip(p_marks, holm(p_effects), strict=True)]
