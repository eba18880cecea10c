"""A table that names images and labels: `.csv`, or `.parquet` with image bytes in the layout of Hugging Face.

A `.csv` has a column of files, relative to its folder (their suffix may be left out), a column of labels,
and optionally one of parts, as `train` and `test`. A `.parquet` has the same, or a column of images as bytes,
{bytes, path}; in a folder of several, `train-00000-of-00002.parquet` and so on, their names tell the parts.
Columns are found by their usual names; where two would fit, the user chooses.

Source: the `datasets` library, whose `Image` and `ClassLabel` features these are.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spuriscope.data.columns import USUAL
from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import Arranged, check_spelling, choose_parts, of_classes, of_parts
from spuriscope.data.photographs import load_photographs
from spuriscope.data.tree import SUFFIXES, Photo, photo_of
from spuriscope.errors import DataError
from spuriscope.reading import Reading

__all__ = ["Row", "arrange_rows", "find_column", "load_csv"]

LONGEST_NUMBER = 18  # digits: a longer label is a name


@dataclass(frozen=True)
class Row:
    """A line of a table: an image, its label, and the name of its part or None."""

    photo: Photo
    label: str
    part: str | None


def load_csv(path: Path, reading: Reading) -> ImageSet:
    """Read the images that a table names.

    Raises:
        DataError: a column is not found or two would fit, a file leads out of the folder of the table or is
            named twice, a label is missing or is not the name of a class; and as in `photographs`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            arranged = arrange_rows(list(_rows(file, path, dict(reading.columns))), path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error.reason}); save it so") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it with commas between") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from error
    return load_photographs(arranged, path.stem, reading)


def _rows(file: Iterator[str], path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    header = next(file, "")
    delimiter = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    image = find_column(names, "image", columns, path)
    label = find_column(names, "label", columns, path)
    part = find_column(names, "split", columns, path, needed=False)
    for number, fields in enumerate(csv.reader(file, delimiter=delimiter), start=2):
        if not any(fields):
            continue
        if len(fields) != len(names):
            raise DataError(
                f"line {number} of {path} has {len(fields)} fields, its header {len(names)}; correct it"
            )
        line = dict(zip(names, fields, strict=True))
        where = f"line {number} of {path}"
        yield Row(
            file_named(line[image or ""].strip(), path.parent, where),
            line[label or ""].strip(),
            None if part is None else line[part].strip(),
        )


def file_named(name: str, folder: Path, where: str) -> Photo:
    """The image file that a table names; whether it exists shows when it is decoded.

    Raises:
        DataError: there is no name, or it leads out of the folder.
    """
    if not name or "\0" in name:
        raise DataError(f"{where} names no image; fill it in, or remove the line")
    path = folder / PurePosixPath(name.replace("\\", "/"))
    for suffix in ("", *SUFFIXES):
        if os.path.isfile(f"{path}{suffix}"):
            path = Path(f"{path}{suffix}")
            break
    top = os.path.realpath(folder)
    if not Path(os.path.realpath(path)).is_relative_to(top):
        raise DataError(
            f"{where} names {name}, which leads out of {folder}; put the table into the folder "
            "above its images"
        )
    relative = Path(os.path.normpath(path)).relative_to(os.path.normpath(folder)).as_posix()
    try:
        return photo_of(path, relative, path.stat())
    except OSError:
        return Photo(relative, str(path), path, 0, 0, ())


def find_column(
    names: Sequence[str], kind: str, columns: Mapping[str, str], path: Path, *, needed: bool = True
) -> str | None:
    """The column of a table that holds images, labels or parts.

    Raises:
        DataError: it is not there, or two would fit.
    """
    wanted = columns.get(kind)
    found = [name for name in names if (name == wanted if wanted else name.strip().casefold() in USUAL[kind])]
    if len(found) == 1 or (not found and not needed and not wanted):
        return found[0] if found else None
    has = f"it has {', '.join(names) or 'none'}"
    if found:
        raise DataError(
            f"{path} has {len(found)} columns that may be the {kind}: {', '.join(found)}; choose one with "
            f"--columns {kind}={found[0]}"
        )
    raise DataError(
        f"{path} has no column {wanted or 'for the ' + kind} ({has}); name one with --columns {kind}=NAME"
    )


def arrange_rows(rows: Sequence[Row], path: Path, class_names: Sequence[str] | None = None) -> Arranged:
    """Make a data set from the lines of a table.

    Args:
        rows: its lines.
        path: of the table, for errors.
        class_names: position = label, where they are known; by default the labels that occur, whole numbers
            in numeric order, other names sorted.

    Raises:
        DataError: see `load_csv`.
    """
    seen: set[str] = set()
    for row in rows:
        if not row.label:
            raise DataError(f"{path} has no label for {row.photo.name}; fill it in, or remove the line")
        if row.photo.name in seen:
            raise DataError(f"{path} names the image {row.photo.name} twice; keep one line for each image")
        seen.add(row.photo.name)
    names = tuple(class_names) if class_names else _in_order({row.label for row in rows}, path)
    parts = {row.part for row in rows}
    if len(parts) < 2:
        return of_classes(_by_class(rows, names), str(path), order=names)
    chosen = choose_parts([part for part in parts if part], str(path))
    if chosen is None:
        found = ", ".join(sorted(map(repr, parts)))
        raise DataError(f"the parts in {path} are {found}; call them train and test, or leave the column out")
    train, test = chosen
    of_train, of_test = (
        _by_class([row for row in rows if row.part == part], names) for part in (train, test)
    )
    unused = sorted(f"{part or 'without part'}" for part in parts - {train, test})
    return of_parts({train: of_train, test: of_test}, str(path), order=names, passed_by=unused)


def _by_class(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Photo]]:
    classes: dict[str, list[Photo]] = defaultdict(list)
    for row in rows:
        classes[row.label].append(row.photo)
    return {name: sorted(classes[name]) for name in names if name in classes}


def _in_order(labels: set[str], path: Path) -> tuple[str, ...]:
    """Labels in the order in which they are numbered."""
    if all(label.removeprefix("-").isdecimal() and len(label) <= LONGEST_NUMBER for label in labels):
        return tuple(sorted(labels, key=int))
    if all(map(_is_number, labels)):
        raise DataError(
            f"the labels of {path} are numbers with fractions, such as {min(labels)}; a class has a name or "
            "a whole number"
        )
    check_spelling(sorted(labels), f"the labels of {path}")
    return tuple(sorted(labels))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
