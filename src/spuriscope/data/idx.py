"""MNIST and Fashion-MNIST: files in the IDX format, plain or compressed with gzip.

An IDX file is a magic number (two zero bytes, 8 for unsigned bytes, the number of dimensions), the
dimensions as big-endian 32-bit numbers, and the values row by row. Other value types are not supported: no
published file uses them.

Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.data.published import Published, check_labels
from spuriscope.errors import DataError

__all__ = ["load_idx", "open_plain_or_gzip", "read_idx"]

_GET_AGAIN = "put a good copy there, or delete it to have it fetched"


def open_plain_or_gzip(path: Path) -> BufferedIOBase:
    """Open a file for reading, gzip or not, whatever its name says: some browsers unpack `.gz` files."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes that must have this shape.

    The header is compared with `shape` before anything is allocated, so no header can ask for memory.

    Raises:
        DataError: the file cannot be read, is not an IDX file, or holds more or less than `shape`.
    """
    magic = bytes([0, 0, 8, len(shape)])
    n_values = math.prod(shape)
    try:
        with open_plain_or_gzip(path) as stream:
            header = stream.read(4 + 4 * len(shape))
            if header[:4] != magic[: len(header)]:
                raise DataError(
                    f"{path} is not an IDX file of {len(shape)} dimensions: it starts with "
                    f"{header[:4].hex(' ')}, not with {magic.hex(' ')}; {_GET_AGAIN}"
                )
            if len(header) < 4 + 4 * len(shape):
                raise DataError(f"{path} ends within its header, after {len(header)} bytes; {_GET_AGAIN}")
            found = struct.unpack(f">{len(shape)}I", header[4:])
            if found != shape:
                raise DataError(f"{path} says it holds {found} values, expected {shape}; {_GET_AGAIN}")
            content = stream.read(n_values + 1)  # one more, to check that the file ends here
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {_GET_AGAIN}") from error
    if len(content) != n_values:
        size = f"{len(content)}" if len(content) < n_values else f"more than {n_values}"
        raise DataError(f"{path} holds {size} values, its header says {n_values}; {_GET_AGAIN}")
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(shape)


def load_idx(data: Published, paths: Sequence[Path]) -> ImageSet:
    """Read the four files of `data`: training images, training labels, test images, test labels.

    Raises:
        DataError: a file is damaged, or its content differs from what `data` describes.
    """

    def split(images_path: Path, labels_path: Path, counts: tuple[int, ...]) -> Split:
        labels = read_idx(labels_path, (sum(counts),))
        check_labels(labels, counts, data, labels_path)
        images = read_idx(images_path, (sum(counts), *data.shape[1:]))
        return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())

    train_images, train_labels, test_images, test_labels = paths
    return ImageSet(
        data.name,
        train=split(train_images, train_labels, data.train_counts),
        test=split(test_images, test_labels, data.test_counts),
        class_names=data.class_names,
    )
