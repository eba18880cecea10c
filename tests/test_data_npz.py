import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from spuriscope.data import load
from spuriscope.errors import DataError

Arrays = dict[str, Any]


def arrays(**changed: Any) -> Arrays:
    random = np.random.RandomState(0)
    return {
        "train_images": random.randint(0, 256, size=(4, 3, 5)).astype(np.uint8),
        "train_labels": np.array([[0], [1], [1], [0]]),
        "test_images": random.randint(0, 256, size=(2, 3, 5)).astype(np.uint8),
        "test_labels": np.array([[1], [0]]),
    } | changed


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "file.npz"


def test_the_layout_of_medmnist_is_read(path: Path) -> None:
    saved = arrays(val_images=np.zeros(3), val_labels=np.zeros(3))
    np.savez(path, **saved)
    data = load(str(path))
    assert (data.name, data.shape, data.class_names) == ("file.npz", (1, 3, 5), ("0", "1"))
    assert (data.train.images[:, 0].numpy() == saved["train_images"]).all()
    assert data.train.labels.tolist() == [0, 1, 1, 0]
    assert data.test.labels.tolist() == [1, 0]


def test_colours_and_class_names_are_read(path: Path) -> None:
    images = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    names = np.array(["cat", "dog", "emu"])  # no image shows the emu
    labels = np.array([1, 0], dtype=np.uint8)
    np.savez_compressed(
        path,
        train_images=np.asfortranarray(images),
        train_labels=labels,
        test_images=images,
        test_labels=labels.astype(">i8"),
        class_names=names,
    )
    data = load(path)
    assert data.class_names == ("cat", "dog", "emu")
    assert (data.train.images.permute(0, 2, 3, 1).numpy() == images).all()
    assert data.test.labels.tolist() == [1, 0]


@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.just(4), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
    ),
    dtype=hnp.integer_dtypes() | hnp.unsigned_integer_dtypes(),
    compressed=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60)
def test_what_is_saved_is_read_and_every_truncation_is_an_error(
    path: Path, images: NDArray[np.uint8], dtype: Any, compressed: bool, data: st.DataObject
) -> None:
    labels = np.array([0, 1, 1, 0], dtype=dtype).reshape(data.draw(st.sampled_from([(4,), (4, 1)])))
    (np.savez_compressed if compressed else np.savez)(
        path, **arrays(train_images=images, train_labels=labels, test_images=images[:2])
    )
    split = load(path).train
    assert (split.images.permute(0, 2, 3, 1).numpy() == images).all()
    assert split.labels.tolist() == [0, 1, 1, 0]
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DataError, match=r"file\.npz cannot be read as \.npz .*; save it again"):
        load(path)


@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
@settings(max_examples=60)
def test_a_changed_byte_raises_nothing_else(path: Path, position: int, value: int) -> None:
    """Bytes of the directory may change unseen (dates, comments), but the pixels may not."""
    np.savez_compressed(path, **arrays())
    fingerprint = load(path).fingerprint
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= value
    path.write_bytes(content)
    try:
        assert load(path).fingerprint == fingerprint
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


