"""From the user's input to an `ImageSet`; and the content of `spuriscope data list` and `verify`.

A data set is a name; a folder of class folders, of parts or of contexts, or a `.tar` of it; a prepared
folder; a table; or an `.npz` file. Loaders are imported only when used, so a listing opens no file and
imports no image library.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from io import BufferedIOBase
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from spuriscope.data.added import DATA_SETS, is_added, load_added
from spuriscope.data.image_set import Contexts, ImageSet
from spuriscope.data.published import PUBLISHED, Published, PublishedFile
from spuriscope.errors import ConfigError, DataError
from spuriscope.known_names import unknown_data
from spuriscope.reading import Background, Reading, Unreadable

if TYPE_CHECKING:
    from spuriscope.data.given import Given
    from spuriscope.data.pixels import ChannelOrder

__all__ = [
    "FileCheck",
    "Listing",
    "Verification",
    "compare_published",
    "is_name",
    "list_data",
    "load",
    "read",
    "read_unlabelled",
    "verify",
]

_ALIASES = {"fashion": "fashion-mnist", "cifar-10": "cifar10"}


@dataclass(frozen=True)
class Listing:
    """A data set known by name.

    Attributes:
        name: what to call it.
        about: what it shows, in a phrase.
        found: the folder that has all its files, or None.
        n_train: number of training images.
        n_test: number of test images.
        shape: shape of one image: (channels, height, width).
    """

    name: str
    about: str
    found: Path | None
    n_train: int
    n_test: int
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class FileCheck:
    """How a file compares with the published one.

    Attributes:
        path: the file.
        is_identical: whether it is the published file, byte for byte.
        has_published_content: whether it unpacks to the published bytes, whoever packed it; None where the
            authors published no checksum of them.
    """

    path: Path
    is_identical: bool
    has_published_content: bool | None


@dataclass(frozen=True)
class Verification:
    """Content of a data set, after all of it was read and checked.

    Attributes:
        name: name of the data set.
        shape: shape of one image: (channels, height, width).
        train_counts: number of training images of each class, by class name.
        test_counts: number of test images of each class, by class name.
        fingerprint: SHA-256 of pixels, labels and number of classes, see `ImageSet.fingerprint`.
        files: the files that were read, if the data set was published.
        context_counts: number of images, training and test, of each context, where there are contexts.
        near_duplicates: test images that are almost equal to a training image, by position in the test
            part; searched where the split is ours and there are contexts (`spuriscope.data.duplicates`).
        skipped: images of the source that could not be read and were left out, by name.
    """

    name: str
    shape: tuple[int, int, int]
    train_counts: Mapping[str, int]
    test_counts: Mapping[str, int]
    fingerprint: str
    files: tuple[FileCheck, ...]
    context_counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    near_duplicates: tuple[int, ...] = ()
    skipped: tuple[str, ...] = ()


def load(
    source: "str | PathLike[str] | Given",
    test: "Given | None" = None,
    *,
    root: str | Path | None = None,
    download: bool = True,
    image_size: int | None = None,
    unreadable: Unreadable = "refuse",
    background: Background = "white",
    columns: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    channels: "ChannelOrder | None" = None,
) -> ImageSet:
    """Read a data set. The result's `origin` says how the source was interpreted.

    Args:
        source: a name ("digits", "mnist", "fashion-mnist", "cifar10", "pacs"); a folder of class folders, of
            parts that hold them, or of contexts that do, or a `.tar` of it; a folder of `prepare_contexts`;
            a table, `.csv` or `.parquet`, of images and labels; or an `.npz` file. A string that is a name
            means the name, even where a folder has it too: write "./mnist" for the folder. A `Path` is
            always a folder or a file. Or what a program holds: a pair (images, labels), a data set of torch,
            torchvision or Hugging Face, a pandas frame; see docs/data.md.
        test: the test part, where `source` is held by the program; without it a fifth of each class is drawn.
        root: folder that holds the data sets known by name; by default SPURISCOPE_DATA, else the user's
            cache.
        download: whether files that are missing may be fetched.
        image_size: height and width in pixels that images are brought to: scaled until they cover the square
            (Lanczos), then cropped around the centre. With None they keep their size, which must be the same
            for all.
        unreadable: "refuse" photographs that cannot be decoded, or "skip" them; `origin` names those skipped.
        background: "white" or "black", behind transparent pixels.
        columns: of a table, {"image": NAME, "label": NAME, "split": NAME}, where they are not the usual ones.
        class_names: of data that a program holds, one per label; by default those in the data.
        name: of data that a program holds, for reports.
        channels: "first" or "last", where the shape of arrays does not tell.

    Raises:
        ConfigError: a setting is invalid, or does not apply to this kind of source.
        DataError: there is no such data set, a file is missing or damaged, or the data have no known form.
    """
    of_programs = {"test": test, "class_names": class_names, "name": name, "channels": channels}
    if not isinstance(source, str | PathLike):
        from spuriscope.data.given import load_given

        if unreadable != "refuse" or background != "white" or columns is not None:
            raise ConfigError("unreadable=, background= and columns= are for files; leave them out")
        return load_given(
            source, test, class_names=class_names, name=name, channels=channels, image_size=image_size
        )
    for setting, value in of_programs.items():
        if value is not None:
            raise ConfigError(
                f"{setting}= is for arrays and data sets, and {source} is read as it is; leave it out"
            )
    reading = Reading(
        image_size=image_size,
        unreadable=unreadable,
        background=background,
        columns=tuple(sorted((columns or {}).items())),
    )
    return read(source, reading, root=root, download=download)


def read(
    source: "str | PathLike[str]",
    reading: Reading,
    *,
    root: str | Path | None = None,
    download: bool = True,
) -> ImageSet:
    """Read a data set; as `load`, with its settings in one value."""
    from spuriscope.data.fetch import data_root

    source = source if isinstance(source, str) else Path(source)
    root = _as_path(root)
    if root is not None:
        data_root(root)  # a mistyped root is an error even where it is not needed
    published = _by_name(source)
    if published is not None:
        data = _load_published(published, root, download=download)
    else:
        data = load_added(source, root) or _read_path(source, reading)
    if reading.image_size is None or data.shape[1:] == (reading.image_size, reading.image_size):
        return data
    if data.images_file is not None and published is None:
        raise DataError(
            f"{source} was prepared with images of {data.shape[2]}x{data.shape[1]} pixels; prepare it again "
            f"with --image-size {reading.image_size}, or leave the size out"
        )
    from spuriscope.data.scaling import scaled

    return scaled(data, reading.image_size)


def read_unlabelled(source: str | Path, reading: Reading, *, root: Path | None = None) -> ImageSet:
    """Read images for the probe: any data set, or a folder or `.tar` of images without classes.

    Raises:
        DataError: as for `load`.
    """
    path = Path(os.path.expanduser(source))
    if _by_name(source) is None and (path.is_dir() or (path.suffix.lower() == ".tar" and path.is_file())):
        from spuriscope.data.folder import load_unlabelled

        found = load_unlabelled(path, reading)
        if found is not None:
            return found
    return read(source, reading, root=root)


def _read_path(source: str | Path, reading: Reading) -> ImageSet:
    path = Path(place := os.path.expanduser(source))
    kind = "" if "\0" in place else path.suffix.lower()  # no file name contains a null
    if os.path.isdir(place):
        return _load_folder(path, reading)
    if kind == ".npz":
        from spuriscope.data.npz import load_npz

        return load_npz(path)
    if kind == ".tar" and path.is_file():
        from spuriscope.data.folder import load_folder

        return load_folder(path, reading)
    if kind in (".csv", ".tsv"):
        from spuriscope.data.table import load_csv

        return load_csv(path, reading)
    if kind == ".parquet":
        from spuriscope.data.parquet import load_parquet

        return load_parquet(path, reading)
    raise DataError(unknown_data(str(source), (*PUBLISHED, *_ALIASES, *DATA_SETS)))


def list_data(root: str | Path | None = None) -> list[Listing]:
    """The data sets known by name, and where they were found. No file is opened.

    Raises:
        DataError: `root` or SPURISCOPE_DATA is not a folder.
    """
    root = _as_path(root)
    return [
        Listing(data.name, data.about, _found(data, root), data.n_train, data.n_test, data.shape)
        for data in PUBLISHED.values()
    ]


def verify(
    source: str | Path, root: str | Path | None = None, reading: Reading | None = None
) -> Verification:
    """Read all of a data set, check it, and compare its files with the published ones. Fetches nothing.

    Raises:
        DataError: as for `load`; also where a file is missing.
    """
    from spuriscope.data.fetch import data_root, locate

    root = _as_path(root)
    data_set = read(source, reading or Reading(), root=root, download=False)
    if data_set.images_file is not None:
        from spuriscope.data.prepared import check_pixels

        check_pixels(data_set)
    data = _by_name(source)
    files = []
    if data is not None and data.files:
        _, paths = locate(data, data_root(root))
        files = [compare_published(file, path) for file, path in zip(data.files, paths, strict=True) if path]
    found = Verification(
        name=data_set.name,
        shape=data_set.shape,
        train_counts=_counts(data_set.train.labels, data_set.class_names),
        test_counts=_counts(data_set.test.labels, data_set.class_names),
        fingerprint=data_set.fingerprint,
        files=tuple(files),
        skipped=data_set.origin.skipped if data_set.origin else (),
    )
    return found if data_set.contexts is None else _with_contexts(found, data_set, data_set.contexts)


def _with_contexts(found: Verification, data_set: ImageSet, contexts: Contexts) -> Verification:
    """Add what is checked only in data sets with contexts."""
    from spuriscope.data.duplicates import near_duplicates

    train, test = (_counts(codes, contexts.names) for codes in (contexts.train, contexts.test))
    return replace(
        found,
        context_counts={name: (train[name], test[name]) for name in contexts.names},
        near_duplicates=tuple(pair.test for pair in near_duplicates(data_set)),
        skipped=contexts.skipped,
    )


def _as_path(root: str | Path | None) -> Path | None:
    if not isinstance(root, str | PathLike | None):
        raise DataError(f"root is the path of a folder, got {type(root).__name__}; leave it out, or give one")
    return None if root is None else Path(root)


def is_name(source: str) -> bool:
    """Whether this is the name of a known data set, not a path."""
    return _by_name(source) is not None or is_added(source)


def _by_name(source: str | Path) -> Published | None:
    return PUBLISHED.get(_ALIASES.get(source, source)) if isinstance(source, str) else None


def _load_published(data: Published, root: Path | None, *, download: bool) -> ImageSet:
    if not data.files:
        from spuriscope.data.digits import load_digits

        return load_digits()
    from spuriscope.data.cifar10 import load_cifar10
    from spuriscope.data.fetch import data_root, obtain
    from spuriscope.data.idx import load_idx

    paths = obtain(data, data_root(root), download=download)
    if data.contexts:
        from spuriscope.data.contexts import load_published

        return load_published(data, paths[0])
    return load_cifar10(data, paths) if data.name == "cifar10" else load_idx(data, paths)


def _load_folder(folder: Path, reading: Reading) -> ImageSet:
    from spuriscope.data.folder import load_folder
    from spuriscope.data.parquet import load_parquet, shards_in
    from spuriscope.data.prepared import is_prepared, load_prepared

    if is_prepared(folder):
        return load_prepared(folder)
    return load_parquet(folder, reading) if shards_in(folder) else load_folder(folder, reading)


def _found(data: Published, root: Path | None) -> Path | None:
    """The folder that has all files of a data set: for the digits, scikit-learn's."""
    from spuriscope.data.fetch import data_root, locate

    if not data.files:
        library = find_spec("sklearn")
        return Path(library.origin).parent if library and library.origin else None
    folder, paths = locate(data, data_root(root))
    return folder if all(paths) else None


def _counts(labels: Tensor, names: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(names, labels.bincount(minlength=len(names)).tolist(), strict=True))


def compare_published(file: PublishedFile, path: Path) -> FileCheck:
    """Compare a file, or an unpacked folder, with the published file."""
    from spuriscope.data.idx import open_plain_or_gzip

    def md5(stream: BufferedIOBase) -> str:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()

    if path.is_dir():
        return FileCheck(path, is_identical=False, has_published_content=None)
    with path.open("rb") as stored:
        is_identical = md5(stored) == file.md5
    if file.content_md5 is None:
        return FileCheck(path, is_identical, has_published_content=is_identical or None)
    with open_plain_or_gzip(path) as content:
        return FileCheck(path, is_identical, has_published_content=md5(content) == file.content_md5)
