"""Many trainings, each on a data set of its own: what shadow models need, whose training sets differ.

On a CPU each gets a worker process with one thread, as in `train_many`, and a file with its images; on a GPU
one is trained after the other.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.training.cell import Cell
from spuriscope.training.loop import check_data, resolve_device, train_cell
from spuriscope.training.many import FailedCell, OnProgress, Progress, n_cores
from spuriscope.training.trained import TrainedModel
from spuriscope.training.workers import EpochDone, Failed, Worker, shared_data

__all__ = ["train_each"]


def train_each(
    pairs: Sequence[tuple[Cell, ImageSet]],
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[TrainedModel | FailedCell]:
    """Train the model of each cell on its own data set; yields each as it finishes, in no fixed order.

    Args:
        pairs: cells, each with the data it was made for.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        n_workers: processes; as many as cores by default. With 1, cells are trained in this process.
        on_progress: called after each epoch of any model with a `Progress`.

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
    tell = _Teller(pairs, on_progress)
    if place.type == "cuda" or min(n_workers, len(pairs)) <= 1:
        return _one_after_the_other(pairs, str(place), tell)
    return _in_workers(pairs, n_workers, tell)


class _Teller:
    """Counts epochs and models, and tells whoever wants to know."""

    def __init__(self, pairs: Sequence[tuple[Cell, ImageSet]], on_progress: OnProgress | None) -> None:
        self.epochs = {cell: 0 for cell, _ in pairs}
        self.n_epochs = sum(cell.recipe.epochs for cell, _ in pairs)
        self.n_images = {cell: len(data.train) for cell, data in pairs}
        self.models_done = 0
        self.start = time.perf_counter()
        self.on_progress = on_progress

    def epoch(self, cell: Cell) -> None:
        self.epochs[cell] += 1
        self.tell()

    def model(self, cell: Cell) -> None:
        self.epochs[cell] = cell.recipe.epochs
        self.models_done += 1
        self.tell()

    def tell(self) -> None:
        if self.on_progress is not None:
            n_seen = sum(n * self.n_images[cell] for cell, n in self.epochs.items())
            seconds = max(time.perf_counter() - self.start, 1e-9)
            done = sum(self.epochs.values())
            self.on_progress(
                Progress(self.models_done, len(self.epochs), done, self.n_epochs, n_seen / seconds)
            )


def _one_after_the_other(
    pairs: Sequence[tuple[Cell, ImageSet]], device: str, tell: _Teller
) -> Iterator[TrainedModel | FailedCell]:
    for cell, data in pairs:
        result: TrainedModel | FailedCell
        try:
            result = train_cell(cell, data, device=device, on_epoch=lambda *_, cell=cell: tell.epoch(cell))
        except SpuriscopeError as error:
            result = FailedCell(cell, str(error))
        tell.model(cell)
        yield result


def _in_workers(
    pairs: Sequence[tuple[Cell, ImageSet]], n_workers: int, tell: _Teller
) -> Iterator[TrainedModel | FailedCell]:
    queue, workers = deque(pairs), list[tuple[Worker, ExitStack]]()
    try:
        while queue or workers:
            while queue and len(workers) < n_workers:
                cell, data = queue.popleft()
                with ExitStack() as held:
                    worker = Worker(held.enter_context(shared_data(data)), cell)
                    workers.append((worker, held.pop_all()))
            ready = wait([worker.pipe for worker, _ in workers])
            for worker, held in [pair for pair in workers if pair[0].pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    message = Failed(worker.death())
                if isinstance(message, EpochDone):
                    tell.epoch(worker.cell)
                    continue
                workers.remove((worker, held))
                worker.end()
                held.close()
                tell.model(worker.cell)
                if isinstance(message, Failed):
                    yield FailedCell(worker.cell, message.reason)
                else:
                    yield TrainedModel.from_bytes(message)
    finally:
        for worker, held in workers:
            worker.end()
            held.close()
