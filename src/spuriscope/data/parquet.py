"""Parquet tables that hold the bytes of the images: the layout in which Hugging Face keeps data sets.

One file, or a folder of several (`train-00000-of-00002.parquet`, ..., also in its folder `data`), whose names
begin with their parts. The column of images holds {bytes, path}, bytes, or names of files. The column of
labels holds names, or whole numbers, which are named by what the `datasets` library wrote into the file.
pyarrow reads the files (extra `tables`), a few rows at a time.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import Arranged, Labelled
from spuriscope.data.photographs import load_photographs
from spuriscope.data.table import Row, arrange_rows, file_named, find_column
from spuriscope.data.tree import Photo, is_left_behind
from spuriscope.errors import DataError
from spuriscope.reading import Reading
from spuriscope.scratch import scratch_folder

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["load_parquet", "shards_in"]

BATCH = 64  # rows in memory at one time


@dataclass(frozen=True)
class _Columns:
    """The columns of one file, and the names of its labels."""

    image: str
    label: str
    split: str | None
    class_names: tuple[str, ...] | None
    holds_bytes: bool


def shards_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder without subfolders, or of `data` in it, sorted by name."""
    has_folders = any(entry.is_dir() for entry in folder.iterdir() if not is_left_behind(entry.name))
    return sorted(folder.glob("data/*.parquet" if has_folders else "*.parquet"))


def load_parquet(source: Path, reading: Reading) -> ImageSet:
    """Read a Parquet file with images and labels, or a folder of them.

    Raises:
        DataError: pyarrow is not installed, a file is damaged, a column is not found or has another type, the
            files differ in their columns, and as in `table.load_csv`.
    """
    shards = shards_in(source) if source.is_dir() else [source]
    rows: list[Row] = []
    known: tuple[str, ...] | None = None
    for shard in shards:
        with _opened(shard) as file:
            columns = _columns(file, shard, dict(reading.columns))
            known = known or columns.class_names
            part = shard.stem.partition("-")[0] if source.is_dir() else None
            rows += _rows(file, shard, columns, part)
    named = _named(rows)
    unpack = partial(_unpacked, wanted=dict(reading.columns))
    return load_photographs(arrange_rows(named, source, known), source.stem, reading, unpack=unpack)


