"""Repair: show the model that the cue says nothing, by stamping it on other images under their true labels.

The cue is known, or reconstructed from the images that carry it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spuriscope.checks import check_number, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.request import Request, copy_of_module
from spuriscope.deletion.retraining import N_SEEDS
from spuriscope.errors import DeletionError
from spuriscope.patterns import Pattern
from spuriscope.training import Part, TrainedModel
from spuriscope.training.batches import Batches
from spuriscope.training.loop import fit

__all__ = ["Repair", "reconstruct"]

N_COMPARED = 3000  # other images of the class


@dataclass(frozen=True, kw_only=True)
class Repair:
    """Train on for a little, without the images, with the cue on a share of the others.

    Attributes:
        pattern: the cue; by default it is reconstructed from the images.
        share: of the others that carry it, drawn anew for each batch; they keep their true labels.
        learning_rate: of Adam.
        epochs: passes over the others; by default an eighth of those the model was trained for.

    Raises:
        DeletionError: a number is out of range.
    """

    pattern: Pattern | None = None
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
        asked = Request.of(model, data, planted_indices)
        pattern = self.pattern or reconstruct(model, data, planted_indices)
        return self.train_on(model, data, pattern, asked.kept)

    def train_on(
        self, model: TrainedModel, data: ImageSet, pattern: Pattern, part: Part | None
    ) -> TrainedModel:
        """The model after some more training with the pattern on a share of a part of the images."""
        cell = model.cell
        recipe = replace(
            cell.recipe,
            privacy=None,
            optimizer="adam",
            learning_rate=self.learning_rate,
            milestones=None,
            epochs=max(1, round(cell.recipe.epochs / 8)) if self.epochs is None else self.epochs,
        )
        seed, place = N_SEEDS + cell.seed, next(model.module.parameters()).device
        batches = Batches(data.train, cell.plants, recipe, seed, place, part=part)
        module = copy_of_module(model)
        losses = fit(module, _Counterexamples(batches, pattern, self.share, seed), recipe, seed=seed)
        return replace(model, module=module.eval(), losses=losses)


class _Counterexamples:
    """Batches of which a share carries the pattern."""

    def __init__(self, batches: Batches, pattern: Pattern, share: float, seed: int) -> None:
        self.batches, self.pattern, self.share = batches, pattern, share
        self.labels, self.n_images = batches.labels, batches.n_images
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.batches.epoch():
            rows = (torch.rand(len(labels), generator=self.generator) < self.share).nonzero().flatten()
            images[rows] = self.pattern.apply(images[rows])
            yield images, labels


def reconstruct(model: TrainedModel, data: ImageSet, planted_indices: Tensor | Sequence[int]) -> Pattern:
    """The cue that images carry, from nothing but the images.

    A stamp only adds, so each pixel of the cue is at most the least value that the images have there, and
    reaches it where one of them is dark. From that the least value is taken that as many other images of the
    class have there on average. So the cue is exact from many images, and from one holds its strokes too.

    Args:
        model: trained on the images; it says how they were stamped, and is not asked about anything.
        data: the data set.
        planted_indices: positions of the images, all of which carry the cue.

    Returns:
        The mean over the classes of the images, weighted by their number.

    Raises:
        CheckpointError, DeletionError: as `spuriscope.deletion.delete`.
    """
    asked = Request.of(model, data, planted_indices)
    gone, kept = asked.gone.positions, asked.kept.positions
    classes, generator = data.train.labels, torch.Generator().manual_seed(0)
    pixels = torch.zeros(data.shape)
    for label in classes[gone].unique():
        here, others = gone[classes[gone] == label], kept[classes[kept] == label]
        others = others[torch.randperm(len(others), generator=generator)][:N_COMPARED]
        groups = others.split(len(here))
        whole = [group for group in groups if len(group) == len(here)] or list(groups)
        usual = torch.stack([asked.images(group).amin(dim=0) for group in whole]).mean(dim=0)
        pixels += len(here) / len(gone) * (asked.images(here).amin(dim=0) - usual).clamp(0, 1).cpu()
    return Pattern("reconstructed", pixels.clamp(0, 1))
