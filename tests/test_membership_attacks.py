"""Attacks against what is known: closed forms, a model that memorised, models that never saw the images."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import MembershipError
from spuriscope.membership.attacks import ATTACKS, Knowledge, Rehearsal, ShadowAttack, confidence
from spuriscope.membership.evaluation import auc
from spuriscope.membership.quarters import Quarters, quarters
from spuriscope.statistics import mean_interval
from spuriscope.training import Recipe, train


def logits_of(confidences: Tensor) -> Tensor:
    """Logits of two classes whose confidence in class 0 is as given."""
    return torch.stack([confidences, torch.zeros_like(confidences)], dim=-1)


def gaussian_knowledge(
    *, n: int, k: int, shift: float, spreads: tuple[float, float] = (1.0, 1.0), seed: int = 0
) -> tuple[Knowledge, Tensor]:
    """Confidences are Gaussian around an image's own mean, for members around that mean + shift."""
    rng = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(n, generator=rng, dtype=torch.float64)
    was_in = torch.stack([torch.randperm(k, generator=rng) < k // 2 for _ in range(n)], dim=1)
    is_member = torch.arange(n) % 2 == 0

    def draw(inside: Tensor) -> Tensor:
        noise = torch.randn(inside.shape, generator=rng, dtype=torch.float64)
        return means + torch.where(inside, shift + spreads[0] * noise, spreads[1] * noise)

    target, shadows = draw(is_member), draw(was_in)
    labels = torch.zeros(n, dtype=torch.int64)
    return Knowledge(logits_of(target), labels, logits_of(shadows), was_in), is_member


def test_confidence_is_log_odds_and_finite_where_p_rounds_to_one() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0], [300.0, 0.0, 0.0]])
    labels = torch.tensor([1, 0])
    p = logits[0].double().softmax(dim=0)[1]
    found = confidence(logits, labels)
    torch.testing.assert_close(found[0], p.log() - (1 - p).log())
    assert found[1] == pytest.approx(300 - np.log(2))


@pytest.mark.parametrize("k", [8, 64])
def test_online_lira_on_gaussians_has_the_analytic_roc(k: int) -> None:
    """Equal spreads: the ratio is linear in the confidence, so its AUC is Phi(shift / sqrt(2))."""
    knowledge, is_member = gaussian_knowledge(n=6000, k=k, shift=2.0)
    scores = ATTACKS["lira-online"](knowledge)
    with_noise_of_means = 2.0 / np.sqrt(2 * (1 + 1 / k))  # the midpoint of two means of k / 2 each is noisy
    found = auc(scores[is_member], scores[~is_member])
    assert found == pytest.approx(stats.norm.cdf(with_noise_of_means), abs=0.015)


def test_each_side_of_lira_has_its_own_spread() -> None:
    knowledge, _ = gaussian_knowledge(n=400, k=8, shift=1.0, spreads=(0.5, 3.0))
    seen = confidence(knowledge.shadow_logits, knowledge.labels).numpy()
    inside = knowledge.was_in.numpy()
    asked = knowledge.target_logits[:, 0].numpy()
    expected = np.zeros(400)
    for sign, chosen in ((1, inside), (-1, ~inside)):
        columns = [seen[chosen[:, i], i] for i in range(400)]
        means = np.array([column.mean() for column in columns])
        squares = sum(float(((column - column.mean()) ** 2).sum()) for column in columns)
        spread = np.sqrt(squares / sum(len(column) - 1 for column in columns))
        expected += sign * stats.norm.logpdf(asked, means, spread)
    np.testing.assert_allclose(ATTACKS["lira-online"](knowledge).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_offline_lira_asks_models_without_the_image_only() -> None:
    knowledge, is_member = gaussian_knowledge(n=4000, k=64, shift=2.0)
    scores = ATTACKS["lira-offline"](knowledge)
    assert auc(scores[is_member], scores[~is_member]) == pytest.approx(stats.norm.cdf(2**0.5), abs=0.02)
    outsiders = scores[~is_member]
    assert float(outsiders.mean()) == pytest.approx(0, abs=0.1)
    assert float(outsiders.std()) == pytest.approx(1, abs=0.1)


def test_rmia_ranks_images_by_their_ratio() -> None:
    knowledge, is_member = gaussian_knowledge(n=2000, k=16, shift=2.0)
    p = knowledge.target_logits.softmax(dim=-1)[:, 0]
    usual = knowledge.shadow_logits.softmax(dim=-1)[..., 0].mean(dim=0)
    ratio = p / usual
    expected = torch.stack([(ratio < one).double().mean() for one in ratio])
    torch.testing.assert_close(ATTACKS["rmia"](knowledge), expected, atol=2e-3, rtol=0)
    assert auc(expected[is_member], expected[~is_member]) > 0.75


def test_gap_is_right_or_wrong_and_loss_falls_with_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    labels = torch.tensor([0, 0, 0])
    knowledge = Knowledge(logits, labels, torch.empty(0, 3, 2), torch.empty(0, 3, dtype=torch.bool))
    assert ATTACKS["gap"](knowledge).tolist() == [1, 0, 1]
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert ATTACKS["loss"](knowledge).argsort().tolist() == losses.argsort(descending=True).tolist()


def test_the_shadow_attack_learns_from_a_rehearsal_what_members_look_like() -> None:
    rng = torch.Generator().manual_seed(0)

    def answers(n: int, shift: float) -> Tensor:
        return logits_of(torch.randn(n, generator=rng, dtype=torch.float64) + shift)

    was_in = torch.arange(1000) < 500
    labels = torch.zeros(1000, dtype=torch.int64)
    rehearsal = Rehearsal(torch.cat([answers(500, 4.0), answers(500, 1.0)]), labels, was_in)
    target = torch.cat([answers(500, 4.0), answers(500, 1.0)])
    none = torch.empty(0, 1000, 2), torch.empty(0, 1000, dtype=torch.bool)
    scores = ATTACKS["shadow"](Knowledge(target, labels, *none, rehearsal))
    assert auc(scores[was_in], scores[~was_in]) == pytest.approx(stats.norm.cdf(3 / 2**0.5), abs=0.02)
    features = ShadowAttack.features(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1]))
    assert features.tolist() == [[1, 3, 1], [1, 3, 0]]


