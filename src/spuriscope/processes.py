"""Work for several processes: pieces of one computation, over data that all of them see.

Processes are forked, so they see their parent's data without a copy. That works on Linux; elsewhere, and in a
process that may have no children, there is one at a time.
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
    """Yield the result of `work` for each task, with the task's index, as it is done, in no fixed order.

    Each process has one thread. All of them are ended when this ends, for whatever reason.

    Args:
        work: must not change anything; returns its answer as bytes.
        tasks: given out in order.
        n_processes: number at one time.

    Raises:
        DeadProcessError: a process was killed.
        Exception: raised by `work`.
    """
    context: Any = multiprocessing.get_context("fork")
    left = iter(enumerate(tasks))
    processes = {}
    try:
        for place, task in _first(left, n_processes):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, mine, theirs), daemon=True)
            with shielded(), warnings.catch_warnings():  # Python 3.12 warns of threads, but ours wait
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
    """Keep Ctrl-C from processes started here, as long as they live; this process gets it afterwards.

    A new process inherits blocked signals, so Ctrl-C cannot arrive before the process ignores it.
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
    """What a process does: its tasks, until it or its parent is killed."""
    import torch
    from threadpoolctl import threadpool_limits

    of_parent.close()  # else this process would hold both ends of its pipe, and never notice the other's end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # without the messages of a command
    torch.set_num_threads(1)
    with threadpool_limits(limits=1), suppress(EOFError, OSError):  # the parent has gone
        while True:
            place, task = pipe.recv()
            try:
                answer = work(task)
            except Exception as error:  # whatever it is, the parent handles it
                pipe.send((place, error))
                return
            pipe.send((place, None))
            pipe.send_bytes(answer)