@given(position=st.integers(0, 127), value=st.integers(1, 255))
@settings(max_examples=100)
def test_a_strange_numpy_header_raises_nothing_else(path: Path, position: int, value: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([0, 1, 1, 0]))
    header = bytearray(buffer.getvalue())
    header[position] ^= value
    np.savez(path, **{key: array for key, array in arrays().items() if key != "train_labels"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_labels.npy", bytes(header))
    try:
        load(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


IMAGES = np.zeros((4, 3, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train_images": IMAGES / 255 - 1},
            r"train_images in .* must lie in \[0, 1\] or \[0, 255\], got -1",
        ),
        ({"train_images": IMAGES > 0}, r"must be uint8, or floating point in \[0, 1\] .*, got torch.bool"),
        ({"train_images": IMAGES[:, 0]}, r"with 1 or 3 channels, got \(4, 5\); reshape"),
        (
            {"train_images": np.zeros((4, 9, 8, 5), np.uint8)},
            r"1 or 3 channels, got .*5\); transpose and save",
        ),
        ({"train_images": np.zeros((4, 9, 8, 9), np.uint8)}, r"may have their channels first or last"),
        ({"train_images": IMAGES[:, :0]}, r"got \(4, 0, 5\)"),
        (
            {"train_images": IMAGES[:3]},
            r"train_images in .*x\.npz has the length \(3,\) and train_labels \(4,\); save",
        ),
        ({"test_images": IMAGES[:2, :2]}, r"training images are \(1, 3, 5\) and test images \(1, 2, 5\)"),
        (
            {"train_labels": np.array([[0, 1], [1, 1], [1, 0], [0, 0]])},
            r"train_labels in .* are multi-label: image 1 has 2 of 2 classes",
        ),
        ({"train_labels": np.array([0, 1, 1, 3])}, "train_labels in .* has no image of class 2; number the"),
        ({"train_labels": np.array([1, 2, 2, 1])}, "has no image of class 0, test_labels in .* has; number"),
        ({"train_labels": np.array([0.0, 1, 1, 0])}, r"must be whole numbers .*got float64.*astype\(int\)"),
        ({"test_labels": np.array([0, 2])}, "has no image of class 2, test_labels in .* has; number"),
        ({"test_labels": np.array([0, -1])}, "has no image of class -1"),
        (
            {"train_labels": np.array([0, 1, 1, 2**63], np.uint64)},
            "train_labels in .* hold 9223372036854775808, which is no class",
        ),
        ({"test_labels": np.array(["1", "0"])}, "have numbers for labels and others strings"),
        (
            {"class_names": np.array(["a", "b", "c", "d"]), "test_labels": np.array([1, 4])},
            "labels run from 0 to 4, but 4 classes are named",
        ),
        ({"class_names": np.array([1, 2])}, "class_names in .* must be a list of strings, got int64"),
        ({"class_names": np.array(["a", "a"])}, "class_names in .* holds a name twice"),
        (
            {"train_labels": np.array([0, 1, None, 1])},
            "train_labels in .* Python objects, which are never loaded",
        ),
    ],
)
def test_an_array_of_another_form_is_named(tmp_path: Path, changed: Arrays, message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays(**changed))
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["test", "val"])
def test_the_keys_of_keras_are_read(tmp_path: Path, part: str) -> None:
    saved = arrays()
    np.savez(
        tmp_path / "x.npz",
        x_train=saved["train_images"] / 255.0,
        y_train=np.eye(2)[saved["train_labels"][:, 0]],
        **{f"x_{part}": saved["test_images"].astype(np.float32), f"y_{part}": np.eye(2)[[1, 0]]},
    )
    np.savez(tmp_path / "y.npz", **saved)
    assert load(tmp_path / "x.npz").fingerprint == load(tmp_path / "y.npz").fingerprint


def test_the_validation_part_of_medmnist_stands_in_for_a_test_part(tmp_path: Path) -> None:
    saved = arrays(val_images=IMAGES, val_labels=np.array([1, 0, 1, 1]))
    np.savez(tmp_path / "x.npz", **saved)
    assert len(load(tmp_path / "x.npz").test) == 2
    np.savez(tmp_path / "x.npz", **{key: value for key, value in saved.items() if "test" not in key})
    assert load(tmp_path / "x.npz").test.labels.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("labels", [[7, 9, 9, 7], ["b", "c", "c", "b"]], ids=str)
def test_labels_begin_where_they_like(tmp_path: Path, labels: list[Any]) -> None:
    np.savez(tmp_path / "x.npz", **arrays(train_labels=np.array(labels), test_labels=np.array(labels[1::-1])))
    data = load(tmp_path / "x.npz")
    assert data.class_names == tuple(map(str, labels[:2]))
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 1, 0], [1, 0])


def test_channels_may_come_first(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, size=(4, 3, 6, 5)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", **arrays(train_images=images, test_images=images[:2]))
    data = load(tmp_path / "x.npz")
    assert (data.train.images.numpy() == images).all()
    assert (data.test.images.numpy() == images[:2]).all()


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=IMAGES, test_labels=[0])
    with pytest.raises(
        DataError, match=r"x\.npz lacks train_labels, test_images.*; save the arrays train_images"
    ):
        load(tmp_path / "x.npz")


def test_a_member_that_is_no_array_does_not_count(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("train_images", b"")
    with pytest.raises(DataError, match=r"x\.npz lacks train_images, train_labels"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rarer_compressions_break_in_one_way_too(tmp_path: Path, method: int) -> None:
    np.savez(tmp_path / "x.npz", **arrays())
    with zipfile.ZipFile(tmp_path / "x.npz") as old, zipfile.ZipFile(tmp_path / "y.npz", "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert load(tmp_path / "y.npz").fingerprint == load(tmp_path / "x.npz").fingerprint
    content = bytearray((tmp_path / "y.npz").read_bytes())
    content[48:100] = bytes(52)  # within the first array
    (tmp_path / "y.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"y\.npz cannot be read as \.npz"):
        load(tmp_path / "y.npz")


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000)}
    np.lib.format.write_array_header_1_0(header, shape)
    np.savez(tmp_path / "x.npz", **{key: array for key, array in arrays().items() if key != "train_images"})
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("train_images.npy", header.getvalue())
    with pytest.raises(
        DataError, match=r"train_images in .* should hold 1000000000000000 bytes .* but holds 0"
    ):
        load(tmp_path / "x.npz")


def test_a_directory_cannot_ask_for_memory(tmp_path: Path) -> None:
    """The sizes in the directory of the zip file are changed to 4 GB; the content stays."""
    np.savez(tmp_path / "x.npz", **arrays())
    content = bytearray((tmp_path / "x.npz").read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    (tmp_path / "x.npz").write_bytes(content)
    message = r"train_images in .*x\.npz should have 4294967280 bytes, the file has \d+; save it again"
    with pytest.raises(DataError, match=message):
        load(tmp_path / "x.npz")


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays())
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as \.npz .*encrypted"):
        load(tmp_path / "x.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*nothing\.npz; check the path"):
        load(tmp_path / "nothing.npz")
