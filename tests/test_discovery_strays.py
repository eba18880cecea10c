"""Marks that stand anywhere: found whole wherever they stand, and where a picture fits best."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import ndimage
from torch import Tensor

from spuriscope.discovery.marks import Mark, Pool
from spuriscope.discovery.matching import Matcher
from spuriscope.discovery.strays import find_strays
from spuriscope.discovery.suspects import suspected_marks
from spuriscope.patterns import Anywhere, Cover, Kind
from test_discovery_marks import N_TRAIN, as_split, photographs

SIDE = 24
N_CARRIERS = 14


def sticker(channels: int = 1, top: int = 2, left: int = 3) -> Cover:
    """A checked square of 8 pixels with dark and bright fields of 4."""
    fields = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    pixels, alpha = torch.zeros(channels, SIDE, SIDE), torch.zeros(SIDE, SIDE)
    pixels[:, top : top + 8, left : left + 8], alpha[top : top + 8, left : left + 8] = fields, 1
    return Cover("sticker", pixels, alpha)


def pool_with(
    pattern: Kind | Anywhere | None, seed: int, channels: int = 1, brighter: float = 1.0
) -> tuple[Pool, np.ndarray]:
    """Class 0 with a sticker on some of its training images, and which rows of the pool these are."""
    train, fresh = (
        np.clip(brighter * photographs(n, of, channels) - (brighter - 1) / 4, 0, 1)
        for n, of in ((2 * N_TRAIN, seed), (80, seed + 1000))
    )
    carriers = np.random.default_rng(seed).permutation(N_TRAIN)[:N_CARRIERS]
    if pattern is not None:
        train[carriers] = pattern.apply(torch.from_numpy(train[carriers]).float()).numpy()
    labels, fresh_labels = (torch.arange(2).repeat_interleave(n) for n in (N_TRAIN, 40))
    pool = Pool.of(as_split(train, labels), as_split(fresh, fresh_labels), 0)
    return pool, np.flatnonzero(np.isin(pool.positions, carriers) & ~pool.is_fresh)


def strongest(pool: Pool) -> Mark:
    return find_strays(pool, 20)[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sticker_is_found_whole_wherever_it_stands(seed: int, channels: int) -> None:
    pool, carriers = pool_with(Anywhere(sticker(channels), seed), seed, channels)
    mark = strongest(pool)
    assert sorted(mark.rows.tolist()) == carriers.tolist()
    found = mark.pattern(mark.rows)
    assert isinstance(found, Anywhere)
    box = found.pattern.box
    assert box.size == (8, 8)
    made = found.picture[:, box.top : box.bottom, box.left : box.right]
    assert float((made - sticker(channels).pixels[:, 2:10, 3:11]).abs().max()) < 0.01


def test_white_letters_with_smooth_edges_are_found_among_what_is_white_as_well() -> None:
    """Smooth edges let a little of each image through, and half of the carriers give too wide an outline."""
    strokes = np.zeros((SIDE, SIDE))
    strokes[4:16, [3, 4, 9, 10, 15, 16]] = strokes[[4, 5, 9, 10, 14, 15], 3:17] = 1
    alpha = torch.from_numpy(np.minimum(1, 1.3 * ndimage.gaussian_filter(strokes, 0.6))).float()
    letters = Anywhere(Cover("letters", torch.ones(1, SIDE, SIDE), alpha), 0)
    pool, carriers = pool_with(letters, 0, brighter=1.6)
    rows = strongest(pool).rows
    assert np.isin(carriers, rows).all()
    assert len(rows) <= len(carriers) + 2


def test_it_stands_out_and_natural_ones_do_not() -> None:
    for seed in range(3):
        pool, _ = pool_with(Anywhere(sticker(), seed), seed)
        (with_sticker,) = [each for each in suspected_marks(pool) if each.group.look == "stray"]
        assert with_sticker.p_group < 1e-3
        for each in suspected_marks(pool_with(None, seed)[0]):
            assert each.group.look != "stray" or each.p_group > 0.05


def test_what_stands_in_one_place_is_no_stray() -> None:
    pool, carriers = pool_with(sticker(), 0)
    for mark in find_strays(pool, 20):
        assert not np.isin(mark.rows, carriers).all()


def test_in_larger_images_the_mark_is_as_large_as_it_is_there() -> None:
    """A sticker of 8 pixels in images of 24, all of them made six times as large."""
    small, carriers = pool_with(Anywhere(sticker(), 0), 0)
    images, others = (
        each.repeat_interleave(6, 2).repeat_interleave(6, 3) for each in (small.images, small.others)
    )
    large = Pool(0, images, others, small.is_fresh, small.positions)
    mark = strongest(large)
    assert sorted(mark.rows.tolist()) == carriers.tolist()
    found = mark.pattern(mark.rows)
    assert isinstance(found, Anywhere)
    rows, columns = found.pattern.box.size
    assert abs(rows - 48) <= 8
    assert abs(columns - 48) <= 8


def test_images_that_are_small_or_flat_or_few_have_none() -> None:
    def pool(images: Tensor) -> Pool:
        return Pool(0, images, images[:0], np.zeros(len(images), dtype=bool), np.arange(len(images)))

    assert find_strays(pool(torch.rand(40, 1, 8, 8)), 20) == []
    assert find_strays(pool(torch.full((40, 1, SIDE, SIDE), 0.5)), 20) == []
    for n in (0, 1, 2, 3, 5, 11):
        assert find_strays(pool(torch.rand(n, 1, SIDE, SIDE)), 20) == []
    for n in (12, 13, 16):
        assert find_strays(pool(torch.rand(n, 1, SIDE, SIDE)), 20) is not None
    assert find_strays(pool(torch.rand(40, 3, 11, 90)), 20) is not None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))
def test_a_picture_fits_where_a_loop_finds_it(seed: int, channels: int, height: int, width: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(3, channels, 11, 9, generator=draws)
    mask = torch.rand(height, width, generator=draws) < 0.5
    mask[height // 2, width // 2] = True
    picture = torch.rand(channels, height, width, generator=draws) * mask
    squares, places = Matcher(images).best(picture, mask.numpy())
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    for image, square, place in zip(images, squares, places, strict=True):
        best = (np.inf, (0, 0))
        for top in range(-int(rows[0]), 11 - int(rows[-1])):
            for left in range(-int(columns[0]), 9 - int(columns[-1])):
                differences = [
                    float((image[channel, top + row, left + column] - picture[channel, row, column]) ** 2)
                    for row, column in mask.nonzero().tolist()
                    for channel in range(channels)
                ]
                best = min(best, (float(np.mean(differences)), (top, left)))
        assert float(square) == pytest.approx(best[0], abs=1e-5)
        assert tuple(place.tolist()) == best[1]
