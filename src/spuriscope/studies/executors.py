"""Where the cells of a study are trained: on this machine, or on a cluster.

An executor has two methods. It trains; it never writes into the store, which the process that drives the
study does alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from spuriscope.data.image_set import ImageSet
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, train_many

__all__ = ["Executor", "LocalExecutor"]


class Executor(Protocol):
    """What trains the cells of a study."""

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """Train the cells; yields each as it is finished, in no fixed order."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """This machine: `train_many`.

    Attributes:
        device: "auto", "cpu" or "cuda".
        n_workers: processes on the CPU; as many as cores by default.
    """

    device: str = "auto"
    n_workers: int | None = None

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Executor.run`."""
        return train_many(cells, data, device=self.device, n_workers=self.n_workers, on_progress=on_progress)

    def close(self) -> None:
        """Nothing to let go of."""
