"""What comes from outside and is made to harm: archives, arrays, documents, names and numbers, kind by kind.

The fuzzer (`benchmarks/fuzz.py`) finds such cases; those that were answered badly once stand here.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import spuriscope as ss
from spuriscope.adapters import open_model
from spuriscope.data.catalog import verify
from spuriscope.data.contexts import prepare_contexts
from spuriscope.data.layout import arrange
from spuriscope.data.npz import load_npz
from spuriscope.data.photographs import write_photographs
from spuriscope.data.prepared import load_prepared
from spuriscope.data.tar_headers import TAR_DAMAGE, open_tar
from spuriscope.data.tree import read_tree
from spuriscope.errors import (
    DataError,
    ModelError,
    PatternError,
    SpuriscopeError,
    StoreError,
)
from spuriscope.limits import LONGEST_MESSAGE, is_packed_too_well
from spuriscope.reading import Reading
from spuriscope.sealing import checksum
from spuriscope.studies.checksums import check_study

ZERO_BLOCKS = bytes(1024)


# --- archives ------------------------------------------------------------------------------------------


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header of 512 bytes as GNU tar writes sizes that need it: base 256, negative ones too."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % 256**11).to_bytes(11, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def pictures(archive: Path, *more: bytes, at_end: bytes = ZERO_BLOCKS) -> Path:
    """A `.tar` of two classes of two images each, with more blocks behind them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            content = io.BytesIO()
            Image.new("L", (4, 4), len(name)).save(content, "PNG")
            member = tarfile.TarInfo(name)
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
        end = tar.offset
    archive.write_bytes(stream.getvalue()[:end] + b"".join(more) + at_end)
    return archive


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((header("notes.txt", -512),), "has a negative size"),
        ((header("notes.txt", -1024), header("more.txt", 0)), "has a negative size"),
        ((header("x", 3 << 30, tarfile.GNUTYPE_LONGNAME), bytes(512)), "attribute has 3,221,225,472 bytes"),
        ((header("x", 3 << 30, tarfile.XHDTYPE), bytes(512)), "attribute has 3,221,225,472 bytes"),
        ((header("x", -512, tarfile.XGLTYPE), bytes(512)), "has a negative size"),
        ((header("a/3.png", 60 << 30, tarfile.GNUTYPE_SPARSE),), "is sparse"),
        ((header("a/3.png", 60 << 30),), "ends before its member 'a/3.png' does|unexpected end of data"),
        (
            (header("x", 13, tarfile.XHDTYPE), b"13 size=-512\n".ljust(512, b"\0"), header("n", 0)),
            "ends before its member",
        ),
    ],
)
def test_headers_of_a_tar_that_lie_are_refused_at_once(
    blocks: tuple[bytes, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        ss.load(pictures(tmp_path / "data.tar", *blocks))


def test_a_damaged_header_is_no_end_of_a_tar(tmp_path: Path) -> None:
    """tarfile stops there without a word, and the images behind it are missing."""
    content = bytearray(pictures(tmp_path / "data.tar").read_bytes())
    assert len(ss.load(tmp_path / "data.tar").train) == 2
    starts = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    content[starts[2] + 3] ^= 1
    (tmp_path / "data.tar").write_bytes(content)
    with pytest.raises(DataError, match="a header is damaged: bad checksum"):
        ss.load(tmp_path / "data.tar")


def test_headers_are_checked_in_a_stream_too() -> None:
    """CIFAR-10 is read so."""
    stream = io.BytesIO(header("notes.txt", -512) + ZERO_BLOCKS)
    with pytest.raises(TAR_DAMAGE, match="negative size"), open_tar(stream, "r|") as archive:
        list(archive)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(shape: tuple[int, ...], body: bytes = b"", descr: str = "|u1") -> bytes:
    told = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told + body


def test_the_header_of_an_array_is_looked_at_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {
        "train_labels": npy((2,), b"01"),
        "test_images": npy((2, 2, 2), bytes(8)),
        "test_labels": npy((2,), b"01"),
    }
    path = npz(tmp_path / "data.npz", train_images=npy((3, 9, 9), bytes(1 << 22)), **members)
    unpacked: list[object] = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: unpacked.append(name))
    with pytest.raises(
        DataError, match="train_images in .* should hold 243 bytes after its header, but holds 41"
    ):
        load_npz(path)
    assert unpacked == []


def test_one_label_of_thousands_of_millions_does_not_name_as_many_classes(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2**33])
    images = np.zeros((3, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DataError, match="hold the label 8589934592, and a classifier has at most 1,000,000"):
        ss.load(tmp_path / "data.npz")


def test_what_unpacks_to_nothing_but_zeros_is_refused_unpacked_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spuriscope.limits.LARGEST_FILE", 1 << 16)
    assert is_packed_too_well(10, 1 << 17)
    assert not is_packed_too_well(1 << 17, 1 << 20)
    zeros = npy((2, 1 << 10, 1 << 10), bytes(1 << 21))
    path = npz(
        tmp_path / "data.npz",
        train_images=zeros,
        train_labels=npy((2,), b"01"),
        test_images=zeros,
        test_labels=npy((2,), b"01"),
    )
    with pytest.raises(DataError, match="train_images in .* unpacks from 0 to 2 MB, too many for images"):
        load_npz(path)
    torch.save({"weights": torch.zeros(1 << 18)}, tmp_path / "model.pth")
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as archive,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    with pytest.raises(ModelError, match=r"packed\.pth unpacks to 1 MB, too much for a model"):
        open_model(tmp_path / "packed.pth", shape=(1, 8, 8), n_classes=2)


def test_a_compressed_cifar10_does_not_unpack_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spuriscope.data import cifar10

    monkeypatch.setattr(cifar10, "MOST_PADDING", 1 << 12)
    (tmp_path / "cifar.tar.gz").write_bytes(
        gzip.compress(header("readme.html", 1 << 20) + bytes(1 << 20) + ZERO_BLOCKS)
    )
    with pytest.raises(DataError, match="unpacks to more than .* MB"):
        list(cifar10._read_archive(tmp_path / "cifar.tar.gz", size=100))


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + b"x" * 40, b"PK\x05\x06" + b"\xff" * 18, b"\x80" * 9, b""]
)
@pytest.mark.parametrize("suffix", [".pth", ".pt2", ".onnx", ".safetensors"])
def test_a_damaged_file_of_a_model_is_one_line(content: bytes, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="model"):
        open_model(path, shape=(1, 8, 8), n_classes=2)


