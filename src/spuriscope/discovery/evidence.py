"""What is reported: groups that are marks, and that the model responds to. Both, or nothing.

A finding makes two claims. The group is a *mark*: it stands out further than nature's groups do. And it
*moves* others: its pattern pulls fresh images into the class more than patterns of natural groups do. Each
claim has its p-value, and neither makes up for the other: a mark that the model ignores is no finding,
however far it stands out, and natural look-alikes that move others are none either. So the null of a finding
is that *either* claim is false, and its p-value the larger of the two (Berger's intersection-union test),
whatever the dependence between them. Of Fisher's method nothing of the kind can be said: it rejects that
*both* claims are false. It has its place before that.

1. *Screen*. Of all suspects of all classes those are kept for which at least one claim is true, by Fisher's
   method, at a false discovery rate of the level. So a natural group that does not move others, which most
   suspects are, passes seldom. This takes the two p-values of natural groups to be independent, which they
   are as far as 360 suspects of clean models tell (docs/results/discovery.md).
2. *One for each cue*. Of those that passed and share images one speaks for all: what can still be reported
   before what cannot, groups before single images, then the surest. The screen is done anew with each cue
   counted once.
3. *Conjunction*. Of what is left, marks that the model ignores among them, both claims have to hold, each
   adjusted for all of these cues, at half the level.

Two kinds of false findings remain, each held by a step of its own: natural groups by the screen, and marks
that the model ignores by the conjunction.

Source: Berger (1982), "Multiparameter hypothesis testing and acceptance sampling"; Benjamini and Heller
(2008), "Screening for partial conjunction hypotheses"; Benjamini and Hochberg (1995).
"""

from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["conjunction", "judge", "one_for_each_cue", "screen", "stands_out_and_is_absent"]

LEAST_P = 1e-12  # what the tail of a crowd says beyond it is not believed


def one_for_each_cue(
    places: Mapping[int, float],
    images: Callable[[int], tuple[int, NDArray[np.int64]]],
    hopeless: Container[int] = (),
) -> list[int]:
    """Of suspects that share images of one class the one that speaks for all of them.

    A group says more than each of its images does, and all of these passed the screen. Ties go to the surest.

    Args:
        places: suspects with their p-values.
        images: class and positions of the images of a suspect.
        hopeless: suspects that cannot be reported, and speak only where no other does.
    """

    def order(one: int) -> tuple[bool, bool, float, int]:
        return one in hopeless, len(images(one)[1]) == 1, places[one], one

    kept: list[int] = []
    for place in sorted(places, key=order):
        target, own = images(place)
        if not any(
            target == images(other)[0] and np.intersect1d(own, images(other)[1]).size for other in kept
        ):
            kept.append(place)
    return kept


def stands_out_and_is_absent(p_stands_out: float, p_absent: float) -> float:
    """The p-value that a group is no mark, from two lines of evidence for that one claim, by Fisher's method.

    They are independent where nothing was done to the training images: which images of a crowd are fresh is
    then drawn apart from how they look. Either may carry the claim alone.

    Args:
        p_stands_out: that natural groups stand out so far.
        p_absent: that so few of them are fresh.
    """
    from scipy import stats

    return float(stats.combine_pvalues([max(p, LEAST_P) for p in (p_stands_out, p_absent)]).pvalue)


def screen(p_group: Sequence[float], p_effect: Sequence[float]) -> list[float]:
    """p-values that at least one claim of a suspect is true, adjusted for all suspects of a search.

    Fisher's method joins both claims, Benjamini and Hochberg's holds the false discovery rate.

    Args:
        p_group: of all suspects.
        p_effect: of their effects; 1 where nobody asked.
    """
    from scipy import stats

    if not p_group:
        return []
    both = np.maximum([p_group, p_effect], LEAST_P)
    joined = stats.chi2.sf(-2 * np.log(both).sum(axis=0), df=2 * len(both))  # of all suspects at once
    return [float(p) for p in stats.false_discovery_control(joined)]


def conjunction(p_group: Sequence[float], p_effect: Sequence[float]) -> list[float]:
    """p-values that one of both claims of a cue is false: the larger of the two, adjusted for all cues.

    Each claim is adjusted for itself (Benjamini and Hochberg), and doubled: it has half the level.

    Args:
        p_group: of the cues that were screened.
        p_effect: of their effects.
    """
    from scipy import stats

    if not p_group:
        return []
    groups, effects = (stats.false_discovery_control(p) for p in (p_group, p_effect))
    return [min(1.0, 2 * float(max(pair))) for pair in zip(groups, effects, strict=True)]


def judge(
    p_group: Sequence[float],
    p_effect: Sequence[float],
    level: float,
    images: Callable[[int], tuple[int, NDArray[np.int64]]],
) -> dict[int, float]:
    """Positions of the suspects that are reported, with their p-values.

    Args:
        p_group: of all suspects of a search.
        p_effect: likewise; 1 where nobody asked.
        level: what is held.
        images: class and positions of the images of a suspect.
    """
    all_p = screen(p_group, p_effect)
    significant = {place: p for place, p in enumerate(all_p) if p <= level}
    hopeless = {place for place in significant if 2 * max(p_group[place], p_effect[place]) > level}
    cues = one_for_each_cue(significant, images, hopeless)
    kept = [place for place in range(len(all_p)) if place in cues or place not in significant]
    screened = screen([p_group[place] for place in kept], [p_effect[place] for place in kept])
    again = dict(zip(kept, screened, strict=True))
    cues = [place for place in cues if again[place] <= level]
    both = conjunction([p_group[place] for place in cues], [p_effect[place] for place in cues])
    found = {place: max(again[place], p) for place, p in zip(cues, both, strict=True)}
    return {place: p for place, p in found.items() if p <= level}
