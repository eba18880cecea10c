import io
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from PIL import Image

from spuriscope.data import decoding
from spuriscope.data.decoding import decode_content, decode_image, no_bombs, read_header
from spuriscope.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def _guarded() -> Iterator[None]:
    with no_bombs():
        yield


def packed(image: Image.Image, kind: str, **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def pixels_of(content: bytes, **how: Any) -> NDArray[np.uint8]:
    return decode_content(content, **how)[0]


def noise(*shape: int, top: int = 256, dtype: type = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.RandomState(seed).randint(0, top, shape).astype(dtype)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_formats_without_loss_give_the_pixels_that_were_saved(kind: str, how: dict[str, object]) -> None:
    pixels = noise(5, 7, 3)
    content = packed(Image.fromarray(pixels), kind, **how)
    assert np.array_equal(pixels_of(content), pixels)
    assert read_header(content).size == (7, 5)


def test_of_a_moving_gif_the_first_image_is_taken() -> None:
    frames = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (10, 200)]
    content = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.unique(pixels_of(content, channels="rgb")).tolist() == [10]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_shows_the_image_as_it_was_seen(orientation: int) -> None:
    """Table of the EXIF standard: where row 0 and column 0 of the stored image are seen."""
    seen = noise(5, 7)
    turned = (seen, seen[:, ::-1], seen[::-1, ::-1], seen[::-1], seen.T, np.rot90(seen), seen[::-1, ::-1].T)
    stored = (*turned, np.rot90(seen, -1))[orientation - 1]
    exif: Any = Image.Exif()
    exif[0x0112] = orientation
    content = packed(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(pixels_of(content)[..., 0], seen)
    assert read_header(content).size == (7, 5)


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0)])
def test_transparency_is_laid_over_white_or_black(background: Literal["white", "black"], level: int) -> None:
    pixels = noise(6, 6, 4)
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    by_hand = colour * alpha + level * (1 - alpha)
    got = pixels_of(packed(Image.fromarray(pixels), "PNG"), background=background)
    assert np.abs(got - by_hand).max() <= 1
    grey = Image.fromarray(noise(4, 4)).convert("LA")
    grey.putalpha(0)
    assert np.unique(pixels_of(packed(grey, "PNG"), background=background)).tolist() == [level]
    assert read_header(packed(grey, "PNG")).is_grey


def test_what_is_opaque_keeps_its_pixels() -> None:
    pixels = np.dstack([noise(40, 40, 3), np.full((40, 40), 255, np.uint8)])
    assert np.array_equal(decode_image(Image.fromarray(pixels)), pixels[..., :3])
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_image(Image.fromarray(grey).convert("LA"))[..., 0], grey)


def test_a_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 10, 20])
    image.putpixel((0, 0), 0)
    pixels = pixels_of(packed(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [250, 10, 20]


def test_cmyk_becomes_rgb() -> None:
    content = packed(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert pixels_of(content)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    content = packed(Image.fromarray(deep), kind)
    assert np.array_equal(pixels_of(content)[..., 0], np.round(deep / 257).astype(np.uint8))
    assert read_header(content).is_deep
    assert read_header(content).is_grey
    assert not read_header(packed(Image.new("RGB", (2, 2)), kind)).is_deep


def test_floating_point_and_wide_integers_have_no_known_range() -> None:
    with pytest.raises(DataError, match="x.tif has pixels in floating point; save it with 8 or 16 bits"):
        pixels_of(packed(Image.new("F", (2, 2), 0.5), "TIFF"), name="x.tif")
    with pytest.raises(DataError, match="x.tif has pixels from 70000 to 70000; save it with 8 bits"):
        pixels_of(packed(Image.new("I", (2, 2), 70_000), "TIFF"), name="x.tif")


def lanczos(values: NDArray[np.float64], n: int, start: float, length: float) -> NDArray[np.float64]:
    """Slow: the first axis from `start`, `length` long, resampled to `n` with a Lanczos window of 3."""
    scale = length / n
    reach = 3 * max(scale, 1)
    rows = []
    for k in range(n):
        centre = start + (k + 0.5) * scale
        at = np.arange(max(0, int(centre - reach + 0.5)), min(len(values), int(centre + reach + 0.5)))
        x = (at + 0.5 - centre) / max(scale, 1)
        weights = np.sinc(x) * np.sinc(x / 3) * (np.abs(x) < 3)
        rows.append(np.tensordot(weights / weights.sum(), values[at], axes=1))
    return np.stack(rows)


@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    image_size=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_scaled_to_cover_and_cropped_at_the_centre(
    width: int, height: int, image_size: int, seed: int
) -> None:
    """By hand: the largest square in the middle, each axis resampled by the formula; no value overshoots."""
    pixels = (100 + noise(height, width, top=56, seed=seed)).astype(np.uint8)
    side = min(width, height)
    across = lanczos(pixels.T.astype(float), image_size, (width - side) / 2, side).T
    by_hand = lanczos(across, image_size, (height - side) / 2, side)
    got = decode_image(Image.fromarray(pixels), image_size=image_size)
    assert got.shape == (image_size, image_size, 1)
    assert np.abs(got[..., 0] - by_hand).max() <= 2


def test_a_large_jpeg_is_drafted_and_stays_close() -> None:
    smooth = Image.fromarray(noise(8, 8, 3)).resize((800, 600), Image.Resampling.BICUBIC)
    got = pixels_of(packed(smooth, "JPEG", quality=95), image_size=32).astype(int)
    assert np.abs(got - decode_image(smooth, image_size=32)).mean() < 2


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]), st.data())
def test_damage_ends_in_one_error_that_names_the_image(kind: str, data: st.DataObject) -> None:
    content = bytearray(packed(Image.fromarray(noise(9, 7, 3)), kind))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with no_bombs():
            try:
                pixels_of(bytes(content), image_size=4, name="a/x.png")
            except DataError as error:
                assert "a/x.png" in str(error)  # noqa: PT017


def test_an_image_of_absurd_size_is_refused_by_decoding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_PIXELS", 100)
    with pytest.raises(DataError, match="the image is too large .*; resize the images"):
        decode_image(Image.new("L", (11, 10)))


@pytest.mark.parametrize("image_size", [0, -1, 1025, 2.5, True])
def test_sizes_that_are_none(image_size: int) -> None:
    with pytest.raises(ConfigError, match="image_size is a number of pixels, 1 to 1024, got"):
        decode_image(Image.new("L", (2, 2)), image_size=image_size)


def test_other_backgrounds_are_refused() -> None:
    with pytest.raises(ConfigError, match="background must be one of white, black, got 'red'"):
        decode_image(Image.new("L", (2, 2)), background="red")  # type: ignore[arg-type]
