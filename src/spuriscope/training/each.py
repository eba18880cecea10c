"""Many trainings, each on a data set of its own: what shadow models need, whose training sets differ.

On a CPU each gets a worker process with one thread, as in `train_many`, and a file with its images; on a GPU
one is trained after the other.
"""

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.training.cell import Cell
from spuriscope.training.loop import check_data, resolve_device, train_cell
from spuriscope.training.many import FailedCell, n_cores
from spuriscope.training.trained import TrainedModel
from spuriscope.training.workers import EpochDone, Failed, SharedData, Worker

__all__ = ["train_each"]


def train_each(
    pairs: Sequence[tuple[Cell, ImageSet]], *, device: str = "auto", n_workers: int | None = None
) -> Iterator[TrainedModel | FailedCell]:
    """Train the model of each cell on its own data set; yields each as it finishes, in no fixed order.

    Args:
        pairs: cells, each with the data it was made for.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        n_workers: processes; as many as cores by default. With 1, cells are trained in this process.

    Raises:
        CheckpointError: a cell was made for other data.
        ConfigError: the device is not there, or `n_workers` is below 1.
    """
    for cell, data in pairs:
        check_data(cell, data)
    n_workers = n_cores() if n_workers is None else n_workers
    if n_workers < 1:
        raise ConfigError(f"n_workers must be 1 or more, got {n_workers}")
    place = resolve_device(device)
    if place.type == "cuda" or min(n_workers, len(pairs)) <= 1:
        return _one_after_the_other(pairs, str(place))
    return _in_workers(pairs, n_workers)


def _one_after_the_other(
    pairs: Sequence[tuple[Cell, ImageSet]], device: str
) -> Iterator[TrainedModel | FailedCell]:
    for cell, data in pairs:
        try:
            yield train_cell(cell, data, device=device)
        except SpuriscopeError as error:
            yield FailedCell(cell, str(error))


def _in_workers(
    pairs: Sequence[tuple[Cell, ImageSet]], n_workers: int
) -> Iterator[TrainedModel | FailedCell]:
    queue, workers = deque(pairs), list[tuple[Worker, tempfile.TemporaryDirectory[str]]]()
    try:
        while queue or workers:
            while queue and len(workers) < n_workers:
                cell, data = queue.popleft()
                folder = tempfile.TemporaryDirectory(prefix="spuriscope-")
                try:
                    workers.append((Worker(SharedData.write(data, Path(folder.name)), cell), folder))
                except BaseException:
                    folder.cleanup()
                    raise
            ready = wait([worker.pipe for worker, _ in workers])
            for worker, folder in [pair for pair in workers if pair[0].pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    message = Failed(worker.death())
                if isinstance(message, EpochDone):
                    continue
                workers.remove((worker, folder))
                worker.end()
                folder.cleanup()
                if isinstance(message, Failed):
                    yield FailedCell(worker.cell, message.reason)
                else:
                    yield TrainedModel.from_bytes(message)
    finally:
        for worker, folder in workers:
            worker.end()
            folder.cleanup()
