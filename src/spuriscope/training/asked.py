"""Questions to a model, answered in the process that trained it, so that no single process measures all.

An `Ask` travels to the process that trains, on this machine or another, and its answers come back with the
model. It holds plain values and arrays, because it is sent between processes as cells are.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import SpuriscopeError, TrainingError
from spuriscope.training.trained import TrainedModel

__all__ = ["Ask", "Asked", "answers_of"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Ask(Protocol[T_co]):
    """Something to find out about a model. Its class must be importable where models are trained."""

    def __call__(self, model: TrainedModel, data: ImageSet) -> T_co:
        """The answers, as plain values, because they are sent back."""
        ...


@dataclass(frozen=True, eq=False)
class Asked(Generic[T]):
    """A trained model and its answers.

    Attributes:
        model: on the CPU.
        answers: what `Ask` returned.
    """

    model: TrainedModel
    answers: T


def answers_of(model: TrainedModel, ask: Ask[T], data: ImageSet) -> T:
    """Put `ask` to a model.

    Raises:
        TrainingError: it cannot be measured; the message says why.
    """
    try:
        return ask(model, data)
    except SpuriscopeError as error:
        raise TrainingError(f"it was trained, but could not be measured: {error}") from None
