"""Both claims of a finding have to hold: the joined test, its level, and what is one cue."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from spuriscope.data import load
from spuriscope.data.image_set import Split
from spuriscope.discovery import discover
from spuriscope.discovery.controls import p_of_effect
from spuriscope.discovery.evidence import (
    MARKED,
    both_by_chance,
    effects_of_cues,
    judge_suspects,
    one_for_each_cue,
)
from spuriscope.patterns import pattern
from spuriscope.statistics import sequential_p_value
from spuriscope.training import Cell, DataKey, Recipe, train_cell

LEVEL = 0.05
N_SUSPECTS = 90


def reported(p_group: list[float], p_effect: list[float]) -> list[int]:
    """Suspects that are reported, none of which share images."""
    return list(judge_suspects(p_group, p_effect, LEVEL, lambda place: (0, np.array([place]))))


def test_one_claim_does_not_make_up_for_the_other() -> None:
    """Fisher's method gives 2.9e-11 where one of the claims is as false as can be."""
    assert stats.combine_pvalues((1e-12, 1.0), method="fisher").pvalue < 1e-10
    assert both_by_chance([1e-12], [1.0], LEVEL / 2) == [1.0]
    assert reported([1e-12], [1.0]) == []
    assert reported([1.0], [1e-12]) == []
    assert reported([1e-12], [1e-3]) == [0]


def test_the_truncated_product_is_a_p_value() -> None:
    """Of two uniform draws the product within its bounds is as small as p in a share p of all."""
    rng = np.random.default_rng(3)
    first, second = rng.uniform(size=(2, 200_000)) * np.array([[2 * MARKED], [LEVEL]])
    p = np.array(both_by_chance(first.tolist(), second.tolist(), LEVEL / 2))
    assert (p[(first > MARKED) | (second > LEVEL / 2)] == 1).all()
    for bound in (2e-5, 2e-4, 1e-3, MARKED * LEVEL / 2):
        share = 2 * MARKED * LEVEL * float(np.mean(p <= bound))  # the draws were from a part of the square
        assert share == pytest.approx(bound, rel=0.1)


def test_within_its_bounds_it_is_fishers_method() -> None:
    p_group, p_effect = 0.05, 0.004
    fisher = stats.combine_pvalues((p_group / MARKED, p_effect / (LEVEL / 2)), method="fisher").pvalue
    assert both_by_chance([p_group], [p_effect], LEVEL / 2) == pytest.approx([MARKED * LEVEL / 2 * fisher])


def test_effects_count_once_for_each_cue_by_simes() -> None:
    """Three looks at the same images, two of them marks for certain; another mark; two that may be none."""
    images = {0: (0, [1, 2, 3]), 1: (0, [2, 3]), 2: (0, [3]), 3: (1, [1, 2, 3]), 4: (0, [8, 9]), 5: (0, [10])}
    p_group, p_effect = [1e-5, 1e-4, 0.09, 1e-3, 0.05, 0.2], [0.03, 0.01, 1.0, 0.5, 0.002, 0.001]
    found = effects_of_cues(p_group, p_effect, LEVEL, lambda one: (images[one][0], np.array(images[one][1])))
    simes = min(2 * 0.01, 0.03)
    assert found == pytest.approx({0: 2 * simes, 1: 2 * simes, 2: 2 * simes, 3: 0.5, 4: 3 * 0.002})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0, 1))
def test_effects_are_counted_and_continued_beyond_twice_the_largest(null: list[float], score: float) -> None:
    counted, p = sequential_p_value(null, score), p_of_effect(np.array(null), score)
    if len(null) < 19 or score <= 2 * max(0.02, *null):
        assert p == counted
    else:
        assert counted / 20 <= p <= counted
        assert p_of_effect(np.array(null), score / 1.01) >= p


def test_an_effect_of_a_natural_kind_is_as_rare_as_it_says_beyond_the_controls() -> None:
    """Scores whose logarithms are exponential: beyond twice the largest p is no smaller than its share."""
    rng = np.random.default_rng(0)
    draws = np.minimum(1, 0.005 * np.exp(rng.exponential(0.7, size=(20_000, 101))))
    p = np.array([p_of_effect(null, score) for *null, score in draws])
    for bound in (0.002, 0.005, 0.01, 0.05):
        assert stats.binomtest(int((p <= bound).sum()), len(p), bound, alternative="greater").pvalue > 0.001


def test_the_strongest_of_a_look_needs_less() -> None:
    p_group, p_effect = [0.01, 0.01, *[1.0] * 88], [0.002, 0.002, *[1.0] * 88]
    images = [(0, np.array([place])) for place in range(90)]
    found = judge_suspects(p_group, p_effect, LEVEL, images.__getitem__, [2.25, 0.5] + [1.0] * 88)
    assert found[0] < found[1]
    assert reported(p_group, p_effect) == [0, 1]


