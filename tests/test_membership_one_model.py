"""Attacks on one model: the AUC's interval, and who stands out beyond a level that holds."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from spuriscope.errors import MembershipError
from spuriscope.membership.one_model import area_interval, judge_one, single_out


def drawn(n: int, m: int, shift: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of members and outsiders: normal, and apart by so much."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(shift, 1, n)), torch.from_numpy(rng.normal(0, 1, m))


def test_the_area_and_its_variance_are_those_of_all_pairs() -> None:
    """Slow and obvious: every pair, and the variance of each image's share of them (DeLong)."""
    members, outsiders = drawn(17, 11, 0.7, seed=0)
    members[3] = outsiders[4]  # a tie counts half
    wins = [[(a > b) + 0.5 * (a == b) for b in outsiders.tolist()] for a in members.tolist()]
    rows, columns = np.array(wins).mean(axis=1), np.array(wins).mean(axis=0)
    error = np.sqrt(rows.var(ddof=1) / 17 + columns.var(ddof=1) / 11)
    area, low, high = area_interval(members, outsiders)
    assert area == pytest.approx(np.mean(wins))
    assert (low, high) == pytest.approx((area - 1.959964 * error, min(1, area + 1.959964 * error)))


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_holds_the_true_area(shift: float) -> None:
    """Of normal scores it is known in closed form."""
    truth = norm.cdf(shift / np.sqrt(2))
    found = [area_interval(*drawn(150, 60, shift, seed)) for seed in range(400)]
    assert np.mean([low <= truth <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("m", [99, 100, 360])
def test_where_nobody_can_be_recognised_the_level_holds(m: int) -> None:
    """A threshold that accuses 1 of 100 outsiders would let through 2 of 101 of whoever is like them."""
    found = [single_out(0.01, *drawn(200, m, 0.0, seed)) for seed in range(300)]
    shares = [each.rate.value or 0.0 for each in found]
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) < 0.01 + 2 * error
    assert np.mean(shares) > 0.004
    p_values = np.array([each.p_value for each in found])
    assert np.mean(p_values < 0.05) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_the_p_value_counts_all_orders() -> None:
    """Six members and five outsiders can stand in 462 orders, all as likely where they are alike."""
    n, m, share = 6, 5, 0.35  # two of five outsiders: 2 / 6 is no more
    orders = list(combinations(range(n + m), n))
    hits = {}
    for places in orders:
        scores = torch.arange(n + m).double()
        is_member = torch.zeros(n + m, dtype=torch.bool)
        is_member[list(places)] = True
        hits[places] = single_out(share, scores[is_member], scores[~is_member])
    counts = [round(n * (each.rate.value or 0.0)) for each in hits.values()]
    for found, count in zip(hits.values(), counts, strict=True):
        assert found.p_value == pytest.approx(np.mean([other >= count for other in counts]))


def test_too_few_outsiders_are_told() -> None:
    found = judge_one("loss", *drawn(50, 98, 0.0, seed=0))
    assert [(each.rate.value, each.rate.reason, each.p_value) for each in found.recognised] == [
        (None, "needs 999 outsiders, there are 98", None),
        (None, "needs 99 outsiders, there are 98", None),
    ]
    with pytest.raises(MembershipError, match="two members and two outsiders, got 50 and 1"):
        judge_one("loss", *drawn(50, 1, 0.0, seed=0))
