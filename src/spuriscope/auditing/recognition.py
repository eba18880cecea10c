"""Who can be recognised in a finished model, where shadow models may be trained beside it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spuriscope
from spuriscope.adapters import Fit
from spuriscope.answers import RecognisedImage, Recognition
from spuriscope.auditing.estimate import told_trainings
from spuriscope.auditing.kept import Kept, key_of, source_of
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.measures import Predict
from spuriscope.membership.one_model import AttackOnModel
from spuriscope.membership.shadows import (
    ShadowPool,
    attack_model,
    check_n_shadows,
    confidences,
    draw_shadow_pool,
    shadow_cells,
)
from spuriscope.models import default_model
from spuriscope.planting import draw_planted
from spuriscope.report.pictures import data_uri, reduced
from spuriscope.searching import data_seen
from spuriscope.training import (
    AnyModel,
    Cell,
    DataKey,
    OnProgress,
    Recipe,
    TrainedModel,
    Trainer,
    Trains,
    train_each,
)
from spuriscope.training.fitted import FittedModel, FitTrainer

__all__ = ["Shadowing", "plan_shadows"]

ROWS = "shadows"  # name of the kept answers
N_SHOWN = 12  # images
SIDE = 64  # most pixels per side of a picture in the document
FALSE_ALARMS = 0.01


@dataclass(frozen=True, eq=False)
class Shadowing:
    """The shadow models of a finished model, settled before any training.

    Attributes:
        model: the finished model.
        seen: the data as it saw them.
        pool: the images in question.
        fit: trains the shadow models; None where the model is ours, which knows its recipe.
    """

    model: AnyModel
    seen: ImageSet
    pool: ShadowPool
    fit: Fit | None

    def cells(self) -> list[Cell]:
        """The trainings of the shadow models."""
        return shadow_cells(self.pool, self.model.cell)

    def kept(self, folder: str | Path | None) -> Kept:
        """The kept answers of shadow models that were trained before; a folder of None keeps nothing."""
        key = key_of((spuriscope.__version__, self.cells()[0].hash, source_of(self.fit)))
        return Kept.at(None if folder is None else Path(folder), key)

    def n_left(self, kept: Kept) -> int:
        """Number of shadow models still to train."""
        return len(self._left(_known(kept)))

    def told(self, kept: Kept, duration: Callable[[float], str], n_workers: int | None = None) -> str:
        """How long the remaining trainings will take, in words; `duration` puts seconds into words."""
        return told_trainings(
            self.n_left(kept),
            self.cells()[0],
            self.pool.data,
            fit=self.fit,
            duration=duration,
            n_workers=n_workers,
        )

    def _left(self, known: Collection[str]) -> list[Cell]:
        return [cell for cell in self.cells() if cell.hash not in known]

    def recognition(
        self, kept: Kept, *, device: str, n_workers: int | None, on_progress: OnProgress
    ) -> Recognition:
        """Train the shadow models, and attack the finished one.

        Raises:
            ConfigError, MeasureError, TrainingError: `fit` failed, or a model could not be trained.
        """
        trainer: Trains[Any] = (
            Trainer(device, n_workers, on_progress) if self.fit is None else FitTrainer(self.fit, on_progress)
        )
        known, cells = _known(kept), self.cells()
        try:
            for shadow in train_each(self._left(known), self.pool.data, trainer):
                known[shadow.cell.hash] = confidences(shadow, self.pool)
                kept.add(ROWS, _Asked(cell=shadow.cell.hash, confidences=known[shadow.cell.hash].tolist()))
        except SpuriscopeError as error:
            if kept.is_empty:
                raise
            raise type(error)(f"{error}; trained models are kept: call it again to continue") from None
        own, others = confidences(self.model, self.pool), torch.stack([known[cell.hash] for cell in cells])
        found = attack_model(own, others, self.pool)
        strongest = _strongest(found.attacks)
        members, outsiders = found.scores[strongest].tensor_split([self.pool.n_members])
        return Recognition(
            attacks=found.attacks,
            strongest=strongest,
            images=_images(self.seen.train, members, outsiders),
            n_shadows=len(cells),
            n_train=len(self.pool.data.train) // 2,
            n_members=self.pool.n_members,
            n_outsiders=len(self.pool.outsiders),
            n_copies=self.pool.n_copies,
        )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A shadow model's answers on each image of the pool, by the hash of its cell."""

    cell: str
    confidences: list[float]


def _known(kept: Kept) -> dict[str, Tensor]:
    return {each.cell: torch.tensor(each.confidences).double() for each in kept.rows(ROWS, _Asked)}


def plan_shadows(
    model: TrainedModel | Predict, data: ImageSet, n_shadows: int, fit: Fit | None = None
) -> Shadowing:
    """Settle the shadow models of a finished model, and refuse beforehand what cannot be trained.

    Args:
        model: one of ours, or a function from images to class probabilities.
        data: what it was trained on; its test images are fresh.
        n_shadows: an even number.
        fit: trains as the model was trained, if that is a function.

    Raises:
        CheckpointError: a model of ours was trained on other data.
        ConfigError: there is no `fit` for a function, or one for a model of ours, or a model of ours was
            trained on a part of the data.
        MembershipError: the number is odd or out of range, or there are too few images.
    """
    check_n_shadows(n_shadows)
    if isinstance(model, TrainedModel):
        if fit is not None:
            raise ConfigError("a run already says how its model was trained; leave out fit")
        seen = data_seen(model, data)
        drawn = draw_planted(model.cell.plants, data.train.labels)
        is_stamped = torch.isin(torch.arange(len(data.train)), torch.cat([torch.empty(0).long(), *drawn]))
        return Shadowing(model, seen, draw_shadow_pool(seen, n_shadows, is_stamped=is_stamped), None)
    if fit is None:
        raise ConfigError(
            "shadow models are trained as the model was, which only a run records: give your training, "
            "--fit module:function (from Python fit=), or leave out shadows"
        )
    cell = Cell(data=DataKey.of(data), model=default_model(data.shape), recipe=Recipe())
    return Shadowing(FittedModel(cell, model, 0.0), data, draw_shadow_pool(data, n_shadows), fit)


def _strongest(attacks: Sequence[AttackOnModel]) -> str:
    """The attack that recognises most at 1 % false alarms; of equals, the one with the largest AUC."""

    def found(attack: AttackOnModel) -> tuple[float, float]:
        rate = next(each.rate for each in attack.recognised if each.false_alarms == FALSE_ALARMS)
        return rate.value or 0.0, attack.auc

    return max(attacks, key=found).name


def _images(seen: Split, members: Tensor, outsiders: Tensor) -> tuple[RecognisedImage, ...]:
    """The members with the highest scores (n,), compared with the scores of outsiders (m,)."""
    best = members.sort(descending=True, stable=True).indices[:N_SHOWN].tolist()
    return tuple(
        RecognisedImage(
            position=row,
            name=seen.called(row),
            label=int(seen.labels[row]),
            picture=reduced(data_uri(seen.images[row]), "", SIDE, SIDE).uri,
            chance=(1 + int((outsiders >= members[row]).sum())) / (1 + len(outsiders)),
        )
        for row in best
    )