def test_a_picture_of_absurd_size_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 20), 200).save(tmp_path / "logo.png")
    monkeypatch.setattr("spuriscope.patterns.named.MOST_PIXELS", 500)
    with pytest.raises(PatternError, match="has 30x20 pixels; give a smaller picture"):
        ss.pattern(tmp_path / "logo.png", (1, 8, 8))


# --- messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\nc", "a b c"),
        ("a\x1b[31m\0\udcff", "a\\x1b[31m\\x00\\udcff"),
        ("é: choose", "é: choose"),
        (
            "x" * 10**7 + "; mend it",
            "x" * (LONGEST_MESSAGE // 2) + " ... " + "x" * (LONGEST_MESSAGE // 2 - 9) + "; mend it",
        ),
    ],
)
def test_a_message_is_one_printable_line_that_ends_with_what_to_do(text: str, shown: str) -> None:
    assert str(SpuriscopeError(text)) == str(DataError(text)) == shown


# --- prepared folders ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["classes", "contexts"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    random = np.random.RandomState(0)
    for context in ("photo", "sketch"):
        for name in ("cats", "dogs"):
            (folder / "mine" / context / name).mkdir(parents=True)
            for number in range(4):
                pixels = random.randint(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "mine" / context / name / f"{number}.png")
    if request.param == "contexts":
        prepare_contexts(folder / "mine", folder / "ready")
    else:
        write_photographs(arrange(read_tree(folder / "mine" / "photo")), folder / "ready", "mine", Reading())
    return folder / "ready"


