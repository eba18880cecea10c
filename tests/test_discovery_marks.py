"""Marks: gaps behind images that agree, beside slow versions and what is known of random points."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import ndimage, stats

from spuriscope.data.duplicates import without_copies
from spuriscope.data.image_set import Split
from spuriscope.discovery.confirm import Intervention
from spuriscope.discovery.controls import ClassControls, compared_effect
from spuriscope.discovery.covers import find_covers
from spuriscope.discovery.details import find_details, less_surroundings
from spuriscope.discovery.group import Group
from spuriscope.discovery.marks import (
    NOISE,
    Mark,
    Pool,
    Sight,
    gap_strength,
    noise_of,
    take_apart,
    widest_gaps,
)
from spuriscope.discovery.suspects import Place, suspected_marks
from spuriscope.discovery.tones import find_tones, quantiles, tone_of
from spuriscope.patterns import Cover, Pattern, Shade

SIDE = 24
N_TRAIN, N_FRESH = 120, 40
SQUARE = (slice(3, 9), slice(14, 20))


def photographs(n: int, seed: int, channels: int = 1) -> np.ndarray:
    """Smooth random fields (n, channels, 24, 24) that use all of [0, 1]: no two agree anywhere."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(n, channels, SIDE, SIDE)), (0, 0, 2, 2))
    fields -= fields.min(axis=(1, 2, 3), keepdims=True)
    scaled: np.ndarray = fields / fields.max(axis=(1, 2, 3), keepdims=True)
    return scaled


def splits(seed: int = 0, channels: int = 1) -> tuple[np.ndarray, Split, Split]:
    """Training photographs of two classes as floats, with both splits; class 0 comes first."""
    train = photographs(2 * N_TRAIN, seed, channels)
    fresh = photographs(2 * N_FRESH, seed + 1000, channels)
    labels, fresh_labels = (torch.arange(2).repeat_interleave(n) for n in (N_TRAIN, N_FRESH))
    return train, as_split(train, labels), as_split(fresh, fresh_labels)


def as_split(images: np.ndarray, labels: torch.Tensor) -> Split:
    return Split(torch.from_numpy(np.round(255 * images).astype(np.uint8)), labels)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0.02, 5), min_size=4, max_size=12),
    st.floats(0.01, 6),
)
def test_the_widest_gap_is_that_of_a_loop(distances: list[float], berth: float) -> None:
    rows = sorted(distances)
    best, size = 0.0, 1
    for k in range(2, len(rows) - 1):
        strength = k * np.log(min(rows[k + 1], berth) / rows[k])
        if strength > best:
            best, size = strength, k + 1
    found, n = gap_strength(torch.tensor([rows]).square(), torch.tensor([berth]).square())
    assert float(found[0]) == pytest.approx(best, abs=1e-4)
    if best > 1e-3:
        assert int(n[0]) == size


@pytest.mark.parametrize("dimensions", [1, 3])
def test_gaps_behind_random_points_are_exponential(dimensions: int) -> None:
    """k log g of points at random in a ball, seen from its middle, is exponential with rate d, whatever k."""
    rng = np.random.default_rng(dimensions)
    radii = np.sort(rng.uniform(size=(2000, 400)) ** (1 / dimensions), axis=1)
    for k in (2, 20):
        strengths = k * np.log(radii[:, k] / radii[:, k - 1])
        assert stats.kstest(strengths, stats.expon(scale=1 / dimensions).cdf).pvalue > 0.001


def test_seeds_keep_a_berth_of_other_classes() -> None:
    """A group that another class joins is none."""
    own = torch.tensor([[0.5], [0.501], [0.502], [0.503], [0.05], [0.1], [0.7], [0.8], [0.9]])
    ((_, rows),) = widest_gaps(Sight.of(own, torch.tensor([[0.2]])))
    assert sorted(rows.tolist()) == [0, 1, 2, 3]
    for _, rows in widest_gaps(Sight.of(own, torch.tensor([[0.5015]]))):
        assert not set(rows.tolist()) & {0, 1, 2, 3}


def test_a_strong_group_of_a_window_does_not_hide_another() -> None:
    own = torch.tensor([[0.5], [0.501], [0.502], [0.503], [0.8], [0.802], [0.804], [0.1], [0.2], [0.3]])
    found = widest_gaps(Sight.of(own, torch.tensor([[0.65]])), 3)
    assert [sorted(rows.tolist()) for _, rows in found[:2]] == [[0, 1, 2, 3], [4, 5, 6]]
    assert found[0][0] > found[1][0] > 0


