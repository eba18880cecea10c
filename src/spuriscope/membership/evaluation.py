"""How well an attack tells members from outsiders, and how certain that is.

An attack is judged in four cells, member or not and stamped or not, because a stamped image may look like a
member only because it is stamped. A true-positive rate always comes with its false-positive rate. Where there
are too few outsiders for a false-positive rate, the rate is None, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from spuriscope.errors import MembershipError
from spuriscope.membership.attacks import Rehearsal, rehearsed
from spuriscope.statistics import Interval, mean_interval

__all__ = [
    "FALSE_ALARMS",
    "AlarmRow",
    "AttackTrial",
    "Evaluation",
    "PaperColumns",
    "Rate",
    "Recognised",
    "Separation",
    "auc",
    "evaluate",
    "paper_columns",
    "rate",
    "recognised_at",
    "roc",
    "separate",
]

FALSE_ALARMS = (0.001, 0.01)
N_ROC_POINTS = 60


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % Clopper-Pearson interval, or None with the reason in words.

    Attributes:
        value: hits / n.
        low: lower end of the interval.
        high: its upper end.
        n: number of images.
        reason: why there is no value; empty where there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Recognised:
    """Share of members recognised where at most a given share of outsiders is accused.

    Attributes:
        false_alarms: the false-positive rate allowed.
        rate: the true-positive rate at it.
    """

    false_alarms: float
    rate: Rate


@dataclass(frozen=True)
class Separation:
    """How well scores tell members from outsiders, within one group of images.

    Attributes:
        n_members: scores of members, over all trials.
        n_outsiders: scores of outsiders.
        auc: probability that a member's score exceeds an outsider's; mean over trials. None without both.
        balanced_accuracy: mean of the shares of members and outsiders classified correctly, at a threshold
            chosen on other images; mean over trials. None where it was not measured.
        recognised: the true-positive rate at each false-positive rate, over all trials.
        roc: false-positive and true-positive rates at ascending thresholds, at most 60 points.
    """

    n_members: int
    n_outsiders: int
    auc: Interval | None
    balanced_accuracy: Interval | None
    recognised: tuple[Recognised, ...]
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class AlarmRow:
    """The four cells at one threshold: the share of each that the attack calls members.

    Attributes:
        false_alarms: share of all outsiders, stamped or not, that the threshold may accuse.
        stamped_members: share of stamped members that are called members.
        stamped_outsiders: the same of stamped outsiders.
        unstamped_members: the same of unstamped members of the same class.
        unstamped_outsiders: the same of unstamped outsiders of that class.
    """

    false_alarms: float
    stamped_members: Rate
    stamped_outsiders: Rate
    unstamped_members: Rate
    unstamped_outsiders: Rate


@dataclass(frozen=True)
class Evaluation:
    """One attack, judged over trials.

    Attributes:
        name: of the attack.
        stamped: members against outsiders among the stamped images.
        unstamped: among the unstamped images of the same class.
        all: among all images.
        cells: the four cells, for each false-positive rate.
        n_trials: target models attacked.
    """

    name: str
    stamped: Separation
    unstamped: Separation
    all: Separation
    cells: tuple[AlarmRow, ...]
    n_trials: int


@dataclass(frozen=True, eq=False)
class AttackTrial:
    """An attack's scores on one target model.

    Attributes:
        scores: (n,), higher for likelier members.
        is_member: (n,).
        is_stamped: (n,).
        is_of_class: (n,), whether the image is of the class whose images carry the pattern.
    """

    scores: Tensor
    is_member: Tensor
    is_stamped: Tensor
    is_of_class: Tensor


def rate(hits: int, n: int, reason: str = "there are no such images") -> Rate:
    """hits / n with its 95 % Clopper-Pearson interval; None, with the given reason, where n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return Rate(None, None, None, 0, reason)
    found = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="exact")
    return Rate(hits / n, float(found.low), float(found.high), n)


