"""The curvature of a training objective at a model's weights, as products with vectors.

A training minimises the mean loss plus (weight decay / 2) |weights|^2, because both optimisers add weight
decay times the weights to the gradient; the second derivative of that term is the weight decay times the
identity. The loss is replaced by its Gauss-Newton matrix, J^T H J: J the derivative of the outputs by the
weights, H the second derivative of the loss by the outputs. It is positive semidefinite, equals the Hessian
where outputs are linear in the weights, and is never stored. Weights, gradients and steps are one vector, in
the order of `module.parameters()`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.nn import functional as F

__all__ = ["CROSS_ENTROPY", "SQUARED", "Curvature", "Loss", "moved", "summed_gradient"]

CHUNK = 500  # images per product


@dataclass(frozen=True)
class Loss:
    """A loss of outputs (n, k) and labels, summed over the images.

    Attributes:
        value: the loss, a number.
        curved: its second derivative by the outputs, times vectors (n, k) shaped like the outputs.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    curved: Callable[[Tensor, Tensor], Tensor]


def _curved_softmax(outputs: Tensor, vectors: Tensor) -> Tensor:
    p = outputs.softmax(dim=1)
    return p * (vectors - (p * vectors).sum(dim=1, keepdim=True))


CROSS_ENTROPY = Loss(
    lambda outputs, labels: F.cross_entropy(outputs, labels, reduction="sum"), _curved_softmax
)
SQUARED = Loss(lambda outputs, labels: ((outputs - labels) ** 2).sum() / 2, lambda _, vectors: vectors)


@dataclass(frozen=True, eq=False)
class Curvature:
    """Images for the curvature, and the network at whose weights it is taken.

    Attributes:
        module: in evaluation mode; returns outputs (n, k).
        images: (m, ...), as the network takes them.
        labels: (m,); used only to sample from the loss.
        loss: whose second derivative is taken.
        weight_decay: of the training; added to every eigenvalue.
    """

    module: nn.Module
    images: Tensor
    labels: Tensor
    loss: Loss = CROSS_ENTROPY
    weight_decay: float = 0.0

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The weights by name, detached."""
        return {name: value.detach() for name, value in self.module.named_parameters()}

    def product(self, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """(Gauss-Newton matrix, mean over the images, + weight decay) times a vector (p,).

        Args:
            vector: (p,), one entry per weight.
            rows: use only these images; all by default.
        """
        images = self.images if rows is None else self.images[rows]
        tangent = self._named(vector)
        total = torch.zeros_like(vector)
        for part in images.split(CHUNK):

            def outputs(weights: dict[str, Tensor], part: Tensor = part) -> Tensor:
                answer: Tensor = functional_call(self.module, weights, (part,))
                return answer

            answers, pull = vjp(outputs, self.weights)[:2]
            # J v by differentiating J^T u by u: torch's forward mode takes seconds to load
            push = vjp(lambda u, pull=pull: pull(u)[0], torch.zeros_like(answers))[1]
            (turned,) = push(tangent)
            (back,) = pull(self.loss.curved(answers, turned))
            total += torch.cat([back[name].flatten() for name in self.weights])
        return total / len(images) + self.weight_decay * vector

    def largest(self, n_steps: int = 20) -> float:
        """The largest eigenvalue, by power iteration; slightly too small after few steps."""
        generator = torch.Generator().manual_seed(0)
        n_weights = sum(value.numel() for value in self.weights.values())
        vector = torch.randn(n_weights, generator=generator).to(self.images.device)
        value = 0.0
        for _ in range(n_steps):
            vector = self.product(vector / vector.norm().clamp(min=1e-30))
            value = float(vector.norm())
        return value

    def _named(self, vector: Tensor) -> dict[str, Tensor]:
        sizes = [value.numel() for value in self.weights.values()]
        parts = vector.split(sizes)
        return {
            name: part.view_as(value) for (name, value), part in zip(self.weights.items(), parts, strict=True)
        }


def summed_gradient(module: nn.Module, images: Tensor, labels: Tensor, loss: Loss = CROSS_ENTROPY) -> Tensor:
    """Gradient (p,) of the loss summed over some images."""
    total = torch.zeros(())
    for part, classes in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
        value = loss.value(module(part), classes)
        gradients = torch.autograd.grad(value, list(module.parameters()))
        total = total + torch.cat([gradient.flatten() for gradient in gradients])
    return total.detach()


@torch.no_grad()
def moved(module: nn.Module, step: Tensor) -> nn.Module:
    """Add a step (p,) to the weights of a network, in place; returns the network."""
    sizes = [parameter.numel() for parameter in module.parameters()]
    for parameter, part in zip(module.parameters(), step.split(sizes), strict=True):
        parameter.add_(part.view_as(parameter))
    return module
