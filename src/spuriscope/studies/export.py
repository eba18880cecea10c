"""A study as a table: one row per cell and measure."""

import csv
from pathlib import Path
from typing import Any

from spuriscope.errors import ConfigError
from spuriscope.places import check_place, written

__all__ = ["export"]


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
    if path.is_file() and not _is_export(path):
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


def _is_export(path: Path) -> bool:
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
