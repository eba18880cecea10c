"""How a piece of work is killed: in a forked process, after one of its writes or at a random time.

A child counts returns from the calls that write (`WRITES`: open, write, rename, an SQL statement), and sends
SIGKILL to itself after the chosen one. Kills at a random time, which the parent sends, also hit SQLite and
torch inside such a call.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["End", "Ended", "run_child"]

WRITES = frozenset(
    (
        *("open", "write", "writelines", "close", "flush", "truncate", "ftruncate", "fsync", "flock"),
        *("rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir"),
        *("execute", "executescript", "sendfile", "copy_file_range"),
    )
)
LONGEST = 300.0  # seconds of one piece of work


@dataclass(frozen=True)
class End:
    """When a child is killed; with neither attribute it is not.

    Attributes:
        after_write: number of the write, from 1.
        after_seconds: time since its start.
    """

    after_write: int | None = None
    after_seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        is_killed: whether it was killed.
        after: the call after which it was killed; "any time" if the parent did it; else "".
        writes: the calls that wrote, in order, of a child that finished.
        error: the exception it ended with, or "".
        seconds: duration.
    """

    is_killed: bool
    after: str
    writes: tuple[str, ...]
    error: str
    seconds: float


def run_child(work: Callable[[], object], end: End) -> Ended:
    """Do a piece of work in a process of its own, and kill that process."""
    reading, writing = os.pipe()
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        _be_child(work, end, writing)
    os.close(writing)
    if end.after_seconds is not None:
        time.sleep(end.after_seconds)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - start
    said: dict[str, Any] = json.loads(told) if told else {}
    is_killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    after = said.get("after", "any time") if is_killed else ""
    return Ended(is_killed, after, tuple(said.get("writes", ())), said.get("error", ""), seconds)


def _be_child(work: Callable[[], object], end: End, writing: int) -> None:
    writes: list[str] = []

    def count(_: FrameType, event: str, function: Any) -> None:
        if event != "c_return" or function.__name__ not in WRITES:
            return
        writes.append(function.__name__)
        if len(writes) == end.after_write:
            os.write(writing, json.dumps({"after": function.__name__}).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    signal.alarm(int(LONGEST))
    error = ""
    sys.setprofile(count)
    try:
        work()
    except BaseException as reason:
        sys.setprofile(None)
        error = f"{type(reason).__name__}: {reason}"
        if not type(reason).__module__.startswith("spuriscope"):
            error += "\n" + traceback.format_exc()
    sys.setprofile(None)
    os.write(writing, json.dumps({"writes": writes, "error": error}).encode())
    os._exit(0)
