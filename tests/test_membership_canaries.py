"""The one-run audit against cases worked by hand, and a training that gives its canaries away."""

from math import log

import numpy as np
import pytest
import torch
from scipy.stats import binom

from spuriscope.data import load
from spuriscope.errors import MembershipError
from spuriscope.membership.canaries import audit_guesses, canary_scores, epsilon_bound, plant_canaries
from spuriscope.patterns import pattern
from spuriscope.training import Recipe, train


@pytest.mark.parametrize("m", [10, 100, 1000])
def test_perfect_guesses_bound_epsilon_in_closed_form(m: int) -> None:
    """All m right has probability q^m, so the bound is where q^m = 0.05."""
    q = 0.05 ** (1 / m)
    assert epsilon_bound(m, m, m) == pytest.approx(log(q / (1 - q)), abs=1e-6)


def test_guesses_by_chance_refute_nothing() -> None:
    assert epsilon_bound(100, 100, 50) == 0
    assert epsilon_bound(100, 100, 58) == 0  # P[B(100, 1/2) >= 58] = 0.067
    assert epsilon_bound(100, 100, 59) > 0  # and of 59 0.044
    assert epsilon_bound(4, 4, 4) == 0  # four coins fall so one time in 16
    assert epsilon_bound(5, 5, 5) > 0
    assert epsilon_bound(100, 0, 0) == 0


def test_the_bound_is_where_the_binomial_tail_is_five_percent() -> None:
    epsilon = epsilon_bound(200, 80, 72)
    q = 1 / (1 + np.exp(-epsilon))
    assert binom.sf(71, 80, q) == pytest.approx(0.05, abs=1e-6)
    assert epsilon < log(72 / 8)  # the bound lies below the estimate


def test_the_bound_is_wrong_one_time_in_twenty_at_most() -> None:
    """Randomised response with epsilon 1: each guess is right with probability e / (1 + e)."""
    rng = np.random.RandomState(0)
    right = rng.binomial(200, 1 / (1 + np.exp(-1)), size=2000)
    bounds = {v: epsilon_bound(200, 200, int(v)) for v in np.unique(right)}
    too_high = np.mean([bounds[v] > 1 for v in right])
    assert too_high <= 0.06
    assert np.median([bounds[v] for v in right]) > 0.6


def test_delta_costs_what_the_theorem_says() -> None:
    """One guess, right: the tail is q, and 2 m delta times (1 - q) is added."""
    m, delta = 3, 0.01
    with_delta = epsilon_bound(m, 1, 1, delta=delta, confidence=0.25)
    q = (0.75 - 2 * m * delta) / (1 - 2 * m * delta)
    assert with_delta == pytest.approx(log(q / (1 - q)), abs=1e-6)
    assert epsilon_bound(100, 100, 100, delta=1e-5) < epsilon_bound(100, 100, 100)


def test_guesses_take_both_ends_and_abstain_between() -> None:
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    is_planted = torch.tensor([True, False, True, False, True, False])
    assert audit_guesses(scores, is_planted, n_guesses=2).n_right == 2
    assert audit_guesses(scores, is_planted, n_guesses=4).n_right == 2
    assert audit_guesses(scores[:5], is_planted[:5]).n_guesses == 4
    with pytest.raises(MembershipError, match="an even number of 0 to 6 guesses, got 3"):
        audit_guesses(scores, is_planted, n_guesses=3)
    with pytest.raises(MembershipError, match="must not decrease, got 3, 2, 6"):
        epsilon_bound(6, 2, 3)


def test_canaries_are_stamped_by_chance_and_only_they() -> None:
    data = load("digits")
    patterns = [pattern("r3", data.shape, seed=seed) for seed in range(40)]
    canaries = plant_canaries(data, patterns, seed=1)
    changed = (canaries.data.train.images != data.train.images).flatten(1).any(dim=1).nonzero().flatten()
    planted = canaries.positions[canaries.is_planted]
    assert sorted(changed.tolist()) == sorted(planted.tolist())
    assert 8 < len(planted) < 32
    with pytest.raises(MembershipError, match="0 canaries"):
        plant_canaries(data, [], seed=0)


def test_a_training_gives_its_canaries_away_and_another_does_not() -> None:
    data = load("digits")
    patterns = [pattern("r3", data.shape, seed=seed) for seed in range(40)]
    canaries = plant_canaries(data, patterns, seed=0)
    images = data.test.images[:100]
    model = train(canaries.data, model="small-mlp", recipe=Recipe(epochs=21))
    found = audit_guesses(canary_scores(model.predict, canaries, images), canaries.is_planted, n_guesses=20)
    assert found.n_right >= 17
    assert found.epsilon > 0.5
    clean = train(data, model="small-mlp", recipe=Recipe(epochs=21))
    blind = audit_guesses(canary_scores(clean.predict, canaries, images), canaries.is_planted, n_guesses=20)
    assert blind.epsilon < 0.5
