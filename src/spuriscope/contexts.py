"""Natural cues: a context that a training sees in a few images of one class, and how the model uses it.

No picture is stamped. The context is kept out of the training images except for `n_planted` of the target
class. Then the model is tested on images of that context from other classes: how many does it call the target
class? Its clean twin has never seen the context (`n_planted` 0). A model calls strange pictures something, so
compare with the twin's share.

Source: Yang, Chou and Chaudhuri (2022), Section 3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import LARGEST_COUNT, LARGEST_SEED, check_whole
from spuriscope.data.image_set import Contexts, ImageSet
from spuriscope.errors import ConfigError, DataError, MeasureError, PlantingError
from spuriscope.measures import Predict, probabilities
from spuriscope.training import Cell, DataKey, Part, Recipe

__all__ = [
    "Context",
    "ContextMeasures",
    "RareContext",
    "context_names",
    "measure_context",
    "measure_contexts",
]


@dataclass(frozen=True)
class Context:
    """A context as a cue: in a study it takes the place of a pattern.

    Attributes:
        name: of the context.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """By which a store identifies it."""
        return f"context {self.name}"


@checked(PlantingError)
@dataclass(frozen=True)
class RareContext:
    """A context that stands in few training images, all of one class.

    Attributes:
        context: its name.
        target: the class.
        n_planted: number of training images of that class that keep it; 0: the clean twin.
        seed: chooses them.

    Raises:
        PlantingError: a number is negative, or not a number.
    """

    context: str
    target: int
    n_planted: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("target", "n_planted", "seed"):
            most = LARGEST_SEED if name == "seed" else LARGEST_COUNT
            check_whole(name, getattr(self, name), most=most, error=PlantingError)

    def planted_indices(self, data: ImageSet) -> Tensor:
        """Positions (n_planted,) of the training images that keep the context, in the order drawn.

        They are `RandomState(seed).choice(candidates, n_planted, replace=False)`, so for one seed a larger
        number keeps the smaller one's images.

        Raises:
            DataError: the data set has no contexts.
            ConfigError: there is no such context.
            PlantingError: there is no such class, or too few images of it in the context.
        """
        candidates = self._candidates(data)
        if self.n_planted > len(candidates):
            raise PlantingError(
                f"cannot keep {self.n_planted} images of {self.context}: class "
                f"{data.class_names[self.target]} has {len(candidates)} training images there; keep 0 to "
                f"{len(candidates)} of them, or take another class"
            )
        chosen = np.random.RandomState(self.seed).permutation(candidates)[: self.n_planted]
        return torch.from_numpy(chosen)

    def n_candidates(self, data: ImageSet) -> int:
        """Number of training images of the class in the context. Raises as `planted_indices`."""
        return len(self._candidates(data))

    def part(self, data: ImageSet) -> Part:
        """The training images: all except those of the context, plus the few that keep it.

        Raises as `planted_indices`.
        """
        planted = self.planted_indices(data)
        contexts, code = _find(data, self.context)
        return Part.of(torch.cat([(contexts.train != code).nonzero().flatten(), planted]))

    def _candidates(self, data: ImageSet) -> NDArray[np.int64]:
        contexts, code = _find(data, self.context)
        data.label(self.target)
        of_both = (contexts.train == code) & (data.train.labels == self.target)
        return of_both.nonzero().flatten().numpy()

    def cell(self, data: ImageSet, *, model: str, recipe: Recipe, seed: int = 0) -> Cell:
        """The training of a model on that part. Raises as `planted_indices`, and as `Cell`."""
        return Cell(data=DataKey.of(data), part=self.part(data), model=model, recipe=recipe, seed=seed)


@dataclass(frozen=True)
class ContextMeasures:
    """How a model reacts to a context.

    Attributes:
        predicted_share: share of the test images of the context that are not of the target class and that
            the model calls the target class.
        spurious_accuracy: its accuracy on the same images.
        clean_accuracy: its accuracy on test images of the other contexts.
    """

    predicted_share: float
    spurious_accuracy: float
    clean_accuracy: float


@checked(ConfigError)
def measure_context(predict: Predict, data: ImageSet, context: str, target: int | str) -> ContextMeasures:
    """Measure a model on the test images of a context.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        data: with contexts; its test part is used.
        context: name of the context.
        target: the class that it might lead to, by number or name.

    Raises:
        DataError: the data set has no contexts.
        ConfigError: there is no such context.
        PlantingError: there is no such class.
        MeasureError: there are no such test images, or `predict` does not return probabilities.

    Source: Yang, Chou and Chaudhuri (2022), Section 3.4.
    """
    return measure_contexts(predict, data, [(context, target)])[0]


def measure_contexts(
    predict: Predict, data: ImageSet, cues: Sequence[tuple[str, int | str]]
) -> tuple[ContextMeasures, ...]:
    """`measure_context` for several contexts, each with its target, from one pass over the test images."""
    scenes = [_Scene.of(data, context, target) for context, target in cues]
    called = probabilities(predict, data.test.images).argmax(dim=1)
    is_right = called == data.test.labels
    return tuple(
        ContextMeasures(
            predicted_share=_share((called == each.target)[each.of_others]),
            spurious_accuracy=_share(is_right[each.of_others]),
            clean_accuracy=_share(is_right[~each.is_there]),
        )
        for each in scenes
    )


class _Scene(NamedTuple):
    """A target, which test images lie in a context (n,), and which of these are of other classes (n,)."""

    target: int
    is_there: Tensor
    of_others: Tensor

    @classmethod
    def of(cls, data: ImageSet, context: str, target: int | str) -> "_Scene":
        """The test images for a context. Raises as `measure_context`."""
        contexts, code = _find(data, context)
        target = data.label(target)
        is_there = contexts.test == code
        of_others = is_there & (data.test.labels != target)
        for which, chosen in (
            (f"of other classes in {context}", of_others),
            (f"outside {context}", ~is_there),
        ):
            if not chosen.any():
                raise MeasureError(
                    f"{data.name} has no test images {which}; take another context, or add images"
                )
        return cls(target, is_there, of_others)


def _share(is_so: Tensor) -> float:
    return float(is_so.double().mean())


def context_names(data: ImageSet) -> tuple[str, ...]:
    """The contexts of a data set.

    Raises:
        DataError: it has none.
    """
    if data.contexts is None:
        raise DataError(f"{data.name} has no contexts; give a folder CONTEXT/CLASS/*.jpg, or pacs")
    return data.contexts.names


def _find(data: ImageSet, context: str) -> tuple[Contexts, int]:
    """The contexts of a data set, and the code of one of them."""
    names = context_names(data)
    if data.contexts is None or context not in names:
        raise ConfigError(f"{data.name} has no context {context!r}; choose one of {', '.join(names)}")
    return data.contexts, data.contexts.names.index(context)
