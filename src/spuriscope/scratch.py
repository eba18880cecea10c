"""Temporary folders that are deleted even if their process is killed: by the next one that makes its own.

A folder is recognised by its name and its lock. The lock tells whether its owner lives, because it may run in
another container, where its process number says nothing. A folder without a lock, or with other files in it,
is left alone.
"""

import multiprocessing.util
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal

from spuriscope.places import clear, hold, taken

__all__ = ["PREFIX", "mark_server_folder", "scratch_folder"]

PREFIX, LOCK = "spuriscope-", "lock"
SERVER, SERVER_LOCK, SOCKET = "pymp-", "spuriscope.lock", "listener-"  # first and last of multiprocessing


@contextmanager
def scratch_folder(kind: Literal["workers", "data", "store"], names: Collection[str]) -> Iterator[Path]:
    """Make a temporary folder for the block, after deleting those that killed processes left.

    Args:
        kind: its purpose, which is part of its name.
        names: of all files and folders that are put into it; others are never deleted.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}{kind}-*"):
        _delete_left(old, LOCK, {LOCK, *names})
    made = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-{os.getpid()}-", ignore_cleanup_errors=True)
    lock = hold(Path(made.name) / LOCK)
    try:
        yield Path(made.name)
    finally:
        made.cleanup()
        os.close(lock)


@cache
def mark_server_folder() -> None:
    """Lock the folder of the socket of multiprocessing's server, and delete those left behind.

    The lock is held as long as the process lives.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{SERVER}*"):
        _delete_left(old, SERVER_LOCK, {SERVER_LOCK})
    folder = Path(multiprocessing.util.get_temp_dir())
    if not (folder / SERVER_LOCK).exists():  # else it belongs to a parent, which holds it
        hold(folder / SERVER_LOCK)


def _delete_left(folder: Path, lock: str, names: Collection[str]) -> None:
    """Delete a folder of ours that no process holds."""
    with suppress(OSError):  # another user's, or already gone
        found = {path.name for path in folder.iterdir()}
        if lock in found and all(name in names or name.startswith(SOCKET) for name in found):
            with taken(folder / lock) as is_free:
                if is_free:
                    clear(folder, lock)
