"""Where the randomness of a private training comes from: its seed, or the system.

Differential privacy promises that nobody can tell which images were drawn and which noise was added. A seed
is a small number that is stored in every checkpoint: whoever has it can repeat the draws. So the noise and
the choice of images come from 128 bits of the system's randomness, unless a `Privacy` asks for the seed.
"""

import numpy as np
import torch
from torch import Tensor

from spuriscope.training.cell import seeded_generator
from spuriscope.training.privacy import Privacy

__all__ = ["Draws", "draws_of", "normal_like", "uniform"]

Draws = torch.Generator | np.random.Generator


def draws_of(privacy: Privacy | None, seed: int, stream: str, device: str | torch.device = "cpu") -> Draws:
    """A generator for one stream of a cell: seeded, or under secret privacy from the system's randomness."""
    if privacy is not None and privacy.randomness == "system":
        return np.random.default_rng()  # 128 bits; torch's generator on the CPU uses 32 bits of a seed
    return seeded_generator(seed, stream, device)


def uniform(n: int, draws: Draws) -> Tensor:
    """Numbers (n,) in [0, 1), on the CPU."""
    if isinstance(draws, torch.Generator):
        return torch.rand(n, generator=draws)
    return torch.from_numpy(draws.random(n, dtype=np.float32))


def normal_like(tensor: Tensor, spread: float, draws: Draws) -> Tensor:
    """Normal noise of mean 0 and standard deviation `spread`, with a tensor's shape and device."""
    if isinstance(draws, torch.Generator):
        return torch.empty_like(tensor).normal_(std=spread, generator=draws)
    noise = torch.from_numpy(draws.standard_normal(tuple(tensor.shape), dtype=np.float32))
    return spread * noise.to(tensor)
