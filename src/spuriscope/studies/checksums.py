"""Checksums of the content of a store: a row that was changed after it was written is refused.

A cell has one over its row and all its measures, a study over its row and its entries. They are written in
the same transaction as their content. A store from before checksums gets them when it is opened.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, TypeAlias

from spuriscope.errors import StoreError

__all__ = ["check_cells", "check_study", "seal_all", "seal_cells", "seal_study"]

Execute: TypeAlias = Callable[..., sqlite3.Cursor]

CELL = "hash, content, error, n_seconds, losses, finished, environment"
OF_STUDY = "IN (SELECT cell FROM entries WHERE study = ?)"


def seal_cells(execute: Execute, hashes: Iterable[str]) -> None:
    """Write the checksums of these cells, which were just written."""
    for hash_ in hashes:
        for cell, checksum in _of_cells(execute, "= ?", hash_).items():
            execute("UPDATE cells SET checksum = ? WHERE hash = ?", (checksum, cell))


def seal_study(execute: Execute, name: str) -> None:
    """Write the checksum of a study that was just written."""
    execute("UPDATE studies SET checksum = ? WHERE name = ?", (_of_study(execute, name), name))


def seal_all(execute: Execute) -> None:
    """Write the checksums of everything in a store, as it is now."""
    seal_cells(execute, [row[0] for row in execute("SELECT hash FROM cells").fetchall()])
    for row in execute("SELECT name FROM studies").fetchall():
        seal_study(execute, row[0])


def check_study(execute: Execute, name: str) -> None:
    """Raise StoreError if the row of a study, or an entry of it, was changed."""
    row = execute("SELECT checksum FROM studies WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] != _of_study(execute, name):  # None: a damaged file may have a different index
        raise StoreError(
            f"the study {name!r} was changed in its store: its checksum differs; run it again, which writes "
            "its rows anew and trains no finished cell"
        )


def check_cells(execute: Execute, study: str) -> None:
    """Raise StoreError if a cell of a study, or a measure of one, was changed."""
    written = dict(execute(f"SELECT hash, checksum FROM cells WHERE hash {OF_STUDY}", (study,)).fetchall())
    for cell, checksum in _of_cells(execute, OF_STUDY, study).items():
        if written.get(cell) != checksum:
            raise StoreError(
                f"the cell {cell} of {study!r} was changed in its store: its checksum differs; take a good "
                "copy of the store, or run the study into another"
            )


def _of_cells(execute: Execute, which: str, value: str) -> dict[str, str]:
    """Checksum of each cell with a row or a measure, by hash; `which` is a condition on the hash."""
    rows = {
        row[0]: list(row)
        for row in execute(f"SELECT {CELL} FROM cells WHERE hash {which}", (value,)).fetchall()
    }
    measures = execute(
        f"SELECT cell, pattern, target, name, value FROM measures WHERE cell {which} "
        "ORDER BY cell, pattern, target, name",
        (value,),
    )
    found = {cell: [list(row)[1:] for row in group] for cell, group in groupby(measures, lambda row: row[0])}
    return {cell: _digest([rows.get(cell), found.get(cell, [])]) for cell in rows.keys() | found.keys()}


def _of_study(execute: Execute, name: str) -> str:
    rows = execute("SELECT name, title, figure FROM studies WHERE name = ?", (name,)).fetchall()
    rows += execute(
        "SELECT position, cell, pattern, target, labels FROM entries WHERE study = ? ORDER BY position",
        (name,),
    ).fetchall()
    return _digest([list(row) for row in rows])


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, default=repr).encode()).hexdigest()
