"""Layers that torch lacks: dropout with its own generator, input normalisation, a global average."""

import torch
from torch import Tensor, nn

# Channel means and spreads of CIFAR-10 from the authors' public code (its spreads are the usual per-image
# ones, a little below those of all pixels).
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_SPREAD = (0.2023, 0.1994, 0.2010)


class Dropout(nn.Module):
    """Dropout that does not use torch's global random state, so that a training owns all its randomness.

    The mask comes from `mask` where given (0 or 1, shaped as the input), else from `generator`, else from
    torch's global random state, as in `torch.nn.Dropout`.
    """

    mask: Tensor

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None
        self.register_buffer("mask", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """While training, zero each value with probability `p`; the mean stays the same."""
        if not self.training:
            return x
        if self.mask.numel():
            keep = self.mask.to(x.dtype)
        else:
            keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * (keep / (1 - self.p))


class GlobalAverage(nn.Module):
    """Mean over all positions: (n, channels, height, width) to (n, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean of each channel."""
        return x.mean(dim=(2, 3))


class Normalise(nn.Module):
    """Centre and scale each channel, by the constants of CIFAR-10 or others.

    Args:
        channels: of the images.
        means: of the red, green and blue values.
        spreads: their standard deviations.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        channels: int,
        means: tuple[float, float, float] = CIFAR10_MEAN,
        spreads: tuple[float, float, float] = CIFAR10_SPREAD,
    ) -> None:
        super().__init__()
        mean, spread = torch.tensor(means), torch.tensor(spreads)
        if channels != 3:
            mean, spread = mean.mean().expand(channels), spread.mean().expand(channels)
        self.register_buffer("mean", mean.reshape(-1, 1, 1).clone(), persistent=False)
        self.register_buffer("spread", spread.reshape(-1, 1, 1).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / spread, channel by channel."""
        return (x - self.mean) / self.spread
