"""How a command is stopped: by Ctrl-C, by SIGTERM, or because nobody reads its output. One quiet line each.

On the way it releases what it holds: workers end, temporary folders and half-written files are removed. A
second signal ends it at once.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "Terminated", "quiet_until_ready", "stoppable"]

INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141  # as a shell reports SIGINT, SIGTERM and SIGPIPE


class Terminated(BaseException):
    """SIGTERM has come; not an Exception, so that users' code cannot catch it."""


@contextmanager
def quiet_until_ready() -> Iterator[None]:
    """End without a trace if Ctrl-C comes while the commands are imported."""
    if not _is_main() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # as under `nohup`, which ignores the signal
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stoppable() -> Iterator[None]:
    """On Ctrl-C and SIGTERM, end what runs inside with one line and the usual exit code."""
    if not _is_main():
        yield
        return
    come: list[int] = []  # survives if the exception is replaced on its way, as when a class is created

    def stop(number: int, _: FrameType | None) -> None:
        come.append(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)  # a second signal ends it at once
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if former[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    if former[signal.SIGTERM] is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException as error:
        if come or isinstance(error, KeyboardInterrupt):
            is_terminated = signal.SIGTERM in come
            print(f"spuriscope: {'terminated' if is_terminated else 'interrupted'}", file=sys.stderr)
            sys.exit(TERMINATED if is_terminated else INTERRUPTED)
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
