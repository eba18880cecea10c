"""A bundle: several models of one architecture, trained as one stacked model on a GPU.

One small network leaves a GPU idle most of the time. A bundle stacks the weights of many along a new first
axis (`torch.func`), and each step updates all of them. Each model keeps its own initial weights, batch
order, noise, crops, dropout masks, plants, learning rate, weight decay and clipping bound. So a cell's
result does not depend on its neighbours. It differs from `train_cell` only by rounding, because batched
products add in another order. Tests compare the two on a CPU.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from spuriscope.data.image_set import ImageSet, unit_float
from spuriscope.errors import DivergenceError, TrainingError
from spuriscope.models import build_model
from spuriscope.planting import Plant, draw_planted, labels_as_trained, stamp
from spuriscope.training.batches import crop_and_flip
from spuriscope.training.cell import Cell, seeded_generator
from spuriscope.training.dropout import draw_masks, mask_shapes
from spuriscope.training.gradient import precision_of
from spuriscope.training.loop import initial_model, mean_loss
from spuriscope.training.optimizer import BETA1, BETA2, EPSILON
from spuriscope.training.trained import TrainedModel

__all__ = ["best_size", "bundle_cells", "train_bundle"]

N_WARM_STEPS, N_TIMED_STEPS = 3, 5

OnBundleEpoch = Callable[[int], None]  # takes the number of models that finished an epoch


def bundle_cells(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group cells that can be stacked: same architecture, kind of recipe, length and number of images.

    Cells that clip each example's gradient form groups of their own, because they are vectorised over
    examples; so do cells with a frozen body.
    """

    def key(cell: Cell) -> tuple[Any, ...]:
        recipe = cell.recipe
        alone = cell.hash if recipe.trains_alone else ""
        return (
            cell.model, recipe.optimizer, recipe.momentum, recipe.epochs, recipe.batch_size,
            recipe.clipping, recipe.augmentation, recipe.precision,
            len(cell.part) if cell.part is not None else 0, alone,
        )  # fmt: skip

    return [list(group) for _, group in groupby(sorted(cells, key=key), key=key)]


def train_bundle(
    cells: Sequence[Cell], data: ImageSet, device: torch.device, *, on_epoch: OnBundleEpoch | None = None
) -> list[TrainedModel | DivergenceError]:
    """Train all cells of a group of `bundle_cells` as one stacked model.

    Args:
        cells: one group, or a part of it.
        data: the data set that they were made for.
        device: where to train.
        on_epoch: called after each epoch with the number of models that are still being trained.

    Returns:
        For each cell its model, on the CPU, or the DivergenceError of its training.
    """
    start = time.perf_counter()
    recipe = cells[0].recipe
    stack = _Stack(cells, device)
    images = _BundleImages(cells, data, device)
    losses: list[list[float]] = [[] for _ in cells]
    failures: dict[int, DivergenceError] = {}
    for epoch in range(recipe.epochs):
        rates = torch.tensor([cell.recipe.rate(epoch) for cell in cells], device=device)
        totals = torch.zeros(len(cells), device=device)
        for batch, labels in images.epoch():
            totals += stack.step(batch, labels, rates) * labels.shape[1]
        for position, (cell, total) in enumerate(zip(cells, totals.cpu(), strict=True)):
            if position not in failures:
                try:
                    losses[position].append(mean_loss(total, images.n_images, epoch, cell.recipe))
                except DivergenceError as error:
                    failures[position] = error
        if on_epoch is not None:
            on_epoch(len(cells) - len(failures))
    seconds = (time.perf_counter() - start) / len(cells)
    modules = stack.modules(data)
    return [
        failures.get(position) or TrainedModel(cell, modules[position], tuple(losses[position]), seconds)
        for position, cell in enumerate(cells)
    ]


