"""Take cells into a store from exported rows, so that a study continues without the store it was begun in.

A row is identified by the hash of its cell, its pattern and its target. A cell is taken completely or not at
all: every row that the study has of it, with every measure that the study asks for. Of a membership game all
cells are taken, because one model is attacked with the others. Cells taken from measures have no weights.

Rows name patterns, but a clean twin's hash contains none: that its rows have the same pattern, place and size
is known from a planted cell of the same file, whose hash does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from spuriscope.added_measures import MEASURES
from spuriscope.contexts import Context, ContextMeasures
from spuriscope.errors import ConfigError
from spuriscope.measures import Measures
from spuriscope.membership.attacks import ATTACKS
from spuriscope.studies.deletions import after
from spuriscope.studies.exported import Exported, RowPlace
from spuriscope.studies.games import JUDGED
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Study
from spuriscope.training import Cell

__all__ = ["Taken", "take"]

OF_PATTERN = frozenset(each.name for each in fields(Measures))
OF_CONTEXT = frozenset(each.name for each in fields(ContextMeasures))


@dataclass(frozen=True)
class Taken:
    """The result of taking rows from one or more files.

    Attributes:
        n_taken: cells that are new in the store.
        n_foreign: cells of the files that are not in the study.
        n_lacking: cells of the study in the files that lack rows or measures it asks for.
    """

    n_taken: int = 0
    n_foreign: int = 0
    n_lacking: int = 0

    @property
    def passed_over(self) -> str:
        """What was skipped, in a line; empty if nothing was."""
        foreign = f"{self.n_foreign:,} cells of the rows are not of this study" if self.n_foreign else ""
        lacking = f"{self.n_lacking:,} lack measures that it asks for" if self.n_lacking else ""
        return ", ".join(part for part in (foreign, lacking) if part)


@dataclass(frozen=True)
class _Row:
    """A row of a study, and the measures that complete it."""

    entry: Entry
    wanted: frozenset[str]

    @property
    def place(self) -> RowPlace:
        """Its identity in exported files."""
        return self.entry.cell.hash, self.entry.labels["pattern"], self.entry.target


def take(study: Study, store: Store, files: Sequence[Exported]) -> Taken:
    """Put the exported rows of a study into its store, and report what they lack.

    Cells that are already in the store stay unchanged.

    Args:
        study: whose rows are wanted; it must be recorded in the store.
        store: where they go.
        files: the files that were read.

    Raises:
        ConfigError: a file has no cell of the study, or two files have different values of one measure.
        StoreError: the store cannot be written to.
    """
    if not files:
        return Taken()
    rows = _rows_of(study)
    hashes = {cell.hash for cell in rows}
    for file in files:
        there = {cell for cell, _, _ in file.measures}
        if not there & hashes:
            raise ConfigError(
                f"{file.path} has no cell of {study.name} among its {len(there):,}: they are of other "
                "images, or trained otherwise; leave it out, or give the --data and --size it was run with"
            )
    measures, sources = _merged(rows, files)
    finished = {row["hash"] for row in store.query("SELECT hash FROM cells WHERE error IS NULL")}
    stored = _stored(store, rows)

    def is_whole(cell: Cell) -> bool:
        return all(row.wanted <= measures.get(row.place, {}).keys() for row in rows[cell])

    taken: dict[Cell, None] = {}
    for unit in _units(study):
        if all(cell in stored or (cell.hash not in finished and is_whole(cell)) for cell in unit):
            taken |= dict.fromkeys(cell for cell in unit if cell not in stored)
    store.take(
        (
            cell,
            [(row.entry, measures[row.place]) for row in rows[cell]],
            {"rows": {file.path.name: file.digest for file in sources[cell.hash]}},
        )
        for cell in taken
    )
    held = {cell for file in files for cell, _, _ in file.measures}
    lacking = (hashes & held) - finished - {cell.hash for cell in taken}
    return Taken(len(taken), len(held - hashes), len(lacking))


def _rows_of(study: Study) -> dict[Cell, list[_Row]]:
    """The rows of each cell."""
    attacked = {
        (cell, game.plant.placed.fingerprint, game.target)
        for game, cells in study.games.items()
        for cell in cells[: game.n_models]
    }
    areas = {f"auc_all_{ATTACKS.key(name)}" for name in (JUDGED, *study.attacks)}
    rows: dict[Cell, list[_Row]] = defaultdict(list)
    for entry in study.entries:
        is_attacked = (entry.cell, entry.pattern.fingerprint, entry.target) in attacked
        wanted = _asked(study, entry) | (areas if is_attacked else frozenset())
        rows[entry.cell].append(_Row(entry, wanted))
    return rows


def _asked(study: Study, entry: Entry) -> frozenset[str]:
    """The measures that a study takes of the model of a row."""
    if isinstance(entry.pattern, Context):
        return OF_CONTEXT
    methods = study.deletions if entry.cell.plants else ()
    left = {after(method, name) for method in methods for name in (*OF_PATTERN, "seconds")}
    promised = {"epsilon"} if entry.cell.recipe.privacy is not None else set[str]()
    return OF_PATTERN | left | promised | {MEASURES.key(name) for name in study.measures}


def _units(study: Study) -> list[Sequence[Cell]]:
    """Cells that are taken together or not at all."""
    of_games = {cell for cells in study.games.values() for cell in cells}
    return [*study.games.values(), *([cell] for cell in study.cells() if cell not in of_games)]


def _merged(
    rows: Mapping[Cell, Sequence[_Row]], files: Sequence[Exported]
) -> tuple[dict[RowPlace, dict[str, float]], dict[str, list[Exported]]]:
    """The measures that the files have of each row of a study, and the files that have each cell."""
    every = [row for of_cell in rows.values() for row in of_cell]
    measures: dict[RowPlace, dict[str, float]] = defaultdict(dict)
    origins: dict[tuple[RowPlace, str], Exported] = {}
    sources: dict[str, list[Exported]] = defaultdict(list)
    for file in files:
        known = {_cue(row) for row in every if _is_of_pattern(row) and row.place in file.measures}
        for row in every:
            values = file.measures.get(row.place, {})
            if not values or not (_is_of_pattern(row) or _cue(row) in known):
                continue
            if file not in sources[row.place[0]]:
                sources[row.place[0]].append(file)
            for name, value in values.items():
                first = origins.setdefault((row.place, name), file)
                if measures[row.place].setdefault(name, value) != value:
                    raise ConfigError(
                        f"{name} of cell {row.place[0]} is {measures[row.place][name]} in {first.path} and "
                        f"{value} in {file.path}; give one of these files"
                    )
    return measures, sources


def _is_of_pattern(row: _Row) -> bool:
    """Whether the hash of the cell determines the pattern, or the row is of a context, known by its name."""
    return isinstance(row.entry.pattern, Context) or bool(row.entry.cell.plants)


def _cue(row: _Row) -> tuple[str, str]:
    return row.entry.labels["pattern"], row.entry.pattern.fingerprint


def _stored(store: Store, rows: Mapping[Cell, Sequence[_Row]]) -> set[Cell]:
    """Cells of which the store has all wanted measures."""
    measured: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for row in store.query(
        "SELECT cell, pattern, target, name FROM measures JOIN cells ON hash = cell WHERE error IS NULL"
    ):
        measured[row["cell"], row["pattern"], row["target"]].add(row["name"])
    return {
        cell
        for cell, of_cell in rows.items()
        if all(
            row.wanted <= measured[cell.hash, row.entry.pattern.fingerprint, row.entry.target]
            for row in of_cell
        )
    }
