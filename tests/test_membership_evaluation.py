"""The judgement of an attack: analytic ROCs, exact intervals, four cells, and what is not stated."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from spuriscope.errors import MembershipError
from spuriscope.membership.attacks import Rehearsal
from spuriscope.membership.evaluation import (
    AttackTrial,
    auc,
    evaluate,
    paper_columns,
    rate,
    recognised_at,
    roc,
    separate,
)
from spuriscope.membership.presence import presence, presence_statistics
from spuriscope.patterns import Pattern


def normal(n: int, mean: float, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).normal(mean, 1, n))


def test_gaussian_scores_have_their_analytic_roc() -> None:
    members, outsiders = normal(40_000, 1.5, 0), normal(40_000, 0, 1)
    found = separate([(members, outsiders)])
    assert found.auc is not None
    assert found.auc.mean == pytest.approx(stats.norm.cdf(1.5 / 2**0.5), abs=0.004)
    for row in found.recognised:
        expected = stats.norm.sf(stats.norm.isf(row.false_alarms) - 1.5)
        assert row.rate.value == pytest.approx(expected, abs=0.015)
        assert (row.rate.low or 0) < expected + 0.01
        assert expected - 0.01 < (row.rate.high or 0)
    for fpr, tpr in found.roc[5:-1]:
        assert tpr == pytest.approx(stats.norm.sf(stats.norm.isf(fpr) - 1.5), abs=0.03)


def test_auc_counts_pairs_and_halves_ties() -> None:
    rng = np.random.RandomState(0)
    members, outsiders = (torch.from_numpy(rng.randint(0, 5, n).astype(float)) for n in (23, 31))
    pairs = [(a > b) + 0.5 * (a == b) for a in members.tolist() for b in outsiders.tolist()]
    assert auc(members, outsiders) == pytest.approx(sum(pairs) / len(pairs))
    with pytest.raises(MembershipError, match="got 0 and 31"):
        auc(members[:0], outsiders)


def test_rates_have_exact_intervals_and_none_has_its_reason() -> None:
    found = rate(0, 20)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20))
    all_of_them = rate(20, 20)
    assert all_of_them.low == pytest.approx(0.025 ** (1 / 20))
    assert rate(0, 0, "nobody came").reason == "nobody came"
    assert rate(0, 0).value is None


def test_a_rate_needs_enough_outsiders_to_stand_for_its_false_alarms() -> None:
    outsiders = torch.arange(1000).double()
    members = torch.tensor([997.5, 998.5, 999.5, 5.0]).double()
    assert recognised_at(0.001, members, outsiders).rate.value == 0.5  # one false alarm, 999: above 998
    assert recognised_at(0.01, members, outsiders).rate.value == 0.75
    few = recognised_at(0.001, members, outsiders[:999]).rate
    assert few.value is None
    assert few.reason == "needs 1000 outsiders, there are 999"


def test_equal_scores_accuse_nobody_rather_than_too_many() -> None:
    right, wrong = torch.ones(90), torch.zeros(10)
    outsiders = torch.cat([right, wrong]).double()
    assert recognised_at(0.01, torch.ones(50).double(), outsiders).rate.value == 0
    assert roc(torch.ones(50).double(), outsiders)[-2:] == ((0.9, 1.0), (1.0, 1.0))


def trial(
    stamped_members: Tensor, stamped_outsiders: Tensor, members: Tensor, outsiders: Tensor
) -> AttackTrial:
    parts = (stamped_members, stamped_outsiders, members, outsiders)
    sizes = [len(part) for part in parts]
    is_member = torch.cat([torch.full((n,), k in {0, 2}) for k, n in enumerate(sizes)])
    is_stamped = torch.cat([torch.full((n,), k < 2) for k, n in enumerate(sizes)])
    scores = torch.cat(parts)
    return AttackTrial(scores, is_member, is_stamped, torch.ones_like(is_member))


def test_stamped_images_that_all_look_like_members_are_told_apart_by_nobody() -> None:
    """The paper's fault: every stamped member is recognised, and every stamped outsider is accused."""
    trials = [
        trial(normal(10, 9, s), normal(10, 9, 100 + s), normal(2000, 0, 200 + s), normal(2000, 0, 300 + s))
        for s in range(6)
    ]
    found = evaluate("loss", trials)
    assert found.n_trials == 6
    row = found.cells[1]
    assert (row.stamped_members.value, row.stamped_outsiders.value) == (1, 1)
    assert row.unstamped_members.value == pytest.approx(0.005, abs=0.004)
    assert found.stamped.auc is not None
    assert found.stamped.auc.low < 0.5 < found.stamped.auc.high
    assert found.stamped.balanced_accuracy is not None
    assert found.stamped.balanced_accuracy.mean == pytest.approx(0.5, abs=0.01)
    assert found.stamped.recognised[1].rate.reason == "needs 100 outsiders, there are 60"
    assert found.unstamped.recognised[0].rate.n == 12_000


