"""Read exported rows: one file of `study export`, or a folder of such files in place of a store.

A store may be deleted, its rows stay: figures are drawn and claims are judged from them alone. Rows do not
hold weights and images. Only CSV is read: it can be kept under version control.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from spuriscope.errors import ConfigError
from spuriscope.limits import LARGEST_DOCUMENT
from spuriscope.studies.export import is_export
from spuriscope.studies.paper import STUDIES, paper_grid
from spuriscope.studies.source import StudyRow, StudyRows
from spuriscope.studies.study import Grid, read_grid
from spuriscope.training import TrainedModel

__all__ = ["Exported", "ExportedFolder", "RowPlace", "read_exported"]

RowPlace: TypeAlias = tuple[str, str, int]  # identifies a row of a study: cell, pattern and target
TEXT = ("cell", "model", "pattern", "part", "measure")
WHOLE = ("target", "n_planted", "seed")
NEEDED = ("cell", "model", "pattern", *WHOLE, "measure", "value")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{0,400})?(e[+-]?[0-9]{1,4})?")


@dataclass(frozen=True)
class Exported:
    """A file of `study export`.

    Attributes:
        path: of the file.
        digest: its SHA-256.
        rows: as from `Store.rows`.
    """

    path: Path
    digest: str
    rows: StudyRows = field(repr=False)

    @cached_property
    def measures(self) -> Mapping[RowPlace, Mapping[str, float]]:
        """The measures of each row of the study, by name."""
        found: dict[RowPlace, dict[str, float]] = {}
        for row in self.rows:
            found.setdefault((row["cell"], row["pattern"], row["target"]), {})[row["measure"]] = row["value"]
        return found


def read_exported(path: Path) -> Exported:
    """Read a file of `study export`, as CSV.

    Raises:
        ConfigError: it cannot be read, is not an export, a value is not a number, or it has two values of one
            measure of a cell.
    """
    try:
        if path.stat().st_size > LARGEST_DOCUMENT:
            raise ConfigError(
                f"{path} has more than {LARGEST_DOCUMENT >> 20} MiB; export fewer studies at once"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); give a file of study export") from None
    if content.startswith(b"PAR1"):
        raise ConfigError(f"{path} is Parquet; rows are read from CSV: study export ... --format csv")
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
        header = next(lines, [])
        lacking = [name for name in NEEDED if name not in header]
        if lacking or len(set(header)) < len(header):
            reason = f"lacks {', '.join(lacking)}" if lacking else "names a column twice"
            raise ConfigError(f"{path} is no export of a study, its header {reason}; see study export")
        rows = list(_rows(path, header, lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is no table of text ({error}); give a file of study export") from None
    return Exported(path, hashlib.sha256(content).hexdigest(), rows)


def _rows(path: Path, header: Sequence[str], lines: Iterator[list[str]]) -> Iterator[StudyRow]:
    """The rows with their original values, each once."""
    known: dict[tuple[str, ...], tuple[int, float]] = {}
    for number, fields in enumerate(lines, start=2):

        def refuse(reason: str, number: int = number) -> NoReturn:
            raise ConfigError(f"row {number} of {path} {reason}; export the study again")

        if len(fields) != len(header):
            refuse(f"has {len(fields)} fields, the header {len(header)}")
        line = dict(zip(header, fields, strict=True))
        if lacking := [name for name in ("cell", "pattern", "measure") if not line[name]]:
            refuse(f"has no {lacking[0]}")
        for name in WHOLE:
            if not WHOLE_NUMBER.fullmatch(line[name]):
                refuse(f"has {line[name][:40]!r} as its {name}, which is no whole number")
        value = float(line["value"]) if NUMBER.fullmatch(line["value"]) else float("nan")
        if not isfinite(value):
            refuse(f"has {line['value'][:40]!r} as its value, which is no number")
        place = line["cell"], line["pattern"], line["target"], line["measure"]
        before, same = known.setdefault(place, (number, value))
        if same != value:
            refuse(f"has {value} as {line['measure']} of cell {line['cell']}, and row {before} has {same}")
        if before == number:
            typed = {name: _typed(name, text) for name, text in line.items() if name != "value"}
            yield typed | {"value": value}


def _typed(name: str, text: str) -> Any:
    """A label with its type in the store; settings of a recipe may be of any kind."""
    if name in TEXT:
        return text
    if WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        return float(text)
    if text.startswith("["):  # milestones
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return {"": None, "True": True, "False": False}.get(text, text)


class ExportedFolder:
    """The exported files of a folder, each named after its study: fig2-mnist.csv.

    Titles and figures are known for the paper's studies; for others they are read from the study's own file,
    if it lies beside: noise.csv and noise.yaml. Tables that are not exports are skipped.

    Args:
        folder: with the files.

    Raises:
        ConfigError: there is no such folder, or no export in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Exported] = {}
        try:
            tables = sorted(path for path in folder.iterdir() if path.suffix == ".csv" and path.is_file())
            self.files = {path.stem: path for path in tables if is_export(path)}
        except OSError as error:
            raise ConfigError(
                f"cannot read {folder} ({error.strerror}); give a folder of exported studies as --rows"
            ) from None
        if not self.files:
            raise ConfigError(
                f"{folder} holds no exported study; `spuriscope study export NAME --out {folder}/NAME.csv` "
                "writes one"
            )

    def studies(self) -> StudyRows:
        """Name, title and figure of each study."""
        return [self._about(name) for name in self.files]

    def rows(self, study: str) -> StudyRows:
        """One row per cell and measure of a study, as `Store.rows`.

        Raises:
            ConfigError: there is no such study, or its file cannot be used.
        """
        if study not in self.files:
            raise ConfigError(f"{self.folder} has no rows of {study!r}; it has {', '.join(self.files)}")
        if study not in self._read:
            self._read[study] = read_exported(self.files[study])
        return self._read[study].rows

    def content(self, hash_: str) -> str | None:
        """None: rows do not name a data set."""
        return None

    def load_hash(self, hash_: str) -> TrainedModel | None:
        """None: rows hold no weights."""
        return None

    def _about(self, name: str) -> StudyRow:
        grid = self._grid(name)
        return {"name": name, "title": grid.title or name, "figure": grid.figure}

    def _grid(self, name: str) -> Grid:
        own = self.folder / f"{name}.yaml"
        if own.is_file():
            return read_grid(own)
        paper, _, data = name.partition("-")
        return paper_grid(paper, "paper", data) if paper in STUDIES and data else Grid(name=name)
