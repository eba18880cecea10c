import hashlib
import struct

import pytest
import torch
from torch import Tensor

from spuriscope.data import ImageSet, Split
from spuriscope.errors import DataError


def split(n: int = 2, *, labels: list[int] | None = None, size: int = 1) -> Split:
    images = torch.arange(n * size * size, dtype=torch.uint8).reshape(n, 1, size, size)
    labels = [k % 2 for k in range(n)] if labels is None else labels
    return Split(images, torch.tensor(labels, dtype=torch.int64))


def test_fingerprint_is_the_hash_of_shapes_pixels_and_labels() -> None:
    data = ImageSet("a", split(3), split(2), ("x", "y"))
    by_hand = b"(3, 1, 1, 1)" + bytes([0, 1, 2]) + struct.pack("<3q", 0, 1, 0)
    by_hand += b"(2, 1, 1, 1)" + bytes([0, 1]) + struct.pack("<2q", 0, 1)
    assert data.fingerprint == hashlib.sha256(by_hand).hexdigest()


def test_fingerprint_ignores_names_and_memory_layout() -> None:
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    channels_last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    labels = torch.tensor([0, 1])
    one = ImageSet("a", Split(images, labels), Split(images, labels), ("x", "y"))
    other = ImageSet("b", Split(channels_last, labels), Split(images, labels), ("1", "2"))
    assert one.fingerprint == other.fingerprint
    assert one.shape == (3, 2, 2)
    assert one.n_classes == 2


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), "images must be uint8 of shape .*got torch.float32"),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), r"of shape \(2, 2, 2\)"),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0]),
            r"labels must be int64 of shape \(2,\)",
        ),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0.0]), "got torch.float32"),
    ],
)
def test_split_refuses_other_forms(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(images, labels)


@pytest.mark.parametrize(
    ("train", "test", "class_names", "message"),
    [
        (split(0, labels=[]), split(), ("x", "y"), "a has no training images"),
        (split(), split(0, labels=[]), ("x", "y"), "a has no test images"),
        (split(labels=[0, 2]), split(), ("x", "y"), r"training labels run from 0 to 2, but 2 classes"),
        (split(), split(labels=[-1, 0]), ("x", "y"), r"test labels run from -1 to 0"),
        (split(), split(size=2), ("x", "y"), r"\(1, 1, 1\) and test images \(1, 2, 2\).*one size"),
        (split(labels=[0, 0]), split(labels=[0, 0]), ("x",), "has 1 class; a classifier needs two"),
    ],
)
def test_image_set_refuses_parts_that_do_not_fit(
    train: Split, test: Split, class_names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet("a", train, test, class_names)


def test_images_may_have_names_and_each_has_one() -> None:
    images, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])
    named = Split(images, labels, ("a/1.png", "b/2.png"))
    assert named.names == ("a/1.png", "b/2.png")
    assert [named.called(1), Split(images, labels).called(1)] == ["b/2.png", "1"]
    with pytest.raises(DataError, match="2 images have 1 names; name each one, or none"):
        Split(images, labels, ("a/1.png",))
