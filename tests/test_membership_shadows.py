"""Shadow models of one finished model: what is pooled, how it is parted, and what attacks make of it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom, mannwhitneyu
from torch import Tensor

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import MembershipError
from spuriscope.membership.shadows import (
    AttackedModel,
    ShadowPool,
    attack_model,
    balanced_halves,
    confidences,
    draw_shadow_pool,
    shadow_cells,
    with_steps_of,
)
from spuriscope.training import Recipe, TrainedModel, Trainer, train, train_all

DIGITS = load("digits")
IMAGES = torch.cat([DIGITS.train.images, DIGITS.test.images])
LABELS = torch.cat([DIGITS.train.labels, DIGITS.test.labels])
RECIPE = Recipe(epochs=20)


def digits(*ends: int) -> ImageSet:
    """Digits: training images from the first end to the second, test images from there to the third."""
    first, middle, last = ends
    train_part, test_part = slice(first, middle), slice(middle, last)
    return ImageSet(
        "some",
        Split(IMAGES[train_part], LABELS[train_part]),
        Split(IMAGES[test_part], LABELS[test_part]),
        DIGITS.class_names,
    )


MINE, OTHERS = digits(0, 450, 900), digits(900, 1350, 1797)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sizes", [(1,), (3, 3, 3), (1, 1, 1, 1), (40, 7, 1, 12)])
def test_every_image_is_out_of_half_of_the_models_and_every_group_in_all(
    sizes: tuple[int, ...], seed: int
) -> None:
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    rows = balanced_halves(groups, 6, seed)
    assert (rows.sum(dim=0) == 3).all()
    assert torch.equal(rows[::2], ~rows[1::2])
    for row in rows:
        assert abs(int(row.sum()) - len(groups) / 2) <= 0.5
        of_group = [int(row[groups == group].sum()) for group in range(len(sizes))]
        assert all(abs(n - size / 2) <= 0.5 for n, size in zip(of_group, sizes, strict=True))
    assert len(balanced_halves(torch.zeros(40).long(), 8, seed).unique(dim=0)) == 8


def test_small_groups_do_not_stay_together() -> None:
    """Two images that are alone of their class are in one half in some pairs, and in two in others."""
    rows = balanced_halves(torch.tensor([0] * 9 + [1, 2]), 40, 0)
    assert 0 < int((rows[:, 9] == rows[:, 10]).sum()) < 40


@pytest.mark.parametrize("n_other", [300, 700, 1437])
def test_shadow_models_have_as_many_steps(n_other: int) -> None:
    recipe = with_steps_of(Recipe(epochs=35), 1437, n_other)
    steps, wanted = recipe.epochs * -(-n_other // 128), 35 * 12
    assert abs(steps - wanted) <= -(-n_other // 128) / 2
    rates = [Recipe(epochs=35).rate(epoch) for epoch in range(35)]
    shares = [round(np.mean([rate == each for rate in rates]), 1) for each in sorted(set(rates))]
    others = [recipe.rate(epoch) for epoch in range(recipe.epochs)]
    assert [round(np.mean([rate == each for rate in others]), 1) for each in sorted(set(others))] == shares
    assert with_steps_of(replace(recipe, epochs=0), 10, 20).epochs == 0


def test_each_half_is_trained_on_as_long(mine: TrainedModel) -> None:
    """600 images are five batches, half of 700 are three: 20 epochs of the one are 33 of the other."""
    cells = shadow_cells(draw_shadow_pool(digits(0, 600, 700), 4), mine.cell)
    assert {cell.recipe for cell in cells} == {replace(RECIPE, epochs=33, milestones=(20, 25, 30))}
    assert {cell.model for cell in cells} == {"small-mlp"}


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits)
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def says(logits: Tensor) -> Any:
    """A model whose logits are given."""
    return SimpleNamespace(logits=lambda _: logits)


@pytest.mark.parametrize("n_shadows", [4, 8, 32])
def test_the_scores_are_those_of_a_slow_obvious_attack(n_shadows: int) -> None:
    """Offline LiRA, RMIA and the loss as their papers have them, image by image."""
    pool = draw_shadow_pool(digits(0, 60, 100), n_shadows)
    rng, n = np.random.default_rng(n_shadows), len(pool.data.train)
    labels, was_in = pool.data.train.labels.numpy(), pool.was_in.numpy()
    logits = rng.normal(size=(n_shadows + 1, n, 10))
    found = attack_model(
        confidences(says(torch.from_numpy(logits[0])), pool),
        torch.stack([confidences(says(torch.from_numpy(each)), pool) for each in logits[1:]]),
        pool,
    )
    p = np.stack([softmax(each)[np.arange(n), labels] for each in logits])  # of the label
    phi = np.log(p / (1 - p))
    without = [phi[1:][~was_in[:, i], i] for i in range(n)]
    deviations = [each - each.mean() for each in without]
    n_without = n_shadows // 2
    shared = np.sqrt(np.concatenate(deviations) @ np.concatenate(deviations) / (n * (n_without - 1)))
    lira, ratio = [], p[0] / p[1:].mean(axis=0)
    for i in range(n):
        spread = np.std(without[i], ddof=1) if n_without >= 16 else shared
        lira.append((phi[0, i] - without[i].mean()) / spread)
    rmia = [np.mean(ratio < ratio[i]) for i in range(n)]
    np.testing.assert_allclose(found.scores["lira-offline"], lira, rtol=1e-6)
    np.testing.assert_allclose(found.scores["rmia"], rmia)
    np.testing.assert_allclose(found.scores["loss"], phi[0], rtol=1e-6)
    by_pairs = mannwhitneyu(lira[:60], lira[60:]).statistic / (60 * (n - 60))
    assert found.attacks[0].auc == pytest.approx(by_pairs)


def trained(data: ImageSet, seed: int) -> TrainedModel:
    return train(data, model="small-mlp", recipe=RECIPE, seed=seed)


@pytest.fixture(scope="module")
def pool() -> ShadowPool:
    return draw_shadow_pool(MINE, 8)


@pytest.fixture(scope="module")
def mine() -> TrainedModel:
    return trained(MINE, 3)


@pytest.fixture(scope="module")
def shadows(pool: ShadowPool, mine: TrainedModel) -> Tensor:
    """What the shadow models of `mine` say."""
    cells = shadow_cells(pool, mine.cell)
    assert mine.cell.seed not in {cell.seed for cell in cells}
    models = train_all(cells, pool.data, Trainer("cpu", 1))
    return torch.stack([confidences(models[cell], pool) for cell in cells])


def attacked(model: TrainedModel, shadows: Tensor, pool: ShadowPool) -> AttackedModel:
    return attack_model(confidences(model, pool), shadows, pool)


def test_a_model_recognises_what_it_was_trained_on(
    mine: TrainedModel, shadows: Tensor, pool: ShadowPool
) -> None:
    """Its loss says nothing, and beside shadow models some images stand out."""
    found = {attack.name: attack for attack in attacked(mine, shadows, pool).attacks}
    assert found["lira-offline"].auc_low > 0.5
    assert found["rmia"].auc_low > 0.5
    rare = found["rmia"].recognised[1]
    assert rare.p_value is not None
    assert rare.p_value < 0.001
    assert (rare.rate.value or 0.0) > 0.03


def test_a_model_that_was_trained_on_other_images_recognises_nobody(
    shadows: Tensor, pool: ShadowPool
) -> None:
    """Three of them: no attack tells the training images of `mine` from its test images."""
    found = [attacked(trained(OTHERS, seed), shadows, pool) for seed in range(3)]
    for number, name in enumerate(("lira-offline", "rmia", "loss")):
        attacks = [each.attacks[number] for each in found]
        assert {attack.name for attack in attacks} == {name}
        assert np.mean([attack.auc for attack in attacks]) == pytest.approx(0.5, abs=0.04)
        assert all(attack.auc_low < 0.5 for attack in attacks)
        rare = [attack.recognised[1] for attack in attacks]
        assert np.mean([each.rate.value for each in rare]) <= 0.015
        assert min(each.p_value or 0.0 for each in rare) > 0.05


def test_the_levels_hold_where_the_model_knows_nothing_of_the_pool(pool: ShadowPool) -> None:
    """Confidences that are drawn: of each image its own mean, higher in the shadow models that saw it."""
    n_times, n = 80, len(pool.data.train)
    found = []
    for seed in range(n_times):
        rng = np.random.default_rng(seed)
        said = torch.from_numpy(rng.normal(2, 2, n) + rng.normal(size=(9, n)))
        said[1:] += 0.8 * pool.was_in
        found.append(attack_model(said[0], said[1:], pool).attacks)
    for attacks in zip(*found, strict=True):
        shares = [attack.recognised[1].rate.value or 0.0 for attack in attacks]
        assert np.mean(shares) < 0.01 + 2 * np.std(shares) / np.sqrt(n_times)
        assert np.mean([attack.auc for attack in attacks]) == pytest.approx(
            0.5, abs=0.01
        )  # four standard errors
        for level, n_wrong in (
            (0.05, sum((attack.recognised[1].p_value or 0.0) < 0.05 for attack in attacks)),
            (0.025, sum(attack.auc_low > 0.5 for attack in attacks)),
        ):
            assert n_wrong <= binom.ppf(0.999, n_times, level)


def test_copies_in_the_test_part_are_no_outsiders() -> None:
    """An equal one of another class, a darker one, and one that is in the test part twice."""
    data = digits(0, 200, 300)
    images, labels = data.test.images.clone(), data.test.labels.clone()
    images[0], labels[0] = data.train.images[7], (data.train.labels[7] + 1) % 10
    images[1], labels[1] = data.train.images[8] // 10 * 9, data.train.labels[8]
    images[2], labels[2] = images[50], labels[50]
    usual = draw_shadow_pool(data, 4)
    pool = draw_shadow_pool(replace(data, test=Split(images, labels)), 4)
    gone = sorted(set(range(100)) - set(pool.outsiders.tolist()))
    assert gone == [0, 1, 50]
    assert (usual.n_copies, pool.n_copies) == (0, 3)
    assert torch.equal(pool.data.train.images[200:], images[pool.outsiders])
    assert torch.equal(pool.data.train.images[:200], data.train.images)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(
        MembershipError, match=r"20 training and 20 test images, there are 19 and 30; give more"
    ):
        draw_shadow_pool(digits(0, 19, 49), 4)
    data = digits(0, 30, 60)
    copied = replace(data, test=Split(data.train.images, data.train.labels))
    with pytest.raises(MembershipError, match=r"there are 30 and 0 \(30 more are copies of others\)"):
        draw_shadow_pool(copied, 4)


def test_a_model_of_too_few_classes_is_told(pool: ShadowPool) -> None:
    with pytest.raises(MembershipError, match="answers for 9 classes, the data have 10"):
        confidences(says(torch.zeros(len(pool.data.train), 9)), pool)
