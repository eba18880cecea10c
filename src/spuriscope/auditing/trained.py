"""The models of an audit, ready to be measured, and their places in the plan."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from spuriscope.auditing.plan import AuditPlan, PlantedPlace
from spuriscope.measures import Predict
from spuriscope.training import TrainedModel, Trains, train_each

__all__ = ["PlannedModel", "asked_models"]


@dataclass(frozen=True)
class PlannedModel:
    """A model of the plan.

    Attributes:
        places: its places in the plan; a clean twin stands under every pattern, with 0 planted.
        predict: maps images to class probabilities.
        module: the network, where we trained it.
        cell: hash of its cell, where we trained it.
        train_loss: of its last epoch, where we trained it.
    """

    places: tuple[PlantedPlace, ...]
    predict: Predict
    module: nn.Module | None = None
    cell: str | None = None
    train_loss: float | None = None


def asked_models(
    plan: AuditPlan, trainer: Trains[Any], known: Collection[PlantedPlace] = ()
) -> Iterator[PlannedModel]:
    """Train every model of a plan that is not known yet; yields each as it is finished.

    Raises:
        TrainingError: a model could not be trained.
    """
    places = {cell: place for cell, place in plan.cells().items() if not _is_known(plan, place, known)}
    for model in train_each(places, plan.data, trainer):
        here = _all_places(plan, places[model.cell])
        if isinstance(model, TrainedModel):
            loss = model.losses[-1] if model.losses else None
            yield PlannedModel(here, model.predict, model.module, model.cell.hash, loss)
        else:
            yield PlannedModel(here, model.predict)


def _is_known(plan: AuditPlan, place: PlantedPlace | int, known: Collection[PlantedPlace]) -> bool:
    return all(each in known for each in _all_places(plan, place))


def _all_places(plan: AuditPlan, place: PlantedPlace | int) -> tuple[PlantedPlace, ...]:
    return tuple((name, 0, place) for name in plan.patterns) if isinstance(place, int) else (place,)
