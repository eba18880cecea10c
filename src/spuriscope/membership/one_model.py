"""How well an attack recognises the training images of one model, and how certain that is.

There is one model, so images are counted: members, which it was trained on, and outsiders. Statements hold
for this model and for images drawn like these.

A threshold set on few outsiders lets through more than it says: one that accuses 1 of 100 accuses on average
2 of the next 100. Here the next outsider is counted too (`single_out`), so the level holds for any number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

import torch
from torch import Tensor

from spuriscope.errors import MembershipError
from spuriscope.membership.evaluation import FALSE_ALARMS, Rate, rate, roc

__all__ = ["AttackOnModel", "SingledOut", "area_interval", "judge_one", "single_out"]


@dataclass(frozen=True)
class SingledOut:
    """Share of members that stand out where an outsider does so with at most a given probability.

    Attributes:
        false_alarms: that probability.
        rate: the share of members; its interval takes the threshold as given.
        p_value: probability that so many members stand out if they are like outsiders; None without a rate.
    """

    false_alarms: float
    rate: Rate
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class AttackOnModel:
    """One attack on one model, judged.

    Attributes:
        name: of the attack.
        auc: probability that a member's score exceeds an outsider's.
        auc_low: lower end of its 95 % interval over images.
        auc_high: upper end.
        recognised: share of members recognised, at each probability of a false alarm.
        roc: false-positive and true-positive rates, at most 60 points.
    """

    name: str
    auc: float
    auc_low: float
    auc_high: float
    recognised: tuple[SingledOut, ...]
    roc: tuple[tuple[float, float], ...]


def judge_one(
    name: str, members: Tensor, outsiders: Tensor, *, false_alarms: Sequence[float] = FALSE_ALARMS
) -> AttackOnModel:
    """Judge an attack by its scores of members (n,) and of outsiders (m,), higher for likelier members.

    Raises:
        MembershipError: there are fewer than two of either.
    """
    area, low, high = area_interval(members, outsiders)
    return AttackOnModel(
        name=name,
        auc=area,
        auc_low=low,
        auc_high=high,
        recognised=tuple(single_out(share, members, outsiders) for share in false_alarms),
        roc=roc(members, outsiders),
    )


def area_interval(members: Tensor, outsiders: Tensor) -> tuple[float, float, float]:
    """The AUC, ties by half, and the ends of its 95 % interval over images, kept within [0, 1].

    Raises:
        MembershipError: there are fewer than two of either.

    Source: DeLong, DeLong and Clarke-Pearson (1988), with ranks as in Sun and Xu (2014).
    """
    from scipy.stats import norm, rankdata

    n, m = len(members), len(outsiders)
    if min(n, m) < 2:
        raise MembershipError(f"the interval of an AUC needs two members and two outsiders, got {n} and {m}")
    ranks = torch.from_numpy(rankdata(torch.cat([members, outsiders]).numpy()))
    below = (ranks[:n] - torch.from_numpy(rankdata(members.numpy()))) / m  # share of outsiders below each
    above = 1 - (ranks[n:] - torch.from_numpy(rankdata(outsiders.numpy()))) / n
    area = float(below.mean())
    reach = float(norm.ppf(0.975)) * sqrt(float(below.var()) / n + float(above.var()) / m)
    return area, max(0.0, area - reach), min(1.0, area + reach)


def single_out(false_alarms: float, members: Tensor, outsiders: Tensor) -> SingledOut:
    """Members above a threshold that the next outsider exceeds with probability at most `false_alarms`.

    The threshold is the k-th largest of m outsiders, with the largest k for which k / (m + 1), the
    probability for an exchangeable outsider, is at most that. Members that are like outsiders are in random
    order among them, so the number before the k-th outsider has a known distribution: the p-value is
    hypergeometric.
    """
    from scipy.stats import hypergeom

    n, m = len(members), len(outsiders)
    allowed = floor(false_alarms * (m + 1) + 1e-9)
    if allowed < 1:
        reason = f"needs {ceil(1 / false_alarms - 1e-9) - 1} outsiders, there are {m}"
        return SingledOut(false_alarms, Rate(None, None, None, n, reason), None)
    limit = outsiders.sort(descending=True).values[allowed - 1]
    hits = int((members > limit).sum())
    p_value = float(hypergeom.cdf(allowed - 1, n + m, m, hits + allowed - 1))
    return SingledOut(false_alarms, rate(hits, n, "there are no members"), p_value)
