"""Pictures on the page keep their pixels."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from spuriscope.report.pictures import data_uri, icon, pixels, reduced, shown, tinted_uri


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_keeps_its_pixels(channels: int) -> None:
    image = torch.randint(0, 256, (channels, 5, 7), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    read = np.asarray(opened(data_uri(image))).reshape(5, 7, channels)
    np.testing.assert_array_equal(read, image.permute(1, 2, 0).numpy())


def test_a_share_of_brightness_becomes_a_byte() -> None:
    np.testing.assert_array_equal(
        np.asarray(opened(data_uri(torch.tensor([[[0.0, 0.5, 1.0]]])))), [[0, 128, 255]]
    )


def test_pixels_reads_the_brightest_channel() -> None:
    image = torch.zeros(3, 2, 2)
    image[1, 0, 1] = 1
    np.testing.assert_array_equal(pixels(data_uri(image)), [[0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("height", "width", "large", "small"),
    [
        (28, 28, 4, 3),
        (32, 32, 4, 3),
        (64, 64, 2, 1),
        (10, 60, 2, 1),
        (224, 224, 1 / 2, 1 / 3),
        (8, 8, 16, 12),
    ],
)
def test_the_scale_is_a_whole_number_or_one_over_it(
    height: int, width: int, large: float, small: float
) -> None:
    picture = shown(data_uri(torch.zeros(1, height, width)), "alt")
    assert (picture.width, picture.height) == (width, height)
    assert (picture.large, picture.small) == (large, small)
    assert picture.is_crisp == (small >= 1)


def test_an_icon_of_a_large_picture_is_small() -> None:
    assert (
        icon(data_uri(torch.rand(3, 224, 224)), "alt").width,
        icon(data_uri(torch.rand(1, 28, 28)), "").width,
    ) == (
        56,
        28,
    )


def test_a_picture_too_large_for_the_page_is_made_smaller_by_a_whole_number() -> None:
    blocks = torch.rand(1, 112, 112, generator=torch.Generator().manual_seed(0))
    large = data_uri(blocks.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2))
    assert reduced(large, "alt").uri == data_uri(blocks)
    assert reduced(data_uri(blocks), "alt").uri == data_uri(blocks)


def test_a_heat_map_is_the_more_opaque_the_larger_the_value() -> None:
    colours = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    read = np.asarray(opened(tinted_uri(np.array([[-2.0, 0.0, 1.0]]), colours, largest=2.0)))
    np.testing.assert_array_equal(read, [[[255, 0, 0, 255], [0, 0, 255, 0], [0, 0, 255, 128]]])


def test_a_heat_map_without_any_values_is_transparent() -> None:
    read = np.asarray(opened(tinted_uri(np.zeros((2, 2)), np.zeros((2, 3)), largest=0.0)))
    assert not read[..., 3].any()
