"""One training, from the drawn weights to the trained model.

`train` is what a user calls, and the slow reference for `train_many`: tests compare whatever trains faster
with it. `fit` is the loop alone, for a model that is trained further.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from spuriscope.argument_types import checked
from spuriscope.data.image_set import ImageSet
from spuriscope.errors import ConfigError, DivergenceError, ModelError
from spuriscope.models import ARCHITECTURES, Dropout, build_model, default_model, head_of
from spuriscope.planting import Plant
from spuriscope.training.batches import Batches
from spuriscope.training.cell import Cell, DataKey, seeded_generator
from spuriscope.training.draws import draws_of
from spuriscope.training.frozen import features_of
from spuriscope.training.gradient import set_gradient
from spuriscope.training.optimizer import Optimizer
from spuriscope.training.part import Part
from spuriscope.training.private_gradient import SetGradient, check_private, private_gradient
from spuriscope.training.recipe import Recipe, usual_recipe
from spuriscope.training.trained import TrainedModel
from spuriscope.training.weights import Weights

__all__ = ["Epochs", "check_data", "fit", "initial_model", "resolve_device", "train", "train_cell"]

OnEpoch = Callable[[int, float], None]  # takes the epochs done and the mean loss of the last one


class Epochs(Protocol):
    """Images to learn from, epoch by epoch: `Batches`, or a source that stamps something on them."""

    labels: Tensor
    n_images: int

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass: (images, labels) of each batch."""
        ...