def test_what_an_attack_lacks_is_named() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    target = torch.zeros(3, 2)
    alone = Knowledge(target, labels, torch.empty(0, 3, 2), torch.empty(0, 3, dtype=torch.bool))
    with pytest.raises(MembershipError, match="needs a rehearsal"):
        ATTACKS["shadow"](alone)
    with pytest.raises(MembershipError, match="RMIA needs shadow models, got none"):
        ATTACKS["rmia"](alone)
    always = Knowledge(target, labels, torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(MembershipError, match="a shadow model trained without each"):
        ATTACKS["lira-offline"](always)
    with pytest.raises(MembershipError, match=r"3 labels and 2 shadow models need"):
        Knowledge(target, labels, torch.zeros(2, 4, 2), torch.ones(2, 3, dtype=torch.bool))


def random_labels(n: int, seed: int) -> Split:
    """Noise with labels drawn by chance: there is nothing to learn but the images themselves."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 12, 12), generator=rng, dtype=torch.uint8)
    return Split(images, torch.randint(0, 10, (n,), generator=rng))


def test_a_memorising_model_gives_its_members_away() -> None:
    inside, outside = random_labels(200, 0), random_labels(200, 1)
    data = ImageSet("noise", inside, outside, tuple("abcdefghij"))
    model = train(data, model="small-mlp", recipe=Recipe(epochs=80, learning_rate=0.003))
    scores = [
        ATTACKS["loss"](
            Knowledge(
                model.logits(part.images),
                part.labels,
                torch.empty(0, 200, 10),
                torch.empty(0, 200, dtype=torch.bool),
            )
        )
        for part in (inside, outside)
    ]
    assert auc(*scores) > 0.97


def test_a_model_that_never_saw_the_images_tells_nothing() -> None:
    areas = []
    for seed in range(24):
        parts = [random_labels(200, 10 * seed + k) for k in range(3)]
        data = ImageSet("noise", parts[0], parts[1], tuple("abcdefghij"))
        model = train(data, model="small-mlp", recipe=Recipe(epochs=10), seed=seed)
        scores = [confidence(model.logits(part.images), part.labels) for part in parts[1:]]
        areas.append(auc(*scores))
    found = mean_interval(areas)
    assert found.low <= 0.5 <= found.high
    assert found.high - found.low < 0.05


def test_quarters_are_disjoint_and_an_overlap_is_refused() -> None:
    split = random_labels(103, 0)
    data = ImageSet("noise", split, split, tuple("abcdefghij"))
    found = quarters(data, seed=3)
    parts = (found.target_train, found.target_test, found.shadow_train, found.shadow_test)
    assert [len(part) for part in parts] == [25] * 4
    assert len(torch.cat(parts).unique()) == 100
    assert not torch.equal(found.target_train, quarters(data, seed=4).target_train)
    with pytest.raises(MembershipError, match=r"1 images are in two parts \(the first at position 7\)"):
        Quarters(torch.tensor([1, 7]), torch.tensor([7, 8]), torch.tensor([2]), torch.tensor([3]))
    tiny = Split(split.images[:3], split.labels[:3])
    with pytest.raises(MembershipError, match="at least four training images, noise has 3"):
        quarters(ImageSet("noise", tiny, split, tuple("abcdefghij")), seed=0)
