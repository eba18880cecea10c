"""A study as a table, read back with other readers."""

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from spuriscope.errors import ConfigError
from spuriscope.studies.export import export

ROWS: list[dict[str, Any]] = [
    {"cell": "a1", "pattern": 'bar, "wide"', "seed": 0, "value": 0.1 + 0.2},
    {"cell": "a2", "pattern": "s3", "seed": 1, "value": 1e-17, "weight_decay": 0.01},
]


def test_csv_holds_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert export(ROWS, path) == 2
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["pattern"] for row in found] == ['bar, "wide"', "s3"]
    assert [float(row["value"]) for row in found] == [0.1 + 0.2, 1e-17]
    assert [row["weight_decay"] for row in found] == ["", "0.01"]
    assert list(tmp_path.iterdir()) == [path]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert export(ROWS, tmp_path / "out.parquet", "parquet") == 2
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert found == [ROWS[0] | {"weight_decay": None}, ROWS[1]]


def test_without_pyarrow_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'spuriscope\[tables\]', or export csv"):
        export(ROWS, tmp_path / "out.parquet", "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["", "..", "missing/out.csv", "file/out.csv", "/"])
def test_a_place_that_cannot_be_written_is_refused(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .* --out"):
        export(ROWS, tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unknown_form_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(ConfigError, match="there is no format 'xls'; choose csv or parquet"):
        export(ROWS, path, "xls")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
