"""Where decoded photographs are kept, so that they are decoded only once.

The folder is `decoded` in the user's cache, or the one that the environment variable SPURISCOPE_CACHE
names. An entry is a prepared folder (see `prepared`), named by a hash of its files' names, sizes and times
and of how they are read. It appears only once complete; where several processes want one, the first makes
it. A damaged entry is made again. If the folder cannot be written to, images are decoded into a temporary
file. `spuriscope data cache --clear`, or deleting the folder, empties it.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from spuriscope.data.image_set import ImageSet
from spuriscope.data.prepared import is_prepared, load_prepared
from spuriscope.errors import DataError
from spuriscope.scratch import scratch_folder

__all__ = ["CacheState", "cache_folder", "cache_state", "cached", "clear_cache"]

FORMAT = 1  # part of the hash, so that entries decoded by older rules are not used
_OURS = re.compile(r"\.?[0-9a-f]{40}(\.lock|\.[0-9]+(-[0-9a-f]+)?\.partial)?")


@dataclass(frozen=True)
class CacheState:
    """What the cache holds.

    Attributes:
        folder: where it is.
        n_entries: number of decoded data sets.
        n_bytes: their size.
    """

    folder: Path
    n_entries: int
    n_bytes: int


def cache_folder() -> Path:
    """The folder of decoded photographs; it need not exist."""
    import pooch

    named = os.environ.get("SPURISCOPE_CACHE")
    return Path(os.path.expanduser(named)) if named else Path(pooch.os_cache("spuriscope")) / "decoded"


def cached(key: Iterable[object], make: Callable[[Path], object], name: str) -> ImageSet:
    """Take a data set from the cache, or make it if it is not there.

    Args:
        key: what the data set depends on; hashed by its printed form.
        make: makes a prepared folder.
        name: of the data set.

    Raises:
        DataError: raised by `make`.
    """
    from filelock import FileLock
    from PIL import __version__ as pillow

    digest = hashlib.sha256(repr((FORMAT, pillow)).encode())
    for part in key:
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
    entry = cache_folder() / digest.hexdigest()[:40]
    if (found := _found(entry, name)) is not None:
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{entry}.lock")
        lock.acquire()
    except (OSError, NotImplementedError):  # a folder that is not writable, or has no locks
        with scratch_folder("data", ("prepared",)) as folder:
            make(folder / "prepared")
            return load_prepared(folder / "prepared", name=name)
    try:
        if (found := _found(entry, name)) is not None:
            return found
        for left in (
            entry,
            *entry.parent.glob(f".{entry.name}.*.partial"),
        ):  # damaged, or left by a killed process
            shutil.rmtree(left, ignore_errors=True)
        make(entry)
        return load_prepared(entry, name=name)
    finally:
        lock.release()


def _found(entry: Path, name: str) -> ImageSet | None:
    if not is_prepared(entry):
        return None
    try:
        return load_prepared(entry, name=name, untouched=True)
    except DataError:
        return None


def cache_state() -> CacheState:
    """Where the cache is, and what it holds."""
    folder = cache_folder()
    entries = [entry for entry in _ours(folder) if entry.is_dir()]
    n_bytes = sum(file.stat().st_size for entry in entries for file in entry.rglob("*") if file.is_file())
    return CacheState(folder, len(entries), n_bytes)


def clear_cache() -> CacheState:
    """Delete the entries of the cache, and nothing else in its folder; returns its former state."""
    state = cache_state()
    for entry in _ours(state.folder):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return state


def _ours(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)] if folder.is_dir() else []
