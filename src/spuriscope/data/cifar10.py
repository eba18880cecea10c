"""CIFAR-10 in its binary layout: an unpacked folder, or the archive as `.tar.gz` or `.tar.xz`.

Six files of equal size hold records of 3,073 bytes: a label, then the red, green and blue values of a
32x32 image, row by row. An archive is read member by member in one pass; nothing is unpacked to disk.
The Python version of CIFAR-10 is a pickle and is not read.

Source: https://www.cs.toronto.edu/~kriz/cifar.html ("binary version").
"""

import gzip
import lzma
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.data.published import Published, check_labels
from spuriscope.data.tar_headers import TAR_DAMAGE, open_tar
from spuriscope.errors import DataError
from spuriscope.limits import MOST_PADDING

__all__ = ["load_cifar10"]

_FOLDER = "cifar-10-batches-bin"
_BATCHES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")  # the last is the test part
_GET_AGAIN = "put a good copy there, or delete it to have it fetched"


def load_cifar10(data: Published, paths: Sequence[Path]) -> ImageSet:
    """Read CIFAR-10 from its one path: the unpacked folder, or an archive.

    Raises:
        DataError: the archive or a batch is damaged, missing or suspicious, or holds other data.
    """
    (path,) = paths
    n_test = data.n_test
    records = np.empty((6, n_test, 1 + 3 * 32 * 32), dtype=np.uint8)
    read = _read_folder if path.is_dir() else _read_archive
    try:
        missing = set(_BATCHES)
        for name, content in read(path, size=records[0].nbytes):
            if name not in missing:
                raise DataError(f"{path} holds {name} twice; {_GET_AGAIN}")
            missing.remove(name)
            records[_BATCHES.index(name)] = np.frombuffer(content, dtype=np.uint8).reshape(n_test, -1)
    except (*TAR_DAMAGE, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_GET_AGAIN}") from error
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}; {_GET_AGAIN}")

    def split(part: NDArray[np.uint8], counts: tuple[int, ...]) -> Split:
        part = part.reshape(-1, part.shape[-1])
        check_labels(part[:, 0], counts, data, path)
        images = np.ascontiguousarray(part[:, 1:]).reshape(-1, 3, 32, 32)
        return Split(torch.from_numpy(images), torch.from_numpy(part[:, 0].astype(np.int64)))

    return ImageSet(
        data.name,
        train=split(records[:5], data.train_counts),
        test=split(records[5:], data.test_counts),
        class_names=data.class_names,
    )


def _read_folder(folder: Path, *, size: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each batch in an unpacked folder."""
    for name in _BATCHES:
        path = folder / name
        if path.is_file():
            _check_size(path, path.stat().st_size, size)
            yield name, path.read_bytes()


def _read_archive(path: Path, *, size: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each batch in a `.tar.gz` or `.tar.xz`, in one pass."""
    with path.open("rb") as file:
        compressed_with_gzip = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if compressed_with_gzip else lzma.open(path) as stream:
        n_most = len(_BATCHES) * size + MOST_PADDING
        with open_tar(stream, "r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise DataError(
                        f"{path} holds the suspicious member {member.name!r}, a link or a path that leads "
                        f"out of the archive; {_GET_AGAIN}"
                    )
                if name.parent == PurePosixPath(_FOLDER) and name.name in _BATCHES:
                    _check_size(f"{name} in {path}", member.size, size)
                    content = archive.extractfile(member)
                    yield name.name, content.read() if content else b""
                else:
                    _check_length(path, member.offset_data + member.size, n_most)
        while stream.read(1 << 20):  # the rest is padding; reading it verifies the final checksum
            _check_length(path, stream.tell(), n_most)


def _check_length(path: Path, found: int, most: int) -> None:
    if found > most:
        raise DataError(f"{path} unpacks to more than {most / 1e6:,.0f} MB; {_GET_AGAIN}")


def _check_size(where: object, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"{where} has {found} bytes, a batch has {expected}; {_GET_AGAIN}")
