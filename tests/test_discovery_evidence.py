"""Both claims of a finding have to hold: the joined test, its level, and what is one cue."""

import numpy as np
import pytest
import torch
from scipy import stats

from spuriscope.data import load
from spuriscope.data.image_set import Split
from spuriscope.discovery import discover
from spuriscope.discovery.evidence import LEAST_POOLED, joint_p_value, marks, one_for_each_cue, tails
from spuriscope.patterns import pattern
from spuriscope.training import Cell, DataKey, Recipe, train_cell

LEVEL = 0.05
N_SUSPECTS = 90


def reported(p_group: list[float], p_effect: list[float]) -> list[int]:
    """Suspects that are reported, none of which share images."""
    found = marks(p_group, LEVEL)
    places = one_for_each_cue(found, lambda place: (0, np.array([place])))
    joint = joint_p_value([found[place] for place in places], [p_effect[place] for place in places])
    return [place for place, p in zip(places, joint, strict=True) if p <= LEVEL]


def test_one_claim_does_not_make_up_for_the_other() -> None:
    """Fisher's method gives 2.9e-11 where one of the claims is as false as can be."""
    assert stats.combine_pvalues((1e-12, 1.0), method="fisher").pvalue < 1e-10
    assert joint_p_value([1e-12], [1.0]) == [1.0]
    assert reported([1e-12], [1.0]) == []
    assert reported([1.0], [1e-12]) == []
    assert reported([1e-12], [1e-3]) == [0]


def correlated(rng: np.random.Generator, n: int, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Two uniform p-values each, whose normal scores correlate."""
    z = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=n)
    first, second = stats.norm.sf(z).T
    return first, second


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
@pytest.mark.parametrize("n_marks", [0, 1, 8])
def test_the_chance_of_any_false_report_is_at_most_the_level(correlation: float, n_marks: int) -> None:
    """Natural groups whose two p-values depend on each other, and marks that the model ignores."""
    rng = np.random.default_rng(0)
    n_searches, n_false = 2000, 0
    for _ in range(n_searches):
        p_group, p_effect = correlated(rng, N_SUSPECTS, correlation)
        p_group[:n_marks] = 1e-9
        p_effect[:n_marks] = rng.uniform(size=n_marks)
        n_false += bool(reported(p_group.tolist(), p_effect.tolist()))
    assert stats.binomtest(n_false, n_searches, LEVEL, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_true_cues_do_not_shelter_false_ones(correlation: float) -> None:
    rng = np.random.default_rng(1)
    n_searches, n_false, n_found = 1000, 0, 0
    for _ in range(n_searches):
        p_group, p_effect = correlated(rng, N_SUSPECTS, correlation)
        p_group[:4], p_effect[:3], p_effect[3] = 1e-9, 0.001, rng.uniform()
        found = reported(p_group.tolist(), p_effect.tolist())
        n_found += len(set(found) & {0, 1, 2})
        n_false += bool(set(found) - {0, 1, 2})
    assert n_found == 3 * n_searches
    assert stats.binomtest(n_false, n_searches, LEVEL, alternative="greater").pvalue > 0.001


def test_what_is_no_mark_does_not_hide_what_is_one() -> None:
    """A single image of p 1e-9 is reported, whether or not a pair of p .2 that holds it stands beside it."""
    images = {0: np.array([7]), 1: np.array([7, 99])}
    for p_group in ([1e-9], [1e-9, 0.2]):
        found = marks(p_group, LEVEL)
        assert one_for_each_cue(found, lambda place: (0, images[place])) == [0]


def test_marks_that_share_images_are_one_cue() -> None:
    images = {0: (0, [1, 2, 3]), 1: (0, [3, 4]), 2: (0, [5]), 3: (1, [1, 2, 3]), 4: (0, [1, 2, 3, 9])}
    places = {0: 1e-6, 1: 1e-9, 2: 1e-4, 3: 1e-5, 4: 1e-6}
    kept = one_for_each_cue(places, lambda place: (images[place][0], np.array(images[place][1])))
    assert kept == [1, 3, 2]


def test_few_classes_judge_each_by_its_own_crowd() -> None:
    rng = np.random.default_rng(0)
    strengths = {target: np.exp(rng.exponential(size=40)).tolist() for target in range(LEAST_POOLED)}
    strengths[9] = [1.0, 2.0]  # has no crowd
    together, few = tails(strengths), tails({k: strengths[k] for k in range(LEAST_POOLED - 1)})
    assert set(together) == set(range(LEAST_POOLED))
    assert {tail.n for tail in few.values()} == {16}
    assert {tail.n for tail in together.values()} == {16 * LEAST_POOLED}
    assert [tail.threshold for tail in few.values()] == [together[k].threshold for k in few]


@pytest.mark.parametrize("seed", range(2))
def test_a_mark_that_the_model_never_saw_is_not_reported(seed: int) -> None:
    """Digits: a model trained clean, and a square put on 30 images of a class afterwards."""
    data = load("digits")
    cell = Cell(data=DataKey.of(data), model="mlp", recipe=Recipe(epochs=12), seed=seed)
    predict = train_cell(cell, data).predict
    for target in (8, 1):
        marked = (data.train.labels == target).nonzero().flatten()[seed::3][:30]
        images = data.train.images.clone()
        square = pattern("s1", data.shape)
        images[marked] = (255 * square.apply(images[marked])).round().to(torch.uint8)
        assert discover(predict, train=Split(images, data.train.labels), holdout=data.test) == []
