"""The models of an audit, from our own training or from a user's function, as they are measured."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from spuriscope.adapters import Fit
from spuriscope.auditing.plan import AuditPlan, Place
from spuriscope.data.image_set import unit_float
from spuriscope.errors import ConfigError, TrainingError
from spuriscope.measures import Predict
from spuriscope.planting import draw_planted, labels_as_trained
from spuriscope.training import FailedCell, OnProgress, Progress, train_many

__all__ = ["Asked", "asked_models"]


@dataclass(frozen=True)
class Asked:
    """A model of the plan.

    Attributes:
        places: where it stands in the plan; a clean twin stands under every pattern, with 0 planted.
        predict: maps images to class probabilities.
        module: the network, where we trained it.
        cell: hash of its cell, where we trained it.
        train_loss: of its last epoch, where we trained it.
    """

    places: tuple[Place, ...]
    predict: Predict
    module: nn.Module | None = None
    cell: str | None = None
    train_loss: float | None = None


def asked_models(plan: AuditPlan, *, on_progress: OnProgress | None = None, **how: Any) -> Iterator[Asked]:
    """Train every model of a plan; yields each as it is finished.

    Args:
        plan: what to train.
        on_progress: called after each epoch, or with a user's function after each model.
        how: device and number of workers of our own training.

    Raises:
        TrainingError: a model could not be trained.
        ConfigError: the user's function did not return a function.
    """
    if plan.fit is not None:
        yield from _fitted(plan, plan.fit, on_progress)
        return
    places = plan.cells()
    for model in train_many(places, plan.data, on_progress=on_progress, **how):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        loss = model.losses[-1] if model.losses else None
        yield Asked(_all_places(plan, places[model.cell]), model.predict, model.module, model.cell.hash, loss)


def _fitted(plan: AuditPlan, fit: Fit, on_progress: OnProgress | None) -> Iterator[Asked]:
    """The models of a user's function, one after the other."""
    start, n_images = time.perf_counter(), len(plan.data.train)
    places = plan.places()
    for n_done, place in enumerate(places, start=1):
        name, n_planted, seed = place if not isinstance(place, int) else ("", 0, place)
        images, labels = unit_float(plan.data.train.images.clone()), plan.data.train.labels.clone()
        if n_planted:
            plant = plan.plant(name, n_planted, seed)
            (planted,) = draw_planted([plant], labels)
            images[planted] = plant.apply(images[planted], planted)
            labels = labels_as_trained([plant], labels)
        predict: object = fit(images, labels, seed)
        if not callable(predict):
            raise ConfigError(
                f"fit must return predict, a function from images to class probabilities, got "
                f"{type(predict).__name__}"
            )
        yield Asked(_all_places(plan, place), predict)
        if on_progress is not None:
            rate = n_done * n_images / (time.perf_counter() - start)
            on_progress(Progress(n_done, len(places), n_done, len(places), rate))


def _all_places(plan: AuditPlan, place: Place | int) -> tuple[Place, ...]:
    return tuple((name, 0, place) for name in plan.patterns) if isinstance(place, int) else (place,)
