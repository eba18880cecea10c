"""What is asked of a model where it was trained: nobody waits then for one process that measures them all.

An `Ask` travels to the process that trains, on this machine or another, and its answers come back with the
model. It holds plain values and arrays, for it is sent as cells are.
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
    """Something to find out about a model; of a class that can be imported where models are trained."""

    def __call__(self, model: TrainedModel, data: ImageSet) -> T_co:
        """The answers: plain values, for they are sent back."""
        ...


@dataclass(frozen=True, eq=False)
class Asked(Generic[T]):
    """A trained model, and its answers.

    Attributes:
        model: on the CPU.
        answers: what `Ask` returned.
    """

    model: TrainedModel
    answers: T


def answers_of(model: TrainedModel, ask: Ask[T], data: ImageSet) -> T:
    """What a model answers.

    Raises:
        TrainingError: it cannot be asked; the message says why.
    """
    try:
        return ask(model, data)
    except SpuriscopeError as error:
        raise TrainingError(f"it was trained, but could not be measured: {error}") from None
