"""Where results go: places are checked before the work, written whole, and replaced by another if they fail.

A result is written beside its place under a hidden name, and gets its own name once it is complete and on the
disk. The writer holds a lock on the hidden file, so leftovers of a killed process can be recognised: the next
process that writes the same result deletes them, and nothing else.
"""

import ctypes
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import lock_descriptor

from spuriscope.errors import ConfigError

__all__ = [
    "bring_to_disk",
    "check_new",
    "check_new_file",
    "check_place",
    "clear",
    "delete_left",
    "hold",
    "kept_elsewhere",
    "move_into_place",
    "taken",
    "unfinished_folder",
    "written",
]

Value = TypeVar("Value")

LOCK, NEW, OLD = "lock", "new", "old"
LONGEST = 255  # bytes of a name, on every common file system
UNLOCKED_FOR = 3600.0  # seconds: a file without a lock that was not written to for so long has no writer
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux
_here = threading.Lock()  # held while something hidden is made but not yet locked


# --- before the work ------------------------------------------------------------------------------


def check_place(path: Path, option: str = "--out") -> None:
    """Refuse, before anything is computed, a path that cannot be written to.

    Args:
        path: of a file or a folder, which may exist already.
        option: the option that named it.

    Raises:
        ConfigError: its name is too long, it is a broken link, or its folder cannot be written to.
    """
    shown = str(path) if len(str(path)) < 100 else f"{str(path)[:97]}..."
    if any(len(os.fsencode(part)) > LONGEST for part in path.parts):
        raise ConfigError(f"{shown} has a name of more than {LONGEST} bytes; choose a shorter {option}")
    try:
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{shown} is a link to {os.readlink(path)}, which is not there; remove it")
        folder = path if path.is_dir() else _nearest(path.absolute().parent)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        where = shown if path.is_dir() else path.parent
        raise ConfigError(f"cannot write in {where} ({reason}); choose another {option}") from None


def check_new(folder: Path, option: str = "--out") -> None:
    """Raise ConfigError unless a folder is new or empty, and can be written.

    The current folder and the root of a disk are refused, because a complete folder takes their place.
    """
    check_place(folder, option)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not an empty folder; give a new one")
    is_disk = folder.is_dir() and folder.resolve().is_mount()
    if is_disk or (folder.is_dir() and folder.samefile(Path.cwd())):
        what = "a disk of its own" if is_disk else "the folder you are in"
        raise ConfigError(f"{folder} is {what}; name a new folder in it with {option}")


def check_new_file(path: Path, option: str = "--out") -> None:
    """Raise ConfigError unless a file can be written: its name is free, and its folder exists."""
    check_place(path, option)
    if path.exists():
        raise ConfigError(f"{path} exists; give a new name")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path.parent} is not a folder; make it, or give another place")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest existing one above it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


# --- after the work -------------------------------------------------------------------------------


def kept_elsewhere(write: Callable[[Path], Value], path: Path) -> Value:
    """Write a result; if its place fails by now, write it into a temporary folder, and say which.

    Args:
        write: writes the result to a path.
        path: the intended place.

    Raises:
        ConfigError: it could not be written there. The message says where it is kept, if that was possible.
    """
    try:
        return write(path)
    except OSError as error:
        told = f"cannot write {path} ({error.strerror or error})"
    except ConfigError as error:  # another process has written there, or it can no longer be written to
        told = str(error).partition(";")[0]
    safe = Path(tempfile.mkdtemp(prefix="spuriscope-kept-"))
    kept = safe / (path.absolute().name or "result")
    try:
        write(kept)
    except (OSError, ConfigError):
        shutil.rmtree(safe, ignore_errors=True)
        raise ConfigError(f"{told}, nor into {safe.parent}; make room, and repeat the command") from None
    raise ConfigError(f"{told}; the result is kept: move it from {kept}")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Write a file beside `path` in the block; at the end it replaces `path`.

    Raises:
        OSError: it cannot be written. Then nothing of it is left, and a former file stays.
    """
    hidden = _hidden(path)
    with _here:
        _delete_left_files(path)
        descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):  # a file system without locks
            lock_descriptor(descriptor, blocking=False)
    try:
        yield hidden
        bring_to_disk(hidden)
        hidden.replace(path)
        bring_to_disk(path.parent)
    finally:
        os.close(descriptor)
        hidden.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(path: Path, names: Collection[str]) -> Iterator[Path]:
    """Fill a new, empty folder beside `path` in the block; `move_into_place` gives it the name.

    Args:
        path: where the folder will be.
        names: of the files that may be in it; others are never deleted.

    Raises:
        OSError: it cannot be made.
    """
    hidden = _hidden(path)
    with _here:
        delete_left(path, names)
        hidden.mkdir(parents=True)
        lock = hold(hidden / LOCK)
    try:
        (hidden / NEW).mkdir()
        yield hidden / NEW
    finally:
        _restore(path, hidden)
        clear(hidden, LOCK)
        os.close(lock)


def move_into_place(new: Path, path: Path, check: Callable[[], object], *, replaces: bool = False) -> None:
    """Give the complete folder of `unfinished_folder` its name, one process at a time.

    It is exchanged at once with a former folder where the system can, so that the name is never free.

    Args:
        new: the folder.
        path: its name.
        check: raises if the place may not, or no longer, be taken.
        replaces: whether to replace a former folder that is not empty.

    Raises:
        OSError: the place is taken, or cannot be written to.
    """
    for file in new.iterdir():
        bring_to_disk(file)
    with _alone(path.parent):
        check()
        if replaces and path.is_dir() and any(path.iterdir()):
            if not _exchange(new, path):
                path.rename(new.with_name(OLD))
                new.rename(path)
        else:
            new.rename(path)  # which replaces an empty folder, but never a full one
        bring_to_disk(path.parent)


def bring_to_disk(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk, so that a power cut loses neither."""
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- what is hidden -------------------------------------------------------------------------------


