"""What is reported: groups that are marks and to which the model responds.

A finding makes two claims. The group is a *mark*: it stands out further than natural groups do. And it
*moves* others: its pattern pulls fresh images into the class more than patterns of natural groups do. Each
claim has its p-value, and neither makes up for the other: a mark that the model ignores is not a finding,
however far it stands out, nor are natural look-alikes that move others. There are two ways to err, and a
separate step keeps each at the level. What stands out naturally moves a little more than what it is compared
with: of 1,300 natural suspects of eleven clean models a tenth had an effect below .05. So p-values of effects
are doubled first.

1. *By chance*. A natural group may stand out and move others by chance. Then both p-values are random, and
   independent as far as searches of clean models tell (docs/results/discovery.md), so the probability of a
   product as small as theirs is known. Only products are counted of which each claim could be reported: a
   group that does not stand out at a tenth is not tried, and an effect above the level is none. The result is
   adjusted for all suspects of all classes, at a false discovery rate of the level. The strongest group of a
   class and look has more weight than the next, and a group that two searches name, each in its own way, more
   than one that a single search names (`suspects.weigh_agreement`).
2. *One for each cue*. Of the groups that passed and share images one represents all, and step 1 is repeated
   with each cue counted once.
3. *Ignored*. A mark that was put on the images but ignored by training certainly stands out, and may move
   others by chance. So the effects of all certain marks (by p-values of groups alone, at a false discovery
   rate of the level) are adjusted again, by themselves. Those that share images count once, by the method of
   Simes. Suspects that are not certain marks join these one at a time: were one an ignored mark, its effect
   would have to be small by chance, below half of the level.

A finding passes both adjustments, and its p-value is the larger of the two.

Sources: Zaykin, Zhivotovsky, Westfall and Weir (2002), "Truncated product method for combining p-values";
Benjamini and Hochberg (1995); weights: Genovese, Roeder and Wasserman (2006), "False discovery control with
p-value weighting"; Simes (1986), "An improved Bonferroni procedure"; that both have to hold: Berger (1982),
"Multiparameter hypothesis testing and acceptance sampling".
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MARKED",
    "both_by_chance",
    "effects_of_cues",
    "judge_suspects",
    "one_for_each_cue",
    "stands_out_and_is_absent",
]

LEAST_P = 1e-12  # smaller p-values from the tail of a crowd are not trusted
MARKED = 0.1  # a group with a larger p-value is not tried on the model
LIBERAL = 2.0  # factor on p-values of effects, because by chance they are small too often

Images = Callable[[int], tuple[int, NDArray[np.int64]]]  # class and positions of the images of a suspect


def one_for_each_cue(places: Mapping[int, float], images: Images) -> list[int]:
    """Choose, among suspects that share images of one class, the one that represents all of them.

    A group says more than each of its images does. Among groups the most certain is chosen.

    Args:
        places: suspects with their p-values.
        images: class and positions of the images of a suspect.
    """
    kept: list[int] = []
    for place in sorted(places, key=lambda one: (len(images(one)[1]) == 1, places[one], one)):
        if not any(_share(images(place), images(other)) for other in kept):
            kept.append(place)
    return kept


def _share(a: tuple[int, NDArray[np.int64]], b: tuple[int, NDArray[np.int64]]) -> bool:
    return a[0] == b[0] and bool(np.isin(a[1], b[1]).any())


def stands_out_and_is_absent(p_stands_out: float, p_absent: float) -> float:
    """The p-value that a group is not a mark, combining two lines of evidence by Fisher's method.

    They are independent where nothing was done to the training images: which images of a crowd are fresh is
    then independent of how they look. Either may carry the claim alone.

    Args:
        p_stands_out: probability that natural groups stand out so far.
        p_absent: probability that so few of them are fresh.
    """
    from scipy import stats

    return float(stats.combine_pvalues([max(p, LEAST_P) for p in (p_stands_out, p_absent)]).pvalue)


def both_by_chance(p_group: Sequence[float], p_effect: Sequence[float], least_effect: float) -> list[float]:
    """p-values that a natural group stands out and moves others by chance, for each suspect.

    The probability that two independent p-values lie below their bounds and have a product as small as these;
    1 where one lies above.

    Args:
        p_group: of the suspects; the bound is `MARKED`.
        p_effect: of their effects; 1 where none was measured.
        least_effect: the bound of these.
    """
    bounds = np.array([[MARKED], [least_effect]])
    both = np.maximum([p_group, p_effect], LEAST_P) / bounds
    product = np.minimum(both.prod(axis=0), 1)
    p = bounds.prod() * product * (1 - np.log(product))
    return [float(each) for each in np.where((both <= 1).all(axis=0), p, 1.0)]


def effects_of_cues(
    p_group: Sequence[float], p_effect: Sequence[float], level: float, images: Images
) -> dict[int, float]:
    """For each suspect that was tried the adjusted p-value that its cue is a mark that the model ignores.

    Which suspects are one cue, and which cues are marks for certain, does not depend on the effects.

    Args:
        p_group: of all suspects.
        p_effect: of their effects; 1 where none was measured.
        level: at which a group is a mark for certain.
        images: class and positions of the images of a suspect.
    """
    from scipy import stats

    is_certain = np.array(stats.false_discovery_control(p_group)) <= level
    tried = [place for place, p in enumerate(p_group) if p <= MARKED]
    cues: list[list[int]] = []
    for place in sorted(tried, key=lambda one: (p_group[one], one)):
        of = next((cue for cue in cues if _share(images(place), images(cue[0]))), None)
        if of is None:
            cues.append([place])
        else:
            of.append(place)
    certain = [cue for cue in cues if is_certain[cue[0]]]  # the most certain comes first
    simes = [_simes([p_effect[place] for place in cue if is_certain[place]]) for cue in certain]
    adjusted = stats.false_discovery_control(simes) if simes else []
    found = {place: float(p) for cue, p in zip(certain, adjusted, strict=True) for place in cue}
    for cue in cues:
        if not is_certain[cue[0]]:
            p = min(1.0, (len(certain) + 1) * _simes([p_effect[place] for place in cue]))
            found.update(dict.fromkeys(cue, p))
    return found


def _simes(p_values: Sequence[float]) -> float:
    """The p-value that all of these hypotheses are null."""
    from scipy import stats

    return float(min(stats.false_discovery_control(p_values)))


def judge_suspects(
    p_group: Sequence[float],
    p_effect: Sequence[float],
    level: float,
    images: Images,
    weights: Sequence[float] | None = None,
) -> dict[int, float]:
    """Positions of the suspects to report, with their p-values.

    Args:
        p_group: of all suspects of a search.
        p_effect: of their effects; 1 where none was measured.
        level: significance level.
        images: class and positions of the images of a suspect.
        weights: of the suspects, positive; they must not depend on the p-values. By default all are equal.
    """
    if not p_group:
        return {}
    effects = [min(1.0, LIBERAL * p) for p in p_effect]
    by_chance = both_by_chance(p_group, effects, level)
    all_weights = np.ones(len(p_group)) if weights is None else np.array(weights)
    first = _adjusted(by_chance, all_weights, range(len(p_group)))
    significant = {place: p for place, p in first.items() if p <= level}
    cues = one_for_each_cue(significant, images)
    kept = [place for place in range(len(p_group)) if place in cues or place not in significant]
    natural = _adjusted(by_chance, all_weights, kept)
    ignored = effects_of_cues(p_group, effects, level, images)
    found = {place: max(natural[place], ignored[place]) for place in cues}
    return {place: p for place, p in found.items() if p <= level}


def _adjusted(p: Sequence[float], weights: NDArray[np.float64], places: Sequence[int]) -> dict[int, float]:
    """Some of the p-values, adjusted at a false discovery rate; their mean weight counts as 1."""
    from scipy import stats

    chosen = list(places)
    scaled = weights[chosen] / weights[chosen].mean()
    adjusted = stats.false_discovery_control(np.minimum(1, np.array(p)[chosen] / scaled))
    return {place: float(each) for place, each in zip(chosen, adjusted, strict=True)}
