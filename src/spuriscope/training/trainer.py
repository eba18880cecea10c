"""Who trains: device, workers and progress, passed on as one value.

`Trainer` trains on this machine. Any object with its `run` may replace it, such as the Ray executor of
studies or a user's own training.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from spuriscope.data.image_set import ImageSet
from spuriscope.data.pixels import Images
from spuriscope.errors import TrainingError
from spuriscope.training.asked import Ask, Asked
from spuriscope.training.cell import Cell
from spuriscope.training.many import FailedCell, OnProgress, train_and_ask, train_many
from spuriscope.training.trained import TrainedModel

__all__ = ["AnyModel", "Trainer", "Trains", "train_all", "train_each"]


class AnyModel(Protocol):
    """A model that answers, and the cell it came from: ours, or the product of a user's training."""

    @property
    def cell(self) -> Cell:
        """What was trained on what."""
        ...

    @property
    def n_seconds(self) -> float:
        """Duration of the training."""
        ...

    def predict(self, images: Images) -> Tensor:
        """Probabilities (n, n_classes)."""
        ...

    def logits(self, images: Images) -> Tensor:
        """The input of the softmax that gives those probabilities, (n, n_classes)."""
        ...


Model = TypeVar("Model", bound=AnyModel)
Answers = TypeVar("Answers")
AModel_co = TypeVar("AModel_co", bound=AnyModel, covariant=True)


class Trains(Protocol[AModel_co]):
    """What trains cells."""

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[AModel_co | FailedCell]:
        """Train the cells; yields each model as it is finished, in no fixed order."""
        ...


@dataclass(frozen=True)
class Trainer:
    """This machine: `train_many`.

    Attributes:
        device: "auto", "cpu" or "cuda".
        n_workers: processes on the CPU; one per core by default.
        on_progress: called after each epoch of any model.
    """

    device: str = "auto"
    n_workers: int | None = None
    on_progress: OnProgress | None = None

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Trains.run`; `on_progress` replaces the trainer's own."""
        told = on_progress or self.on_progress
        return train_many(cells, data, device=self.device, n_workers=self.n_workers, on_progress=told)

    def run_and_ask(
        self,
        cells: Sequence[Cell],
        data: ImageSet,
        asks: Mapping[Cell, Ask[Answers]],
        on_progress: OnProgress | None = None,
    ) -> Iterator[Asked[Answers] | FailedCell]:
        """As `run`, and ask each model something in the process that trained it."""
        told = on_progress or self.on_progress
        return train_and_ask(
            cells, data, asks, device=self.device, n_workers=self.n_workers, on_progress=told
        )

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def train_each(cells: Iterable[Cell], data: ImageSet, trainer: Trains[Model]) -> Iterator[Model]:
    """Train cells that are all needed; yields each model as it is finished, in no fixed order.

    Equal cells are trained once.

    Raises:
        TrainingError: a cell has no model; the message says why.
    """
    for model in trainer.run(list(dict.fromkeys(cells)), data):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        yield model


def train_all(cells: Iterable[Cell], data: ImageSet, trainer: Trains[Model]) -> dict[Cell, Model]:
    """Train cells that are all needed; returns their models by cell.

    Raises:
        TrainingError: a cell has no model; the message says why.
    """
    return {model.cell: model for model in train_each(cells, data, trainer)}
