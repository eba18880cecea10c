"""A data set in one `.npz` file, with the keys of MedMNIST or of Keras.

The keys are `train_images`, `train_labels`, `test_images` and `test_labels`, or `x_train`, `y_train`,
`x_test` and `y_test`, and optionally `class_names`; others are not read. Without a test part `val_images` and
`val_labels`, or `x_val` and `y_val`, replace it. Images are uint8, or floating point in [0, 1] or [0, 255],
(n, height, width) or (n, height, width, channels), or with the channels first where the shape tells. Labels
are whole numbers or strings, (n,) or (n, 1), or one-hot rows.

numpy's own reader allocates what a header asks for. Here a member is read first, which verifies its checksum,
and its header is then compared with its actual size. Nothing is unpickled.

Source: Yang et al., "MedMNIST v2", Scientific Data 10, 2023 (the layout).
"""

import io
import lzma
import math
import tokenize
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.data.labels import Labels, read_labels
from spuriscope.data.pixels import channels_first, eight_bits
from spuriscope.errors import DataError
from spuriscope.limits import LARGEST_HEADER, is_packed_too_well

__all__ = ["load_npz"]

_LAYOUTS = (  # images and labels of the training part, the test part, and its replacement
    (("train_images", "train_labels"), ("test_images", "test_labels"), ("val_images", "val_labels")),
    (("x_train", "y_train"), ("x_test", "y_test"), ("x_val", "y_val")),
)

Pair = tuple[str, str]
_NO_HEADER = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, tokenize.TokenError)


def load_npz(path: Path) -> ImageSet:
    """Read an `.npz` file with training and test images.

    Without `class_names` the classes are named by their labels, and each must have a training image.

    Raises:
        DataError: the file is missing or damaged, lacks an array, or an array has another form than above.
    """
    try:
        with ZipFile(path) as archive:
            keys = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            train, test = _parts(keys, path)
            arrays = {
                key: _array(archive, key, path) for key in (*train, *test, "class_names") if key in keys
            }
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path") from error
    except (OSError, EOFError, ValueError, RuntimeError, BadZipFile, zlib.error, lzma.LZMAError) as error:
        # RuntimeError: a member is encrypted, or compressed in a way that Python does not know
        raise DataError(f"{path} cannot be read as .npz ({error}); save it again") from error

    for images, labels in (train, test):
        n_images, n_labels = arrays[images].shape[:1], arrays[labels].shape[:1]
        if n_images != n_labels:
            raise DataError(
                f"{images} in {path} has the length {n_images} and {labels} {n_labels}; save one "
                "label for each image"
            )
    given = _class_names(arrays, path)
    found = {
        f"{labels} in {path}": Labels.of(arrays[labels], f"{labels} in {path}") for _, labels in (train, test)
    }
    numbered, names = read_labels(found, given)
    if given is None:
        _check_trained(numbered[0], numbered[1], names, f"{train[1]} in {path}", f"{test[1]} in {path}")
    train_split, test_split = (
        Split(_images(arrays[images], f"{images} in {path}"), labels)
        for (images, _), labels in zip((train, test), numbered, strict=True)
    )
    return ImageSet(path.name, train_split, test_split, class_names=names)


def _parts(keys: set[str], path: Path) -> tuple[Pair, Pair]:
    """The keys of images and labels of the training part, and of the test part."""
    lacking: list[list[str]] = []
    for train, test, instead in _LAYOUTS:
        for part in (test, instead):
            if {*train, *part} <= keys:
                return train, part
        lacking.append([key for key in (*train, *test) if key not in keys])
    fewest = min(lacking, key=len)
    wanted = next(
        (*train, *test) for (train, test, _), found in zip(_LAYOUTS, lacking, strict=True) if found is fewest
    )
    others = sorted(keys - {*wanted})
    found = f" beside {_few(others)}" if others else ""
    raise DataError(f"{path} lacks {', '.join(fewest)}{found}; save the arrays {', '.join(wanted)}")


def _check_trained(
    train: torch.Tensor, test: torch.Tensor, names: tuple[str, ...], in_train: str, in_test: str
) -> None:
    """Check that every class has training images: a label beyond them is an error, or needs class_names."""
    n_of = train.bincount(minlength=len(names))
    for label, name in enumerate(names):
        if n_of[label] == 0:
            there = f", {in_test} has" if (test == label).any() else ""
            raise DataError(
                f"{in_train} has no image of class {name}{there}; number the classes anew without gaps, or "
                "save class_names as well"
            )


def _array(archive: ZipFile, key: str, path: Path) -> NDArray[Any]:
    """One array of the archive."""
    where = f"{key} in {path}"
    member, file_size = archive.getinfo(f"{key}.npy"), path.stat().st_size
    if member.compress_size > file_size:
        raise DataError(
            f"{where} should have {member.compress_size} bytes, the file has {file_size}; save it again"
        )
    with archive.open(member) as packed:
        shape, fortran_order, dtype, start = _header(packed.read(LARGEST_HEADER), where)
    n_bytes, n_there = math.prod(shape) * dtype.itemsize, member.file_size - start
    if n_bytes != n_there:
        raise DataError(
            f"{where} should hold {n_bytes} bytes after its header, but holds {n_there}; save it again with "
            "numpy.savez"
        )
    if is_packed_too_well(member.compress_size, member.file_size):
        raise DataError(
            f"{where} unpacks from {member.compress_size / 1e6:,.0f} to {n_bytes / 1e6:,.0f} MB, too many "
            "for images; check where it comes from, or save it with numpy.savez, which does not compress"
        )
    values = np.frombuffer(archive.read(member), dtype=dtype, offset=start)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _header(start: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and offset of the values of an array, from the first bytes of its member."""
    stream = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_header(stream)
    except _NO_HEADER as error:
        raise DataError(f"{where} is not a numpy array ({error}); save it again with numpy.savez") from error
    if dtype.hasobject:
        raise DataError(f"{where} is an array of Python objects, which are never loaded; save plain numbers")
    return shape, fortran_order, dtype, stream.tell()


def _class_names(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[str, ...] | None:
    if "class_names" not in arrays:
        return None
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(
            f"class_names in {path} must be a list of strings, got {names.dtype} of shape {names.shape}"
        )
    if len(np.unique(names)) < len(names):
        raise DataError(f"class_names in {path} holds a name twice; give each class its own name")
    return tuple(names.tolist())


def _images(images: NDArray[Any], where: str) -> torch.Tensor:
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{where} must have shape (n, height, width) or (n, height, width, channels) with 1 or 3 "
            f"channels, got {images.shape}; reshape and save them again"
        )
    pixels = channels_first(images, where, asks=False)
    if pixels.shape[1] not in {1, 3}:
        raise DataError(
            f"{where} must have 1 or 3 channels, got shape {images.shape}; transpose and save them again"
        )
    return eight_bits(pixels, where)[0].contiguous()


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
