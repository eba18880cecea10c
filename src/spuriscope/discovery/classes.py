"""What stands out of each class, searched class by class, in several processes where that pays.

The classes are searched independently, so the result does not depend on the number of processes.
"""

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import Split
from spuriscope.discovery.group import Group
from spuriscope.discovery.marks import Pool
from spuriscope.discovery.suspects import Suspect, suspected_marks
from spuriscope.discovery.trace import Trace
from spuriscope.errors import DiscoveryError
from spuriscope.processes import DeadProcessError, can_fork, in_processes

__all__ = ["OnClass", "OutOfClass", "search_classes"]

OnClass = Callable[[int, int], None]  # takes the classes searched, and all classes
Directions = Mapping[int, Sequence[NDArray[np.float32]]]

LEAST_IMAGES = 1000  # of all classes together; a search of fewer is over before processes have started
MOST_BYTES = 2 * 2**30  # approximate memory of all processes together
COPIES = 8  # memory of a class's search, in copies of its images in 32 bits


@dataclass(frozen=True, eq=False)
class OutOfClass:
    """What stands out of one class: groups of the trace, and marks."""

    groups: list[Group]
    marked: list[Suspect]


@dataclass(frozen=True, eq=False)
class _Classes:
    """The input of a search.

    Attributes:
        searched: the training images.
        fresh: the fresh images.
        trace: fitted on them.
        directions: suspected by the probe, by class.
        seed: draws images of other classes.
        transplants: of plugins, that look as well.
    """

    searched: Split
    fresh: Split
    trace: Trace
    directions: Directions
    seed: int
    transplants: Sequence[str]

    def of(self, target: int) -> OutOfClass:
        """What stands out of a class."""
        found = self.trace.of_class(self.searched, target).groups(self.directions.get(target, ()))
        pool = Pool.of(self.searched, self.fresh, target, seed=self.seed)
        return OutOfClass(found, suspected_marks(pool, self.transplants))

    def packed(self, target: int) -> bytes:
        """The result for a class as bytes, without the images of its pool."""
        found = self.of(target)
        pools = [suspect.place.pool for suspect in found.marked if suspect.place is not None][:1]
        kept = [(pool.is_fresh, pool.positions) for pool in pools]
        stream = io.BytesIO()
        _Pickler(stream).dump(kept)
        _Pickler(stream).dump(found)
        return stream.getvalue()

    def unpacked(self, target: int, packed: bytes) -> OutOfClass:
        """The result from `packed`; its pool has this process's images, and none of other classes."""
        stream = io.BytesIO(packed)
        kept = _Unpickler(stream, None).load()
        pool = Pool.at(self.searched, self.fresh, target, *kept[0]) if kept else None
        found: OutOfClass = _Unpickler(stream, pool).load()
        return found


def search_classes(
    searched: Split,
    fresh: Split,
    trace: Trace,
    directions: Directions,
    *,
    seed: int,
    transplants: Sequence[str] = (),
    on_class: OnClass | None = None,
) -> dict[int, OutOfClass]:
    """Search each class that is large enough; returns what stands out, by class.

    As many processes run as torch is set to use threads, as far as memory allows.

    Args:
        searched: the training images.
        fresh: the fresh images.
        trace: fitted on these.
        directions: suspected by the probe, by class.
        seed: draws images of other classes.
        transplants: of plugins, that look as well.
        on_class: called after each class.

    Raises:
        DiscoveryError: no class has 20 images; or a process died.
    """
    targets = trace.classes(searched)
    classes = _Classes(searched, fresh, trace, directions, seed, transplants)
    n_processes = _n_processes(searched, fresh, len(targets))
    found: dict[int, OutOfClass] = {}

    def done(target: int, of_class: OutOfClass) -> None:
        found[target] = of_class
        if on_class is not None:
            on_class(len(found), len(targets))

    if n_processes == 1:
        for target in targets:
            done(target, classes.of(target))
        return found
    try:
        for place, packed in in_processes(classes.packed, targets, n_processes):
            done(targets[place], classes.unpacked(targets[place], packed))
    except DeadProcessError as error:
        raise DiscoveryError(
            f"the search of a class ended early: {error}; if memory ran out, search with fewer processes: "
            "torch.set_num_threads(1), or OMP_NUM_THREADS=1 in the shell"
        ) from None
    return {target: found[target] for target in targets}


def _n_processes(searched: Split, fresh: Split, n_classes: int) -> int:
    if len(searched) < LEAST_IMAGES or not can_fork():
        return 1
    largest = int(searched.labels.bincount().max() + fresh.labels.bincount().max())
    of_class = COPIES * 4 * largest * searched.images[0].numel()
    return max(1, min(torch.get_num_threads(), n_classes, MOST_BYTES // of_class))


class _Pickler(pickle.Pickler):
    """Leaves out pools. Only this process and its children read its output."""

    def persistent_id(self, value: Any) -> str | None:
        return "pool" if isinstance(value, Pool) else None


class _Unpickler(pickle.Unpickler):
    """Puts a pool in place of those left out."""

    def __init__(self, stream: io.BytesIO, pool: Pool | None) -> None:
        super().__init__(stream)
        self.pool = pool

    def persistent_load(self, _: Any) -> Pool | None:
        return self.pool
