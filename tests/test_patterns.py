"""Patterns against the formulas and Table 1 of the paper."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from spuriscope.data import load
from spuriscope.errors import PatternError
from spuriscope.measures import empirical_norm
from spuriscope.patterns import AUTHORS_NAMES, PATTERN_NAMES, Pattern, pattern

GREY = (1, 28, 28)


def test_small_patterns_and_bar_light_the_published_pixels() -> None:
    lit = {
        "s1": {(0, 0)},
        "s2": {(r, c) for r in range(3) for c in range(3)},
        "s3": {(r, c) for r in range(5) for c in range(5)},
        "inv": {(r, c) for r in range(3, 25) for c in range(13, 16)},
    }
    for name, expected in lit.items():
        pixels = pattern(name, (3, 32, 32)).pixels
        for channel in pixels:
            assert {tuple(position) for position in channel.nonzero().tolist()} == expected
        assert set(pixels.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("name", "strength"), [("r1", 0.25), ("r2", 0.5), ("r3", 1.0)])
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*(st.integers(1, 40),) * 3))
def test_noise_is_the_authors_to_the_bit(
    name: str, strength: float, seed: int, shape: tuple[int, int, int]
) -> None:
    channels, height, width = shape
    expected = (strength * np.random.RandomState(seed).rand(height, width, channels)).astype(np.float32)
    assert np.array_equal(pattern(name, shape, seed=seed).pixels.numpy().transpose(1, 2, 0), expected)


# Yang et al. (2022), Table 1
TABLE_1 = {
    "mnist": [1.00, 3.00, 5.00, 3.88, 7.70, 15.19, 5.98],
    "fashion-mnist": [1.00, 3.00, 4.98, 3.90, 7.40, 13.65, 4.44],
    "cifar10": [0.84, 2.57, 4.34, 7.72, 14.54, 23.20, 8.00],
}


@pytest.mark.parametrize("name", TABLE_1)
def test_norms_are_those_of_table_1(name: str, real_data: Path) -> None:
    data = load(name, root=real_data)
    norms = [empirical_norm(data.test.images, pattern(p, data.shape, seed=4)) for p in PATTERN_NAMES]
    if name == "cifar10":  # most of these test images are JPEG copies of the published ones
        assert norms == pytest.approx(TABLE_1[name], abs=0.03)
    else:
        assert [round(norm, 2) for norm in norms] == TABLE_1[name]


def test_authors_names_mean_our_patterns() -> None:
    for theirs, ours in AUTHORS_NAMES.items():
        assert pattern(theirs, GREY, seed=3) == pattern(ours, GREY, seed=3)
        assert pattern(theirs.upper(), GREY).name == ours


@pytest.mark.parametrize("name", PATTERN_NAMES)
def test_stamping_is_clip_of_the_sum_and_leaves_its_input_alone(name: str) -> None:
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    before = images.clone()
    made = pattern(name, (3, 32, 32))
    stamped = made.apply(images)
    assert torch.equal(images, before)
    slow = np.clip(images.numpy() / 255 + made.pixels.numpy().astype(float), 0, 1)
    np.testing.assert_allclose(stamped.numpy(), slow, atol=1e-6)
    floats = images / 255
    torch.testing.assert_close(made.apply(floats), stamped)
    assert torch.equal(floats, images / 255)


def test_equal_pixels_are_equal_patterns() -> None:
    first, second = pattern("r1", GREY, seed=1), pattern("r1", GREY, seed=2)
    assert first == pattern("v18", GREY, seed=1)
    assert first != second
    assert len({first, second, Pattern("renamed", first.pixels)}) == 2


def test_pattern_errors_say_what_to_do() -> None:
    with pytest.raises(PatternError, match=r"no pattern 'r4'; choose one of s1, s2, .*logo\.png"):
        pattern("r4", GREY)
    with pytest.raises(
        PatternError, match="inv needs images of at least 25 rows and 16 columns, these have 24 and 28"
    ):
        pattern("inv", (1, 24, 28))
    with pytest.raises(PatternError, match="s3 needs images of at least 5 rows"):
        pattern("s3", (1, 4, 4))
    with pytest.raises(PatternError, match=r"made for images of shape \(1, 28, 28\).*got \(1, 32, 32\)"):
        pattern("s1", GREY).apply(torch.zeros(2, 1, 32, 32))
    with pytest.raises(PatternError, match="0 to 255; divide 8-bit pixels by 255"):
        Pattern("loud", torch.full(GREY, 255.0).tril())


def picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_a_picture_is_weighted_by_its_alpha(tmp_path: Path) -> None:
    rgba = np.zeros((2, 3, 4))
    rgba[0, 0] = [255, 0, 0, 255]  # red
    rgba[0, 1] = [0, 255, 0, 51]  # green, one fifth
    rgba[1, 2] = [0, 0, 255, 0]  # blue, transparent
    path = picture(tmp_path / "logo.png", rgba)
    made = pattern(path, (3, 6, 6))
    expected = torch.zeros(3, 6, 6)
    expected[0, 0, 0], expected[1, 0, 1] = 1, 0.2
    assert made.name == "logo"
    torch.testing.assert_close(made.pixels, expected)
    grey = pattern(str(path), (1, 6, 6)).pixels
    torch.testing.assert_close(grey[0, 0, :2], torch.tensor([0.299, 0.2 * 0.587]))


def test_a_large_picture_is_scaled_down(tmp_path: Path) -> None:
    path = picture(tmp_path / "white.png", np.full((100, 50, 3), 255))
    pixels = pattern(path, (1, 28, 28)).pixels[0]
    assert torch.equal(pixels, (torch.arange(28) < 14).float().expand(28, 28))


def test_picture_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(PatternError, match=r"no picture .*missing\.png; check the path"):
        pattern(tmp_path / "missing.png", GREY)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    with pytest.raises(PatternError, match=r"broken\.png cannot be read as a picture"):
        pattern(broken, GREY)
    whole = picture(
        tmp_path / "whole.png", np.random.RandomState(0).randint(0, 256, (64, 64, 3))
    ).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PatternError, match=r"broken\.png cannot be read as a picture"):
        pattern(broken, GREY)
    with pytest.raises(PatternError, match=r"black\.png is black or transparent throughout"):
        pattern(picture(tmp_path / "black.png", np.zeros((4, 4, 3))), GREY)