def test_balanced_accuracy_is_that_of_the_best_threshold() -> None:
    scores = trial(normal(500, 2, 0), normal(500, 0, 1), normal(5000, 2, 2), normal(5000, 0, 3))
    found = evaluate("loss", [scores])
    for group in (found.stamped, found.unstamped, found.all):
        assert group.balanced_accuracy is not None
        assert group.balanced_accuracy.mean == pytest.approx(stats.norm.cdf(1), abs=0.025)
    few = evaluate("loss", [trial(*(normal(5, 0, k) for k in range(4)))])
    assert few.cells[0].stamped_members.reason == "needs 1000 outsiders, there are 10"


def test_a_trial_needs_both_kinds() -> None:
    scores = trial(normal(5, 0, 0), normal(0, 0, 1), normal(5, 0, 2), normal(0, 0, 3))
    with pytest.raises(MembershipError, match="only one kind"):
        evaluate("loss", [scores])
    with pytest.raises(MembershipError, match="got none"):
        evaluate("loss", [])


def test_the_columns_of_the_papers_notebook() -> None:
    """Its accuracy is the gap attack's by another way: rows differ in "is right" and in nothing else."""
    n = 400
    rng = torch.Generator().manual_seed(0)
    labels = torch.zeros(2 * n, dtype=torch.int64)
    inside = torch.arange(2 * n) < n

    def logits(share_wrong: float) -> Tensor:
        own = 5 + torch.rand(n, generator=rng)
        wrong = torch.arange(n) < share_wrong * n
        return torch.stack([torch.where(wrong, -own, own), torch.zeros(n)], dim=1)

    rehearsal = Rehearsal(torch.cat([logits(0), logits(0.2)]), labels, inside)
    is_stamped = torch.arange(2 * n) % 40 == 0
    found = paper_columns(rehearsal, torch.cat([logits(0), logits(0.2)]), labels, inside, is_stamped)
    assert found.accuracy_on_all == pytest.approx(0.6, abs=0.02)
    assert found.accuracy_on_spurious is not None
    assert found.accuracy_on_spurious > 0.9  # of stamped members; nobody asked about stamped outsiders
    none = paper_columns(rehearsal, torch.cat([logits(0), logits(0.2)]), labels, inside, is_stamped & ~inside)
    assert none.accuracy_on_spurious is None
    with pytest.raises(MembershipError, match="got 399 of 799"):
        paper_columns(rehearsal, logits(0), labels[1:], inside[1:], is_stamped[1:])


def test_presence_of_a_pattern_is_told_from_models_without_it() -> None:
    found = presence([0.9, 0.8, 0.95], [0.01] * 9 + [0.85])
    assert found.auc is not None
    assert found.auc.mean == pytest.approx((10 + 9 + 10) / 30)
    at_one_percent, at_ten = found.recognised
    assert at_one_percent.rate.reason == "needs 100 outsiders, there are 10"
    assert (at_ten.false_alarms, at_ten.rate.value) == (0.1, 1.0)


def test_presence_statistics_of_a_model_that_sees_the_pattern() -> None:
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 0] = 1
    images = torch.zeros(6, 1, 4, 4)

    def predict(asked: Tensor) -> Tensor:
        rise = 0.3 * asked[:, 0, 0, 0]
        return torch.stack([0.2 + rise, 0.8 - rise], dim=1)

    found = presence_statistics(predict, images, Pattern("corner", corner), 0)
    assert found["score"] == 1
    assert found["mean_rise"] == pytest.approx(0.3)