def _hidden(path: Path) -> Path:
    """A free hidden name beside a path, which tells its purpose and its process."""
    return path.with_name(f".{_shortened(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:200])


def _left(path: Path) -> Iterator[Path]:
    """Hidden files for a path, by name, whose process has ended or is this one."""
    pattern = re.compile(rf"\.{re.escape(_shortened(path.name))}\.(\d+)(-[0-9a-f]+)?\.partial")
    with suppress(OSError):
        for each in sorted(path.absolute().parent.iterdir()):
            found = pattern.fullmatch(each.name)
            if found and (int(found[1]) == os.getpid() or not _is_alive(int(found[1]))):
                yield each


def _delete_left_files(path: Path) -> None:
    for file in _left(path):
        with suppress(OSError):
            if not file.is_file() or file.is_symlink():
                continue
            with taken(file) as is_free:
                if is_free:
                    file.unlink()


def delete_left(path: Path, names: Collection[str]) -> None:
    """Delete what killed processes left of `unfinished_folder`; restore a former folder they put away."""
    known = {LOCK, *names}
    for folder in _left(path):
        with suppress(OSError):
            files = {file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()}
            is_ours = all(file.name in known or file.name.endswith(".partial") for file in files)
            if not folder.is_dir() or folder.is_symlink() or not is_ours:
                continue
            if (folder / LOCK).is_file():
                with taken(folder / LOCK) as is_free:
                    if is_free:
                        _restore(path, folder)
                        clear(folder, LOCK)
            elif {file.name for file in files} <= {f"{LOCK}.partial"}:  # killed before it was locked
                shutil.rmtree(folder, ignore_errors=True)
            elif time.time() - max(each.stat().st_mtime for each in (folder, *files)) > UNLOCKED_FOR:
                shutil.rmtree(folder, ignore_errors=True)  # left by an older version


def clear(folder: Path, lock: str) -> None:
    """Delete a folder, its lock last, so that a half-deleted one can still be recognised."""
    for path in folder.iterdir():
        if path.name != lock and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != lock:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _restore(path: Path, hidden: Path) -> None:
    """Give a former folder its name back, if the process that replaced it was killed."""
    if (hidden / OLD).is_dir() and not path.exists():
        with suppress(OSError):
            (hidden / OLD).rename(path)


def hold(path: Path) -> int:
    """Make a file that is locked from the start, for as long as the returned descriptor is open."""
    unlocked = path.with_name(f"{path.name}.partial")
    descriptor = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    with suppress(OSError):  # a file system without locks
        lock_descriptor(descriptor, blocking=False)
    unlocked.rename(path)
    return descriptor


@contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Whether no other process holds a file; if so, it is held in the block.

    Raises:
        OSError: it does not exist, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield lock_descriptor(descriptor, blocking=False)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    """Whether a process with this number runs on this machine, as far as can be seen from here."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one of our processes at a time move a folder into `folder`, where the system has such locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            lock_descriptor(descriptor)
        yield
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return bool(rename(*names) == 0)