def best_size(cells: Sequence[Cell], data: ImageSet, device: torch.device) -> int:
    """Find by trial how many cells of a group to stack: double the number as long as it pays and fits.

    A size pays when it trains at least 10 % more images a second than half of it. The best size depends on
    the network, the card and its library: convolutions of many models at once may be slower than one after
    the other.

    Raises:
        TrainingError: not even one model fits into the memory of the device.
    """
    best, best_rate = 0, 0.0
    size = 1
    while size <= len(cells):
        try:
            rate = _images_per_second(cells[:size], data, device)
        except torch.OutOfMemoryError:
            break
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        if rate < 1.1 * best_rate:
            break
        best, best_rate = size, rate
        size *= 2
    if best == 0:
        raise TrainingError(
            f"{cells[0].model} at batch size {cells[0].recipe.batch_size} does not fit into the memory of "
            f"{device}; use a smaller batch, a smaller model, or the CPU"
        )
    return best


def _images_per_second(cells: Sequence[Cell], data: ImageSet, device: torch.device) -> float:
    """Speed of a few steps of a bundle, over all models together; the trained weights are thrown away."""
    stack, images = _Stack(cells, device), _BundleImages(cells, data, device)
    rates = torch.zeros(len(cells), device=device)
    n_seen = 0
    start = 0.0
    for number, (batch, labels) in enumerate(images.epoch()):
        if number == N_WARM_STEPS:
            start = _now(device)
        stack.step(batch, labels, rates)
        n_seen += labels.numel() * (number >= N_WARM_STEPS)
        if number == N_WARM_STEPS + N_TIMED_STEPS:
            break
    return n_seen / (_now(device) - start) if n_seen else float(len(cells))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _BundleImages:
    """The batches of all models of a bundle, as `Batches` gives them, stacked along a first axis."""

    def __init__(self, cells: Sequence[Cell], data: ImageSet, device: torch.device) -> None:
        self.images = data.train.images.to(device)
        self.parts = [None if cell.part is None else cell.part.positions for cell in cells]
        self.n_images = cells[0].n_images(data)
        self.recipes = [cell.recipe for cell in cells]
        self.orders = [seeded_generator(cell.seed, "order") for cell in cells]
        self.noises = [seeded_generator(cell.seed, "noise", device) for cell in cells]
        self.augmentations = [seeded_generator(cell.seed, "augmentation", device) for cell in cells]
        self.plants: list[Plant] = []
        self.carries = torch.zeros((len(cells), len(data.train)), dtype=torch.int32)  # 0: none; on the CPU
        for position, cell in enumerate(cells):
            for plant, indices in zip(cell.plants, draw_planted(cell.plants, data.train.labels), strict=True):
                self.plants.append(plant)
                self.carries[position, indices] = len(self.plants)
        self.labels = data.train.labels.to(device).expand(len(cells), -1)  # one copy for all
        if any(plant.relabel is not None for plant in self.plants):
            own = [labels_as_trained(cell.plants, data.train.labels) for cell in cells]
            self.labels = torch.stack(own).to(device)

    def epoch(self) -> Iterable[tuple[Tensor, Tensor]]:
        """(images, labels) of each step: (models, batch, channels, height, width) and (models, batch)."""
        order = torch.stack([torch.randperm(self.n_images, generator=g) for g in self.orders])
        if any(part is not None for part in self.parts):
            pairs = zip(self.parts, order, strict=True)
            order = torch.stack([drawn if part is None else part[drawn] for part, drawn in pairs])
        size = self.recipes[0].batch_size
        there = order.to(self.labels.device)
        for positions, indices in zip(order.split(size, dim=1), there.split(size, dim=1), strict=True):
            yield self.gather(positions, indices), self.labels.gather(1, indices)

    def gather(self, positions: Tensor, indices: Tensor) -> Tensor:
        """Images at the positions (models, batch) as each model sees them while training.

        Args:
            positions: on the CPU, to look up which images carry a pattern without making a GPU wait.
            indices: the same, on the device.
        """
        batch = unit_float(self.images[indices])
        if self.plants:
            carries = self.carries.gather(1, positions).flatten()
            stamp(batch.view(-1, *batch.shape[2:]), carries, self.plants, positions.flatten())
        if self.recipes[0].augmentation == "crop-flip":
            pairs = zip(batch, self.augmentations, strict=True)
            batch = torch.stack([crop_and_flip(images, generator) for images, generator in pairs])
        for position, (recipe, generator) in enumerate(zip(self.recipes, self.noises, strict=True)):
            if recipe.input_noise:
                batch[position] += torch.empty_like(batch[position]).normal_(
                    std=recipe.input_noise, generator=generator
                )
        return batch


