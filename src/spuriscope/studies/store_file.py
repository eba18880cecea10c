"""The files of a store: its tables, and whether a folder or a file belongs to a store at all."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from spuriscope.errors import StoreError
from spuriscope.scratch import scratch_folder
from spuriscope.studies.checksums import seal_all
from spuriscope.studies.source import StudyRow

__all__ = [
    "CHECKPOINTS",
    "FILE",
    "LOCK",
    "MIGRATIONS",
    "holds_store",
    "labels_of",
    "open_store",
    "refuse_foreign",
    "told_when_full",
    "transaction",
]

APPLICATION = 0x53707572  # "Spur": marks the file as ours in SQLite's header
FILE, LOCK, CHECKPOINTS = "store.sqlite", "store.lock", "checkpoints"

# Each step updates a store from one version to the next; a new store takes them all.
MIGRATIONS = (
    """
    CREATE TABLE cells (
        hash TEXT PRIMARY KEY,
        content TEXT NOT NULL,        -- the cell, JSON
        error TEXT,                   -- NULL: trained and measured; else why not
        n_seconds REAL,               -- of training
        losses TEXT,                  -- mean training loss of each epoch, JSON
        finished TEXT NOT NULL        -- when, ISO 8601, UTC
    ) STRICT;
    CREATE TABLE measures (
        cell TEXT NOT NULL REFERENCES cells (hash) ON DELETE CASCADE,
        pattern TEXT NOT NULL,        -- fingerprint of the pattern stamped on the test images
        target INTEGER NOT NULL,      -- the class it might lead to
        name TEXT NOT NULL,           -- of the measure
        value REAL NOT NULL,
        PRIMARY KEY (cell, pattern, target, name)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE studies (
        name TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        figure TEXT NOT NULL
    ) STRICT;
    CREATE TABLE entries (
        study TEXT NOT NULL REFERENCES studies (name) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        cell TEXT NOT NULL,           -- hash; in `cells` once it is done
        pattern TEXT NOT NULL,        -- fingerprint
        target INTEGER NOT NULL,
        labels TEXT NOT NULL,         -- where the row stands in the study, JSON
        PRIMARY KEY (study, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entries_cell ON entries (cell);
    ALTER TABLE cells ADD COLUMN environment TEXT;  -- versions and hardware, JSON
    """,
    f"""
    CREATE TABLE begun (
        hash TEXT PRIMARY KEY         -- of a cell whose checkpoint is being written
    ) STRICT, WITHOUT ROWID;
    PRAGMA application_id = {APPLICATION};
    """,
    """
    ALTER TABLE cells ADD COLUMN checksum TEXT;    -- over the row and all its measures
    ALTER TABLE studies ADD COLUMN checksum TEXT;  -- over the row and all its entries
    """,
)
SEALED = 4  # the step that introduced checksums
FIRST_TABLES = {  # which identify a store from before the mark
    "cells": {"hash", "content", "error", "n_seconds", "losses", "finished"},
    "measures": {"cell", "pattern", "target", "name", "value"},
}


def holds_store(folder: Path) -> bool:
    """Whether a folder has a file with the tables of a store; this writes nothing.

    Raises:
        StoreError: the file belongs to another program.
    """
    path = folder / FILE
    if not path.is_file() or not _has_content(path):
        return False
    closed = not _has_content(path.with_name(f"{FILE}-wal")) or not _is_writable(folder)
    opened = _look_at_closed(path) if closed else _look(path)
    with told_when_full(folder), closing(opened) as looking:
        application = looking.execute("PRAGMA application_id").fetchone()[0]
        version = looking.execute("PRAGMA user_version").fetchone()[0]
        names = [row[0] for row in looking.execute("SELECT name FROM sqlite_master")]
        tables = {
            name: {row[1] for row in looking.execute("SELECT * FROM pragma_table_info(?)", (name,))}
            for name in names
        }
    is_older = (
        application == 0
        and version > 0
        and all(columns <= tables.get(name, set()) for name, columns in FIRST_TABLES.items())
    )
    if application != APPLICATION and not is_older and (tables or application):
        raise StoreError(f"{path} is not a store, but another program's; give another --store")
    return bool(tables)


def refuse_foreign(folder: Path) -> None:
    """Raise StoreError where a new store would lie among other files."""
    if not folder.is_dir():
        return
    made = [FILE] * (folder / FILE).is_file()  # without tables: its process was killed right after making it
    ours = (LOCK, CHECKPOINTS, *made, *(f"{name}-{part}" for name in made for part in ("wal", "shm")))
    names = [path.name for path in folder.iterdir() if path.name not in ours]
    if (folder / CHECKPOINTS).is_dir():
        names += [f"{CHECKPOINTS}/{path.name}" for path in (folder / CHECKPOINTS).iterdir()]
    lock = folder / LOCK
    names += [LOCK] * (lock.is_file() and lock.stat().st_size > 0)
    if names:
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        raise StoreError(
            f"{folder} holds other files ({shown}) and no store; give an empty or a new folder with --store"
        )


def open_store(
    path: Path, held: ExitStack, alone: Callable[[], AbstractContextManager[None]], *, writes: bool
) -> sqlite3.Connection:
    """Open the tables of a store, in this version.

    If a store is only read, and cannot be written to, it is read in place, or in a copy if it must be
    updated.

    Args:
        path: of the SQLite file.
        held: closes the connection.
        alone: excludes other processes while an older store is updated.
        writes: whether the store will be written to.

    Raises:
        StoreError: a newer version made it.
    """
    if writes or _is_writable(path.parent):
        connection = held.enter_context(closing(_connect(path)))
        if _version(connection, path) < len(MIGRATIONS):
            with alone():
                _take_steps(connection, path)
    else:
        connection = held.enter_context(closing(_look_at_closed(path)))
        if _version(connection, path) < len(MIGRATIONS):
            copy = held.enter_context(_readable_copy(path))
            connection = held.enter_context(closing(_connect(copy)))
            _take_steps(connection, path)
    connection.row_factory = sqlite3.Row
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _look(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that only reads; `immutable` leaves no trace beside a file that nobody writes to."""
    how = "mode=ro&immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=30, isolation_level=None)


def _look_at_closed(path: Path) -> sqlite3.Connection:
    """A connection to a file in a read-only folder, including the content of its journal."""
    if _has_content(path.with_name(f"{FILE}-wal")):
        connection = _look(path)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:  # nobody has it open, and its journal has no index
            connection.close()
        else:
            return connection
        with _readable_copy(path) as copy, closing(_connect(copy)) as merged:
            inside = sqlite3.connect(":memory:", isolation_level=None)
            merged.backup(inside)
            return inside
    return _look(path, immutable=True)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was made by a newer spuriscope (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); update spuriscope"
        )
    return version


def _take_steps(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)  # once more: another process may just have updated it
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script}")
        if number == SEALED:
            seal_all(connection.execute)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


@contextmanager
def _readable_copy(path: Path) -> Iterator[Path]:
    """A copy of the file and its journal, for a folder that cannot be written to."""
    with scratch_folder("store", [f"{FILE}{part}" for part in ("", "-wal", "-shm")]) as folder:
        for each in (path, path.with_name(f"{FILE}-wal")):
            if each.is_file():
                shutil.copyfile(each, folder / each.name)
        yield folder / FILE


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """Turn a full disk and a damaged file into errors that a user can act on."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # UnicodeDecodeError: from the message of the other
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            reason = "the disk is full"
        elif name.startswith("SQLITE_IOERR"):
            reason = "disk error; is the disk full?"
        else:
            raise StoreError(
                f"the store in {folder} cannot be used ({error}); is it a store, and whole?"
            ) from None
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        return
    raise StoreError(f"cannot write in {folder} ({reason}); make room there and go on, nothing is lost")


@contextmanager
def transaction(connection: sqlite3.Connection, folder: Path) -> Iterator[Callable[..., Any]]:
    """What writes to the store in `folder`: all of it, or nothing."""
    with told_when_full(folder):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection.execute
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def labels_of(text: str, path: Path) -> StudyRow:
    """The labels of a row of the store at `path`, which may have been damaged before it had checksums.

    Raises:
        StoreError: they are no labels.
    """
    try:
        labels = msgspec.json.decode(text, type=StudyRow)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path}: a row is damaged ({error}); run the study again") from None
    if lacking := sorted({"model", "pattern", "target", "n_planted", "seed"} - labels.keys()):
        raise StoreError(f"{path}: a row lacks {', '.join(lacking)}; run the study again")
    return labels
