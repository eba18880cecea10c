"""Work for several processes side by side: pieces of one computation, over data that all of them see.

Processes are forked, so they see what their parent has without a copy of it. That is for Linux; elsewhere,
and in a process that may have no children, there is one at a time.
"""

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

__all__ = ["DeadProcessError", "can_fork", "in_processes", "shielded"]

Task = TypeVar("Task")


class DeadProcessError(RuntimeError):
    """A process ended before its work was done."""


def can_fork() -> bool:
    """Whether processes can be forked here."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def in_processes(
    work: Callable[[Task], bytes], tasks: Sequence[Task], n_processes: int
) -> Iterator[tuple[int, bytes]]:
    """What `work` makes of each task, with its place among them, as each is done, in no fixed order.

    Each process is on one thread. All are gone when this ends, whatever ends it.

    Args:
        work: must not change anything; its answer is the bytes it returns.
        tasks: are given out in order.
        n_processes: so many at one time.

    Raises:
        DeadProcessError: one was killed.
        Exception: what `work` raises.
    """
    context: Any = multiprocessing.get_context("fork")
    left = iter(enumerate(tasks))
    processes = {}
    try:
        for place, task in _first(left, n_processes):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, mine, theirs), daemon=True)
            with shielded(), warnings.catch_warnings():  # of Python 3.12: threads are not forked; they wait
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
                processes[mine] = process
            theirs.close()
            mine.send((place, task))
        busy = set(processes)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                try:
                    place, error = pipe.recv()
                    answer = b"" if error is not None else pipe.recv_bytes()
                except (EOFError, OSError):
                    processes[pipe].join(5)
                    raise DeadProcessError(f"a process ended ({processes[pipe].exitcode})") from None
                if error is not None:
                    raise error
                following = next(left, None)
                if following is None:
                    busy.discard(pipe)
                else:
                    pipe.send(following)
                yield place, answer
    finally:
        for pipe, process in processes.items():
            pipe.close()
            process.kill()
            process.join()


@contextmanager
def shielded() -> Iterator[None]:
    """Keep Ctrl-C from processes that start here, for as long as they live; this one gets it afterwards.

    What starts inherits the signals that are blocked, so Ctrl-C cannot come before it would be ignored.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _first(left: Iterator[tuple[int, Task]], n: int) -> Iterator[tuple[int, Task]]:
    for _ in range(n):
        following = next(left, None)
        if following is None:
            return
        yield following


def _serve(work: Callable[[Task], bytes], of_parent: Connection, pipe: Connection) -> None:
    """What a process does: its tasks, until it is killed, or its parent is."""
    import torch
    from threadpoolctl import threadpool_limits

    of_parent.close()  # or this process would hold the other end of its own pipe, and never hear of an end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not with the lines of a command
    torch.set_num_threads(1)
    with threadpool_limits(limits=1), suppress(EOFError, OSError):  # the parent has gone
        while True:
            place, task = pipe.recv()
            try:
                answer = work(task)
            except Exception as error:  # whatever it is, it is the parent's to hear
                pipe.send((place, error))
                return
            pipe.send((place, None))
            pipe.send_bytes(answer)
