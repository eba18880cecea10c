"""Layers that torch lacks: dropout from a generator of one's own, and input normalisation."""

import torch
from torch import Tensor, nn

# Channel means and spreads of CIFAR-10 as the authors' public code has them (the spreads are the usual
# ones of per-image statistics, a little below those of all pixels).
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_SPREAD = (0.2023, 0.1994, 0.2010)


class Dropout(nn.Module):
    """Dropout whose masks come from `generator`, so that a training owns all its randomness.

    Without a generator the masks come from torch's global random state, as in `torch.nn.Dropout`.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero each value with probability `p` while training; the mean stays."""
        if not self.training:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.div_(1 - self.p)


class Normalise(nn.Module):
    """Centre and scale each channel by the constants of CIFAR-10; their averages where not three channels."""

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        mean, spread = torch.tensor(CIFAR10_MEAN), torch.tensor(CIFAR10_SPREAD)
        if channels != 3:
            mean, spread = mean.mean().expand(channels), spread.mean().expand(channels)
        self.register_buffer("mean", mean.reshape(-1, 1, 1).clone(), persistent=False)
        self.register_buffer("spread", spread.reshape(-1, 1, 1).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / spread, channel by channel."""
        return (x - self.mean) / self.spread
