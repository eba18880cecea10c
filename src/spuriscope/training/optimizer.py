"""The two optimisers of the paper, in torch's fused functional form.

`torch.optim.Adam` and `torch.optim.SGD` do the same arithmetic, but their classes import the compiler on
first use (0.7 to 2 s in every worker process), and on small networks their overhead exceeds the arithmetic.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from spuriscope.training.recipe import Recipe

__all__ = ["Optimizer"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults, as in the authors' code


class Optimizer:
    """Adam or SGD with momentum, as a recipe says; both add L2 weight decay to the gradient.

    State for SGD: the momentum of each parameter. For Adam: both moments and the number of steps.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.recipe = recipe
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        if recipe.optimizer == "adam":
            self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
            self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter along its gradient.

        Args:
            rate: the learning rate of this step.
        """
        gradients: list[Tensor] = [
            p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters
        ]
        weights: list[Tensor] = [p.detach() for p in self.parameters]
        if self.recipe.optimizer == "adam":
            adam(
                weights, gradients, self.first, self.second, [], self.steps,
                lr=rate, beta1=BETA1, beta2=BETA2, eps=EPSILON, weight_decay=self.recipe.weight_decay,
                amsgrad=False, maximize=False, fused=True,
            )  # fmt: skip
        else:
            sgd(
                weights, gradients, list(self.first),
                lr=rate, momentum=self.recipe.momentum, weight_decay=self.recipe.weight_decay,
                dampening=0.0, nesterov=False, maximize=False, fused=True,
            )  # fmt: skip
