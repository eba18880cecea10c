"""Many trainings at once. On CPUs: one model per process, one thread each, one shared copy of the data.

`train_many` gives each cell to a worker process and yields its model as it finishes. A worker does what
`train_cell` does, so a result does not depend on other cells, on their order or on the number of workers.
A model that diverges, or a worker that is killed, costs only its own cell. On a GPU models are stacked into
bundles (see `bundle`), as large as pays on that card. `train_and_ask` also asks each model something in the
process that trained it.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any, NamedTuple, TypeVar

import torch

from spuriscope.argument_types import checked
from spuriscope.data.image_set import ImageSet
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.models import ARCHITECTURES
from spuriscope.registry import told_failure
from spuriscope.training.asked import Ask, Asked, answers_of
from spuriscope.training.bundle import best_size, bundle_cells, train_bundle
from spuriscope.training.cell import Cell
from spuriscope.training.loop import check_data, resolve_device, train_cell
from spuriscope.training.trained import TrainedModel
from spuriscope.training.workers import Done, EpochDone, Failed, Worker, shared_data

__all__ = ["FailedCell", "OnProgress", "Progress", "models_of", "train_and_ask", "train_many"]

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far the trainings are; epochs of a failed model count as done.

    Attributes:
        models_done: models finished or failed.
        n_models: all models.
        epochs_done: epochs trained, over all models.
        n_epochs: all epochs.
        images_per_second: training images per second since the start, over all models.
    """

    models_done: int
    n_models: int
    epochs_done: int
    n_epochs: int
    images_per_second: float


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class FailedCell:
    """A cell without a model, or whose model could not be asked, and why.

    Attributes:
        cell: what was to be trained.
        reason: one line: what happened, and what to do.
    """

    cell: Cell
    reason: str


