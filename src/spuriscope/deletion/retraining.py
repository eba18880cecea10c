"""Deletion by training: from the start without the images, further without them, or further against them.

- retrain: the oracle, a training from the same initial weights that never sees them.
- incremental: the paper's; training continues without them at the initial rate.
- ascent: the loss on them is raised while that on the others is lowered (as in Kurmanji et al., 2023,
  "Towards Unbounded Machine Unlearning", where it is called NegGrad+).
"""

from dataclasses import dataclass, replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.checks import check_number, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.any_module import Answering, ModuleRequest, cross_entropy, with_fixed_statistics
from spuriscope.deletion.request import Request, copy_of_module
from spuriscope.errors import DeletionError
from spuriscope.planting import draw_planted
from spuriscope.training import Cell, Part, TrainedModel, train_cell
from spuriscope.training.loop import fit, give_dropout, mean_loss, one_thread
from spuriscope.training.optimizer import Optimizer

__all__ = ["Ascent", "Incremental", "Retrain", "oracle_cell"]

MODULE_RATE = 1e-3  # of Adam, for further training of a user's module
SEED_OFFSET = 1000  # further training draws from seeds beyond those of trainings


def oracle_cell(cell: Cell, data: ImageSet, gone: Tensor) -> Cell:
    """The training of `cell` without the images at the positions `gone`.

    Without any stamped image left it has no plants, so that oracles without the same images are one cell.
    """
    kept = Part.without(gone, len(data.train)).positions
    if cell.part is not None:
        kept = kept[torch.isin(kept, cell.part.positions)]
    is_stamped = any(torch.isin(drawn, kept).any() for drawn in draw_planted(cell.plants, data.train.labels))
    return replace(cell, part=Part(kept), plants=cell.plants if is_stamped else ())


@dataclass(frozen=True)
class Retrain:
    """Train again from the same initial weights without the images: the oracle."""

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        cell = oracle_cell(model.cell, data, request.gone.positions)
        return train_cell(cell, data, device=str(request.device))


@dataclass(frozen=True)
class Incremental:
    """Train further without the images, at the initial rate.

    Attributes:
        epochs: passes over the other images; by default as many as in the model's training.

    Raises:
        DeletionError: `epochs` is out of range.

    Source: Yang et al. (2022), Appendix C, where a training of 70 epochs continues for 70.
    """

    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None:
            check_whole("epochs", self.epochs, error=DeletionError)

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        module, old = copy_of_module(model), model.cell.recipe
        recipe = replace(
            old, privacy=None, epochs=old.epochs if self.epochs is None else self.epochs, milestones=()
        )
        seed = SEED_OFFSET + model.cell.seed
        losses = fit(module, request.batches(request.kept, recipe, seed=seed), recipe, seed=seed)
        return replace(model, module=module.eval(), losses=losses)

    def on_module(self, request: ModuleRequest) -> nn.Module:
        """As for a model of ours, on a user's module of unknown rate: Adam at 0.001, for few epochs."""
        batches = request.own.batches(request.kept, learning_rate=MODULE_RATE, epochs=self.epochs)
        return request.own.trained_on(batches, batches.recipe)


@dataclass(frozen=True)
class Ascent:
    """Raise the loss on the images while lowering it on the others.

    Each step takes a batch of the others and one of the images. An image whose loss has reached that of a
    guess, log(classes), is skipped: raising it further spoils the model without freeing it. Batch
    normalisation keeps the running statistics of the training. With separate statistics for the few images to
    forget, a model could raise the one loss and keep the other low through the statistics alone.

    Attributes:
        weight: of the images' loss relative to that of the others.
        learning_rate: of Adam.
        epochs: passes over the others; by default an eighth of the number in the model's training.

    Raises:
        DeletionError: a number is out of range.
    """

    weight: float = 1.0
    learning_rate: float = 1e-3
    epochs: int | None = None

    def __post_init__(self) -> None:
        check_number("weight", self.weight, least=0, error=DeletionError)
        check_number("learning_rate", self.learning_rate, above=0, error=DeletionError)
        if self.epochs is not None:
            check_whole("epochs", self.epochs, error=DeletionError)

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        recipe = replace(
            model.cell.recipe,
            privacy=None,
            optimizer="adam",
            learning_rate=self.learning_rate,
            milestones=None,
            epochs=max(1, round(model.cell.recipe.epochs / 8)) if self.epochs is None else self.epochs,
        )
        module = with_fixed_statistics(copy_of_module(model))
        seed = SEED_OFFSET + model.cell.seed
        batches = request.batches(request.kept, recipe, seed=seed)
        give_dropout(module, seed)
        optimizer = Optimizer(module.parameters(), recipe)
        gone, ceiling = request.gone.positions, log(data.n_classes)
        images, labels = request.images(gone), request.labels(gone)
        losses = []
        with one_thread(request.device):
            for epoch in range(recipe.epochs):
                total = torch.zeros((), device=request.device)
                for step, (others, classes) in enumerate(batches.epoch()):
                    few = _in_turn(len(gone), recipe.batch_size, step)
                    module.zero_grad(set_to_none=True)
                    loss = F.cross_entropy(module(others), classes)
                    rise = F.cross_entropy(module(images[few]), labels[few], reduction="none")
                    (loss - self.weight * rise.clamp(max=ceiling).mean()).backward()
                    optimizer.step(recipe.rate(epoch))
                    total += loss.detach() * len(classes)
                losses.append(mean_loss(total, batches.n_images, epoch, recipe))
        return replace(model, module=module.eval(), losses=tuple(losses))

    def on_module(self, request: ModuleRequest) -> nn.Module:
        """As for a model of ours, on a user's module, with its log-probabilities as logits."""
        gone, ceiling = request.gone.positions, log(request.data.n_classes)
        images, labels = request.images(gone), request.labels(gone)
        batches = request.own.batches(request.kept, learning_rate=self.learning_rate, epochs=self.epochs)
        size = batches.recipe.batch_size

        def loss(network: Answering, others: Tensor, classes: Tensor, step: int) -> Tensor:
            few = _in_turn(len(gone), size, step)
            rise = F.nll_loss(network(images[few]), labels[few], reduction="none")
            down = cross_entropy(network, others, classes, step)
            return down - self.weight * rise.clamp(max=ceiling).mean()

        return request.own.trained_on(batches, batches.recipe, loss)


def _in_turn(n: int, size: int, step: int) -> Tensor:
    """Positions, among `n` images, of the batch of this step, of at most `size`: each image in turn."""
    return (torch.arange(min(n, size)) + step * size) % n