def correlated(rng: np.random.Generator, n: int, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Two uniform p-values each, whose normal scores correlate."""
    z = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=n)
    first, second = stats.norm.sf(z).T
    return first, second


@pytest.mark.parametrize(("correlation", "most"), [(-0.9, LEVEL), (0.1, LEVEL), (0.2, 2 * LEVEL)])
def test_among_natural_groups_a_false_report_is_as_rare_as_the_level(correlation: float, most: float) -> None:
    """All but independent claims, as they were found to be; and more dependence: at most twice the level."""
    rng = np.random.default_rng(0)
    n_searches, n_false = 600, 0
    for _ in range(n_searches):
        p_group, p_effect = correlated(rng, N_SUSPECTS, correlation)
        n_false += bool(reported(p_group.tolist(), p_effect.tolist()))
    assert stats.binomtest(n_false, n_searches, most, alternative="greater").pvalue > 0.001


def test_weights_that_do_not_depend_on_p_values_hold_the_level() -> None:
    """Ranks of a look, and one suspect in fifty that two searches name."""
    rng = np.random.default_rng(0)
    n_searches, n_false = 600, 0
    for _ in range(n_searches):
        p_group, p_effect = correlated(rng, N_SUSPECTS, 0.0)
        weights = np.tile([2.25, 0.5, 0.25], N_SUSPECTS // 3) * np.where(rng.random(N_SUSPECTS) < 0.02, 8, 1)
        found = judge_suspects(
            p_group.tolist(), p_effect.tolist(), LEVEL, lambda place: (0, np.array([place])), weights.tolist()
        )
        n_false += bool(found)
    assert stats.binomtest(n_false, n_searches, LEVEL, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("n_marks", [1, 8])
def test_marks_that_the_model_ignores_are_seldom_reported(n_marks: int) -> None:
    rng = np.random.default_rng(0)
    n_searches, n_false = 600, 0
    for _ in range(n_searches):
        p_group, p_effect = correlated(rng, N_SUSPECTS, 0.0)
        p_group[:n_marks] = 1e-9
        n_false += bool(reported(p_group.tolist(), p_effect.tolist()))
    assert stats.binomtest(n_false, n_searches, LEVEL, alternative="greater").pvalue > 0.001


def test_the_false_discovery_rate_is_held_beside_true_cues() -> None:
    """Three true cues, one mark that the model ignores, and natural groups."""
    rng = np.random.default_rng(1)
    shares, n_found = [], 0
    for _ in range(1000):
        p_group, p_effect = correlated(rng, N_SUSPECTS, 0.0)
        p_group[:4], p_effect[:3] = 1e-9, 0.001
        found = set(reported(p_group.tolist(), p_effect.tolist()))
        n_found += len(found & {0, 1, 2})
        shares.append(len(found - {0, 1, 2}) / max(1, len(found)))
    assert n_found == 3000
    assert np.mean(shares) <= LEVEL


def test_what_is_not_significant_does_not_hide_what_is() -> None:
    """A single image of p 1e-9 is reported, whether or not a pair of p .2 that holds it stands beside it."""
    images = {0: np.array([7]), 1: np.array([7, 99])}
    for p_group in ([1e-9], [1e-9, 0.2]):
        found = judge_suspects(p_group, [0.005] * len(p_group), LEVEL, lambda place: (0, images[place]))
        assert list(found) == [0]


def test_one_cue_counts_once() -> None:
    """The same images eight times over do not carry a ninth suspect past the screen."""
    p_group, p_effect = [1e-9] * 8 + [0.09] + [1.0] * 81, [0.001] * 8 + [0.0025] + [1.0] * 81
    one = np.array([1, 2, 3])
    found = judge_suspects(
        p_group, p_effect, LEVEL, lambda place: (0, one if place < 8 else np.array([100 + place]))
    )
    apart = judge_suspects(p_group, p_effect, LEVEL, lambda place: (0, np.array([100 + place])))
    assert list(found) == [0]
    assert 8 in apart


def test_marks_that_share_images_are_one_cue() -> None:
    images = {0: (0, [1, 2, 3]), 1: (0, [3, 4]), 2: (0, [5]), 3: (1, [1, 2, 3]), 4: (0, [1, 2, 3, 9])}
    places = {0: 1e-6, 1: 1e-9, 2: 1e-4, 3: 1e-5, 4: 1e-6}
    kept = one_for_each_cue(places, lambda place: (images[place][0], np.array(images[place][1])))
    assert kept == [1, 3, 2]


@pytest.mark.parametrize(("seed", "target"), [(0, 8), (1, 1)])
def test_a_mark_that_the_model_never_saw_is_not_reported(seed: int, target: int) -> None:
    """Digits: a model trained clean, and a square put on 30 images of a class afterwards.

    Three of the classes are searched: the fewer suspects there are, the easier is one reported.
    """
    data = load("digits")
    cell = Cell(data=DataKey.of(data), model="mlp", recipe=Recipe(epochs=12), seed=seed)
    predict = train_cell(cell, data).predict
    marked = (data.train.labels == target).nonzero().flatten()[seed::3][:30]
    images = data.train.images.clone()
    square = pattern("s1", data.shape)
    images[marked] = (255 * square.apply(images[marked])).round().to(torch.uint8)
    some = torch.isin(data.train.labels, torch.tensor([target, 2, 5]))
    searched = Split(images[some], data.train.labels[some])
    assert discover(predict, train=searched, holdout=data.test) == []
