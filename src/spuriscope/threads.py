"""Many small computations at once, with as many threads as torch is set to use."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T], *, if_worth: bool = True) -> list[R]:
    """Results of `function` for each item, in order, whatever the number of threads.

    torch works without the interpreter's lock, so its operations run in parallel; each then uses one thread,
    and gives the same bits as alone.

    Args:
        function: must not depend on earlier calls.
        items: taken in order.
        if_worth: False where the operations are so small that threads would wait for the interpreter.
    """
    import torch

    n_threads = torch.get_num_threads()
    if n_threads == 1 or not if_worth:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(n_threads)  # the setting of one thread may be that of all
