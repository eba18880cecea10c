"""Kinds of pattern, moved and scaled, against Pillow and loops over pixels."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from spuriscope.errors import PatternError
from spuriscope.patterns import (
    Anywhere,
    Cover,
    Kind,
    Pattern,
    Shade,
    arrays_of,
    from_arrays,
    pattern,
    scaled_pattern,
)

SHAPE = (3, 12, 10)
DRAWN = np.random.RandomState(0)


def small(values: Any) -> torch.Tensor:
    """What is there in rows 3 to 6 and columns 2 to 4 only."""
    found = torch.zeros(values.shape)
    found[..., 3:7, 2:5] = torch.from_numpy(values).float()[..., 3:7, 2:5]
    return found


ADDED = Pattern("added", small(DRAWN.rand(*SHAPE)))
COVER = Cover("cover", small(DRAWN.rand(*SHAPE)), small(0.1 + 0.9 * DRAWN.rand(*SHAPE[1:])))
SHADE = Shade("shade", torch.from_numpy(DRAWN.randn(3, 3)).float(), torch.tensor([0.1, -0.2, 0.3]), 12, 10)
EVERY: tuple[Kind, ...] = (ADDED, COVER, SHADE)


def images(n: int = 4) -> torch.Tensor:
    return torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [*EVERY, Anywhere(ADDED), Anywhere(COVER, 3)], ids=repr)
def test_stamping_leaves_its_input_alone_and_stays_in_range(kind: Kind | Anywhere) -> None:
    for given_images in (images(), (255 * images()).to(torch.uint8)):
        before = given_images.clone()
        stamped = kind.apply(given_images)
        assert torch.equal(given_images, before)
        assert stamped.shape == given_images.shape
        assert stamped.dtype == torch.float32
        assert 0 <= float(stamped.min()) <= float(stamped.max()) <= 1
        assert not torch.equal(stamped, kind.apply(1 - images()))


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_a_cover_is_composited_as_pillow_does(seed: int, height: int, width: int) -> None:
    draw = np.random.RandomState(seed)
    rgba = draw.randint(0, 256, (height, width, 4)).astype(np.uint8)
    below = draw.randint(0, 256, (height, width, 3)).astype(np.uint8)
    whole = Image.alpha_composite(Image.fromarray(below).convert("RGBA"), Image.fromarray(rgba))
    expected = np.asarray(whole)[..., :3].transpose(2, 0, 1) / 255
    unit = rgba.astype(np.float32) / 255
    colours, alpha = (
        torch.from_numpy(part.copy()) for part in (unit[..., :3].transpose(2, 0, 1), unit[..., 3])
    )
    made = Cover("logo", colours, alpha)
    found = made.apply(torch.from_numpy(below.transpose(2, 0, 1).copy())[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=0.51 / 255)  # Pillow rounds


def test_a_shade_maps_each_pixel() -> None:
    stamped = SHADE.apply(images())
    for image, found in zip(images().numpy(), stamped.numpy(), strict=True):
        for row in range(12):
            for column in range(10):
                expected = SHADE.matrix.numpy() @ image[:, row, column] + SHADE.offset.numpy()
                np.testing.assert_allclose(found[:, row, column], expected.clip(0, 1), atol=1e-6)


@given(shifts=st.lists(st.tuples(st.integers(-14, 14), st.integers(-14, 14)), min_size=4, max_size=4))
def test_what_is_moved_stands_elsewhere_and_what_leaves_the_image_is_lost(
    shifts: list[tuple[int, int]],
) -> None:
    at = torch.tensor(shifts)
    for kind in (ADDED, COVER):
        found = kind.apply(images(), at)
        for image, (down, right), stamped in zip(images(), shifts, found, strict=True):
            slow = image.clone()
            for row in range(12):
                for column in range(10):
                    new_row, new_column = row + down, column + right
                    if not (0 <= new_row < 12 and 0 <= new_column < 10):
                        continue
                    old = image[:, new_row, new_column]
                    pixel = kind.pixels[:, row, column]
                    if isinstance(kind, Pattern):
                        slow[:, new_row, new_column] = (old + pixel).clamp(0, 1)
                    elif kind.alpha[row, column] > 0:
                        alpha = kind.alpha[row, column]
                        slow[:, new_row, new_column] = old * (1 - alpha) + pixel * alpha
            torch.testing.assert_close(stamped, slow)


def test_not_moved_is_the_same_to_the_bit() -> None:
    for kind in (ADDED, COVER):
        assert torch.equal(kind.apply(images()), kind.apply(images(), torch.zeros((4, 2), dtype=torch.int64)))


def test_boxes_hold_what_may_change_and_nothing_more() -> None:
    for kind in (ADDED, COVER):
        assert kind.box == (3, 2, 7, 5)
        assert kind.n_places == (9, 8)
    assert SHADE.box == (0, 0, 12, 10)
    assert SHADE.n_places == (1, 1)
    nothing = Pattern("nothing", torch.zeros(SHAPE))
    assert nothing.box == (0, 0, 12, 10)


@pytest.mark.parametrize("name", ["s3", "square", "black-square", "disc", "letters"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_patterns_keep_their_centre_their_colour_and_their_place(name: str, factor: float) -> None:
    kind = pattern(name, (1, 28, 28))
    other = scaled_pattern(kind, factor)
    assert other is not None
    assert type(other) is type(kind)
    assert other.box.size == tuple(round(factor * side) for side in kind.box.size)
    for start, end, new_start, new_end in zip(
        kind.box[:2], kind.box[2:], other.box[:2], other.box[2:], strict=True
    ):
        centred = (start + end) / 2 - (new_end - new_start) / 2
        assert new_start == pytest.approx(min(max(centred, 0), 28 - (new_end - new_start)), abs=0.5)
    if name != "letters":
        seen = kind.apply(torch.full((1, 1, 28, 28), 0.3)).unique()
        again = other.apply(torch.full((1, 1, 28, 28), 0.3)).unique()
        assert again.min() == pytest.approx(float(seen.min()), abs=1e-5)
        if name != "disc":  # half of it has no pixel that is covered altogether
            assert again.max() == pytest.approx(float(seen.max()), abs=1e-5)


def test_what_does_not_fit_when_scaled_is_cut_off_on_both_sides() -> None:
    ramp = torch.zeros(1, 4, 8)
    ramp[0, 1:3] = torch.linspace(0.1, 0.8, 8)
    other = scaled_pattern(Pattern("ramp", ramp), 2)
    assert other is not None
    assert other.box == (0, 0, 4, 8)
    wide = torch.nn.functional.interpolate(ramp[None, :, 1:3], (4, 16), mode="bilinear")[0]
    torch.testing.assert_close(other.picture, wide[:, :, 4:12])
    assert scaled_pattern(SHADE, 2) is None


def test_equal_in_effect_is_equal() -> None:
    """Colours behind alpha zero do not count; kinds never equal each other."""
    changed = COVER.pixels.clone()
    changed[:, COVER.alpha == 0] = 0.7
    assert Cover("renamed", changed, COVER.alpha) == COVER
    assert Cover("cover", COVER.pixels, (COVER.alpha > 0).float()) != COVER
    assert len({ADDED, COVER, SHADE, Pattern("x", COVER.pixels)}) == 4
    assert ADDED != "added"
    assert Anywhere(ADDED, 1) == Anywhere(Pattern("renamed", ADDED.pixels), 1)
    assert len({Anywhere(ADDED, seed).fingerprint for seed in range(3)} | {ADDED.fingerprint}) == 4


def test_alpha_is_taken_in_every_form() -> None:
    forms = (COVER.alpha[None], COVER.alpha.numpy(), COVER.alpha.numpy()[..., None], COVER.alpha.double())
    for alpha in forms:
        assert Cover("again", COVER.pixels, alpha) == COVER  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", EVERY, ids=repr)
def test_patterns_come_back_from_their_arrays(kind: Kind) -> None:
    arrays = arrays_of(kind)
    again = from_arrays(kind.kind, kind.name, arrays, SHAPE)
    assert again == kind
    assert torch.equal(again.apply(images()), kind.apply(images()))
    for array in arrays.values():
        array.zero_()
    assert next(iter(kind.arrays.values())).any()  # what was taken apart is a copy


@pytest.mark.parametrize("kind", EVERY, ids=repr)
def test_pictures_show_a_pattern_at_the_size_of_the_image(kind: Kind) -> None:
    assert kind.picture.shape == SHAPE
    assert 0 <= float(kind.picture.min()) < float(kind.picture.max()) <= 1


def test_errors_of_kinds_say_what_to_do() -> None:
    pixels = torch.zeros(SHAPE)
    for message, make in (
        ("alpha must have the height and width of the pixels, (12, 10), got (10, 12)",
         lambda: Cover("x", pixels, torch.zeros(10, 12))),
        ("alpha must lie in [0, 1], got 0 to 255; divide 8-bit pixels by 255",
         lambda: Cover("x", pixels, 255 * COVER.alpha.ceil())),
        ("alpha must be floats of shape (height, width), in [0, 1], got torch.uint8",
         lambda: Cover("x", pixels, torch.zeros((12, 10), dtype=torch.uint8))),
        ("matrix must be finite, float32 and of shape (2, 2)",
         lambda: Shade("x", torch.full((2, 2), float("nan")), torch.zeros(2), 12, 10)),
        ("offset must be finite, float32 and of shape (2,) for images of 2 channels",
         lambda: Shade("x", torch.eye(2), torch.zeros(3), 12, 10)),
        ("pattern shade maps colours all over the image, so it cannot be moved",
         lambda: SHADE.apply(images(), torch.zeros((4, 2), dtype=torch.int64))),
        ("at must be whole numbers of shape (4, 2), rows and columns for each image, got torch.float32",
         lambda: ADDED.apply(images(), torch.zeros(4, 2))),
        ("is of kind 'blur', and this version of spuriscope knows add, cover, shade; update spuriscope",
         lambda: from_arrays("blur", "x", {}, SHAPE)),
        ("made for images of shape (3, 12, 10) (channels, height, width), got (3, 10, 12); make it anew",
         lambda: SHADE.apply(images().transpose(2, 3))),
    ):  # fmt: skip
        with pytest.raises(PatternError, match=re.escape(message)):
            make()
