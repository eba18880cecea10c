import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spuriscope.data import load
from spuriscope.data.idx import load_idx, read_idx
from spuriscope.data.published import PUBLISHED
from spuriscope.errors import DataError

IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))  # two images of 2 x 3
LABELS = bytes.fromhex("00000801 00000002") + bytes([1, 0])
SMALL = replace(
    PUBLISHED["mnist"], shape=(1, 2, 3), class_names=("0", "1"), train_counts=(1, 1), test_counts=(1, 1)
)

Pack = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "file"


def four_files(
    folder: Path, images: bytes = IMAGES, labels: bytes = LABELS, pack: Pack = bytes
) -> list[Path]:
    paths = [folder / name for name in ("train-images", "train-labels", "t10k-images", "t10k-labels")]
    for file, content in zip(paths, (images, labels, images, labels), strict=True):
        file.write_bytes(pack(content))
    return paths


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_files_written_by_hand_are_read(tmp_path: Path, pack: Pack) -> None:
    data = load_idx(SMALL, four_files(tmp_path, pack=pack))
    assert data.train.images.tolist() == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8], [9, 10, 11]]]]
    assert data.test.labels.tolist() == [1, 0]
    assert data.name == "mnist"


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
    packed=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60)
def test_what_is_written_is_read_and_every_truncation_is_an_error(
    path: Path, shape: tuple[int, ...], packed: bool, data: st.DataObject
) -> None:
    values = data.draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values
    content = gzip.compress(content, mtime=0) if packed else content
    path.write_bytes(content)
    assert read_idx(path, shape).tobytes() == values
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DataError, match=r"file (cannot be read|ends|holds|is not)"):
        read_idx(path, shape)


@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
@settings(max_examples=60)
def test_a_changed_byte_in_a_gzip_file_changes_no_value_unseen(path: Path, position: int, value: int) -> None:
    """Only padding bits may change: then the values are still the same."""
    content = bytearray(gzip.compress(IMAGES, mtime=0))
    content[position % len(content)] ^= value
    path.write_bytes(content)
    try:
        assert read_idx(path, (2, 2, 3)).tobytes() == IMAGES[16:]
    except DataError as error:
        assert str(error).startswith(f"{path} ")  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header, after 0 bytes; put a good copy"),
        (
            b"<!DOCTYPE html>",
            "is not an IDX file of 3 dimensions: it starts with 3c 21 44 4f, not with 00 00",
        ),
        (LABELS, "it starts with 00 00 08 01"),
        (IMAGES[:10], "ends within its header, after 10 bytes"),
        (IMAGES + b"x", "holds more than 12 values, its header says 12"),
        (IMAGES[:-1], "holds 11 values, its header says 12"),
        (
            IMAGES.replace(b"\0\0\0\2", b"\xff\xff\xff\xff"),
            r"says it holds \(4294967295, 4294967295, 3\) values",
        ),
        (
            gzip.compress(IMAGES, mtime=0)[:-1],
            "cannot be read .*end-of-stream.*; put a good copy there, or delete it",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, (2, 2, 3))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    labels = bytes.fromhex("00000801 00000003") + bytes([1, 0, 1])
    with pytest.raises(DataError, match=r"train-labels says it holds \(3,\) values, expected \(2,\)"):
        load_idx(SMALL, four_files(tmp_path, labels=labels))


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="train-labels holds the label 7, but the labels of mnist run from 0 to 1"
    ):
        load_idx(SMALL, four_files(tmp_path, labels=LABELS[:-1] + b"\7"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing-here cannot be read .*No such file"):
        read_idx(tmp_path / "nothing-here", (1,))


@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.13066), ("fashion-mnist", 0.28604)])
def test_real_data_have_the_published_counts_and_mean(real_data: Path, name: str, mean: float) -> None:
    data = load(name, root=real_data, download=False)
    assert data.train.labels.bincount().tolist() == list(PUBLISHED[name].train_counts)
    assert data.test.labels.bincount().tolist() == list(PUBLISHED[name].test_counts)
    assert data.shape == (1, 28, 28)
    assert float(data.train.images.double().mean() / 255) == pytest.approx(mean, abs=1e-5)


def test_packing_does_not_change_the_data(real_data: Path, tmp_path: Path) -> None:
    for packed in (real_data / "mnist").glob("*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    plain = load("mnist", root=tmp_path, download=False)
    assert plain.fingerprint == load("mnist", root=real_data, download=False).fingerprint


def test_swapped_data_sets_are_noticed(real_data: Path) -> None:
    with pytest.raises(DataError, match="holds 5923 images of class 0, fashion-mnist has 6000"):
        load("fashion-mnist", root=real_data / "mnist", download=False)