class _Stack:
    """The stacked weights of a bundle, their moments, and one step for all models at once."""

    def __init__(self, cells: Sequence[Cell], device: torch.device) -> None:
        self.cells = cells
        self.recipe = cells[0].recipe
        key = cells[0].data
        modules = [initial_model(cell).to(device) for cell in cells]
        self.template = modules[0].train()
        self.mask_shapes = mask_shapes(self.template, key.shape, device)
        self.generators = [seeded_generator(cell.seed, "dropout", device) for cell in cells]
        self.weights, self.buffers = stack_module_state(modules)
        self.first = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.n_steps = 0
        recipes = [cell.recipe for cell in cells]
        self.weight_decays = torch.tensor([recipe.weight_decay for recipe in recipes], device=device)
        self.bounds = torch.tensor([recipe.clip_at for recipe in recipes], device=device)

    def step(self, images: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """One step of every model. Returns the mean loss of each (models,), detached."""
        buffers = self.buffers | self._masks(images.shape[1])

        def loss_of_one(weights: Any, state: Any, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self.template, (weights, state), (x,)), y)

        with precision_of(self.recipe, images.device):
            losses = vmap(loss_of_one, randomness="different")(self.weights, buffers, images, labels)
            found = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        with torch.no_grad():
            self._move(self._clip(dict(zip(self.weights, found, strict=True))), rates)
        return losses.detach()

    def modules(self, data: ImageSet) -> list[nn.Module]:
        """Every model on its own, on the CPU, in evaluation mode."""
        found = []
        for position, cell in enumerate(self.cells):
            module = build_model(cell.model, data.shape, data.n_classes)
            state = {
                name: value[position].detach().cpu() for name, value in (self.weights | self.buffers).items()
            }
            module.load_state_dict({name: state[name] for name in module.state_dict()})
            found.append(module.eval())
        return found

    def _masks(self, n_images: int) -> dict[str, Tensor]:
        """Dropout masks of this step by layer, in layer order, each model's from its own generator."""
        drawn = [draw_masks(self.template, self.mask_shapes, n_images, each) for each in self.generators]
        return {name: torch.stack([masks[name] for masks in drawn]) for name in drawn[0]}

    def _clip(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.recipe.clipping == "value":
            bounds = {name: _along(self.bounds, gradient) for name, gradient in gradients.items()}
            return {name: g.clamp(-bounds[name], bounds[name]) for name, g in gradients.items()}
        if self.recipe.clipping == "norm":
            squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0)
            scale = (self.bounds / (squares.sqrt() + 1e-6)).clamp_max(1)  # as torch's clip_grad_norm_
            return {name: g * _along(scale, g) for name, g in gradients.items()}
        return gradients

    def _move(self, gradients: dict[str, Tensor], rates: Tensor) -> None:
        """The arithmetic of `Optimizer`, with a rate and a weight decay for each model."""
        self.n_steps += 1
        correction1, correction2 = 1 - BETA1**self.n_steps, 1 - BETA2**self.n_steps
        for name, weight in self.weights.items():
            rate = _along(rates, weight)
            gradient = gradients[name] + _along(self.weight_decays, weight) * weight
            first, second = self.first[name], self.second[name]
            if self.recipe.optimizer == "adam":
                first.lerp_(gradient, 1 - BETA1)
                second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                spread = (second / correction2).sqrt_().add_(EPSILON)
                weight.sub_(rate / correction1 * first / spread)
            else:
                first.mul_(self.recipe.momentum).add_(gradient)
                weight.sub_(rate * first)


def _along(values: Tensor, weight: Tensor) -> Tensor:
    """One value for each model (models,), shaped to multiply stacked weights (models, ...)."""
    return values.view(-1, *(1,) * (weight.ndim - 1))
