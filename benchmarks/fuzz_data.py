"""Kinds of data that the fuzzer breaks: idx, cifar, npz, folder, tar and table."""

import gzip
import io
import os
import shutil
import struct
import zipfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from fuzz import Kind
from fuzz_mutations import NUMBERS, broken_bytes
from fuzz_tar import broken_tar, tar_of
from spuriscope.data import ImageSet, load
from spuriscope.data.cifar10 import load_cifar10
from spuriscope.data.idx import load_idx
from spuriscope.data.published import PUBLISHED

__all__ = ["KINDS", "content_of", "pictures"]
SIDE = 8
DIGITS = replace(
    PUBLISHED["mnist"],
    shape=(1, SIDE, SIDE),
    train_counts=(3,) * 10,
    test_counts=(1,) * 10,
)
CIFAR = replace(PUBLISHED["cifar10"], train_counts=(5,) * 10, test_counts=(1,) * 10)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
NAMES = (
    *("é", "a b", "a\nb", "-x", ".hidden", "x" * 250, "CON", "a\x1b[31m", "train", "test", "\u202ex"),
    *("0", "00", "1e3", "nan", "A", "a", "a.png", "x.csv", "x.parquet", "Thumbs.db", "a,b", '"'),
)


def content_of(data: ImageSet) -> tuple[Any, ...]:
    """The content of a data set, to compare it with another."""
    contexts = data.contexts
    codes = (contexts.names, contexts.train.tolist(), contexts.test.tolist()) if contexts else ()
    return data.fingerprint, data.shape, data.class_names, data.train.names, data.test.names, codes


