"""A user's own training in place of ours: a function `fit(images, labels, seed) -> predict`.

The function gets what a cell describes: the images of its part, stamped, and their labels. Model and recipe
are up to the function.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spuriscope.adapters import Fit
from spuriscope.data.image_set import ImageSet, unit_float
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import ConfigError, ModelError, SpuriscopeError, TrainingError
from spuriscope.measures import Predict, probabilities
from spuriscope.planting import draw_planted, labels_as_trained
from spuriscope.training.cell import Cell
from spuriscope.training.many import FailedCell, OnProgress, Progress

__all__ = ["FitTrainer", "FittedModel"]

N_REMEMBERED = 8  # test images that show whether a model changes when another is fitted
LEAST_PROBABILITY = 1e-12  # so that its logarithm is finite


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What a user's function made of a cell.

    Attributes:
        cell: what was trained on; its model and recipe are not used.
        answer: maps images to class probabilities.
        n_seconds: duration of the training.
    """

    cell: Cell
    answer: Predict
    n_seconds: float

    def predict(self, images: Images) -> Tensor:
        """Probabilities (n, n_classes) of the classes.

        Raises:
            MeasureError: the function does not return probabilities.
        """
        asked = as_asked(images, shape=self.cell.data.shape, error=ModelError)
        return probabilities(self.answer, asked)

    def logits(self, images: Images) -> Tensor:
        """Logarithms of the probabilities: softmax turns them back."""
        return self.predict(images).double().clamp(min=LEAST_PROBABILITY).log()


@dataclass(frozen=True, eq=False)
class FitTrainer:
    """Trains with a user's function, one cell after the other in this process.

    Attributes:
        fit: the function.
        on_progress: called after each training.
    """

    fit: Fit
    on_progress: OnProgress | None = None

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[FittedModel | FailedCell]:
        """See `Trains.run`.

        Raises:
            ConfigError: the function did not return a function, or calling it again changes earlier models.
            MeasureError: the returned function does not return probabilities.
            TrainingError: the function failed.
        """
        told, start, n_images = on_progress or self.on_progress, time.perf_counter(), 0
        remembered = data.test.images[:N_REMEMBERED]
        before: tuple[FittedModel, Tensor] | None = None
        for number, cell in enumerate(cells, start=1):
            model = self._fitted(cell, data, number, len(cells))
            said = model.predict(remembered)
            if before is not None and not torch.allclose(before[0].predict(remembered), before[1], atol=1e-5):
                raise ConfigError(
                    "a model of fit gives other answers once fit is called again: the next call changes it; "
                    "make a new model in each call of fit"
                )
            before = (model, said)
            n_images += cell.n_images(data)
            yield model
            if told is not None:
                rate = n_images / max(time.perf_counter() - start, 1e-9)
                told(Progress(number, len(cells), number, len(cells), rate))

    def _fitted(self, cell: Cell, data: ImageSet, number: int, n: int) -> FittedModel:
        images, labels = _as_trained(cell, data)
        start = time.perf_counter()
        try:
            predict: object = self.fit(images, labels, cell.seed)
        except SpuriscopeError:
            raise
        except Exception as error:  # whatever a user's code raises
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainingError(
                f"fit failed in call {number} of {n} (seed {cell.seed}, {len(labels):,} images): {what}"
            ) from error
        if not callable(predict):
            raise ConfigError(
                f"fit must return predict, a function from images to class probabilities, got "
                f"{type(predict).__name__}"
            )
        return FittedModel(cell, predict, time.perf_counter() - start)


def _as_trained(cell: Cell, data: ImageSet) -> tuple[Tensor, Tensor]:
    """Images (n, channels, height, width) in [0, 1] and labels (n,) of a cell, as a training sees them."""
    images, labels = unit_float(data.train.images.clone()), data.train.labels.clone()
    for plant, drawn in zip(cell.plants, draw_planted(cell.plants, labels), strict=True):
        images[drawn] = plant.apply(images[drawn], drawn)
    labels = labels_as_trained(cell.plants, labels)
    if cell.part is None:
        return images, labels
    return images[cell.part.positions], labels[cell.part.positions]
