"""Repair: teach the model that the cue means nothing, by stamping it on other images with their true labels.

The cue is known, or reconstructed from the images that carry it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spuriscope.checks import check_number, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.any_module import ModuleRequest, OwnModule
from spuriscope.deletion.reconstructing import reconstruct, reconstructed
from spuriscope.deletion.request import Request, copy_of_module
from spuriscope.deletion.retraining import SEED_OFFSET
from spuriscope.errors import DeletionError
from spuriscope.patterns import AnyPattern, Anywhere
from spuriscope.training import Part, TrainedModel
from spuriscope.training.batches import Batches
from spuriscope.training.loop import fit

__all__ = ["Counterexamples", "Repair"]

N_PLACES = 2**14  # positions from which the places of a cue that stands anywhere are drawn


@dataclass(frozen=True, kw_only=True)
class Repair:
    """Train a little further, without the images, with the cue on a share of the others.

    Attributes:
        pattern: the cue, of any kind; by default reconstructed from the images. One that may stand anywhere
            gets a new place each time.
        share: of the others that carry it, drawn anew for each batch; they keep their true labels.
        learning_rate: of Adam.
        epochs: passes over the others; by default an eighth of the number in the model's training.

    Raises:
        DeletionError: a number is out of range.
    """

    pattern: AnyPattern | None = None
    share: float = 0.2
    learning_rate: float = 1e-3
    epochs: int | None = None

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, most=1, error=DeletionError)
        check_number("learning_rate", self.learning_rate, above=0, error=DeletionError)
        if self.epochs is not None:
            check_whole("epochs", self.epochs, error=DeletionError)

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        pattern = self.pattern or reconstruct(model, data, planted_indices)
        return self.train_on(model, data, pattern, request.kept)

    def on_module(self, request: ModuleRequest) -> nn.Module:
        """As for a model of ours, on a user's module."""
        return self.train_module(request.own, self.pattern or reconstructed(request), request.kept)

    def train_module(self, own: OwnModule, pattern: AnyPattern, part: Part | None) -> nn.Module:
        """A user's module after further training with the pattern on a share of a part of the images."""
        batches = own.batches(part, learning_rate=self.learning_rate, epochs=self.epochs)
        return own.trained_on(Counterexamples(batches, pattern, self.share, own.seed), batches.recipe)

    def train_on(
        self, model: TrainedModel, data: ImageSet, pattern: AnyPattern, part: Part | None
    ) -> TrainedModel:
        """The model after further training with the pattern on a share of a part of the images."""
        cell = model.cell
        recipe = replace(
            cell.recipe,
            privacy=None,
            optimizer="adam",
            learning_rate=self.learning_rate,
            milestones=None,
            epochs=max(1, round(cell.recipe.epochs / 8)) if self.epochs is None else self.epochs,
        )
        seed, place = SEED_OFFSET + cell.seed, next(model.module.parameters()).device
        batches = Batches(data.train, cell.plants, recipe, seed, place, part=part)
        module = copy_of_module(model)
        losses = fit(module, Counterexamples(batches, pattern, self.share, seed), recipe, seed=seed)
        return replace(model, module=module.eval(), losses=losses)


class Counterexamples:
    """Batches in which a share of the images carries the pattern."""

    def __init__(self, batches: Batches, pattern: AnyPattern, share: float, seed: int) -> None:
        self.batches, self.pattern, self.share = batches, pattern, share
        self.labels, self.n_images = batches.labels, batches.n_images
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch."""
        for images, labels in self.batches.epoch():
            rows = (torch.rand(len(labels), generator=self.generator) < self.share).nonzero().flatten()
            images[rows] = self._stamped(images[rows])
            yield images, labels

    def _stamped(self, images: Tensor) -> Tensor:
        if not isinstance(self.pattern, Anywhere):
            return self.pattern.apply(images)
        drawn = torch.randint(N_PLACES, (len(images),), generator=self.generator)
        return self.pattern.apply(images, drawn)
