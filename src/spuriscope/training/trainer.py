"""Who trains: device, workers and progress, handed on as one value.

`Trainer` trains on this machine. Whatever else has its `run`, such as the Ray executor of studies or a user's
own training, may stand in its place.
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
    """A model that answers, and the cell it came from: ours, or what a user's training made."""

    @property
    def cell(self) -> Cell:
        """What was trained on what."""
        ...

    @property
    def n_seconds(self) -> float:
        """How long the training took."""
        ...

    def predict(self, images: Images) -> Tensor:
        """Probabilities (n, n_classes)."""
        ...

    def logits(self, images: Images) -> Tensor:
        """What the softmax makes those probabilities of, (n, n_classes)."""
        ...


Model = TypeVar("Model", bound=AnyModel)
Answers = TypeVar("Answers")
AModel_co = TypeVar("AModel_co", bound=AnyModel, covariant=True)


class Trains(Protocol[AModel_co]):
    """What trains cells."""

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[AModel_co | FailedCell]:
        """Train the cells; yields each as it is finished, in no fixed order."""
        ...


@dataclass(frozen=True)
class Trainer:
    """This machine: `train_many`.

    Attributes:
        device: "auto", "cpu" or "cuda".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model.
    """

    device: str = "auto"
    n_workers: int | None = None
    on_progress: OnProgress | None = None

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Trains.run`; `on_progress` goes before the trainer's own."""
        told = on_progress or self.on_progress
        return train_many(cells, data, device=self.device, n_workers=self.n_workers, on_progress=told)

    def run_and_ask(
        self,
        cells: Sequence[Cell],
        data: ImageSet,
        asks: Mapping[Cell, Ask[Answers]],
        on_progress: OnProgress | None = None,
    ) -> Iterator[Asked[Answers] | FailedCell]:
        """As `run`; each model is asked something by the process that trained it."""
        told = on_progress or self.on_progress
        return train_and_ask(
            cells, data, asks, device=self.device, n_workers=self.n_workers, on_progress=told
        )

    def close(self) -> None:
        """Nothing to let go of."""


def train_each(cells: Iterable[Cell], data: ImageSet, trainer: Trains[Model]) -> Iterator[Model]:
    """Train cells that are all needed; yields each as it is finished, in no fixed order.

    Equal cells are trained once.

    Raises:
        TrainingError: one has no model; the message says why.
    """
    for model in trainer.run(list(dict.fromkeys(cells)), data):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        yield model


def train_all(cells: Iterable[Cell], data: ImageSet, trainer: Trains[Model]) -> dict[Cell, Model]:
    """The models of cells that are all needed, by cell.

    Raises:
        TrainingError: one has no model; the message says why.
    """
    return {model.cell: model for model in train_each(cells, data, trainer)}
