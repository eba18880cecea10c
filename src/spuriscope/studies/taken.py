"""Cells taken into a store from exported rows, so that a study goes on without the store it was begun in.

A row is known by the hash of its cell, its pattern and its target. A cell is taken whole or not at all: every
row that the study has of it, with every measure that the study asks for; of a membership game all cells, as
one model is attacked with the others. What is there of measures only has no weights.

Rows name patterns, and a clean twin's hash knows none: that its rows are of the same pattern, place and size
is known by a planted cell of the same file, whose hash does.
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
    """What came of the rows of one or more files.

    Attributes:
        n_taken: cells that are in the store now and were not before.
        n_foreign: cells of the files that the study does not have.
        n_lacking: cells of the study that the files have, but without all the rows and measures it asks for.
    """

    n_taken: int = 0
    n_foreign: int = 0
    n_lacking: int = 0

    @property
    def passed_over(self) -> str:
        """What was passed over, in a line; empty if nothing was."""
        foreign = f"{self.n_foreign:,} cells of the rows are not of this study" if self.n_foreign else ""
        lacking = f"{self.n_lacking:,} lack measures that it asks for" if self.n_lacking else ""
        return ", ".join(part for part in (foreign, lacking) if part)


@dataclass(frozen=True)
class _Row:
    """A row of a study, and the measures that it is done with."""

    entry: Entry
    wanted: frozenset[str]

    @property
    def place(self) -> RowPlace:
        """As exported files know it."""
        return self.entry.cell.hash, self.entry.labels["pattern"], self.entry.target


def take(study: Study, store: Store, files: Sequence[Exported]) -> Taken:
    """Put what exported rows hold of a study into its store, and say what they do not.

    Cells that are in the store stay as they are.

    Args:
        study: whose rows are wanted; it was written down in the store.
        store: where they go.
        files: that are read.

    Raises:
        ConfigError: a file has no cell of the study, or two files have a measure of one cell with two values.
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
    """The measures that a study asks of the model of a row."""
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
    """The measures that the files have of each row of a study, and the files that each cell is in."""
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
    """Whether the hash of the cell says which pattern, or a context that has a name alone, the row is of."""
    return isinstance(row.entry.pattern, Context) or bool(row.entry.cell.plants)


def _cue(row: _Row) -> tuple[str, str]:
    return row.entry.labels["pattern"], row.entry.pattern.fingerprint


def _stored(store: Store, rows: Mapping[Cell, Sequence[_Row]]) -> set[Cell]:
    """Cells of which the store has all measures that are wanted."""
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
