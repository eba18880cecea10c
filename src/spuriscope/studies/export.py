"""A study as a table: one row per cell and measure."""

import csv
from itertools import groupby
from pathlib import Path
from typing import Any

from spuriscope.errors import ConfigError
from spuriscope.places import check_place, written
from spuriscope.studies.results import NORM, results, with_norms
from spuriscope.studies.source import Source, StudyRows

__all__ = ["export", "is_export", "with_norm_rows"]


def with_norm_rows(source: Source, rows: StudyRows, root: Path | None = None) -> StudyRows:
    """Rows with the empirical norm of each pattern as one more measure, for those who have no images.

    Args:
        source: that the rows are of.
        rows: as `Store.rows` has them.
        root: folder with the files of the data set.

    Raises:
        ConfigError, DataError, StoreError: as `images_of`, where the rows lack norms.
    """
    places = [{name: row[name] for name in row if name not in ("measure", "value")} for row in rows]
    normed = iter(with_norms(source, results(rows), root))
    found: StudyRows = []
    for _, group in groupby(zip(places, rows, strict=True), lambda pair: str(pair[0])):
        pairs = list(group)
        norm = next(normed).measures.get(NORM)
        of_place = [row for _, row in pairs if row["measure"] != NORM]
        if norm is not None:
            of_place.append(pairs[0][0] | {"measure": NORM, "value": norm})
        found += sorted(of_place, key=lambda row: str(row["measure"]))
    return found


def export(rows: list[dict[str, Any]], path: Path, form: str = "csv") -> int:
    """Write the rows of `Store.rows` into a file, which appears once complete.

    Args:
        rows: one per cell and measure.
        path: the file; an earlier export is replaced, any other file is not.
        form: "csv" or "parquet".

    Returns:
        The number of rows.

    Raises:
        ConfigError: the form is unknown, a package is not installed, or the file cannot be written.
    """
    if form not in ("csv", "parquet"):
        raise ConfigError(f"there is no format {form!r}; choose csv or parquet")
    check_place(path)
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; give the name of a file as --out")
    if path.is_file() and not is_export(path):
        raise ConfigError(f"{path} exists and is no export of a study; move it away, or give another --out")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        with written(path) as hidden:
            if form == "csv":
                with hidden.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, columns)
                    writer.writeheader()
                    writer.writerows(rows)
            else:
                _write_parquet(rows, columns, hidden)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror}); give another --out") from None
    return len(rows)


def is_export(path: Path) -> bool:
    """Whether a file was written by `export`, in either form: its first column is the cell."""
    with path.open("rb") as file:
        start = file.read(5)
    if start == b"cell,":
        return True
    if not start.startswith(b"PAR1"):
        return False
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return False
    try:
        return bool(pyarrow.parquet.read_schema(path).names[:1] == ["cell"])
    except pyarrow.ArrowInvalid:
        return False


def _write_parquet(rows: list[dict[str, Any]], columns: list[str], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed; pip install 'spuriscope[tables]', or export csv"
        ) from None
    pyarrow.parquet.write_table(
        pyarrow.table({name: [row.get(name) for row in rows] for name in columns}), path
    )