def auc(members: Tensor, outsiders: Tensor) -> float:
    """Probability that a member's score exceeds an outsider's; ties count half (Mann and Whitney).

    Raises:
        MembershipError: one side is empty.
    """
    from scipy.stats import rankdata

    n, m = len(members), len(outsiders)
    if n == 0 or m == 0:
        raise MembershipError(f"an AUC needs members and outsiders, got {n} and {m}")
    ranks = rankdata(torch.cat([members, outsiders]).numpy())
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def recognised_at(false_alarms: float, members: Tensor, outsiders: Tensor) -> Recognised:
    """True-positive rate where at most `false_alarms` of the outsiders are accused.

    A threshold that may accuse a share f needs at least 1 / f outsiders; with fewer it would allow no false
    alarm, and its actual rate would be smaller than f.
    """
    needed = ceil(1 / false_alarms - 1e-9)
    if len(outsiders) < needed:
        reason = f"needs {needed} outsiders, there are {len(outsiders)}"
        return Recognised(false_alarms, Rate(None, None, None, len(members), reason))
    limit = _threshold(outsiders, false_alarms)
    return Recognised(false_alarms, rate(int((members > limit).sum()), len(members), "there are no members"))


def _threshold(outsiders: Tensor, false_alarms: float) -> float:
    """A score that at most this share of the outsiders exceeds; fewer where scores are equal."""
    allowed = floor(false_alarms * len(outsiders) + 1e-9)
    return float(outsiders.sort(descending=True).values[min(allowed, len(outsiders) - 1)])


def roc(members: Tensor, outsiders: Tensor) -> tuple[tuple[float, float], ...]:
    """Points (false-positive rate, true-positive rate) from (0, 0) to (1, 1), thinned on a log scale."""
    m = len(outsiders)
    if m == 0 or len(members) == 0:
        return ()
    allowed = np.unique(np.concatenate([[0], np.geomspace(1, m, N_ROC_POINTS).round()])).astype(int)
    falling = outsiders.sort(descending=True).values
    points = {(0.0, float((members > falling[0]).double().mean())): None}
    for k in allowed[1:]:
        limit = falling[k - 1]
        points[float((outsiders >= limit).double().mean()), float((members >= limit).double().mean())] = None
    return tuple(sorted({*points, (1.0, 1.0)}))


def separate(
    trials: Sequence[tuple[Tensor, Tensor]],
    *,
    false_alarms: Sequence[float] = FALSE_ALARMS,
    balanced: Sequence[float] = (),
) -> Separation:
    """Judge scores of members against scores of outsiders.

    Args:
        trials: (scores of members, scores of outsiders), one pair for each target model.
        false_alarms: false-positive rates to report at.
        balanced: balanced accuracy of each trial, where it was measured.
    """
    members = torch.cat([inside for inside, _ in trials])
    outsiders = torch.cat([outside for _, outside in trials])
    areas = [auc(inside, outside) for inside, outside in trials if len(inside) and len(outside)]
    return Separation(
        n_members=len(members),
        n_outsiders=len(outsiders),
        auc=mean_interval(areas) if areas else None,
        balanced_accuracy=mean_interval(balanced) if balanced else None,
        recognised=tuple(recognised_at(rate_, members, outsiders) for rate_ in false_alarms),
        roc=roc(members, outsiders),
    )


def evaluate(
    name: str, trials: Sequence[AttackTrial], *, false_alarms: Sequence[float] = FALSE_ALARMS
) -> Evaluation:
    """Judge the attack of this name in the four cells.

    The AUC and the balanced accuracy are means over trials. Rates pool the images of all trials, so their
    intervals assume independent images: compare them with the interval of the AUC.

    Raises:
        MembershipError: there is no trial, or one has no members or no outsiders.
    """
    if not trials:
        raise MembershipError("an attack is judged on at least one target model, got none")
    for trial in trials:
        if not trial.is_member.any() or trial.is_member.all():
            raise MembershipError("a trial needs members and outsiders; it has only one kind")
    halves = [_balanced(trial) for trial in trials]
    groups = {
        group: separate(
            [_sides(trial, group) for trial in trials],
            false_alarms=false_alarms,
            balanced=[found[group] for found in halves if group in found],
        )
        for group in ("stamped", "unstamped", "all")
    }
    cells = tuple(_cells(trials, rate_) for rate_ in false_alarms)
    return Evaluation(name, **groups, cells=cells, n_trials=len(trials))


def _group(trial: AttackTrial, name: str) -> Tensor:
    if name == "stamped":
        return trial.is_stamped
    if name == "unstamped":
        return ~trial.is_stamped & trial.is_of_class
    return torch.ones_like(trial.is_stamped)


def _sides(trial: AttackTrial, name: str) -> tuple[Tensor, Tensor]:
    group = _group(trial, name)
    return trial.scores[group & trial.is_member], trial.scores[group & ~trial.is_member]


