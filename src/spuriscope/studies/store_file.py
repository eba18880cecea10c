"""What lies on the disk of a store: its tables, and whether a folder or a file is a store's at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spuriscope.errors import StoreError

__all__ = [
    "CHECKPOINTS",
    "FILE",
    "LOCK",
    "MIGRATIONS",
    "refuse_another",
    "refuse_foreign",
    "told_when_full",
]

APPLICATION = 0x53707572  # "Spur": what SQLite's header says the file is of
FILE, LOCK, CHECKPOINTS = "store.sqlite", "store.lock", "checkpoints"

# Each step brings a store from one version to the next; a new store takes them all.
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
)


def refuse_foreign(folder: Path) -> None:
    """Raise StoreError where a new store would come among other files."""
    if (folder / FILE).is_file() or not folder.is_dir():
        return
    names = [path.name for path in folder.iterdir() if path.name not in (LOCK, CHECKPOINTS)]
    if (folder / CHECKPOINTS).is_dir():
        names += [f"{CHECKPOINTS}/{path.name}" for path in (folder / CHECKPOINTS).iterdir()]
    lock = folder / LOCK
    names += [LOCK] * (lock.is_file() and lock.stat().st_size > 0)
    if names:
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        raise StoreError(
            f"{folder} holds other files ({shown}) and no store; give an empty or a new folder with --store"
        )


def refuse_another(path: Path) -> None:
    """Raise StoreError where an SQLite file is another program's; it is only read for that."""
    with told_when_full(path.parent):
        looking = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            application = looking.execute("PRAGMA application_id").fetchone()[0]
            tables = {row[0] for row in looking.execute("SELECT name FROM sqlite_master")}
        finally:
            looking.close()
    is_older = application == 0 and ({"cells", "measures"} <= tables or not tables)
    if application != APPLICATION and not is_older:
        raise StoreError(f"{path} is no store, but another program's; give another --store")


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """Turn a full disk and a damaged file into errors a user can act on."""
    try:
        yield
    except sqlite3.DatabaseError as error:
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