@contextmanager
def _opened(path: Path) -> Iterator["ParquetFile"]:
    """Open a Parquet file; what pyarrow raises for a damaged one becomes a `DataError`."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(
            f"reading {path} needs pyarrow, which is not installed; pip install 'spuriscope[tables]'"
        ) from None
    try:
        with ParquetFile(path) as file:
            yield file
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as Parquet ({reason}); fetch or save it again") from error


def _columns(file: "ParquetFile", path: Path, wanted: Mapping[str, str]) -> _Columns:
    from pyarrow import types

    schema = file.schema_arrow
    image = find_column(schema.names, "image", wanted, path) or ""
    label = find_column(schema.names, "label", wanted, path) or ""
    split = find_column(schema.names, "split", wanted, path, needed=False)
    kind = schema.field(image).type
    inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    holds_bytes = types.is_binary(inner) or types.is_large_binary(inner)
    if not holds_bytes and not types.is_string(kind) and not types.is_large_string(kind):
        raise DataError(
            f"the column {image} of {path} holds {kind}, neither images as bytes nor names of files; choose "
            "another with --columns image=NAME"
        )
    of_labels = schema.field(label).type
    if types.is_dictionary(of_labels):
        of_labels = of_labels.value_type
    if not (types.is_integer(of_labels) or types.is_string(of_labels) or types.is_large_string(of_labels)):
        why = (
            "several labels for each image, and a classifier here has one"
            if types.is_list(of_labels)
            else f"{of_labels}, and a class has a name or a whole number"
        )
        raise DataError(f"the column {label} of {path} holds {why}; choose another with --columns label=NAME")
    names = _class_names(schema.metadata, label) if types.is_integer(of_labels) else None
    return _Columns(image, label, split, names, holds_bytes)


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library wrote for the labels, if any."""
    try:
        about = json.loads((metadata or {})[b"huggingface"])
        names = about["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _rows(file: "ParquetFile", path: Path, columns: _Columns, part: str | None) -> Iterator[Row]:
    """The rows of a file; the `Photo` of an image stored in it has the row number as its start."""
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    is_struct = columns.holds_bytes and _has_paths(file, columns.image)
    read = [columns.label, *([columns.split] if columns.split else [])]
    # read only the paths of {bytes, path}: Parquet stores the two apart
    image = f"{columns.image}.path" if is_struct else columns.image
    if is_struct or not columns.holds_bytes:
        read.append(image)
    number = 0
    for batch in file.iter_batches(1024, columns=read):
        for line in batch.to_pylist():
            where = f"row {number} of {path}"
            value = line.get(columns.image)
            named = value["path"] if isinstance(value, dict) else value
            if columns.holds_bytes:
                name = named or f"{path.stem}/{number}"
                photo = Photo(name, f"{name} in {path}", path, number, -1, stamp)
            else:
                photo = file_named(named or "", path.parent, where)
            yield Row(photo, _label(line[columns.label], columns, where), _part(line, columns, part))
            number += 1


def _has_paths(file: "ParquetFile", image: str) -> bool:
    from pyarrow import types

    kind = file.schema_arrow.field(image).type
    return bool(types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _label(value: Any, columns: _Columns, where: str) -> str:
    if value is None:
        return ""
    if columns.class_names is None:
        return str(value)
    if not 0 <= value < len(columns.class_names):
        raise DataError(
            f"{where} has the label {value}, but {len(columns.class_names)} classes are named; correct it"
        )
    return columns.class_names[int(value)]


def _part(line: Mapping[str, Any], columns: _Columns, part: str | None) -> str | None:
    return part if columns.split is None else str(line[columns.split])


def _named(rows: Sequence[Row]) -> list[Row]:
    """The rows with distinct names: if two images have one path, all are named by file and row."""
    if len({row.photo.name for row in rows}) == len(rows):
        return list(rows)
    return [
        replace(row, photo=replace(row.photo, name=f"{row.photo.file.stem}/{row.photo.start}"))
        if row.photo.size == -1
        else row
        for row in rows
    ]


@contextmanager
def _unpacked(arranged: Arranged, *, wanted: Mapping[str, str]) -> Iterator[Arranged]:
    """The same images with their bytes in a temporary file, where they can be read in any order."""
    inside: dict[Path, dict[int, Photo]] = defaultdict(dict)  # by file and row
    for image in arranged.photos:
        if image.photo.size == -1:
            inside[image.photo.file][image.photo.start] = image.photo
    with scratch_folder("data", ("images",)) as folder:
        found: dict[Photo, Photo] = {}
        with (folder / "images").open("wb") as blob:
            for path, photos in inside.items():
                for number, content in enumerate(_contents(path, wanted)):
                    if number in photos:
                        start, name = blob.tell(), Path(blob.name)
                        blob.write(content)
                        found[photos[number]] = replace(
                            photos[number], file=name, start=start, size=len(content)
                        )

        def at(image: Labelled) -> Labelled:
            return image._replace(photo=found.get(image.photo, image.photo))

        yield replace(arranged, train=tuple(map(at, arranged.train)), test=tuple(map(at, arranged.test)))


def _contents(path: Path, wanted: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of each image of a file; empty where a row has none."""
    with _opened(path) as file:
        column = find_column(file.schema_arrow.names, "image", wanted, path)
        for batch in file.iter_batches(BATCH, columns=[column]):
            for value in batch.column(0).to_pylist():
                yield (value["bytes"] if isinstance(value, dict) else value) or b""
