"""A data set in one `.npz` file, laid out as MedMNIST does it.

The keys are `train_images`, `train_labels`, `test_images` and `test_labels`, and `class_names` if one
likes; others, such as `val_images`, are not read. Images are uint8, (n, height, width) or (n, height,
width, channels) with 1 or 3 channels; labels are integers, (n,) or (n, 1).

numpy's own reader allocates what a header asks for. Here a member is read first, which also checks its
checksum, and its header is then held against the bytes that are really there. Nothing is unpickled.

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
from spuriscope.errors import DataError

__all__ = ["load_npz"]

_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def load_npz(path: Path) -> ImageSet:
    """Read an `.npz` file with training and test images.

    Without `class_names` the classes are called "0", "1", ..., and each must have a training image.

    Raises:
        DataError: the file is missing or damaged, lacks an array, or an array is not of the form above.
    """
    try:
        with ZipFile(path) as archive:
            keys = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            missing = [key for key in _KEYS if key not in keys]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; save the arrays {', '.join(_KEYS)}")
            arrays = {key: _array(archive, key, path) for key in (*_KEYS, "class_names") if key in keys}
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path") from error
    except (OSError, EOFError, ValueError, RuntimeError, BadZipFile, zlib.error, lzma.LZMAError) as error:
        # RuntimeError: a member is encrypted, or compressed in a way that Python does not know
        raise DataError(f"{path} cannot be read as .npz ({error}); save it again") from error

    for part in ("train", "test"):
        n_images, n_labels = (arrays[f"{part}_{kind}"].shape[:1] for kind in ("images", "labels"))
        if n_images != n_labels:
            raise DataError(
                f"{part}_images in {path} has the length {n_images} and {part}_labels {n_labels}; save one "
                "label for each image"
            )
    names = _class_names(arrays, path)
    train, test = (
        Split(
            _images(arrays[f"{part}_images"], f"{part}_images in {path}"),
            _labels(arrays[f"{part}_labels"], len(names), f"{part}_labels in {path}"),
        )
        for part in ("train", "test")
    )
    return ImageSet(path.name, train=train, test=test, class_names=names)


def _array(archive: ZipFile, key: str, path: Path) -> NDArray[Any]:
    """One array of the archive."""
    where = f"{key} in {path}"
    packed_size, file_size = archive.getinfo(f"{key}.npy").compress_size, path.stat().st_size
    if packed_size > file_size:
        raise DataError(f"{where} should have {packed_size} bytes, the file has {file_size}; save it again")
    content = archive.read(f"{key}.npy")
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_header(stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise DataError(f"{where} is not a numpy array ({error}); save it again with numpy.savez") from error
    if dtype.hasobject:
        raise DataError(f"{where} is an array of Python objects, which are never loaded; save plain numbers")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes != len(content) - stream.tell():
        raise DataError(
            f"{where} should hold {n_bytes} bytes after its header, but holds "
            f"{len(content) - stream.tell()}; save it again with numpy.savez"
        )
    values = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran_order else "C")


def _class_names(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[str, ...]:
    """The names given, or else one number for each label that occurs."""
    if "class_names" in arrays:
        names = arrays["class_names"]
        if names.dtype.kind != "U" or names.ndim != 1:
            raise DataError(
                f"class_names in {path} must be a list of strings, got {names.dtype} of shape {names.shape}"
            )
        if len(np.unique(names)) < len(names):
            raise DataError(f"class_names in {path} holds a name twice; give each class a name of its own")
        return tuple(names.tolist())
    found = np.unique(arrays["train_labels"]).tolist()
    if found != list(range(len(found))):
        raise DataError(
            f"train_labels in {path} must run from 0 without gaps, got {_few(found)}; number the classes "
            "anew, or save class_names as well"
        )
    return tuple(map(str, found))


def _images(images: NDArray[Any], where: str) -> torch.Tensor:
    if images.dtype != np.uint8:
        hint = "save (255 * images).round().astype('uint8') if they lie in [0, 1]"
        raise DataError(f"{where} must be uint8, 0 to 255, got {images.dtype}; {hint}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] not in {1, 3} or 0 in images.shape[1:]:
        raise DataError(
            f"{where} must have shape (n, height, width) or (n, height, width, channels) with 1 or 3 "
            f"channels, got {images.shape}; transpose and save them again"
        )
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def _labels(labels: NDArray[Any], n_classes: int, where: str) -> torch.Tensor:
    if labels.dtype.kind not in "iu" or (labels.ndim != 1 and labels.shape[1:] != (1,)):
        raise DataError(
            f"{where} must be one integer for each image, shape (n,) or (n, 1), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise DataError(
            f"{where} holds the label {outside[0]}, but the {n_classes} classes run from 0 to "
            f"{n_classes - 1}; number the classes anew, or save class_names for all of them"
        )
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))


def _few(labels: list[int]) -> str:
    return ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")
