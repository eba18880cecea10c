"""Worker processes, to which `train_many` gives cells on a CPU.

A worker runs on one thread and reads the data set from a file that all workers map, so there is one copy.
Workers fork from a server that has already imported torch, so each starts in milliseconds, and they never
import the user's script. Messages between parent and worker never hold what a stranger wrote. A worker may be
asked something about each model that it has trained, see `asked`; then it maps the test images as well.
"""

import multiprocessing
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.data.image_set import Contexts, ImageSet, Split
from spuriscope.errors import TrainingError
from spuriscope.processes import shielded
from spuriscope.registry import told_failure
from spuriscope.scratch import mark_server_folder, scratch_folder
from spuriscope.training.asked import Ask, answers_of
from spuriscope.training.cell import Cell, pack, unpack
from spuriscope.training.kept_memory import keep_memory
from spuriscope.training.loop import train_cell

__all__ = ["Done", "EpochDone", "Failed", "SharedData", "Worker", "shared_data"]

FILES = ("images", "labels", "contexts")


@dataclass(frozen=True)
class EpochDone:
    """A worker has finished one more epoch."""


@dataclass(frozen=True)
class Failed:
    """A worker could not train its cell, or ask its model."""

    reason: str


@dataclass(frozen=True)
class Done:
    """A worker has trained its cell.

    Attributes:
        checkpoint: the model, as `TrainedModel.to_bytes` gives it.
        answers: its answers to the question of the job; None if there was none.
    """

    checkpoint: bytes
    answers: Any


@dataclass(frozen=True)
class SharedData:
    """A data set in a file that every worker maps into its memory, so that there is one copy."""

    name: str
    class_names: tuple[str, ...]
    fingerprint: str
    content_fingerprint: str
    folder: Path
    shape: tuple[int, ...]
    n_train: int
    n_test: int
    context_names: tuple[str, ...] | None

    @classmethod
    def write(cls, data: ImageSet, folder: Path, *, with_test: bool = False) -> "SharedData":
        """Write the training part of a data set into `folder`, and with `with_test` its test part.

        Raises:
            TrainingError: there is no room for it.
        """
        parts = (data.train, data.test) if with_test else (data.train,)
        contexts = data.contexts if with_test else None
        file = data.images_file
        try:
            if file is not None and file.is_file():
                (folder / "images").symlink_to(file.resolve())
            else:
                _write(folder / "images", [part.images for part in parts])
            _write(folder / "labels", [part.labels for part in parts])
            if contexts is not None:
                _write(folder / "contexts", [contexts.train, contexts.test])
        except OSError as error:
            n_megabytes = sum(part.images.numel() for part in parts) // 10**6 + 1
            raise TrainingError(
                f"cannot write {n_megabytes} MB for the workers into {folder.parent} ({error}); "
                "make room, or name another folder in TMPDIR"
            ) from None
        return cls(
            data.name,
            data.class_names,
            data.fingerprint,
            data.content_fingerprint,
            folder,
            data.shape,
            len(data.train),
            len(data.test) if with_test else 0,
            None if contexts is None else contexts.names,
        )

    def map(self) -> ImageSet:
        """The data set as a worker sees it. Without the test part, which trainings do not need, it has one
        test image.
        """
        n, size = self.n_train + self.n_test, int(np.prod(self.shape))
        images = torch.from_file(str(self.folder / "images"), size=n * size, dtype=torch.uint8)
        images = images.view(n, *self.shape)
        labels = torch.from_file(str(self.folder / "labels"), size=n, dtype=torch.int64)
        train = Split(images[: self.n_train], labels[: self.n_train])
        test = Split(images[self.n_train :], labels[self.n_train :])
        contexts = None
        if self.context_names is not None:
            codes = torch.from_file(str(self.folder / "contexts"), size=n, dtype=torch.int64)
            contexts = Contexts(self.context_names, codes[: self.n_train], codes[self.n_train :])
        seen = test if self.n_test else Split(images[:1], labels[:1])
        data = ImageSet(self.name, train, seen, self.class_names, contexts)
        return data.known_by(self.content_fingerprint, self.fingerprint)  # of the whole set, computed once


def _write(path: Path, parts: Sequence[Tensor]) -> None:
    """Write the values of tensors one after the other."""
    with path.open("wb") as file:
        for part in parts:
            part.contiguous().numpy().tofile(file)


@contextmanager
def shared_data(data: ImageSet, *, with_test: bool = False) -> Iterator[SharedData]:
    """Keep the training part of a data set in a file of its own until the block ends.

    With `with_test` the file holds the test part as well, for questions to the models.
    """
    with scratch_folder("workers", FILES) as folder:
        yield SharedData.write(data, folder, with_test=with_test)


class Worker:
    """A worker process as its parent sees it: its current cell, and the pipe to it."""

    def __init__(self, shared: SharedData, cell: Cell, ask: Ask[Any] | None = None) -> None:
        context: Any = _context()
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, shared), daemon=True)
        try:
            with _hidden_main_module(), _server_shielded():
                self.process.start()
            theirs.close()
            self.give(cell, ask)
        except BaseException:  # Ctrl-C, no longer held back: nothing else would end this process
            self.end()
            raise

    def give(self, cell: Cell, ask: Ask[Any] | None = None) -> None:
        """Send the worker the next cell to train, and what to ask its model."""
        self.cell = cell
        self.epochs = 0
        with suppress(OSError):  # it died meanwhile; the next look at its pipe reports that
            self.pipe.send((pack(cell), ask))

    def death(self) -> str:
        """Why the process has ended."""
        self.process.join(5)
        code = self.process.exitcode
        if code is None or code >= 0:
            return (
                f"its worker process ended by itself, with code {code}; train it with one worker to see why"
            )
        how = f"its worker process was killed by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:  # which the kernel sends where memory runs out
            return f"{how}; if memory ran out, use fewer workers, then train the cell again"
        return f"{how}, a fault in a library or in the architecture; train the cell with one worker to see it"

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        self.pipe.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


def _work(pipe: Connection, shared: SharedData) -> None:
    """What a worker does until the pipe closes: train the cells it is given, and ask their models."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    torch.set_num_threads(1)
    keep_memory()
    try:
        data = shared.map()
    except RuntimeError:
        if shared.folder.is_dir():
            raise
        return  # the parent is gone, and its data with it
    try:
        while True:
            parcel, ask = pipe.recv()
            try:
                model = train_cell(
                    unpack(parcel), data, device="cpu", on_epoch=lambda *_: pipe.send(EpochDone())
                )
                answers = None if ask is None else answers_of(model, ask, data)
                pipe.send(Done(model.to_bytes(), answers))
            except ConnectionError:  # the pipe broke
                raise
            except Exception as error:  # whatever a plugin raises; its message reaches the user
                pipe.send(Failed(told_failure(error)))
    except (EOFError, OSError):
        pass  # the parent has closed the pipe, or is gone


def _context() -> multiprocessing.context.BaseContext:
    """How to start workers: forked from a server that has imported torch, or anew where there is none."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return context
    return multiprocessing.get_context("spawn")


@contextmanager
def _server_shielded() -> Iterator[None]:
    """Keep Ctrl-C from the server, which would print a trace while it imports torch, and from its workers."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        mark_server_folder()
        resource_tracker.ensure_running()  # else it would unblock the blocked signal here
    with shielded():
        yield


@contextmanager
def _hidden_main_module() -> Iterator[None]:
    """Keep new processes from importing the user's script, which may call `train_many` at its top."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
