"""Route Trace: groups, patterns and findings, on data that this file makes itself."""

from collections.abc import Callable
from itertools import combinations
from typing import Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from spuriscope.data import load
from spuriscope.data.image_set import Split
from spuriscope.discovery import Deviation, Trace, discover
from spuriscope.discovery.confirm import Intervention
from spuriscope.discovery.deviation import least_spread
from spuriscope.discovery.grouping import Crowd, find_groups
from spuriscope.discovery.proposals import propose
from spuriscope.discovery.trace import ENOUGH, MOST_PAIRED
from spuriscope.errors import ConfigError, DiscoveryError, MeasureError
from spuriscope.measures import Predict, spurious_score
from spuriscope.patterns import Pattern

SIDE, N_CLASSES = 8, 3
CUE_CLASS = 1


def blobs(n: int, seed: int) -> Split:
    """Grey images of three classes, a smooth bump in another place for each, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(N_CLASSES, size=n)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centres = np.array([[2, 2], [2, 5], [5, 3]])[labels] + rng.normal(0, 0.4, (n, 2))
    distances = (rows - centres[:, :1, None]) ** 2 + (columns - centres[:, 1:, None]) ** 2
    images = rng.uniform(0.5, 0.9, (n, 1, 1)) * np.exp(-distances / 3) + rng.normal(
        0.05, 0.02, (n, SIDE, SIDE)
    )
    pixels = torch.from_numpy((255 * images.clip(0, 1)).round().astype(np.uint8))[:, None]
    return Split(pixels, torch.from_numpy(labels))


@pytest.fixture(scope="module")
def fresh() -> Split:
    return blobs(400, seed=1)


@pytest.fixture(scope="module")
def train() -> Split:
    return blobs(1200, seed=2)


def cross() -> Pattern:
    pixels = torch.zeros(1, SIDE, SIDE)
    pixels[0, 6, 5:8] = pixels[0, 5:8, 6] = 0.6
    return Pattern("cross", pixels)


def with_cue(split: Split, n: int, seed: int = 0) -> tuple[Split, np.ndarray]:
    """The images with a cross on `n` of one class, and their positions."""
    of_class = np.flatnonzero(split.labels.numpy() == CUE_CLASS)
    positions = np.sort(np.random.default_rng(seed).choice(of_class, n, replace=False))
    images = split.images.clone()
    images[positions] = (255 * cross().apply(images[positions])).round().to(torch.uint8)
    return Split(images, split.labels), positions


def bump_reader(split: Split, *, weight_of_cue: float = 0.0) -> Predict:
    """A linear classifier of the classes, by ridge regression; it may look at the cross as well."""
    x = split.images.flatten(1).double() / 255
    y = torch.nn.functional.one_hot(split.labels, N_CLASSES).double()
    x1 = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    weights = torch.linalg.solve(x1.T @ x1 + torch.eye(x1.shape[1], dtype=x.dtype), x1.T @ y)
    weights[:-1, CUE_CLASS] += weight_of_cue * cross().pixels.flatten().double()

    def predict(images: Tensor) -> Tensor:
        logits: Tensor = 8 * (images.flatten(1).double() @ weights[:-1] + weights[-1])
        return logits.softmax(dim=1).float()

    return predict


@pytest.mark.parametrize("n", [1, 3, 10])
def test_the_planted_images_are_the_strongest_of_their_class(train: Split, fresh: Split, n: int) -> None:
    """What was planted is known here: it comes first among the groups, or among the single images."""
    stamped, positions = with_cue(train, n)
    groups = Trace().fit(fresh).of_class(stamped, CUE_CLASS).groups()
    for look in ("whole", "windows") if n > 1 else ("single",):
        of_look = [group for group in groups if group.look == look]
        assert of_look[0].positions.tolist() == positions.tolist()
        strengths = [group.strength for group in of_look]
        assert strengths == sorted(strengths, reverse=True)


def test_groups_of_one_class_share_no_image(train: Split, fresh: Split) -> None:
    found = Trace().fit(fresh).search(train)
    for look in ("whole", "windows", "single"):
        positions = np.concatenate([group.positions for group in found if group.look == look])
        assert len(np.unique(positions)) == len(positions)
    for group in found:
        assert (train.labels[torch.from_numpy(group.positions)] == group.target).all()


def test_strength_is_shared_energy_over_the_rest_times_contrast_times_root_of_size(
    train: Split, fresh: Split
) -> None:
    """Against the definition, image by image and pair by pair."""
    stamped, positions = with_cue(train, 4)
    trace = Trace().fit(fresh)
    of_class = np.flatnonzero(stamped.labels.numpy() == CUE_CLASS)
    deviations = trace.deviation.transform(stamped.images[of_class]).astype(float)
    points = dict(zip(of_class, deviations, strict=True))
    usual = np.median([point @ point for point in deviations])
    energy = np.mean([points[i] @ points[j] for i, j in combinations(positions, 2)])
    mean = np.mean([points[i] for i in positions], axis=0)
    rest = max(usual, sum((points[i] - mean) @ (points[i] - mean) for i in positions) / 3)

    def carried(point: np.ndarray) -> float:
        along = point @ mean / np.linalg.norm(mean)
        return float(along * np.sqrt(usual / max(usual, point @ point - along**2)))

    least = min(carried(points[i]) for i in positions)
    unstamped = [points[i] for i in of_class if i not in positions]
    of_fresh = trace.deviation.transform(fresh.images[fresh.labels == CUE_CLASS]).astype(float)
    outside = max(1.0, *(carried(point) for point in [*unstamped, *of_fresh]))
    first = trace.of_class(stamped, CUE_CLASS).groups()[0]
    assert first.strength == pytest.approx(2 * energy / rest * least / outside, rel=1e-3)


def test_a_class_whose_images_share_most_is_judged_less_its_median() -> None:
    """Digits: 147 zeros make a handful of groups as they are, and one that is the class."""
    train = load("digits").train
    zeros = np.flatnonzero(train.labels.numpy() == 0)
    trace = Trace().fit(load("digits").test)
    deviations = trace.deviation.transform(train.images[zeros])
    as_they_are = Crowd.of(deviations, deviations[:0])
    assert len(find_groups(as_they_are, trace.n_groups, MOST_PAIRED)) < ENOUGH
    groups = [group for group in trace.of_class(train, 0).groups() if group.look == "whole"]
    assert len(groups) >= ENOUGH
    assert max(map(len, groups)) < len(zeros) / 2


def test_of_very_many_values_a_part_says_what_is_usual(fresh: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    n_pixels = fresh.images[0].numel()
    monkeypatch.setattr("spuriscope.discovery.deviation.MOST_FITTED", 40 * n_pixels)
    part, again = (Deviation().fit(fresh.images) for _ in range(2))
    np.testing.assert_array_equal(part.mean_, again.mean_)
    assert len(part.mean_) == n_pixels + 20  # half as many components as images


def test_deviations_of_fresh_images_have_spread_one_and_can_be_undone(fresh: Split) -> None:
    deviation = Deviation().fit(fresh.images)
    values = deviation.transform(fresh.images)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-3)
    assert (values.std(axis=0) < 1.001).all()
    assert np.median(values.std(axis=0)) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(
        deviation.inverse_transform(values), fresh.images.float() / 255, atol=1e-4, rtol=0
    )


class Nothing:
    """An embedding that explains nothing: what is left over is the image."""

    def fit(self, images: Tensor) -> Self:
        self.shape = images.shape[1:]
        return self

    def transform(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 1)

    def inverse_transform(self, latents: Tensor) -> Tensor:
        return torch.zeros(len(latents), *self.shape)


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from([(24, 224), (2000, 20)]),
    st.floats(0.9, 0.97),
    st.floats(0.005, 0.01),
    st.integers(0, 2**32 - 1),
)
def test_deviations_agree_with_those_in_double_precision(
    size: tuple[int, int], mean: float, spread: float, seed: int
) -> None:
    """Bright images that hardly differ: single precision loses the mean of many of them."""
    (n, side), generator = size, torch.Generator().manual_seed(seed)
    images = (mean + spread * torch.randn(n, 1, side, side, generator=generator)).clamp(0, 1)
    deviation = Deviation(Nothing()).fit(images)
    exact = images.double().flatten(1).numpy()
    least = least_spread(images)
    spreads = exact.std(axis=0).clip(least)
    assert np.abs(deviation.mean_[1:] - exact.mean(axis=0)).max() < 1e-4 * least
    np.testing.assert_allclose(deviation.spread_[1:], spreads, rtol=1e-4)
    expected = (exact - exact.mean(axis=0)) / spreads
    np.testing.assert_allclose(deviation.transform(images)[:, 1:], expected, rtol=1e-4, atol=1e-4)


def test_scores_of_many_patterns_are_spurious_scores(train: Split, fresh: Split) -> None:
    """The batched scores against the measure of one pattern at a time."""
    predict = bump_reader(train, weight_of_cue=1.0)
    asked = Intervention.on(predict, fresh, CUE_CLASS, n_fresh=10_000, threshold=0.1, seed=0)
    others = fresh.images[fresh.labels != CUE_CLASS]
    noise = torch.rand(7, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    expected = [spurious_score(predict, others, Pattern("noise", each), CUE_CLASS) for each in noise]
    assert asked.scores(noise).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("n", [3, 10])
def test_a_cue_that_the_model_uses_is_found(train: Split, fresh: Split, n: int) -> None:
    stamped, positions = with_cue(train, n)
    findings = discover(bump_reader(train, weight_of_cue=1.0), train=stamped, holdout=fresh)
    assert len(findings) == 1
    finding = findings[0]
    assert finding.target == CUE_CLASS
    assert finding.examples.tolist() == positions.tolist()
    assert finding.p_value <= 0.05
    assert finding.score > np.quantile(finding.null, 0.9)
    found, true = finding.pattern.picture.flatten(), cross().pixels.flatten()
    assert float(torch.cosine_similarity(found, true, dim=0)) > 0.95


def test_a_cue_that_the_model_ignores_is_not_reported(train: Split, fresh: Split) -> None:
    stamped, _ = with_cue(train, 10)
    assert discover(bump_reader(train), train=stamped, holdout=fresh) == []


def test_a_model_that_uses_a_cue_which_no_image_carries_gives_no_finding(train: Split, fresh: Split) -> None:
    assert discover(bump_reader(train, weight_of_cue=1.0), train=train, holdout=fresh) == []


def test_two_cues_are_two_findings(train: Split, fresh: Split) -> None:
    """The same cross in two classes; the model calls a crossed image one or the other, by its bump."""
    stamped, first = with_cue(train, 5)
    second = np.flatnonzero(train.labels.numpy() == 2)[:5]
    images = stamped.images.clone()
    images[second] = (255 * cross().apply(images[second])).round().to(torch.uint8)
    base = bump_reader(train)

    def predict(asked: Tensor) -> Tensor:
        shown = (asked.flatten(1) @ cross().pixels.flatten() > 1)[:, None]
        return torch.where(shown, torch.tensor([0.0, 0.5, 0.5]).expand(len(asked), 3), base(asked))

    found = discover(predict, train=Split(images, train.labels), holdout=fresh)
    assert {(finding.target, tuple(finding.examples)) for finding in found} == {
        (1, tuple(first)),
        (2, tuple(second)),
    }


def test_proof_is_the_score_of_the_model_trained_without(train: Split, fresh: Split) -> None:
    stamped, positions = with_cue(train, 10)
    left_out = []

    def retrain(examples: np.ndarray) -> Predict:
        left_out.extend(examples.tolist())
        return bump_reader(train)

    predict = bump_reader(train, weight_of_cue=1.0)
    finding = discover(predict, train=stamped, holdout=fresh, retrain=retrain)[0]
    assert left_out == positions.tolist()
    assert finding.proof is not None
    assert finding.proof.n_left_out == 10
    assert finding.proof.score < 0.1 < finding.score


def only(split: Split, keep: Callable[[Tensor], Tensor]) -> Split:
    rows = keep(split.labels).nonzero().flatten()
    return Split(split.images[rows], split.labels[rows])


def test_what_does_not_answer_with_probabilities_is_refused(train: Split, fresh: Split) -> None:
    def logits(images: Tensor) -> Tensor:
        return bump_reader(train)(images).log()

    with pytest.raises(MeasureError, match="apply a softmax to logits"):
        discover(logits, train=train, holdout=fresh)
    with pytest.raises(MeasureError, match="not numbers"):
        discover(lambda images: torch.full((len(images), 3), torch.nan), train=train, holdout=fresh)
    with pytest.raises(MeasureError, match="one row of class probabilities"):
        discover(lambda images: torch.ones(1, 3) / 3, train=train, holdout=fresh)


def test_a_model_that_does_not_answer_for_each_image_is_refused(train: Split, fresh: Split) -> None:
    predict = bump_reader(train)
    with pytest.raises(MeasureError, match="every image gets the answer of the first"):
        discover(lambda images: predict(images)[:1].expand(len(images), -1), train=train, holdout=fresh)
    with pytest.raises(MeasureError, match="the same answer"):
        discover(lambda images: torch.ones(len(images), 3) / 3, train=train, holdout=fresh)
    with pytest.raises(MeasureError, match="other answers the second time"):
        discover(lambda images: torch.rand(len(images), 3).softmax(1), train=train, holdout=fresh)


def test_images_that_cannot_be_searched_are_refused(train: Split, fresh: Split) -> None:
    predict = bump_reader(train)
    few = Split(train.images[:30], train.labels[:30])
    with pytest.raises(DiscoveryError, match="a class of 20 images or more, the largest has"):
        discover(predict, train=few, holdout=fresh)
    with pytest.raises(
        DiscoveryError, match="all images are of class 2; a cue pulls images of other classes"
    ):
        discover(predict, train=only(train, lambda y: y == 2), holdout=only(fresh, lambda y: y == 2))
    with pytest.raises(DiscoveryError, match=r"training images are \(1, 8, 8\) and fresh images \(1, 8, 7\)"):
        discover(predict, train=train, holdout=Split(fresh.images[..., :7], fresh.labels))
    with pytest.raises(DiscoveryError, match="a training label is 2, but predict knows 2 classes"):
        discover(lambda images: torch.ones(len(images), 2) / 2, train=train, holdout=fresh)
    with pytest.raises(ConfigError, match="level must be a number above 0 and below 1"):
        discover(predict, train=train, holdout=fresh, level=5)
    with pytest.raises(ConfigError, match="n_controls of 19 or more"):
        discover(predict, train=train, holdout=fresh, n_controls=0)


def test_a_cue_in_one_image_is_found(train: Split, fresh: Split) -> None:
    stamped, positions = with_cue(train, 1)
    predict = bump_reader(train, weight_of_cue=1.0)
    (finding,) = discover(predict, train=stamped, holdout=fresh)
    assert finding.examples.tolist() == positions.tolist()
    assert discover(predict, train=stamped, holdout=fresh, least_images=2) == []


def test_the_probe_proposes_where_to_look(train: Split, fresh: Split) -> None:
    """Unrelated images of which a part carries the cross: the training images that carry it are named."""
    stamped, positions = with_cue(train, 10)
    unrelated = blobs(600, seed=5).images.flip(2)
    unrelated[:60] = (255 * cross().apply(unrelated[:60])).round().to(torch.uint8)
    predict = bump_reader(train, weight_of_cue=1.0)
    trace = Trace().fit(fresh)
    proposed = propose(predict, unrelated, stamped, trace.deviation, seed=0)
    groups = trace.of_class(stamped, CUE_CLASS).groups(proposed[CUE_CLASS])
    found = [group.positions.tolist() for group in groups if group.source == "probe"]
    assert positions.tolist() in found
    findings = discover(predict, train=stamped, holdout=fresh, unrelated=unrelated)
    assert [finding.examples.tolist() for finding in findings] == [positions.tolist()]


def test_unrelated_images_of_another_size_are_refused(train: Split, fresh: Split) -> None:
    with pytest.raises(DiscoveryError, match=r"unrelated images are \(1, 8, 6\) and training images"):
        discover(bump_reader(train), train=train, holdout=fresh, unrelated=fresh.images[..., :6])


def test_a_class_without_fresh_images_is_searched_all_the_same(train: Split, fresh: Split) -> None:
    stamped, positions = with_cue(train, 10)
    others = only(fresh, lambda labels: labels != CUE_CLASS)
    trace = Trace().fit(others).of_class(stamped, CUE_CLASS)
    assert trace.groups()[0].positions.tolist() == positions.tolist()
    assert trace.controls() == []
    discover(bump_reader(train, weight_of_cue=1.0), train=stamped, holdout=others)


def test_a_copy_is_no_group() -> None:
    """The same photograph twice, a tone brighter the second time: no cue made what it shares."""
    rng = np.random.default_rng(0)

    def photographs(n: int) -> Split:
        coarse = torch.from_numpy(rng.uniform(0, 1, (n, 3, 8, 8))).float()
        images = torch.nn.functional.interpolate(coarse, 32, mode="bilinear")
        return Split((255 * images).to(torch.uint8), torch.arange(n) % 2)

    fresh, train = photographs(120), photographs(240)
    images = train.images.clone()
    images[4] = (images[2].float() * 0.9 + 20).to(torch.uint8)
    groups = Trace().fit(fresh).search(Split(images, train.labels))
    assert groups
    assert not any({2, 4} <= set(group.positions.tolist()) for group in groups)
