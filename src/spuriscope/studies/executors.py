"""Where the cells of a study are trained and measured: on this machine, or on a cluster.

An executor trains, and asks each model in the process that trained it. It never writes into the store: only
the process that drives the study does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import SpuriscopeError
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, Trains
from spuriscope.training.asked import Ask, Asked, answers_of

__all__ = ["AsksThere", "Executor", "run_and_ask"]

T = TypeVar("T")


class Executor(Trains[TrainedModel], Protocol):
    """Trains the cells of a study: a `Trainer`, a cluster, or one of your own."""

    def close(self) -> None:
        """Release what it holds."""
        ...


@runtime_checkable
class AsksThere(Protocol):
    """An executor that can ask each model where it was trained."""

    def run_and_ask(
        self,
        cells: Sequence[Cell],
        data: ImageSet,
        asks: Mapping[Cell, Ask[T]],
        on_progress: OnProgress | None = None,
    ) -> Iterator[Asked[T] | FailedCell]:
        """Train the cells and ask their models; yields each as it is finished, in no fixed order."""
        ...


def run_and_ask(
    executor: Executor,
    cells: Sequence[Cell],
    data: ImageSet,
    asks: Mapping[Cell, Ask[T]],
    on_progress: OnProgress | None = None,
) -> Iterator[Asked[T] | FailedCell]:
    """Train cells and ask each model: where it was trained, or here if the executor can only train.

    Args:
        asks: what to ask the model of each cell.

    Yields:
        A model with its answers for each cell, or a `FailedCell`, also where a model could not be asked.
    """
    if isinstance(executor, AsksThere):
        yield from executor.run_and_ask(cells, data, asks, on_progress)
        return
    for result in executor.run(cells, data, on_progress):
        if isinstance(result, FailedCell):
            yield result
            continue
        try:
            asked = Asked(result, answers_of(result, asks[result.cell], data))
        except SpuriscopeError as error:
            yield FailedCell(result.cell, str(error))
        else:
            yield asked