@checked(ConfigError)
def train(
    data: ImageSet,
    plants: Plant | Sequence[Plant] = (),
    *,
    part: Part | None = None,
    model: str | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Train one model on a data set, with or without planted patterns.

    The same arguments give the same weights to the bit on the same machine: a CPU training runs on one
    thread, and all randomness comes from generators seeded by `seed`. A private training repeats only where
    its `Privacy` asks for the seed.

    Args:
        data: its training part is trained on.
        plants: one plant, several, or none.
        part: train on these of the training images only; the plants are drawn from all of them.
        model: name of an architecture, see `spuriscope.models.ARCHITECTURES`; by default the one that
            `spuriscope.models.default_model` chooses for the images.
        recipe: how to train; by default the paper's for these data, or ours for resnet10, see
            `spuriscope.training.usual_recipe`.
        seed: draws initial weights, batch order, noise, augmentation and dropout.
        weights: a file to start from, for fine-tuning, or "imagenet"; see `spuriscope.training.weights`.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        on_epoch: called after each epoch with the number done and the mean loss.

    Raises:
        ConfigError, ModelError, PatternError, PlantingError: the arguments do not fit together.
        DivergenceError: the loss stopped being a number.
    """
    model = model or default_model(data.shape)
    if recipe is None:
        recipe = usual_recipe(data.name, model, len(data.train) if part is None else len(part))
    cell = Cell(
        data=DataKey.of(data),
        plants=(plants,) if isinstance(plants, Plant) else tuple(plants),
        part=part,
        model=model,
        recipe=recipe,
        seed=seed,
        weights=None if weights is None else Weights.of(weights),
    )
    return train_cell(cell, data, device=device, on_epoch=on_epoch)


@checked(ConfigError)
def train_cell(
    cell: Cell, data: ImageSet, *, device: str = "auto", on_epoch: OnEpoch | None = None
) -> TrainedModel:
    """Train the model of a cell, see `train`; `data` must be what the cell was made for."""
    check_data(cell, data)
    place = resolve_device(device)
    start = time.perf_counter()
    module = initial_model(cell).to(place)
    batches = Batches(data.train, cell.plants, cell.recipe, cell.seed, place, part=cell.part)
    losses = fit(module, batches, cell.recipe, seed=cell.seed, on_epoch=on_epoch)
    if cell.recipe.privacy is not None:
        losses = ()  # computed on the images without noise, so the promise does not cover them
    epsilon = cell.recipe.epsilon(batches.n_images)
    seconds = time.perf_counter() - start
    return TrainedModel(cell, module.eval().cpu(), losses, seconds, epsilon=epsilon)


def initial_model(cell: Cell) -> nn.Module:
    """The initial weights of a cell: all drawn, or those of a file with a drawn head.

    Raises:
        ModelError: the file is gone or does not fit the architecture.
    """
    shape, n_classes = cell.data.shape, len(cell.data.class_names)
    if cell.model_source != ARCHITECTURES.source(cell.model):
        raise ModelError(f"the architecture {cell.model} was changed since the cell was made; make it anew")
    module = build_model(cell.model, shape, n_classes, seed=weights_seed(cell.seed))
    if cell.weights is not None:
        cell.weights.put_into(module)
    return module


def check_data(cell: Cell, data: ImageSet) -> None:
    """Raise unless `data` is what the cell was made for.

    Raises:
        CheckpointError: it is other data.
        ConfigError: the cell's part reaches beyond the data, or its recipe cannot keep its promise.
    """
    cell.data.check(data, "the cell was made for")
    if cell.part is not None:
        cell.part.check(len(data.train))
    check_private(cell.recipe)


def fit(
    module: nn.Module,
    batches: Epochs,
    recipe: Recipe,
    *,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
) -> tuple[float, ...]:
    """Train `module` in place, for as many epochs as the recipe says.

    Returns:
        The mean loss of each epoch.

    Raises:
        ConfigError: the precision is "auto", which only a cell settles.
        DivergenceError: the loss stopped being a number.
    """
    if recipe.precision == "auto":
        raise ConfigError("precision 'auto' is settled when a cell is made; name one of the others")
    place = batches.labels.device
    give_dropout(module, seed)
    losses = []
    with one_thread(place), _trained(module, recipe) as parameters:
        learner, epochs = _what_learns(module, batches, recipe)
        optimizer = Optimizer(parameters, recipe)
        with _gradient(learner, recipe, batches, seed) as set_it:
            for epoch in range(recipe.epochs):
                rate = recipe.rate(epoch)
                total = torch.zeros((), device=place)
                for images, labels in epochs.epoch():
                    total += set_it(images, labels) * len(labels)
                    optimizer.step(rate)
                losses.append(mean_loss(total, batches.n_images, epoch, recipe))
                if on_epoch is not None:
                    on_epoch(epoch + 1, losses[-1])
    return tuple(losses)


def give_dropout(module: nn.Module, seed: int) -> torch.Generator:
    """Let all dropout layers of a network draw from one generator, and return it."""
    generator = seeded_generator(seed, "dropout", next(module.parameters()).device)
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
    return generator


@contextmanager
def _trained(module: nn.Module, recipe: Recipe) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters that a recipe trains; frozen layers get no gradient and run in evaluation mode."""
    if recipe.freeze == "none":
        module.train()
        yield list(module.parameters())
        return
    head = head_of(module)
    own = list(head.parameters())
    module.eval()
    head.train()
    frozen = [p for p in module.parameters() if p.requires_grad and not any(p is q for q in own)]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        yield own
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _what_learns(module: nn.Module, batches: Epochs, recipe: Recipe) -> tuple[nn.Module, Epochs]:
    """The network and its images; if the body is frozen, only the head, and the features of the images."""
    if recipe.freeze == "body" and isinstance(batches, Batches):
        features = features_of(module, batches, recipe)
        if features is not None:
            return head_of(module), features
    return module, batches


@contextmanager
def _gradient(module: nn.Module, recipe: Recipe, batches: Epochs, seed: int) -> Iterator[SetGradient]:
    """Yield the function that puts a batch's gradient into the parameters and returns its mean loss."""
    if recipe.privacy is None:
        yield lambda images, labels: set_gradient(module, images, labels, recipe)
        return
    noise = draws_of(recipe.privacy, seed, "privacy", batches.labels.device)
    with private_gradient(module, recipe, n_images=batches.n_images, noise=noise) as set_it:
        yield set_it


def mean_loss(total: Tensor, n: int, epoch: int, recipe: Recipe) -> float:
    """Mean loss of an epoch; raises DivergenceError, with what to change, where it is not a number."""
    mean = float(total) / n
    if not isfinite(mean):
        raise DivergenceError(
            f"the loss became {mean} in epoch {epoch + 1} of {recipe.epochs} (learning rate "
            f"{recipe.rate(epoch):g}); lower the learning rate or clip the gradient"
        )
    return mean


def weights_seed(seed: int) -> int:
    """The seed that draws the initial weights of a cell."""
    return seeded_generator(seed, "weights").initial_seed()


def resolve_device(device: str) -> torch.device:
    """The device called "cpu", "cuda" or "auto".

    Raises:
        ConfigError: torch does not know it, or this machine does not have it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"there is no device {device!r}; choose auto, cpu or cuda") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("this machine has no CUDA device that torch can use; choose auto or cpu")
    return place


@contextmanager
def one_thread(place: torch.device) -> Iterator[None]:
    """Run torch on one CPU thread, so that sums have the same order whatever else the machine does."""
    before = torch.get_num_threads()
    if place.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
