"""Where the chance of a private training comes from: its seed, or the system.

Differential privacy promises that nobody can tell which images were drawn and which noise was added. A seed
is a small number that stands in every checkpoint: whoever tries it can draw the same again. So the noise and
the choice of images come from the system's randomness, 128 bits of it, unless a `Privacy` asks for its seed.
"""

import numpy as np
import torch
from torch import Tensor

from spuriscope.training.cell import seeded_generator
from spuriscope.training.privacy import Privacy

__all__ = ["Draws", "draws_of", "normal_like", "uniform"]

Draws = torch.Generator | np.random.Generator


def draws_of(privacy: Privacy | None, seed: int, stream: str, device: str | torch.device = "cpu") -> Draws:
    """What draws a stream of a cell: from its seed, or under secret privacy from the system's randomness."""
    if privacy is not None and privacy.randomness == "system":
        return np.random.default_rng()  # 128 bits; torch's generator on the CPU takes 32 of a seed
    return seeded_generator(seed, stream, device)


def uniform(n: int, draws: Draws) -> Tensor:
    """Numbers (n,) in [0, 1), on the CPU."""
    if isinstance(draws, torch.Generator):
        return torch.rand(n, generator=draws)
    return torch.from_numpy(draws.random(n, dtype=np.float32))


def normal_like(tensor: Tensor, spread: float, draws: Draws) -> Tensor:
    """Normal noise of mean 0 and this standard deviation, shaped and placed as a tensor."""
    if isinstance(draws, torch.Generator):
        return torch.empty_like(tensor).normal_(std=spread, generator=draws)
    noise = torch.from_numpy(draws.standard_normal(tuple(tensor.shape), dtype=np.float32))
    return spread * noise.to(tensor)
