"""Images from a user's program: every form of the same pictures gives the same data."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from spuriscope.data.given import as_image_set, as_split
from spuriscope.errors import DataError

PIXELS = torch.randint(256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1, 0])
ARRAY = PIXELS.permute(0, 2, 3, 1).numpy()


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return self.items[position]


@pytest.mark.parametrize(
    "given",
    [
        (PIXELS, LABELS),
        (PIXELS / 255, LABELS.numpy()),
        (ARRAY, [0, 1, 2, 1, 0]),
        (ARRAY / 255.0, LABELS.int()),
        Pairs([(PIXELS[k], int(LABELS[k])) for k in range(5)]),
        Pairs([(PIXELS[k] / 255, LABELS[k]) for k in range(5)]),
        Pairs([(ARRAY[k], np.int64(LABELS[k])) for k in range(5)]),
        Pairs([(Image.fromarray(ARRAY[k]), int(LABELS[k])) for k in range(5)]),
    ],
    ids="tensors floats arrays float-arrays dataset float-dataset array-dataset pillow".split(),
)
def test_every_form_is_the_same_data(given: Any) -> None:
    split = as_split(given)
    assert torch.equal(split.images, PIXELS)
    assert torch.equal(split.labels, LABELS)


@pytest.mark.parametrize("form", ["tensor", "array", "pillow"])
def test_grey_images_need_no_channels(form: str) -> None:
    grey = PIXELS[:, 0]
    given: Any = (grey if form == "tensor" else grey.numpy(), LABELS)
    if form == "pillow":
        given = Pairs([(Image.fromarray(grey[k].numpy()), int(LABELS[k])) for k in range(5)])
    assert torch.equal(as_split(given).images, PIXELS[:, :1])


def test_names_come_from_the_user_or_the_labels() -> None:
    data = as_image_set((PIXELS, LABELS), (PIXELS[:2], LABELS[:2]))
    assert (data.name, data.class_names, len(data.test)) == ("your data", ("0", "1", "2"), 2)
    named = as_image_set((PIXELS, LABELS), (PIXELS, LABELS), class_names=["a", "b", "c"], name="mine")
    assert (named.name, named.class_names, named.fingerprint) == (
        "mine",
        ("a", "b", "c"),
        as_image_set((PIXELS / 255, LABELS), (ARRAY, LABELS)).fingerprint,
    )


def normalised() -> Tensor:
    return PIXELS / 127.5 - 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((normalised(), LABELS), r"must lie in \[0, 1\], got -1 to 1; leave out what normalises"),
        ((PIXELS.int(), LABELS), "must be uint8, or floating point in"),
        (
            (PIXELS.flatten(1), LABELS),
            r"arrays \(height, width, channels\), one or many, got shape \(5, 72\)",
        ),
        ((PIXELS, LABELS.float()), "labels of train must be whole numbers from 0"),
        (iter([1, 2]), "must be a Split, a pair .* got list_iterator"),
        (Pairs([1, 2]), "item 0 of train is not a pair of an image and a label"),
        (Pairs([(PIXELS[0], 0), (PIXELS[0, :, 1:], 1)]), "train has images of several shapes"),
        ((PIXELS, LABELS[:3]), "labels must be int64 of shape"),
    ],
    ids="normalised integers flat float-labels iterator no-pairs sizes too-few-labels".split(),
)
def test_what_is_not_understood_is_said(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_image_set(given, (PIXELS, LABELS), class_names="abc")
