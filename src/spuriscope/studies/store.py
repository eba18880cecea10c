"""The store: one SQLite file, and checkpoints beside it, both keyed by the hash of a cell.

A cell enters the store once it is trained and measured, or has failed: first its checkpoint, on the disk,
then one transaction. A process that is killed at any moment leaves finished cells complete. Only one process
at a time may write; a second gets an error. The schema is documented in docs/store.md; an older store is
updated when it is opened.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from spuriscope.checks import check_path
from spuriscope.errors import CheckpointError, StoreError
from spuriscope.studies.checksums import check_cells, check_study, seal_cells, seal_study
from spuriscope.studies.source import StudyRows
from spuriscope.studies.store_file import (
    CHECKPOINTS,
    FILE,
    LOCK,
    holds_store,
    labels_of,
    open_store,
    refuse_foreign,
    told_when_full,
    transaction,
)
from spuriscope.studies.study import Entry, Study
from spuriscope.training import Cell, TrainedModel, load_model

__all__ = ["Store"]


class Store:
    """A folder of finished cells. Use it in a `with` block, which closes it.

    Args:
        folder: created if it does not exist.
        writes: False to read only; any number of processes may.

    Raises:
        StoreError: another process writes to it, it is damaged, a newer version made it, or the folder holds
            other files and no store. Then nothing is written.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        check_path("the folder of the store", folder, error=StoreError)
        self.folder = folder
        self.path = folder / FILE
        self.checkpoints = folder / CHECKPOINTS
        self.lock = FileLock(folder / LOCK, timeout=0)
        self._held = ExitStack()
        is_there = holds_store(folder)
        if not writes and not is_there:
            raise StoreError(
                f"{folder} holds no store; `spuriscope study run ... --store {folder}` makes one"
            )
        if writes:
            if not is_there:
                refuse_foreign(folder)
            try:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot write in {folder} ({error.strerror}); give another --store"
                ) from None
            self._take_lock()
        try:
            with told_when_full(folder):
                self.connection = open_store(self.path, self._held, self._alone, writes=writes)
            if writes:
                self._remove_leftovers()
        except BaseException:
            self._held.close()
            self.lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
        self.lock.release()

    # --- writing ---------------------------------------------------------------------------------

    def add_study(self, study: Study) -> None:
        """Record the rows of a study; those of an earlier study with this name are forgotten."""
        with self._transaction() as write:
            write("DELETE FROM studies WHERE name = ?", (study.name,))
            about = study.name, study.title, study.figure
            write("INSERT INTO studies (name, title, figure) VALUES (?, ?, ?)", about)
            for position, entry in enumerate(study.entries):
                write(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                    (study.name, position, entry.cell.hash, *_place(entry), json.dumps(dict(entry.labels))),
                )
            seal_study(write, study.name)

    def finish(
        self,
        model: TrainedModel,
        measures: Iterable[tuple[Entry, Mapping[str, float]]],
        environment: Mapping[str, Any],
        *,
        keep_checkpoint: bool = True,
    ) -> None:
        """Put a trained and measured cell into the store, in one piece.

        Args:
            model: the trained model.
            measures: for each row of the cell its measures by name.
            environment: versions and hardware of the training.
            keep_checkpoint: whether the weights are kept.
        """
        cell = model.cell
        if keep_checkpoint:
            path = self.checkpoint_path(cell)
            self._begin(path, cell)
            with told_when_full(self.folder):
                model.save(path)
        with self._transaction() as write:
            privacy = cell.recipe.privacy
            if privacy is not None and privacy.randomness == "system":
                write("DELETE FROM measures WHERE cell = ?", (cell.hash,))  # of another model of this cell
                write("UPDATE cells SET environment = NULL WHERE hash = ?", (cell.hash,))
            where = self._taken_from(cell) | dict(environment)
            self._write_cell(write, cell, where, n_seconds=model.n_seconds, losses=model.losses)
            self._write_measures(write, measures)
            seal_cells(write, [cell.hash])
            write("DELETE FROM begun WHERE hash = ?", (cell.hash,))

    def add_measures(self, measures: Iterable[tuple[Entry, Mapping[str, float]]]) -> None:
        """Add measures, by name, to rows whose cells are in the store."""
        added = list(measures)
        with self._transaction() as write:
            self._write_measures(write, added)
            seal_cells(write, {entry.cell.hash for entry, _ in added})

    def take(
        self, cells: Iterable[tuple[Cell, Iterable[tuple[Entry, Mapping[str, float]]], Mapping[str, Any]]]
    ) -> None:
        """Put cells into the store, all at once, that were trained elsewhere and have only measures.

        Args:
            cells: each with its measures by name, for each row, and where they come from.
        """
        with self._transaction() as write:
            for cell, measures, source in cells:
                self._write_cell(write, cell, source)
                self._write_measures(write, measures)
                seal_cells(write, [cell.hash])

    def fail(self, cell: Cell, reason: str, environment: Mapping[str, Any]) -> None:
        """Record that a cell could not be trained, and why."""
        with self._transaction() as write:
            self._write_cell(write, cell, environment, error=reason)
            seal_cells(write, [cell.hash])

    def forget_failures(self, cells: Iterable[Cell]) -> None:
        """Forget that these cells failed, so that they are tried again."""
        with self._transaction() as write:
            for cell in cells:
                write("DELETE FROM cells WHERE hash = ? AND error IS NOT NULL", (cell.hash,))

    # --- reading ---------------------------------------------------------------------------------

    def missing(self, study: Study) -> list[Cell]:
        """Cells of a study that have not failed and lack a measure under some pattern and target.

        Raises:
            StoreError: a cell of it was changed after it was written.
        """
        with told_when_full(self.folder):
            check_cells(self.connection.execute, study.name)
        failed = {row["hash"] for row in self.query("SELECT hash FROM cells WHERE error IS NOT NULL")}
        heads = {
            row["hash"]: row["n_classes"]
            for row in self.query(
                "SELECT hash, json_array_length(content, '$.data.class_names') AS n_classes FROM cells"
            )
        }
        measured = {
            (row["cell"], row["pattern"], row["target"])
            for row in self.query("SELECT DISTINCT cell, pattern, target FROM measures")
        }
        missing = {
            entry.cell: None
            for entry in study.entries
            if entry.cell.hash not in failed
            and (
                (entry.cell.hash, *_place(entry)) not in measured
                # older versions gave cells with different numbers of classes the same hash
                or heads[entry.cell.hash] != len(entry.cell.data.class_names)
            )
        }
        return list(missing)

    def failures(self, study: str) -> dict[str, str]:
        """Hash of each failed cell of a study, and why it failed."""
        rows = self.query(
            "SELECT DISTINCT hash, error FROM cells JOIN entries ON cell = hash "
            "WHERE study = ? AND error IS NOT NULL",
            (study,),
        )
        return {row["hash"]: row["error"] for row in rows}

    def studies(self) -> StudyRows:
        """Name, title and figure of each study, its numbers of cells (all, done, failed), and mean seconds.

        Raises:
            StoreError: a study was changed after it was written.
        """
        with told_when_full(self.folder):
            for row in self.query("SELECT name FROM studies"):
                check_study(self.connection.execute, row["name"])
        return self.query(
            """
            SELECT name, title, figure, count(*) AS n_cells,
                coalesce(sum(finished IS NOT NULL AND error IS NULL), 0) AS n_done,
                coalesce(sum(error IS NOT NULL), 0) AS n_failed,
                avg(CASE WHEN error IS NULL THEN n_seconds END) AS mean_seconds
            FROM studies
            JOIN (SELECT DISTINCT study, cell FROM entries) ON study = name
            LEFT JOIN cells ON hash = cell
            GROUP BY name ORDER BY name
            """
        )

    def rows(self, study: str) -> StudyRows:
        """One row per cell and measure of a study: its labels, the measure's name and its value.

        Raises:
            StoreError: there is no such study, or it was changed after it was written.
        """
        names = [row["name"] for row in self.studies()]
        if study not in names:
            known = ", ".join(names) or "none"
            raise StoreError(f"{self.folder} has no study {study!r}; it has {known}")
        with told_when_full(self.folder):
            check_cells(self.connection.execute, study)
        found = self.query(
            """
            SELECT entries.cell, labels, measures.name AS measure, value
            FROM entries JOIN measures USING (cell, pattern, target)
            WHERE study = ? ORDER BY position, measures.name
            """,
            (study,),
        )
        return [
            {
                "cell": row["cell"],
                **labels_of(row["labels"], self.path),
                "measure": row["measure"],
                "value": row["value"],
            }
            for row in found
        ]

    def content(self, hash_: str) -> str | None:
        """The document of a cell, which names its data set; None if it is not in the store."""
        found = self.query("SELECT content FROM cells WHERE hash = ?", [hash_])
        return str(found[0]["content"]) if found else None

    def checkpoint_path(self, cell: Cell) -> Path:
        """Path of the checkpoint of a cell, whether or not it exists."""
        return self.checkpoints / f"{cell.hash}.safetensors"

    def load(self, cell: Cell) -> TrainedModel | None:
        """The model of a cell, None if its weights were not kept.

        Raises:
            CheckpointError: the file is damaged, or belongs to another cell.
        """
        model = self.load_hash(cell.hash)
        if model is None:
            return None
        n_classes, expected = len(model.cell.data.class_names), len(cell.data.class_names)
        if n_classes != expected:  # older versions gave both the same hash
            raise CheckpointError(f"the model of cell {cell.hash} has {n_classes} classes, not {expected}")
        return model

    def load_hash(self, hash_: str) -> TrainedModel | None:
        """The model of the cell with this hash; see `load`."""
        path = self.checkpoints / f"{hash_}.safetensors"
        if not path.is_file():
            return None
        model = load_model(path)
        if model.cell.hash != hash_:
            raise CheckpointError(f"{path} belongs to cell {model.cell.hash}, not {hash_}; move it away")
        return model

    def query(self, sql: str, values: Iterable[Any] = ()) -> StudyRows:
        """Rows of a query, as dictionaries."""
        with told_when_full(self.folder):
            return [dict(row) for row in self.connection.execute(sql, tuple(values))]

    # --- inside ----------------------------------------------------------------------------------

    def _taken_from(self, cell: Cell) -> dict[str, Any]:
        """The names of the exported files that measures of a cell came from, kept beside other content."""
        sql = "SELECT json_extract(environment, '$.rows') AS rows FROM cells WHERE hash = ?"
        found = self.query(f"{sql} AND json_valid(environment)", [cell.hash])
        return {"rows": json.loads(found[0]["rows"])} if found and found[0]["rows"] else {}

    def _begin(self, path: Path, cell: Cell) -> None:
        """Record that a checkpoint is about to be written, so that an unfinished one is known to be ours."""
        is_known = self.query(
            "SELECT hash FROM cells WHERE hash = ?1 UNION SELECT hash FROM begun WHERE hash = ?1",
            (cell.hash,),
        )
        if path.is_file() and not is_known:
            try:
                load_model(path)
            except CheckpointError:
                raise StoreError(f"{path} was not written by this store; move it away") from None
        with self._transaction() as write:
            write("INSERT OR IGNORE INTO begun VALUES (?)", (cell.hash,))

    def _take_lock(self) -> None:
        try:
            self.lock.acquire()
        except Timeout:
            raise StoreError(
                f"another process is writing to {self.folder}; wait until it has ended, "
                "or give another --store"
            ) from None
        except OSError as error:
            raise StoreError(
                f"cannot write in {self.folder} ({error.strerror}); give another --store"
            ) from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock; a writer has taken it before, and keeps it."""
        self._take_lock()
        try:
            yield
        finally:
            self.lock.release()

    def _remove_leftovers(self) -> None:
        """Delete checkpoints that a killed process of this store had begun, and nothing else."""
        done = {row["hash"] for row in self.query("SELECT hash FROM cells WHERE error IS NULL")}
        begun = [row["hash"] for row in self.query("SELECT hash FROM begun")]
        with told_when_full(self.folder):
            for hash_ in begun:
                name = f"{hash_}.safetensors"
                for partial in self.checkpoints.glob(f".{name}.*.partial"):
                    partial.unlink()
                if hash_ not in done:
                    (self.checkpoints / name).unlink(missing_ok=True)
        with self._transaction() as write:
            write("DELETE FROM begun")

    def _transaction(self) -> AbstractContextManager[Any]:
        return transaction(self.connection, self.folder)

    def _write_cell(
        self,
        write: Any,
        cell: Cell,
        environment: Mapping[str, Any],
        *,
        error: str | None = None,
        n_seconds: float | None = None,
        losses: tuple[float, ...] | None = None,
    ) -> None:
        write(
            "INSERT INTO cells (hash, content, error, n_seconds, losses, finished, environment) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE SET content = excluded.content, "
            "error = excluded.error, "
            "n_seconds = excluded.n_seconds, losses = excluded.losses, finished = excluded.finished, "
            "environment = excluded.environment",
            (
                cell.hash, json.dumps(cell.to_json()), error, n_seconds,
                None if losses is None else json.dumps(losses),
                datetime.now(UTC).isoformat(timespec="seconds"), json.dumps(dict(environment)),
            ),
        )  # fmt: skip

    def _write_measures(self, write: Any, measures: Iterable[tuple[Entry, Mapping[str, float]]]) -> None:
        for entry, values in measures:
            for name, value in values.items():
                write(
                    "INSERT OR REPLACE INTO measures VALUES (?, ?, ?, ?, ?)",
                    (entry.cell.hash, *_place(entry), name, value),
                )


def _place(entry: Entry) -> tuple[str, int]:
    return entry.pattern.fingerprint, entry.target
