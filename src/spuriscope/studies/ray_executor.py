"""Cells on a Ray cluster: many machines, one driver.

Cells are sent in bundles, one bundle to a task with one CPU and one thread. The data set lies in Ray's object
store, once on each node, and tasks read it there without a copy. Each model is returned as soon as it is
trained, as the bytes of a checkpoint, with its measures, which the task takes. Every node needs this version
of spuriscope; nothing else is shared.

Ray itself would repeat a whole bundle when a node is lost. Here finished models are kept, and the rest is
sent again, each cell alone, so that a cell that kills its worker costs no other.
"""

import os
import signal
import socket
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch

from spuriscope.checks import check_number
from spuriscope.data.image_set import Contexts, ImageSet, Split
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.models import ARCHITECTURES
from spuriscope.training import Cell, FailedCell, OnProgress, Progress, TrainedModel
from spuriscope.training.asked import Ask, Asked
from spuriscope.training.cell import Parcel, pack, unpack
from spuriscope.training.kept_memory import keep_memory
from spuriscope.training.loop import check_data
from spuriscope.training.many import models_of, train_and_ask

__all__ = ["RayExecutor"]

T = TypeVar("T")

# Keep Ray from asking about and sending usage statistics, and from hiding GPUs from CPU tasks.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass
class RayExecutor:
    """A Ray cluster. Use it for one study at a time; `close` releases the cluster.

    A cell trains to the same bits as `train_cell` on a machine of the same kind.

    Attributes:
        address: of a running cluster, "host:6379" or "auto"; None starts Ray on this machine alone (or takes
            the cluster that the environment variable RAY_ADDRESS names). If the program is already connected
            to Ray, that connection is used, and kept.
        cells_per_task: most cells in a bundle; fewer when there are few cells for each CPU.
        n_gpus_per_task: share of a GPU per task, such as 0.25; by default a whole one if the cluster has
            GPUs, and 0 elsewhere. On a GPU a bundle is trained as stacked models, so large bundles pay.
        max_retries: how often a cell is sent again when its worker or node is lost.
    """

    address: str | None = None
    cells_per_task: int = 16
    n_gpus_per_task: float | None = None
    max_retries: int = 3
    _running: "dict[Any, dict[int, Cell]]" = field(default_factory=dict, init=False, repr=False)
    _is_ours: bool = field(default=False, init=False, repr=False)  # whether we made the connection

    def __post_init__(self) -> None:
        if self.cells_per_task < 1:
            raise ConfigError(f"cells_per_task must be 1 or more, got {self.cells_per_task}")
        if self.n_gpus_per_task is not None:
            check_number("n_gpus_per_task", self.n_gpus_per_task, least=0)
        if self.max_retries < 0:
            raise ConfigError(f"max_retries must be 0 or more, got {self.max_retries}")
        _ray()  # if it is missing, say so before a store is made

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """Train the cells; yields each as it is finished, in no fixed order.

        Leaving the loop early, for example with Ctrl-C, cancels running tasks. A model that diverges becomes
        a `FailedCell` at once; a cell whose worker or node is lost does after `max_retries` more tries.

        Args:
            cells: what to train; all made for `data`.
            data: the one data set they share.
            on_progress: called after each finished cell.

        Raises:
            CheckpointError: a cell was made for other data.
            ConfigError: Ray is not installed, the cluster does not answer, or its nodes lack spuriscope.
            ModelError: an architecture was registered in a script or a notebook.
        """
        return models_of(self.run_and_ask(cells, data, {}, on_progress))

    def run_and_ask(
        self,
        cells: Sequence[Cell],
        data: ImageSet,
        asks: Mapping[Cell, Ask[T]],
        on_progress: OnProgress | None = None,
    ) -> Iterator[Asked[T] | FailedCell]:
        """As `run`, and ask each model something in the task that trained it.

        Args:
            asks: what to ask the model of each cell; a cell that is not in it gets None for answers.
        """
        cells = list(cells)
        for cell in cells:
            check_data(cell, data)
            ARCHITECTURES.plugin(cell.model)  # refuse what no node can import
        ray = self._connect()
        n_gpus = self._gpus(ray)
        tell = _Count(cells, data, on_progress)
        return self._train(ray, cells, data, asks, n_gpus=n_gpus, tell=tell)

    def close(self) -> None:
        """Cancel running tasks, and release the cluster."""
        if self._running:
            self._cancel(_ray())
        if self._is_ours:
            _ray().shutdown()
            self._is_ours = False

    def _connect(self) -> Any:
        ray = _ray()
        if ray.is_initialized():
            return ray
        try:
            _knock(self.address)
            with _own_sigterm():
                ray.init(
                    self.address or os.environ.get("RAY_ADDRESS") or "local",  # None might be another user's
                    log_to_driver=False,
                    logging_level="ERROR",
                    include_dashboard=None if self.address else False,
                )
        except (OSError, RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"there is no Ray cluster at {self.address or 'this machine'} ({reason}); "
                "start one with `ray start --head`, or give another --address"
            ) from None
        self._is_ours = True
        return ray

    def _gpus(self, ray: Any) -> float:
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        if self.n_gpus_per_task is None:
            return 1.0 if has_gpus else 0.0
        if self.n_gpus_per_task and not has_gpus:
            raise ConfigError(
                f"n_gpus_per_task is {self.n_gpus_per_task}, but the cluster has no GPU; leave it out"
            )
        return self.n_gpus_per_task

    def _train(
        self,
        ray: Any,
        cells: Sequence[Cell],
        data: ImageSet,
        asks: Mapping[Cell, Ask[T]],
        *,
        n_gpus: float,
        tell: "_Count",
    ) -> Iterator[Asked[T] | FailedCell]:
        task = ray.remote(num_cpus=1, num_gpus=n_gpus, max_retries=0, num_returns="streaming")(_train_bundle)
        shipped = ray.put(_Shipped.of(data, with_test=bool(asks)))
        device = "cuda" if n_gpus else "cpu"
        queue, n_lost = deque(cells), Counter[Cell]()
        try:
            while queue or self._running:
                n_slots = _slots(ray, n_gpus)
                while queue and len(self._running) < 2 * n_slots:  # per slot one at work and one waiting
                    few = max(1, min(self.cells_per_task, len(queue) // (2 * n_slots)))
                    bundle = [queue.popleft() for _ in range(1 if n_lost[queue[0]] else few)]
                    jobs = [(pack(cell), asks.get(cell)) for cell in bundle]
                    stream = task.remote(shipped, jobs, device)
                    self._running[stream] = dict(enumerate(bundle))
                (stream,), _ = ray.wait(list(self._running), num_returns=1, fetch_local=False)
                for result in self._received(ray, stream, queue, n_lost):
                    tell(result)
                    yield result
        finally:
            self._cancel(ray)

    def _received(
        self, ray: Any, stream: Any, queue: deque[Cell], n_lost: Counter[Cell]
    ) -> Iterator[Asked[Any] | FailedCell]:
        """Receive from a task: its next model, that it has ended, or that it was lost."""
        due = self._running[stream]
        try:
            position, content, answers = ray.get(next(stream))
        except StopIteration:
            del self._running[stream]
        except ray.exceptions.RayTaskError as error:
            raise ConfigError(
                f"a Ray task could not run ({str(error).splitlines()[-1].strip()}); "
                "is this version of spuriscope installed on every node?"
            ) from error
        except ray.exceptions.RayError as error:
            del self._running[stream]
            for cell in reversed(due.values()):
                n_lost[cell] += 1
                if n_lost[cell] <= self.max_retries:
                    queue.appendleft(cell)
                else:
                    yield FailedCell(cell, _loss(error, n_lost[cell]))
        else:
            cell = due.pop(position)
            if isinstance(content, bytes):
                yield Asked(TrainedModel.from_bytes(content), answers)
            else:
                yield FailedCell(cell, content)

    def _cancel(self, ray: Any) -> None:
        for stream in self._running:
            ray.cancel(stream, force=True)
        self._running.clear()


class _Count:
    """Counts finished epochs and models, and reports them; a failed model's epochs count as done."""

    def __init__(self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None) -> None:
        self.n_models, self.n_epochs = len(cells), sum(cell.recipe.epochs for cell in cells)
        self.models_done = self.epochs_done = self.images_seen = 0
        self.data = data
        self.start = perf_counter()
        self.on_progress = on_progress

    def __call__(self, result: Asked[Any] | FailedCell) -> None:
        cell = result.cell if isinstance(result, FailedCell) else result.model.cell
        self.models_done += 1
        self.epochs_done += cell.recipe.epochs
        if isinstance(result, Asked):
            self.images_seen += cell.recipe.epochs * cell.n_images(self.data)
        if self.on_progress is not None:
            rate = self.images_seen / max(perf_counter() - self.start, 1e-9)
            self.on_progress(Progress(self.models_done, self.n_models, self.epochs_done, self.n_epochs, rate))


@dataclass(frozen=True)
class _Shipped:
    """A data set as arrays, shared by all tasks of a node.

    Without the test part, which trainings do not need, it has one test image and no contexts.
    """

    name: str
    parts: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # images and labels of each
    contexts: tuple[tuple[str, ...], np.ndarray, np.ndarray] | None
    class_names: tuple[str, ...]
    fingerprint: str
    content_fingerprint: str

    @classmethod
    def of(cls, data: ImageSet, *, with_test: bool = False) -> "_Shipped":
        train = _arrays(data.train)
        test = _arrays(data.test) if with_test else (train[0][:1], train[1][:1])
        contexts = None
        if with_test and data.contexts is not None:
            found = data.contexts
            contexts = (found.names, found.train.contiguous().numpy(), found.test.contiguous().numpy())
        key = data.fingerprint, data.content_fingerprint
        return cls(data.name, (train, test), contexts, data.class_names, *key)

    def unpacked(self) -> ImageSet:
        """The data set as a task sees it."""
        with warnings.catch_warnings():  # the arrays are read-only, which suits a data set
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            train, test = (
                Split(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in self.parts
            )
            contexts = None
            if self.contexts is not None:
                names, of_train, of_test = self.contexts
                contexts = Contexts(names, torch.from_numpy(of_train), torch.from_numpy(of_test))
        data = ImageSet(self.name, train, test, self.class_names, contexts)
        return data.known_by(self.content_fingerprint, self.fingerprint)  # of the whole set, computed once


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore the former SIGTERM handler: Ray's own ends the program with 15."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # the signal has come
        signal.signal(signal.SIGTERM, before)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.images.contiguous().numpy(), split.labels.contiguous().numpy()


def _knock(address: str | None) -> None:
    """Raise OSError or ValueError if nobody answers: Ray itself would try for ten minutes."""
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host:
        raise ValueError("an address is host:port, such as 10.0.0.1:6379, or auto")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _train_bundle(
    shipped: _Shipped, jobs: Sequence[tuple[Parcel, Ask[T] | None]], device: str
) -> Iterator[tuple[int, bytes | str, T | None]]:
    """What a task does: yield for each cell, once done, its position, its checkpoint or the reason why there
    is none, and its model's answers.
    """
    torch.set_num_threads(1)
    keep_memory()
    positions: dict[Cell, list[int]] = {}
    asks: dict[Cell, Ask[T]] = {}
    for position, (parcel, ask) in enumerate(jobs):
        try:
            cell = unpack(parcel)
        except SpuriscopeError as error:  # its plugin is missing on this node, or has another source
            yield position, f"on node {socket.gethostname()}: {error}", None
            continue
        positions.setdefault(cell, []).append(position)
        if ask is not None:
            asks[cell] = ask
    cells = [cell for cell, places in positions.items() for _ in places]
    for result in train_and_ask(cells, shipped.unpacked(), asks, device=device, n_workers=1):
        if isinstance(result, Asked):
            yield positions[result.model.cell].pop(), result.model.to_bytes(), result.answers
        else:
            yield positions[result.cell].pop(), result.reason, None


def _slots(ray: Any, n_gpus: float) -> int:
    """Number of tasks that the cluster can run now: nodes come and go."""
    resources = ray.cluster_resources()
    n_slots = resources.get("CPU", 0)
    return max(1, int(min(n_slots, resources.get("GPU", 0) / n_gpus) if n_gpus else n_slots))


def _loss(error: Exception, n_tries: int) -> str:
    return (
        f"its Ray worker or node was lost {n_tries} times ({type(error).__name__}); "
        "if memory ran out, give each task more, then train the cell again"
    )


def _ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "Ray is not installed; pip install 'spuriscope[ray]', or choose the executor local"
        ) from None
    return ray