def changed(
    prepared: Path,
    out: Path,
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None],
    *,
    seal: bool | None,
) -> Path:
    """A copy of a prepared folder with changed contents; sealed anew, or of a version without a checksum."""
    from safetensors import safe_open

    out.mkdir()
    (out / "images.u8").write_bytes((prepared / "images.u8").read_bytes())
    with safe_open(prepared / "contents.safetensors", framework="pt") as file:
        texts = dict(file.metadata())
    tensors = load_file(prepared / "contents.safetensors")
    about = json.loads(texts["about"])
    change(about, tensors)
    texts["about"] = json.dumps(about)
    if seal is not None:
        sealed = {"spuriscope": texts["spuriscope"], "about": texts["about"]}
        texts = sealed | ({"checksum": checksum(sealed, tensors)} if seal else {})
    save_file(tensors, out / "contents.safetensors", metadata=texts)
    return out


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]] = {
    "a label": lambda about, tensors: tensors["train_labels"].__setitem__(0, 1),
    "a label beyond the classes": lambda about, tensors: tensors["train_labels"].__setitem__(0, 9),
    "a label less": lambda about, tensors: tensors.update(train_labels=tensors["train_labels"][:-1].clone()),
    "the shape": lambda about, tensors: about.update(shape=[3, 4, 9]),
    "a shape that is none": lambda about, tensors: about.update(shape=[-3, -6, 6]),
    "a shape of text": lambda about, tensors: about.update(shape="3x6x6"),
    "no fingerprint": lambda about, tensors: about.pop("fingerprint"),
    "class names": lambda about, tensors: about.update(class_names=5),
    "a context": lambda about, tensors: tensors["test_contexts"].__setitem__(0, 77),
    "names": lambda about, tensors: tensors.update(train_names=torch.zeros(3, dtype=torch.uint8)),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("seal", [None, False])
def test_what_was_changed_in_a_prepared_folder_is_one_error(
    what: str, seal: bool | None, prepared: Path, tmp_path: Path
) -> None:
    """With a checksum that does not fit any more; and of a version that had none, as far as can be told."""
    if what == "a context" and load_prepared(prepared).contexts is None:
        pytest.skip("the folder has none")
    out = changed(prepared, tmp_path / "out", CHANGES[what], seal=seal)
    message = "its checksum differs" if seal is None else "prepare the images again|labels run from"
    with pytest.raises(DataError, match=message):
        verify(out)


def test_a_pixel_of_a_prepared_folder_is_found_out_by_verify(prepared: Path, tmp_path: Path) -> None:
    out = changed(prepared, tmp_path / "out", lambda about, tensors: None, seal=True)
    assert verify(out).fingerprint == verify(prepared).fingerprint
    content = bytearray((out / "images.u8").read_bytes())
    content[7] ^= 1
    (out / "images.u8").write_bytes(content)
    with pytest.raises(DataError, match="was changed after it was prepared; prepare the images again"):
        verify(out)


def test_a_label_beyond_all_classes_is_one_line() -> None:
    """Or each class up to it would get a name, and a small file fill the memory."""
    images, labels = np.zeros((4, 8, 8), dtype=np.uint8), np.array([0, 1, 0, 2**40])
    with pytest.raises(DataError, match="hold the label 1099511627776, and a classifier has at most"):
        ss.audit(train=(images, labels), test=(images, labels))


def test_a_study_that_is_in_one_index_alone_is_told() -> None:
    class Nothing:
        def fetchone(self) -> None:
            return None

        def fetchall(self) -> list[tuple[object, ...]]:
            return []

    with pytest.raises(StoreError, match="the study 'x' was changed in its store"):
        check_study(lambda *_: Nothing(), "x")  # type: ignore[arg-type]
