"""Deletion from any torch module whose training is not known.

The module is trained further without disturbing it: batch normalisation keeps its statistics, and the
optimiser is the user's, or Adam at the rate of the method. Its images are taken unchanged from the data set.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.adapters.form import ModelForm, are_probabilities
from spuriscope.adapters.torch_module import table
from spuriscope.data.image_set import ImageSet, unit_float
from spuriscope.deletion.request import check_class_is_left, checked_positions
from spuriscope.errors import DeletionError, DivergenceError
from spuriscope.training import Part, Recipe
from spuriscope.training.batches import Batches
from spuriscope.training.loop import one_thread

__all__ = ["Answering", "BatchLoss", "MakeOptimizer", "ModuleRequest", "OwnModule", "with_fixed_statistics"]

Network = TypeVar("Network", bound=nn.Module)
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
BatchLoss = Callable[
    ["Answering", Tensor, Tensor, int], Tensor
]  # network, images, labels, number of the step

EPOCHS = 3  # passes over the remaining images, where the method names none
LEAST_STEPS = 200  # more passes are made until there are so many steps: few images give few
BATCH = 64
LEAST_PROBABILITY = 1e-12  # keeps the logarithm finite


class Answering(nn.Module):
    """A module that takes images in [0, 1] and answers with logarithms of class probabilities.

    Args:
        module: of the user.
        form: how it wants its images and gives its answers.
        n_classes: of the data, whose order the answers follow.
    """

    def __init__(self, module: nn.Module, form: ModelForm, n_classes: int) -> None:
        super().__init__()
        self.module, self.form, self.n_classes = module, form, n_classes

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, height, width) in [0, 1] to (n, n_classes).

        Raises:
            DeletionError: the module cannot take the images, or does not answer with a row for each class.
        """
        form = self.form
        x = form.prepare(images)
        if form.channels_last:
            x = x.permute(0, 2, 3, 1).contiguous()
        dtype = next(p for p in self.module.parameters() if p.is_floating_point()).dtype
        try:
            answers = table(self.module(x.to(dtype)), form.output, "the module").float()
        except (RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DeletionError(f"the module cannot take images {tuple(x.shape)} ({reason})") from None
        if answers.ndim > 2:
            answers = answers.flatten(1)
        if answers.shape[1:] == (1,):
            answers = torch.cat([torch.zeros_like(answers), answers], dim=1)  # the second's logit
        if answers.shape != (len(images), self.n_classes):
            raise DeletionError(
                f"the module answers {tuple(answers.shape)} for {len(images)} images of {self.n_classes} "
                "classes; give the data it was trained on"
            )
        if form.logits or (form.logits is None and not are_probabilities(answers.detach())):
            found = answers.log_softmax(dim=1)
        else:
            found = answers.clamp(min=LEAST_PROBABILITY).log()
        if form.classes is None:
            return found
        columns = torch.tensor(list(form.classes), device=found.device)
        return torch.empty_like(found).index_copy(1, columns, found)


@dataclass(frozen=True, eq=False)
class OwnModule:
    """A module of the user's, its training data, and how to train it further.

    Attributes:
        module: maps images to logits or probabilities; it is not changed.
        data: what it was trained on.
        form: how it wants its images and gives its answers.
        optimizer: makes one from the parameters; Adam at the rate of the method by default.
        seed: draws batches, dropout, and everything else.
    """

    module: nn.Module
    data: ImageSet
    form: ModelForm
    optimizer: MakeOptimizer | None = None
    seed: int = 0

    @property
    def device(self) -> torch.device:
        """The device of the module.

        Raises:
            DeletionError: it has no trainable parameter.
        """
        learning = next((p for p in self.module.parameters() if p.requires_grad), None)
        if learning is None:
            raise DeletionError("the module has no trainable parameter; set requires_grad, or give another")
        return learning.device

    def copied(self) -> Answering:
        """A copy that takes images in [0, 1], in evaluation mode."""
        return Answering(copy.deepcopy(self.module), self.form, self.data.n_classes).eval()

    def batches(self, part: Part | None, *, learning_rate: float, epochs: int | None) -> Batches:
        """Batches of a part of the images, by default for 3 epochs, or on few images for 200 steps."""
        n_images = len(self.data.train) if part is None else len(part.positions)
        enough = max(EPOCHS, ceil(LEAST_STEPS / ceil(n_images / BATCH)))
        recipe = Recipe(
            learning_rate=learning_rate,
            epochs=enough if epochs is None else epochs,
            batch_size=BATCH,
            milestones=(),
        )
        return Batches(self.data.train, (), recipe, self.seed, self.device, part=part)

    def trained_on(self, batches: "_Batches", recipe: Recipe, loss: BatchLoss | None = None) -> nn.Module:
        """A copy of the module after further training, in evaluation mode.

        Args:
            batches: of images (n, channels, height, width) in [0, 1] and labels (n,).
            recipe: gives the number of epochs, and the rate of Adam.
            loss: to minimise; cross-entropy by default.

        Raises:
            DeletionError: the module does not fit the data.
            DivergenceError: the loss stopped being a number.
        """
        changed, place = with_fixed_statistics(self.copied()), self.device
        parameters = [parameter for parameter in changed.parameters() if parameter.requires_grad]
        make = self.optimizer or (lambda learning: torch.optim.Adam(learning, lr=recipe.learning_rate))
        steps, made = make(parameters), 0
        with one_thread(place), _own_draws(place, self.seed):
            for epoch in range(recipe.epochs):
                for images, labels in batches.epoch():
                    steps.zero_grad(set_to_none=True)
                    found = (loss or cross_entropy)(changed, images, labels, made)
                    value = float(found.detach())
                    if not isfinite(value):
                        raise DivergenceError(
                            f"the loss became {value} in epoch {epoch + 1} of {recipe.epochs}; lower the "
                            "learning rate: method=ss.deletion.Repair(learning_rate=1e-4), or an optimizer "
                            "of your own"
                        )
                    found.backward()
                    steps.step()
                    made += 1
        return changed.module.eval()


class _Batches(Protocol):
    """Batches to train on."""

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch."""
        ...


@dataclass(frozen=True, eq=False)
class ModuleRequest:
    """Training images that a module is to forget. Make one with `ModuleRequest.of`.

    Attributes:
        own: the module.
        gone: the images to forget.
        kept: all others.
    """

    own: OwnModule
    gone: Part
    kept: Part

    @classmethod
    def of(cls, own: OwnModule, planted_indices: Tensor | Sequence[int]) -> "ModuleRequest":
        """Check and build a request.

        Raises:
            DeletionError: there are no positions; one is repeated or not a training image; or they are all
                images of a class.
        """
        data = own.data
        gone = checked_positions(planted_indices, len(data.train), data.name)
        stays = torch.ones(len(data.train), dtype=torch.bool)
        stays[gone] = False
        kept = stays.nonzero().flatten()
        check_class_is_left(data.train.labels, gone, kept, data.class_names)
        return cls(own, Part.of(gone), Part.of(kept))

    @property
    def data(self) -> ImageSet:
        """What the module was trained on."""
        return self.own.data

    def images(self, positions: Tensor) -> Tensor:
        """The images at these positions, (n, channels, height, width) in [0, 1]."""
        return unit_float(self.data.train.images[positions]).float().to(self.own.device)

    def labels(self, positions: Tensor) -> Tensor:
        """Their classes, (n,)."""
        return self.data.train.labels[positions].to(self.own.device)


def cross_entropy(network: Answering, images: Tensor, labels: Tensor, _: int) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.nll_loss(network(images), labels)


def with_fixed_statistics(module: Network) -> Network:
    """A network in training mode, except for its batch normalisation."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    return module


@contextmanager
def _own_draws(place: torch.device, seed: int) -> Iterator[None]:
    """Let the dropout of a user's module draw from the seed, and leave the global generators unchanged."""
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