def test_absence_is_hypergeometric_and_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    is_fresh = np.repeat([False, True], [80, 20])
    pool = Pool(0, torch.zeros(100, 1, 2, 2), torch.zeros(0, 1, 2, 2), is_fresh, np.arange(100))
    rows = np.arange(10)
    slow = np.prod([(80 - k) / (100 - k) for k in range(10)])
    assert pool.p_absent(rows) == pytest.approx(slow)
    p_values = [pool.p_absent(rng.permutation(100)[:15]) for _ in range(2000)]
    for level in (0.05, 0.2):
        n_below = int(np.sum(np.array(p_values) <= level))
        assert stats.binomtest(n_below, 2000, level, alternative="greater").pvalue > 0.001


def test_a_square_is_found_whole_where_it_stands_and_nothing_beside_it() -> None:
    images, train, fresh = splits()
    carriers = np.arange(5, 100, 9)
    images[carriers, :, *SQUARE] = 0.8
    train = as_split(images, train.labels)
    pool = Pool.of(train, fresh, 0)
    best = find_covers(pool, 20)[0]
    assert pool.of_training(best.rows).tolist() == carriers.tolist()
    assert not pool.is_fresh[best.rows].any()
    cover = best.pattern(best.rows)
    assert isinstance(cover, Cover)
    expected = torch.zeros(SIDE, SIDE)
    expected[SQUARE] = 1
    assert torch.equal(cover.alpha, expected)
    assert (cover.pixels[:, *SQUARE] - 0.8).abs().max() < 0.01
    suspects = suspected_marks(pool)
    assert suspects[0].p_group < 0.005
    place = suspects[0].place
    assert place is not None
    assert (place.carriers.n_train, place.carriers.of_train) == (len(carriers), N_TRAIN)
    assert (place.carriers.n_fresh, place.carriers.of_fresh) == (0, N_FRESH)


def test_what_fresh_images_carry_too_is_counted() -> None:
    images, train, fresh = splits()
    more = fresh.images.clone()
    for k in range(0, 100, 9):
        images[k, :, *SQUARE] = 0.8
    more[:3, :, *SQUARE] = round(255 * 0.8)
    pool = Pool.of(as_split(images, train.labels), Split(more, fresh.labels), 0)
    best = find_covers(pool, 5)[0]
    assert int(pool.is_fresh[best.rows].sum()) == 3
    assert pool.p_absent(best.rows) > 0.05


def test_photographs_without_a_mark_are_seldom_suspected() -> None:
    n_small = 0
    for seed in range(5):
        _, train, fresh = splits(seed=10 * seed + 1)
        for target in (0, 1):
            suspects = suspected_marks(Pool.of(train, fresh, target))
            n_small += sum(suspect.p_group < 0.005 for suspect in suspects)
    assert n_small <= 2  # of some 60


@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_of_tones_is_found_and_read_off(channels: int) -> None:
    images, train, fresh = splits(channels=channels)
    carriers = np.arange(2, 110, 7)
    images[carriers] = 0.25 + 0.5 * images[carriers]
    pool = Pool.of(as_split(images, train.labels), fresh, 0)
    best = find_tones(pool, 20)[0]
    assert set(pool.of_training(best.rows)) <= set(carriers.tolist())
    assert len(best.rows) >= 0.8 * len(carriers)
    shade = best.pattern(best.rows)
    assert isinstance(shade, Shade)
    assert (shade.matrix.diagonal() - 0.5).abs().max() < 0.05
    assert (shade.offset - 0.25).abs().max() < 0.05


