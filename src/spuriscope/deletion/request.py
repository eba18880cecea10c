"""What is to be forgotten: training images of a model, checked, and as the model saw them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import DeletionError
from spuriscope.models import build_model
from spuriscope.planting import labels_as_trained
from spuriscope.training import AnyModel, Part, Recipe, TrainedModel
from spuriscope.training.batches import Batches
from spuriscope.training.loop import check_data

__all__ = [
    "Request",
    "ToForget",
    "check_class_is_left",
    "check_whole_data",
    "checked_positions",
    "copy_of_module",
    "images_as_trained",
]


class ToForget(Protocol):
    """Training images to forget, of a model of ours or of a user's module."""

    @property
    def data(self) -> ImageSet:
        """What the model was trained on."""
        ...

    @property
    def gone(self) -> Part:
        """The images to forget."""
        ...

    @property
    def kept(self) -> Part:
        """All others that it was trained on."""
        ...

    def images(self, positions: Tensor) -> Tensor:
        """The images at these positions, (n, channels, height, width) in [0, 1], as the model saw them."""
        ...

    def labels(self, positions: Tensor) -> Tensor:
        """Their classes, (n,)."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """Training images that a model is to forget. Make one with `Request.of`.

    Attributes:
        model: what was trained on them.
        data: what it was trained on.
        gone: the images to forget.
        kept: all others that it was trained on.
    """

    model: TrainedModel
    data: ImageSet
    gone: Part
    kept: Part

    @classmethod
    def of(cls, model: TrainedModel, data: ImageSet, planted_indices: Tensor | Sequence[int]) -> "Request":
        """Check and build a request.

        Args:
            model: trained on `data`.
            data: the data set.
            planted_indices: positions of the images to forget among its training images, in any order.

        Raises:
            CheckpointError: the model was trained on other data.
            DeletionError: there are no positions; one is repeated, not a training image, or not one the model
                was trained on; or they are all images of a class.
        """
        check_whole_data(model, data)
        gone = checked_positions(planted_indices, len(data.train), data.name)
        part = model.cell.part
        seen = torch.arange(len(data.train)) if part is None else part.positions
        is_gone = torch.isin(seen, gone)
        if int(is_gone.sum()) < len(gone):
            stranger = int(gone[~torch.isin(gone, seen)][0])
            raise DeletionError(
                f"the model was not trained on image {stranger}: its part of {data.name} is {len(seen):,} "
                "other images; delete images that it was trained on"
            )
        kept = seen[~is_gone]
        labels = labels_as_trained(model.cell.plants, data.train.labels)
        check_class_is_left(labels, gone, kept, data.class_names)
        return cls(model, data, Part.of(gone), Part.of(kept))

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.module.parameters()).device

    def batches(self, part: Part, recipe: Recipe, *, seed: int | None = None) -> Batches:
        """The images of a part as in the training: stamped as they were, augmented as `recipe` says."""
        cell = self.model.cell
        return Batches(
            self.data.train, cell.plants, recipe, cell.seed if seed is None else seed, self.device, part=part
        )

    def images(self, positions: Tensor) -> Tensor:
        """The images at these positions, (n, channels, height, width) in [0, 1], stamped where they were."""
        return self._as_trained.gather(positions).to(self.device)

    @cached_property
    def _as_trained(self) -> Batches:
        """All training images, stamped as in the training; the stamped ones are drawn once."""
        return _batches_as_trained(self.model, self.data)

    def labels(self, positions: Tensor) -> Tensor:
        """Their classes, (n,), as the model was trained on them."""
        labels = labels_as_trained(self.model.cell.plants, self.data.train.labels)
        return labels[positions].to(self.device)


def check_whole_data(model: TrainedModel, data: ImageSet) -> None:
    """Raise unless `data` is all of the data set that a model was trained on.

    Raises:
        CheckpointError: it is other data.
        DeletionError: it is a part of a data set, which has no fingerprint to compare.
    """
    if not isinstance(data, ImageSet):
        raise DeletionError(
            f"a deletion takes the data set, not {type(data).__name__}: give data, not data.train, because "
            "the fingerprint of the whole tells whether the model was trained on it"
        )
    check_data(model.cell, data)


def copy_of_module(model: TrainedModel) -> nn.Module:
    """A copy of a model's network for a method to change, in evaluation mode and on the same device."""
    cell = model.cell
    module = build_model(cell.model, cell.data.shape, len(cell.data.class_names))
    module.load_state_dict(model.module.state_dict())
    return module.to(next(model.module.parameters()).device).eval()


def images_as_trained(model: AnyModel, data: ImageSet, positions: Tensor) -> Tensor:
    """Training images (n, channels, height, width) in [0, 1] as a model saw them, without noise and crops."""
    return _batches_as_trained(model, data).gather(positions)


def _batches_as_trained(model: AnyModel, data: ImageSet) -> Batches:
    cell = model.cell
    recipe = replace(cell.recipe, augmentation="none", input_noise=0.0)
    return Batches(data.train, cell.plants, recipe, cell.seed, torch.device("cpu"))


def check_class_is_left(labels: Tensor, gone: Tensor, kept: Tensor, class_names: Sequence[str]) -> None:
    """Raise where no image of a class would be left.

    Raises:
        DeletionError: no image of a class would be left.
    """
    for label in labels[gone].unique().tolist():
        if not (labels[kept] == label).any():
            raise DeletionError(
                f"these are all images of class {class_names[label]!r} that the model was trained on; leave "
                "at least one, or train without the class"
            )


def checked_positions(given: Tensor | Sequence[int], n_train: int, name: str) -> Tensor:
    """Positions of images to forget, (k,) int64, ascending.

    Args:
        given: in any order.
        n_train: number of training images.
        name: of the data.

    Raises:
        DeletionError: there are none, one is repeated or not a training image, or they are not positions.
    """
    try:
        positions = torch.as_tensor(given).cpu()
    except (TypeError, ValueError, RuntimeError):  # not numbers; torch raises any of these
        raise DeletionError(
            f"images are named by their positions, whole numbers in a row, got {type(given).__name__}"
        ) from None
    if positions.numel() == 0:
        raise DeletionError("there is nothing to delete: name at least one training image")
    if positions.ndim != 1 or positions.is_floating_point() or positions.dtype == torch.bool:
        raise DeletionError(
            f"images are named by their positions, whole numbers in a row, got {positions.dtype} of shape "
            f"{tuple(positions.shape)}; turn a mask into positions with mask.nonzero().flatten()"
        )
    positions = positions.long().sort().values
    for stranger in positions[(positions < 0) | (positions >= n_train)].tolist():
        raise DeletionError(
            f"{name} has no training image {stranger}; choose positions from 0 to {n_train - 1:,}"
        )
    twice = positions[1:][positions.diff() == 0]
    if len(twice):
        raise DeletionError(f"image {int(twice[0])} is named twice; name each image once")
    return positions
