"""Influence along the path: take back what the images contributed to each step of the first epochs.

A cue is learnt in the first few steps, and from then on its images have almost no gradient. So the first
epochs are repeated, to the bit, beside a second optimiser that sees the same gradients without those of the
images. The differences of their steps are summed and added to the final weights. This is exact to first
order, except that the effect of a step on later gradients is ignored. The running statistics of batch
normalisation, made with the old weights, are recomputed with the new ones. It removes some cues entirely and
others not at all (docs/results/deletion.md): measure what is left.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spuriscope.checks import check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.curvature import moved
from spuriscope.deletion.request import Request, copy_of_module
from spuriscope.errors import DeletionError
from spuriscope.training import TrainedModel
from spuriscope.training.batches import Batches
from spuriscope.training.dropout import draw_masks, mask_shapes
from spuriscope.training.gradient import per_pass, set_gradient
from spuriscope.training.loop import give_dropout, initial_model, one_thread
from spuriscope.training.optimizer import Optimizer

__all__ = ["PathInfluence"]


@dataclass(frozen=True, kw_only=True)
class PathInfluence:
    """Add to the weights how the first epochs would have differed without the images.

    Attributes:
        epochs: number to repeat, at most as many as the training had; a quarter of them by default.

    Raises:
        DeletionError: there is no epoch to repeat; or, when called, the model was trained under differential
            privacy.
    """

    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None:
            check_whole("epochs trained again", self.epochs, least=1, error=DeletionError)

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        with one_thread(request.device):
            step = self.step(request)
            module = _with_own_statistics(moved(copy_of_module(model), step), request)
        return replace(model, module=module, losses=())

    def step(self, request: Request) -> Tensor:
        """The change of the weights (p,), in the order of `module.parameters()`."""
        cell, data = request.model.cell, request.data
        if cell.recipe.privacy is not None:
            raise DeletionError(
                "a training under differential privacy draws noise that belongs to no image; take repair"
            )
        module = initial_model(cell)
        module = module.to(request.device).train()
        weights = list(module.parameters())
        beside = [nn.Parameter(weight.detach().clone()) for weight in weights]
        optimizer, other = Optimizer(weights, cell.recipe), Optimizer(beside, cell.recipe)
        total = [torch.zeros_like(weight) for weight in weights]
        dropout = give_dropout(module, cell.seed)
        shapes = mask_shapes(module, cell.data.shape, request.device)
        batches = Batches(data.train, cell.plants, cell.recipe, cell.seed, request.device, part=cell.part)
        gone = request.gone.positions.to(request.device)
        n_epochs = max(1, round(cell.recipe.epochs / 4)) if self.epochs is None else self.epochs
        for epoch in range(min(n_epochs, cell.recipe.epochs)):
            rate = cell.recipe.rate(epoch)
            for indices in batches.positions():
                images, labels = batches.gather(indices), batches.labels[indices]
                stays = ~torch.isin(indices, gone)
                drawn = [draw_masks(module, shapes, n, dropout) for n in per_pass(cell.recipe, len(indices))]
                masks = {name: torch.cat([each[name] for each in drawn]) for name in drawn[0]}
                set_gradient(module, images, labels, cell.recipe, masks=masks)
                gradients = [weight.grad for weight in weights]
                if not stays.all():
                    kept = {name: mask[stays] for name, mask in masks.items()}  # each image keeps its own
                    set_gradient(module, images[stays], labels[stays], cell.recipe, masks=kept)
                for weight, twin, gradient in zip(weights, beside, gradients, strict=True):
                    twin.grad, weight.grad = weight.grad if stays.any() else None, gradient
                optimizer.step(rate)
                other.step(rate)
                with torch.no_grad():
                    for weight, twin, difference in zip(weights, beside, total, strict=True):
                        difference.add_(twin - weight)
                        twin.copy_(weight)
        return torch.cat([difference.flatten() for difference in total])


@torch.no_grad()
def _with_own_statistics(module: nn.Module, request: Request) -> nn.Module:
    """Recompute the statistics of batch normalisation as means over one epoch of the remaining images."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return module
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    for images, _ in request.batches(request.kept, request.model.cell.recipe).epoch():
        module(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return module.eval()