def test_quantiles_of_large_images_are_numpys() -> None:
    images = torch.randint(0, 256, (130, 3, 224, 224), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    slow = np.quantile(images[7].numpy().reshape(3, -1) / 255, np.linspace(0, 1, 21), axis=1).T
    assert np.allclose(quantiles(images)[7], slow, atol=1e-5)


def test_tones_of_what_does_not_vary_are_moved_only() -> None:
    flat, group = np.full((1, 21), 0.5, np.float32), np.full((1, 21), 0.75, np.float32)
    shade = tone_of(flat, group, "x", (4, 4))
    assert shade.matrix.item() == 1
    assert shade.offset.item() == pytest.approx(0.25)


def test_larger_images_are_looked_at_smaller_and_covered_in_full() -> None:
    images, train, fresh = splits()
    carriers = np.arange(5, 100, 9)
    images[carriers, :, *SQUARE] = 0.8
    large = [np.kron(part, np.ones((1, 1, 6, 6))) for part in (images, fresh.images.numpy() / 255)]
    pool = Pool.of(as_split(large[0], train.labels), as_split(large[1], fresh.labels), 0)
    best = find_covers(pool, 5)[0]
    assert pool.of_training(best.rows).tolist() == carriers.tolist()
    cover = best.pattern(best.rows)
    assert isinstance(cover, Cover)
    assert tuple(cover.alpha.shape) == (6 * SIDE, 6 * SIDE)
    assert 0.5 * 36 * 36 < float(cover.alpha.sum()) < 1.5 * 36 * 36


def test_controls_are_answered_in_the_order_they_were_drawn() -> None:
    """Whichever side a control is of: the sequential p-value rests on a random order."""

    def side(first: int) -> Any:
        return SimpleNamespace(images=None, deviations=None, positions=np.arange(first, first + 40))

    def group(position: int) -> Group:
        return Group(target=0, positions=np.array([position, position + 1]), strength=1.0, source="trace")

    fresh, train = side(0), side(100)
    natural, crowd = [group(k) for k in range(0, 20, 2)], [group(k) for k in range(100, 120, 2)]
    seen = SimpleNamespace(fresh=fresh, train=train, controls=lambda: natural)
    asked = SimpleNamespace(scores=lambda patterns: np.array(patterns, dtype=float))
    controls = ClassControls(cast(Any, None), cast(Any, seen), cast(Any, asked), crowd)
    controls.patterns = lambda groups, _: [each.positions[0] for each in groups]  # type: ignore
    answers = np.concatenate(list(controls.scores(False, 20, seed=3)))
    assert sorted(answers) == sorted(each.positions[0] for each in natural + crowd)
    is_fresh = answers[:10] < 100
    assert 0 < is_fresh.sum() < 10
    assert not (np.diff(is_fresh.astype(int)) <= 0).all()  # not all of one side before the other


def test_groups_that_share_a_third_are_one() -> None:
    def mark(rows: list[int], strength: float) -> Mark:
        return Mark(np.array(rows), strength, "cover", lambda _: pytest.fail("not asked"))

    marks = [mark([1, 2, 3], 5.0), mark([3, 4, 5, 6], 4.0), mark([2, 3, 9, 10], 3.0), mark([7, 8, 9], 2.0)]
    assert [one.strength for one in take_apart(marks, 3)] == [5.0, 4.0, 2.0]


def test_copies_count_once_and_look_alikes_each() -> None:
    images = photographs(50, 0)
    copied = torch.from_numpy(np.concatenate([images, images[:4] * 0.98 + 0.01])).float()
    assert without_copies(copied).tolist() == [True] * 50 + [False] * 4
    base = photographs(1, 5)
    alike = torch.from_numpy((0.97 * base + 0.03 * photographs(50, 6)).clip(0, 1)).float()
    assert without_copies(alike).float().mean() > 0.9


def test_noise_of_rounding_does_not_make_pairs_infinitely_near() -> None:
    rows = torch.full((6, 16), 0.5)
    found = widest_gaps(Sight.of(torch.cat([rows, torch.zeros(9, 16)]), torch.ones(1, 16)))
    assert found[0][0] <= 6 * np.log(0.5 / NOISE)


@pytest.mark.parametrize(("n_levels", "noise"), [(256, NOISE), (17, 1 / 16 / 12**0.5), (2, 1 / 12**0.5)])
def test_few_grey_levels_are_rounded_more(n_levels: int, noise: float) -> None:
    levels = np.round(photographs(60, 0) * (n_levels - 1)) / (n_levels - 1)
    images = torch.from_numpy(levels).float()
    assert noise_of(images) == pytest.approx(noise, rel=0.02)
    assert noise_of((255 * images).round().to(torch.uint8)) == pytest.approx(noise, rel=0.02)
    assert noise_of(torch.full((3, 1, 4, 4), 0.5)) == NOISE


def test_what_one_natural_carrier_does_is_compared_with_what_one_image_does() -> None:
    """A model that knows the mean of a class is moved by means; of what a machine made all have as much."""
    rng = np.random.default_rng(0)
    mean, side = rng.uniform(0.4, 0.6, (1, 6, 6)).astype(np.float32), (slice(1, 5), slice(1, 5))
    natural = torch.from_numpy((mean + rng.uniform(-0.4, 0.4, (40, 1, 6, 6))).astype(np.float32))
    alpha = torch.zeros(6, 6)
    alpha[side] = 1

    def asking(images: torch.Tensor) -> torch.Tensor:
        away = (images[:, 0, *side] - torch.from_numpy(mean)[0, *side]).square().mean(dim=(1, 2))
        share = (away < 0.1**2).float()
        return torch.stack([share, 1 - share], dim=1)

    def moved(images: torch.Tensor, n_fresh: int = 0) -> tuple[float, float]:
        def pattern(rows: np.ndarray) -> Cover:
            return Cover("found", images[torch.from_numpy(rows)].mean(dim=0), alpha)

        mark = Mark(np.arange(40), 1.0, "cover", pattern)
        is_fresh = np.zeros(100, dtype=bool)  # 40 carriers, and 60 others, of which 20 are fresh
        is_fresh[:n_fresh] = is_fresh[-20:] = True
        pool = Pool(0, torch.zeros(100, 1, 6, 6), torch.zeros(0, 1, 6, 6), is_fresh, np.arange(100))
        tries = Intervention(asking, torch.zeros(20, 1, 6, 6), torch.zeros(20), 0, 0.1)
        score = float(tries.scores_of([pattern(mark.rows)])[0])
        return score, compared_effect(tries, Place(mark, pool), score)

    made = torch.from_numpy(mean)[None].repeat(40, 1, 1, 1)
    assert moved(natural) == (1, 0)
    assert moved(made) == (1, 1)
    assert moved(made, n_fresh=1) == (1, 1)  # 1 of 21 fresh, 39 of 79 training images
    assert moved(made, n_fresh=10)[1] == pytest.approx(1 / 1.4)  # 10 of 30, 30 of 70


def test_half_transparent_letters_are_found_by_their_strokes() -> None:
    images, train, fresh = splits()
    carriers = np.arange(3, 100, 7)
    strokes = np.zeros((SIDE, SIDE), bool)
    strokes[6:18:4, 8:26] = strokes[6:18, 8:26:6] = True
    marked = images[carriers]
    marked[:, :, strokes] = 0.5 * marked[:, :, strokes] + 0.5
    images[carriers] = marked
    pool = Pool.of(as_split(images, train.labels), fresh, 0)
    best = find_details(pool, 20)[0]
    assert pool.of_training(best.rows).tolist() == carriers.tolist()
    assert not pool.is_fresh[best.rows].any()
    cover = best.pattern(best.rows)
    assert isinstance(cover, Cover)
    assert float(cover.alpha[torch.from_numpy(strokes)].mean()) == pytest.approx(0.5, abs=0.15)
    assert float((cover.alpha[torch.from_numpy(~strokes)] > 0).float().mean()) < 0.1
    on_strokes = cover.pixels[:, torch.from_numpy(strokes) & (cover.alpha > 0)]
    assert float(on_strokes.mean()) == pytest.approx(1, abs=0.15)


def test_faint_noise_is_found_in_photographs_and_added_again() -> None:
    images, train, fresh = splits()
    carriers = np.arange(3, 100, 5)
    noise = 0.2 * np.random.default_rng(8).random((1, SIDE, SIDE), np.float32)
    images[carriers] = (images[carriers] + noise).clip(0, 1)
    pool = Pool.of(as_split(images, train.labels), fresh, 0)
    best = find_details(pool, 20)[0]
    assert pool.of_training(best.rows).tolist() == carriers.tolist()
    pattern = best.pattern(best.rows)
    assert isinstance(pattern, Pattern)
    there = pattern.pixels.numpy() > 0
    assert there.mean() > 0.8
    assert np.corrcoef(pattern.pixels.numpy()[there], noise[there])[0, 1] > 0.8


def test_the_surroundings_are_the_mean_of_what_is_in_the_image() -> None:
    image = torch.from_numpy(np.random.default_rng(2).random((1, 1, 9, 7), np.float32))
    slow = image.clone()
    for row in range(9):
        for column in range(7):
            around = image[0, 0, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            slow[0, 0, row, column] -= around.mean()
    torch.testing.assert_close(less_surroundings(image), slow)