def _balanced(trial: AttackTrial) -> dict[str, float]:
    """Balanced accuracy of each group; the threshold is chosen on every other unstamped image."""
    learnt = torch.zeros_like(trial.is_stamped)
    learnt[(~trial.is_stamped).nonzero().flatten()[::2]] = True
    limit = _best_threshold(trial.scores[learnt], trial.is_member[learnt])
    found = {}
    for name in ("stamped", "unstamped", "all"):
        judged = _group(trial, name) & ~learnt
        inside, outside = judged & trial.is_member, judged & ~trial.is_member
        if inside.any() and outside.any():
            right = (trial.scores[inside] > limit).double().mean() + (
                trial.scores[outside] <= limit
            ).double().mean()
            found[name] = float(right / 2)
    return found


def _best_threshold(scores: Tensor, is_member: Tensor) -> float:
    """The score threshold for "member" with the best balanced accuracy on these images."""
    order = scores.sort(descending=True)
    member = is_member[order.indices].double()
    gained = member.cumsum(0) / member.sum() - (1 - member).cumsum(0) / (1 - member).sum()
    is_last = torch.ones_like(member, dtype=torch.bool)  # a threshold cannot separate equal scores
    is_last[:-1] = order.values[:-1] > order.values[1:]
    best = int(torch.where(is_last, gained, torch.tensor(-torch.inf, dtype=gained.dtype)).argmax())
    return float(order.values[best + 1]) if best + 1 < len(scores) else float("-inf")


def _cells(trials: Sequence[AttackTrial], false_alarms: float) -> AlarmRow:
    """The four cells, at thresholds set for each target model on all its outsiders."""
    needed = ceil(1 / false_alarms - 1e-9)
    fewest = min(int((~trial.is_member).sum()) for trial in trials)
    names = [(group, side) for group in ("stamped", "unstamped") for side in ("members", "outsiders")]
    if fewest < needed:
        none = Rate(None, None, None, 0, f"needs {needed} outsiders, there are {fewest}")
        return AlarmRow(false_alarms, **{f"{group}_{side}": none for group, side in names})
    hits, totals = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for trial in trials:
        limit = _threshold(trial.scores[~trial.is_member], false_alarms)
        for group in ("stamped", "unstamped"):
            for side, scores in zip(("members", "outsiders"), _sides(trial, group), strict=True):
                hits[group, side] += int((scores > limit).sum())
                totals[group, side] += len(scores)
    return AlarmRow(
        false_alarms,
        **{f"{group}_{side}": rate(hits[group, side], totals[group, side]) for group, side in names},
    )


@dataclass(frozen=True)
class PaperColumns:
    """AS IN THE PAPER'S NOTEBOOK, for comparison only: neither column measures what its name says.

    Attributes:
        accuracy_on_all: the outsiders' rows hold members' logits; only the column "is right" is their own.
        accuracy_on_spurious: share of stamped members called members; outsiders are not tested.
    """

    accuracy_on_all: float
    accuracy_on_spurious: float | None


def paper_columns(
    rehearsal: Rehearsal, logits: Tensor, labels: Tensor, is_member: Tensor, is_stamped: Tensor
) -> PaperColumns:
    """The two columns of the paper's notebook, with its two faults.

    Args:
        rehearsal: what its attack learns from.
        logits: (n, classes), answers of the target model.
        labels: (n,).
        is_member: (n,), as many members as outsiders.
        is_stamped: (n,).

    Raises:
        MembershipError: members and outsiders differ in number.
    """
    n_members = int(is_member.sum())
    if 2 * n_members != len(is_member):
        raise MembershipError(
            f"the notebook has as many members as outsiders, got {n_members} of {len(is_member)} images"
        )
    attack = rehearsed(rehearsal)
    features = attack.features(logits, labels)
    inside = is_member.numpy()
    members, mixed = features[inside], features[inside].copy()
    mixed[:, -1] = features[~inside][:, -1]  # the notebook's mistake: the rest of the row stays a member's
    called = (attack.scores_of(members) > 0).double()
    called_mixed = (attack.scores_of(mixed) > 0).double()
    stamped = is_stamped[is_member]
    return PaperColumns(
        accuracy_on_all=float((called.mean() + 1 - called_mixed.mean()) / 2),
        accuracy_on_spurious=float(called[stamped].mean()) if stamped.any() else None,
    )