def pictures(folder: Path, *, n: int = 4) -> None:
    """Class folders with images of every format."""
    random = np.random.RandomState(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            form = FORMATS[number % len(FORMATS)]
            pixels = random.randint(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.{form.lower()}", form)


def _break_one(draw: Random, folder: Path) -> None:
    """Break one of the files in a folder."""
    _break_file(draw, draw.choice(sorted(path for path in folder.rglob("*") if path.is_file())))


def _break_file(draw: Random, path: Path) -> None:
    path.write_bytes(broken_bytes(draw, path.read_bytes()))


@cache
def _gigabyte() -> bytes:
    """A few megabytes that unpack to a gigabyte."""
    return 16 * gzip.compress(bytes(1 << 26), 1, mtime=0)


def _copied(draw: Random, good: Path, out: Path) -> None:
    shutil.copytree(good, out, dirs_exist_ok=True)


# --- idx and cifar -------------------------------------------------------------------------------------

IDX = ("train-images", "train-labels", "test-images", "test-labels")


def _prepare_idx(folder: Path) -> None:
    random = np.random.RandomState(0)
    for part, per_class in (("train", 3), ("test", 1)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), per_class)
        images = random.randint(0, 256, (len(labels), SIDE, SIDE), dtype=np.uint8)
        for what, values in (("images", images), ("labels", labels)):
            header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (folder / f"{part}-{what}").write_bytes(header + values.tobytes())


def _make_idx(draw: Random, good: Path, out: Path) -> bool:
    _copied(draw, good, out)
    path = out / draw.choice(IDX)
    content, how = path.read_bytes(), draw.random()
    if how < 0.3:
        path.write_bytes(gzip.compress(broken_bytes(draw, content), mtime=0))
    elif how < 0.6:
        path.write_bytes(broken_bytes(draw, gzip.compress(content, mtime=0)))
    elif how < 0.62:  # a megabyte that unpacks to a gigabyte
        path.write_bytes(gzip.compress(content, mtime=0) + _gigabyte())
    elif how < 0.7:
        other = out / draw.choice(IDX)
        path.write_bytes(other.read_bytes())
    elif how < 0.72:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(broken_bytes(draw, content))
    return False


def _read_idx(folder: Path) -> object:
    return content_of(load_idx(DIGITS, [folder / name for name in IDX]))


BATCHES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")


def _prepare_cifar(folder: Path) -> None:
    random = np.random.RandomState(0)
    (folder / "cifar-10-batches-bin").mkdir()
    for name in BATCHES:
        records = random.randint(0, 256, (10, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(10)
        (folder / "cifar-10-batches-bin" / name).write_bytes(records.tobytes())
    (folder / "cifar.tar.gz").write_bytes(gzip.compress(tar_of(folder / "cifar-10-batches-bin"), 1, mtime=0))


def _make_cifar(draw: Random, good: Path, out: Path) -> bool:
    how = draw.random()
    if how < 0.25:
        _copied(draw, good / "cifar-10-batches-bin", out / "cifar")
        _break_one(draw, out / "cifar")
        return False
    archive = gzip.decompress((good / "cifar.tar.gz").read_bytes())
    if how < 0.6:
        broken = gzip.compress(broken_tar(draw, archive), 1, mtime=0)
    elif how < 0.61:
        broken = gzip.compress(archive, 1, mtime=0) + _gigabyte()
    else:
        broken = broken_bytes(draw, gzip.compress(archive, 1, mtime=0))
    (out / "cifar").write_bytes(broken)
    return False


def _read_cifar(folder: Path) -> object:
    return content_of(load_cifar10(CIFAR, [folder / "cifar"]))


# --- npz -----------------------------------------------------------------------------------------------


def _prepare_npz(folder: Path) -> None:
    random = np.random.RandomState(0)
    arrays: dict[str, Any] = {"class_names": np.array(["cats", "dogs"])}
    for part, n in (("train", 12), ("test", 6)):
        arrays[f"{part}_images"] = random.randint(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(n) % 2
    np.savez(folder / "data.npz", **arrays)


def _make_npz(draw: Random, good: Path, out: Path) -> bool:
    content, path = (good / "data.npz").read_bytes(), out / "data.npz"
    if draw.random() < 0.4:
        path.write_bytes(broken_bytes(draw, content))
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(draw.choice((1, 1, 2, 3))):
        _change_member(draw, members)
    with zipfile.ZipFile(path, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member)
    if draw.random() < 0.1:
        path.write_bytes(broken_bytes(draw, path.read_bytes()))
    return False


DTYPES = (
    *("|u1", "<i8", ">i8", "<f4", "<f8", "<f2", "|b1", "<c8", "|O", "|S3", "<U4", "<U0", "|V8", "<M8[s]"),
    *("<u8", "<g", "<i2", "x", "", "[('a', 'u1')]"),
)


def _change_member(draw: Random, members: dict[str, bytes]) -> None:
    """Change one array of an archive: its bytes, its header, its values or its name."""
    name, how = draw.choice(sorted(members)), draw.random()
    if how < 0.2:
        members[name] = broken_bytes(draw, members[name])
    elif how < 0.3:
        members[draw.choice(("x.npy", "val_images.npy", "../x.npy", ""))] = members.pop(name)
    elif how < 0.6:
        shape = tuple(
            draw.choice((0, 1, 2, 3, 6, 8, 12, *NUMBERS)) for _ in range(draw.choice((0, 1, 2, 3, 4, 5)))
        )
        header = f"{{'descr': {draw.choice(DTYPES)!r}, 'fortran_order': False, 'shape': {shape}, }}"
        body = members[name][128:]
        members[name] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body
    else:
        n = 12 if name.startswith("train") else 6
        odd = draw.choice(
            (
                *(np.zeros(n), np.full(n, np.nan), np.full(n, 2**62), np.arange(n) - 1, np.array(3)),
                *(np.zeros((n, SIDE, SIDE)), np.full((n, SIDE, SIDE), np.inf), np.zeros((n, SIDE, SIDE, 3))),
                *(np.zeros((n, 5, 0)), np.array(["a"] * n), np.array([b"\xff"] * n), np.eye(n), np.zeros(0)),
                *(
                    np.full(n, 1e300),
                    np.zeros((n, 2**16)),
                    np.zeros((n, 1, 1)),
                    np.array(["0", "1e3"] * (n // 2)),
                ),
                *(
                    np.zeros(n, "M8[s]"),
                    np.zeros((n, 2, 2), "c8"),
                    np.full((n, 2, 2), -1),
                    np.arange(n) * 10**6,
                ),
            )
        )
        stream = io.BytesIO()
        np.save(stream, odd)
        members[name] = stream.getvalue()


def _read_npz(folder: Path) -> object:
    return content_of(load(folder / "data.npz"))


# --- folders, archives, tables -------------------------------------------------------------------------


def _prepare_folder(folder: Path) -> None:
    pictures(folder / "data")


def _make_folder(draw: Random, good: Path, out: Path) -> bool:
    _copied(draw, good, out)
    for _ in range(draw.choice((1, 1, 2, 3))):
        with suppress(OSError, ValueError):
            _change_folder(draw, out / "data")
    return False


def _change_folder(draw: Random, folder: Path) -> None:
    there = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    path, how = draw.choice(there), draw.random()
    if how < 0.5:
        path.write_bytes(broken_bytes(draw, path.read_bytes()))
    elif how < 0.6:
        path.rename(path.with_name(draw.choice(NAMES)))
    elif how < 0.65:
        path.parent.rename(path.parent.with_name(draw.choice(NAMES)))
    elif how < 0.7:
        os.rename(os.fsencode(path), os.fsencode(path.parent / "x") + b"\xff\xfe.png")
    elif how < 0.75:
        name = path.with_name(draw.choice(NAMES))
        name.symlink_to(draw.choice((".", "..", "/etc/passwd", "nowhere", str(path), name.name, "x" * 200)))
    elif how < 0.78:
        os.mkfifo(path.with_name("pipe.png"))
    elif how < 0.85:
        path.write_bytes(_odd_picture(draw))
    elif how < 0.9:
        deep = path.parent.joinpath(*["d"] * draw.choice((1, 2, 7, 40)))
        deep.mkdir(parents=True)
        shutil.copy(path, deep)
    elif how < 0.95:
        path.with_name(draw.choice(("x.csv", "contents.safetensors", "x.parquet"))).write_bytes(
            broken_bytes(draw, b"image,label\n0.png,cats\n")
        )
    else:
        path.unlink()


def _odd_picture(draw: Random) -> bytes:
    """A picture of an odd size or mode, well-formed."""
    mode = draw.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"))
    size = draw.choice(((1, 1), (SIDE, SIDE), (SIDE, 9), (1, 5000), (4000, 4000), (20000, 20000)))
    size = size if mode in ("1", "L") else (min(size[0], 4000), min(size[1], 4000))
    stream = io.BytesIO()
    form = draw.choice(FORMATS)
    try:
        Image.new(mode, size).save(stream, form)
    except (OSError, ValueError, KeyError):
        Image.new("RGB", (SIDE, SIDE)).save(stream, form, exif=b"Exif\0\0" + draw.randbytes(40))
    return stream.getvalue()


def _read_folder(folder: Path) -> object:
    return content_of(load(folder / "data"))


def _prepare_tar(folder: Path) -> None:
    pictures(folder / "data")
    (folder / "data" / "cats" / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / "data.tar").write_bytes(tar_of(folder / "data"))
    shutil.rmtree(folder / "data")


def _make_tar(draw: Random, good: Path, out: Path) -> bool:
    content = (good / "data.tar").read_bytes()
    how = draw.random()
    broken = broken_bytes(draw, content) if how < 0.3 else broken_tar(draw, content)
    (out / "data.tar").write_bytes(broken)
    if how > 0.98:  # sparse on disk: followed by gigabytes of nothing
        os.truncate(out / "data.tar", 3 << 30)
    return False


def _read_tar(folder: Path) -> object:
    return content_of(load(folder / "data.tar"))


def _prepare_table(folder: Path) -> None:
    pictures(folder)
    rows = [(str(path.relative_to(folder)), path.parent.name) for path in sorted(folder.glob("*/*"))]
    lines = "".join(f"{path},{label}\n" for path, label in rows)
    (folder / "data.csv").write_text(f"image,label\n{lines}", encoding="utf-8")
    if find_spec("pyarrow") is None:  # an extra
        return
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    images = [{"bytes": (folder / path).read_bytes(), "path": path} for path, _ in rows]
    table = pyarrow.table({"image": images, "label": [label for _, label in rows]})
    parquet.write_table(table, folder / "data.parquet")


CELLS = (
    "",
    "nan",
    "-1",
    "9" * 5000,
    "1e999",
    "../x",
    "/etc/passwd",
    '"',
    "\0",
    "é",
    "0.5",
    "x" * 140_000,
    "\r",
)


def _make_table(draw: Random, good: Path, out: Path) -> bool:
    _copied(draw, good, out)
    if (out / "data.parquet").exists():
        if draw.random() < 0.4:
            _break_file(draw, out / "data.parquet")
            return False
        (out / "data.parquet").unlink()
    lines = [line.split(",") for line in (good / "data.csv").read_text(encoding="utf-8").splitlines()]
    for _ in range(draw.choice((1, 2, 5))):
        line = draw.choice(lines)
        line[draw.randrange(len(line))] = draw.choice(CELLS)
    text = "\n".join(",".join(line) for line in lines).encode()
    (out / "data.csv").write_bytes(text if draw.random() < 0.6 else broken_bytes(draw, text))
    return False


def _read_table(folder: Path) -> object:
    path = folder / "data.parquet"
    return content_of(load(path if path.exists() else folder / "data.csv"))


KINDS = (
    Kind("idx", _prepare_idx, _make_idx, _read_idx),
    Kind("cifar", _prepare_cifar, _make_cifar, _read_cifar),
    Kind("npz", _prepare_npz, _make_npz, _read_npz),
    Kind("folder", _prepare_folder, _make_folder, _read_folder),
    Kind("tar", _prepare_tar, _make_tar, _read_tar),
    Kind("table", _prepare_table, _make_table, _read_table),
)