@checked(ConfigError)
def train_many(
    cells: Iterable[Cell],
    data: ImageSet,
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[TrainedModel | FailedCell]:
    """Train the models of many cells; yields each as it finishes, in no fixed order.

    Leaving the loop early ends all workers. Scripts need no `if __name__ == "__main__"`.

    Args:
        cells: what to train; all made for `data`.
        data: the one data set they share.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        n_workers: number of processes; one per core by default. With 1, cells are trained in this process.
        on_progress: called with a `Progress` after each epoch of any model.

    Yields:
        A `TrainedModel` on the CPU for each cell, or a `FailedCell` that says why there is none.

    Raises:
        CheckpointError: a cell was made for other data.
        ConfigError: the device is not there, `n_workers` is below 1, or a part reaches beyond the data.
        ModelError: several workers would train an architecture registered in a script or a notebook.
    """
    nothing: dict[Cell, Ask[None]] = {}
    return models_of(
        train_and_ask(cells, data, nothing, device=device, n_workers=n_workers, on_progress=on_progress)
    )


def train_and_ask(
    cells: Iterable[Cell],
    data: ImageSet,
    asks: Mapping[Cell, Ask[T]],
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Asked[T] | FailedCell]:
    """As `train_many`, and ask each model something in the process that trained it.

    Args:
        asks: what to ask the model of each cell; a cell that is not in it gets None for answers.

    Yields:
        A model with its answers for each cell, or a `FailedCell`, also where the model could not be asked.
    """
    queue = deque(_Job(cell, asks.get(cell) if isinstance(cell, Cell) else None) for cell in cells)
    for cell, _ in queue:
        if not isinstance(cell, Cell):
            raise ConfigError(f"train_many trains cells, got {type(cell).__name__}; ss.Cell(...) makes one")
        check_data(cell, data)
    if n_workers is None:
        n_workers = n_cores()
    if n_workers < 1:
        raise ConfigError(f"n_workers must be 1 or more, got {n_workers}")
    place = resolve_device(device)
    count = _Count([job.cell for job in queue], data, on_progress)
    if place.type == "cuda":
        return _train_in_bundles(queue, data, place, count)
    if min(n_workers, len(queue)) <= 1:
        return _train_here(queue, data, count)
    for model in {cell.model for cell, _ in queue}:
        ARCHITECTURES.plugin(model)  # refuse what workers cannot import before any of them starts
    return _train_in_workers(queue, data, min(n_workers, len(queue)), count)


class _Job(NamedTuple):
    """A cell to train, and the question to its model."""

    cell: Cell
    ask: Ask[Any] | None


def models_of(results: Iterator[Asked[Any] | FailedCell]) -> Iterator[TrainedModel | FailedCell]:
    """The models without their answers; closing this generator also closes `results`."""
    with closing(results):  # type: ignore[type-var]
        for result in results:
            yield result.model if isinstance(result, Asked) else result


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Count:
    """Counts finished epochs and models, and reports them."""

    def __init__(self, cells: Collection[Cell], data: ImageSet, on_progress: OnProgress | None) -> None:
        self.models_done, self.n_models = 0, len(cells)
        self.epochs_done, self.n_epochs = 0, sum(cell.recipe.epochs for cell in cells)
        self.data = data
        self.images_seen = 0
        self.start = time.perf_counter()
        self.on_progress = on_progress

    def epoch(self, cell: Cell, n_models: int = 1) -> None:
        """Count one more epoch of `n_models` models that train like this cell."""
        self.epochs_done += n_models
        self.images_seen += n_models * cell.n_images(self.data)
        self.tell()

    def model(self, epochs_missed: int = 0) -> None:
        """Count a model that finished, or that failed with `epochs_missed` epochs still to go."""
        self.models_done += 1
        self.epochs_done += epochs_missed
        self.tell()

    def tell(self) -> None:
        if self.on_progress is not None:
            rate = self.images_seen / max(time.perf_counter() - self.start, 1e-9)
            self.on_progress(Progress(self.models_done, self.n_models, self.epochs_done, self.n_epochs, rate))


def _train_here(
    jobs: Iterable[_Job], data: ImageSet, count: _Count, device: str = "cpu"
) -> Iterator[Asked[Any] | FailedCell]:
    for cell, ask in jobs:
        before = count.epochs_done
        result: Asked[Any] | FailedCell
        try:
            model = train_cell(cell, data, device=device, on_epoch=lambda *_, cell=cell: count.epoch(cell))
            result = _asked(model, ask, data)
        except SpuriscopeError as error:
            result = FailedCell(cell, str(error))
        except Exception as error:
            if not cell.model_source:
                raise
            result = FailedCell(cell, told_failure(error))  # as a worker reports it
        count.model(epochs_missed=before + cell.recipe.epochs - count.epochs_done)
        yield result


def _asked(model: TrainedModel, ask: Ask[T] | None, data: ImageSet) -> "Asked[T | None]":
    return Asked(model, None if ask is None else answers_of(model, ask, data))


def _asked_or_failed(
    cell: Cell, result: TrainedModel | SpuriscopeError, ask: Ask[T] | None, data: ImageSet
) -> "Asked[T | None] | FailedCell":
    if not isinstance(result, TrainedModel):
        return FailedCell(cell, str(result))
    try:
        return _asked(result, ask, data)
    except SpuriscopeError as error:
        return FailedCell(cell, str(error))


def _train_in_bundles(
    jobs: Collection[_Job], data: ImageSet, device: torch.device, count: _Count
) -> Iterator[Asked[Any] | FailedCell]:
    asks = dict(jobs)
    for group in bundle_cells(job.cell for job in jobs):
        # a plugin's network may not be stackable, so it is trained alone
        trains_alone = group[0].recipe.trains_alone or group[0].model_source
        size = 1 if trains_alone else best_size(group, data, device)
        if size == 1:
            yield from _train_here([_Job(cell, asks[cell]) for cell in group], data, count, str(device))
            continue
        for begin in range(0, len(group), size):
            bundle = group[begin : begin + size]
            before = count.epochs_done
            results = train_bundle(bundle, data, device, on_epoch=partial(count.epoch, bundle[0]))
            missed = before + sum(cell.recipe.epochs for cell in bundle) - count.epochs_done
            for cell, result in zip(bundle, results, strict=True):
                count.model(epochs_missed=missed)
                missed = 0
                yield _asked_or_failed(cell, result, asks[cell], data)


def _train_in_workers(
    queue: deque[_Job], data: ImageSet, n_workers: int, count: _Count
) -> Iterator[Asked[Any] | FailedCell]:
    workers: list[Worker] = []
    with shared_data(data, with_test=any(job.ask is not None for job in queue)) as shared:
        try:
            while queue or workers:
                while queue and len(workers) < n_workers:
                    workers.append(Worker(shared, *queue.popleft()))
                ready = wait([worker.pipe for worker in workers])
                for worker in [worker for worker in workers if worker.pipe in ready]:
                    try:
                        message = worker.pipe.recv()
                    except (EOFError, ConnectionResetError):
                        message = Failed(worker.death())
                    if isinstance(message, EpochDone):
                        worker.epochs += 1
                        count.epoch(worker.cell)
                        continue
                    cell, epochs_missed = worker.cell, worker.cell.recipe.epochs - worker.epochs
                    if queue and not isinstance(message, Failed):
                        worker.give(*queue.popleft())
                    else:
                        workers.remove(worker)
                        worker.end()
                    count.model(epochs_missed)
                    if isinstance(message, Done):
                        yield Asked(TrainedModel.from_bytes(message.checkpoint), message.answers)
                    else:
                        yield FailedCell(cell, message.reason)
        finally:
            for worker in workers:
                worker.end()
