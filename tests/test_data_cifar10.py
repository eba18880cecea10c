import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from spuriscope.data import ImageSet, load
from spuriscope.data.cifar10 import load_cifar10
from spuriscope.data.published import PUBLISHED
from spuriscope.errors import DataError

FOLDER = "cifar-10-batches-bin"
NAMES = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
SMALL = replace(  # two records in a batch
    PUBLISHED["cifar10"], class_names=("a", "b"), train_counts=(5, 5), test_counts=(1, 1)
)

Pack = Callable[[bytes], bytes]


def record(label: int, red: int, green: int, blue: int) -> bytes:
    """An image of one colour, but for its last red value, which is 255."""
    return bytes([label]) + bytes([red] * 1023 + [255] + [green] * 1024 + [blue] * 1024)


def batches() -> dict[str, bytes]:
    return {name: record(0, k, 10 + k, 20 + k) + record(1, 100, 110, 120) for k, name in enumerate(NAMES)}


def tar(members: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return stream.getvalue()


def in_folder(members: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{FOLDER}/{name}": content for name, content in members.items()}


GOOD = tar(in_folder(batches()) | {f"{FOLDER}/readme.html": b"<html>"})


def read(path: Path, content: bytes) -> ImageSet:
    path.write_bytes(content)
    return load_cifar10(SMALL, [path])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cifar") / "archive"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_archive_and_folder_hold_the_records_in_order(tmp_path: Path, pack: Pack) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, content in batches().items():
        (folder / name).write_bytes(content)
    from_archive, from_folder = read(tmp_path / "archive", pack(GOOD)), load_cifar10(SMALL, [folder])
    assert from_archive.fingerprint == from_folder.fingerprint
    images = from_archive.train.images
    assert images.shape == (10, 3, 32, 32)
    assert images[2, :, 0, 0].tolist() == [1, 11, 21]  # first record of the second batch
    assert images[2, :, 31, 31].tolist() == [255, 11, 21]
    assert from_archive.test.images[0, :, 0, 0].tolist() == [5, 15, 25]
    assert from_archive.train.labels.tolist() == [0, 1] * 5


def test_order_of_the_members_does_not_matter(path: Path) -> None:
    backwards = dict(reversed(in_folder(batches()).items()))
    fingerprints = {read(path, gzip.compress(content)).fingerprint for content in (GOOD, tar(backwards))}
    assert len(fingerprints) == 1


@given(data=st.data(), pack=st.sampled_from([gzip.compress, lzma.compress]))
@settings(max_examples=60)
def test_every_truncation_is_an_error(path: Path, data: st.DataObject, pack: Pack) -> None:
    content = pack(GOOD)
    with pytest.raises(DataError, match=r"archive (cannot be read|lacks)"):
        read(path, content[: data.draw(st.integers(0, len(content) - 1))])


@given(
    position=st.integers(0, 10_000),
    value=st.integers(1, 255),
    pack=st.sampled_from([gzip.compress, lzma.compress]),
)
@settings(max_examples=60)
def test_a_changed_byte_changes_no_value_unseen(path: Path, position: int, value: int, pack: Pack) -> None:
    """Only padding bits may change: then the values are still the same."""
    content = bytearray(pack(GOOD))
    fingerprint = read(path, bytes(content)).fingerprint
    content[position % len(content)] ^= value
    try:
        assert read(path, bytes(content)).fingerprint == fingerprint
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(1, 255))
@settings(max_examples=100)
def test_a_strange_tar_raises_nothing_else(path: Path, position: int, value: int) -> None:
    """A pixel may change unseen here, the compression has no say; but no other error may come through."""
    headers = [k for k in range(0, len(GOOD), 512) if GOOD[k : k + 5] == b"cifar"]
    content = bytearray(GOOD)
    content[headers[position % len(headers)] + position % 512] ^= value
    try:
        read(path, gzip.compress(bytes(content), compresslevel=1))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    return info


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar(in_folder(batches()), member("../evil")), r"holds the suspicious member '\.\./evil'"),
        (tar(in_folder(batches()), member("/etc/evil")), "holds the suspicious member '/etc/evil'"),
        (tar({}, member(f"{FOLDER}/data_batch_1.bin", tarfile.SYMTYPE)), "holds the suspicious member"),
        (tar({}, member(f"{FOLDER}/pipe", tarfile.FIFOTYPE)), "suspicious member .*pipe', a link or a path"),
        (tar(batches()), "lacks data_batch_1.bin, data_batch_2.bin.*, test_batch.bin"),
        (
            tar(in_folder({n: c for n, c in batches().items() if "3" not in n})),
            "lacks data_batch_3.bin; put a",
        ),
        (
            tar(in_folder({"test_batch.bin": b"short"})),
            "test_batch.bin in .*archive has 5 bytes, a batch has 6146",
        ),
        (
            member(f"{FOLDER}/test_batch.bin", size=1 << 40).tobuf(),
            "has 1099511627776 bytes, a batch has 6146",
        ),
        (
            tar(in_folder(batches()) | {f"./{FOLDER}/{NAMES[0]}": record(0, 0, 0, 0) * 2}),
            "data_batch_1.bin twice",
        ),
        (tar(in_folder(batches() | {NAMES[0]: record(9, 0, 0, 0) * 2})), "archive holds the label 9"),
        (
            tar(in_folder(batches() | {NAMES[5]: record(1, 0, 0, 0) * 2})),
            "holds 0 images of class 0, cifar10 has 1",
        ),
        (b"no tar at all" * 99, "archive cannot be read"),
    ],
)
def test_a_bad_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "archive", gzip.compress(content))
    assert str(tmp_path / "archive") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_missing_or_short_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks data_batch_1.bin, .*; put a good copy there"):
        load_cifar10(SMALL, [tmp_path])
    (tmp_path / "data_batch_1.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"data_batch_1.bin has 1 bytes, a batch has 6146"):
        load_cifar10(SMALL, [tmp_path])


@pytest.mark.slow  # unpacks for long
def test_real_data_have_the_published_counts_and_means(real_data: Path) -> None:
    data = load("cifar10", root=real_data, download=False)
    assert data.train.labels.bincount().tolist() == [5000] * 10
    assert data.test.labels.bincount().tolist() == [1000] * 10
    sums = data.train.images.sum(dim=(0, 2, 3), dtype=torch.int64) / (50_000 * 32 * 32 * 255)
    assert sums.tolist() == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-6)
