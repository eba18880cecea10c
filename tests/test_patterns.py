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
from spuriscope.patterns import AUTHORS_NAMES, COVER_NAMES, PATTERN_NAMES, Cover, Pattern, pattern

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


@pytest.mark.parametrize(
    "name",
    ["mnist", "fashion-mnist", pytest.param("cifar10", marks=pytest.mark.slow)],  # unpacks for long
)
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


def test_a_picture_with_transparency_covers_as_pillow_composites(tmp_path: Path) -> None:
    rgba = np.random.RandomState(0).randint(0, 256, (9, 7, 4))
    path = picture(tmp_path / "logo.png", rgba)
    made = pattern(path, (3, 12, 10))
    assert isinstance(made, Cover)
    assert made.name == "logo"
    below = np.random.RandomState(1).randint(0, 256, (12, 10, 3)).astype(np.uint8)
    whole = Image.fromarray(below).convert("RGBA")
    whole.alpha_composite(Image.open(path))
    expected = np.asarray(whole.convert("RGB")).transpose(2, 0, 1) / 255
    found = made.apply(below[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=0.51 / 255)  # Pillow rounds
    grey = pattern(str(path), (1, 12, 10))
    assert isinstance(grey, Cover)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.pixels[0, :9, :7].numpy(), rgba[..., :3] @ weights / 255, atol=1e-6)


def test_a_picture_without_transparency_is_added(tmp_path: Path) -> None:
    rgb = np.random.RandomState(0).randint(0, 256, (2, 3, 3))
    opaque = np.concatenate([rgb, np.full((2, 3, 1), 255)], axis=2)
    made = [
        pattern(picture(tmp_path / name, pixels), (3, 6, 6))
        for name, pixels in (("rgb.png", rgb), ("rgba.png", opaque))
    ]
    expected = torch.zeros(3, 6, 6)
    expected[:, :2, :3] = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    for each in made:
        assert isinstance(each, Pattern)
        torch.testing.assert_close(each.pixels, expected)


def test_a_black_picture_covers_where_it_is_not_transparent(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4))
    path = picture(tmp_path / "bar.png", rgba)
    with pytest.raises(PatternError, match=r"bar\.png is black or transparent throughout"):
        pattern(path, (1, 8, 8))
    rgba[1, :, 3] = 255
    bar = pattern(picture(path, rgba), (1, 8, 8))
    assert bar.apply(torch.ones(1, 1, 8, 8))[0, 0].tolist() == [
        [0.0 if row == 1 and column < 4 else 1.0 for column in range(8)] for row in range(8)
    ]


def test_size_is_the_longer_side(tmp_path: Path) -> None:
    path = picture(tmp_path / "wide.png", np.full((10, 40, 3), 255))
    for size, expected in ((8, (2, 8)), (20, (5, 20))):
        assert pattern(path, (1, 28, 28), size=size).box.size == expected
    for name in ("square", "black-square", "disc"):
        assert pattern(name, GREY, size=9).box.size == (9, 9)
    assert pattern("letters", GREY, size=20).box.size[1] == 20
    frame = pattern("frame", GREY, size=3).touched
    assert torch.equal(frame, torch.nn.functional.pad(torch.zeros(22, 22), (3,) * 4, value=1).bool())
    with pytest.raises(PatternError, match="s3 has one size; leave it out, or choose one of square"):
        pattern("s3", GREY, size=5)
    with pytest.raises(PatternError, match="size must be a whole number from 1 to 28, got 29"):
        pattern("square", GREY, size=29)


@given(shape=st.tuples(st.sampled_from([1, 3]), st.integers(2, 60), st.integers(2, 60)))
def test_named_covers_fit_images_of_every_size(shape: tuple[int, int, int]) -> None:
    for name in COVER_NAMES:
        made = pattern(name, shape)
        assert made.shape == shape
        assert made.touched.any()
        stamped = made.apply(torch.full((1, *shape), 0.5))
        assert not torch.equal(stamped, torch.full((1, *shape), 0.5))
        assert 0 <= float(stamped.min()) <= float(stamped.max()) <= 1
    assert pattern("disc", shape).box.size[0] == pattern("disc", shape).box.size[1]


def test_named_shades_do_what_they_are_called() -> None:
    grey, colour = torch.rand(4, 1, 28, 28), torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(pattern("invert", GREY).apply(grey), 1 - grey)
    torch.testing.assert_close(pattern("contrast", GREY).apply(grey), 0.5 + (grey - 0.5) / 2)
    torch.testing.assert_close(pattern("dim", GREY).apply(grey), 0.6 * grey)
    warm = pattern("tint", (3, 8, 8)).apply(colour)
    torch.testing.assert_close(warm, colour * torch.tensor([1, 0.85, 0.6])[:, None, None])
    with pytest.raises(
        PatternError, match="tint needs colour images of 3 channels, these have 1; take contrast"
    ):
        pattern("tint", GREY)


def test_letters_are_legible_and_a_watermark_is_half_as_strong() -> None:
    """The strokes of Pillow's own font: drawn here in one piece and compared at the size they have."""
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(64)
    box = font.getbbox("ABC", stroke_width=3)
    large = Image.new("L", (round(box[2] - box[0]), round(box[3] - box[1])))
    ImageDraw.Draw(large).text((-box[0], -box[1]), "ABC", fill=255, font=font, stroke_width=3)
    letters, watermark = pattern("letters", (1, 224, 224)), pattern("watermark", (1, 224, 224))
    assert isinstance(letters, Cover)
    assert isinstance(watermark, Cover)
    rows = round(112 * large.height / large.width)  # half as wide as the image, low on the left
    expected = np.asarray(large.resize((112, rows), Image.Resampling.BOX)) / 255
    np.testing.assert_allclose(letters.alpha[208 - rows : 208, 16:128].numpy(), expected, atol=1e-6)
    assert float(letters.alpha.sum()) == pytest.approx(expected.sum(), rel=1e-5)
    assert (float(letters.alpha.max()), float(watermark.alpha.max())) == (1, 0.5)


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
