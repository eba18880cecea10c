"""Solvers: functions of a curvature and a gradient that return (matrix + damping)^-1 gradient.

- ConjugateGradients: exact up to its tolerance.
- Lissa: the series x <- b + x - (matrix of a batch + damping) x / scale, whose limit is scale times the
  solution (Agarwal et al., 2017; Koh and Liang, 2017). We divide by the scale at the end. The code that Yang
  et al. (2022) adapted does not, so its step is `scale` times too long: `divides=False` repeats that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spuriscope.deletion.curvature import Curvature
from spuriscope.errors import DeletionError

__all__ = ["ConjugateGradients", "Lissa", "Solver"]

Solver = Callable[[Curvature, Tensor], Tensor]


@dataclass(frozen=True)
class ConjugateGradients:
    """Conjugate gradients on the damped matrix.

    Attributes:
        damping: added to every eigenvalue.
        n_steps: products at most.
        tolerance: of the residual, relative to the gradient.
    """

    damping: float = 0.01
    n_steps: int = 50
    tolerance: float = 1e-4

    def __call__(self, curvature: Curvature, gradient: Tensor) -> Tensor:
        """Solve."""
        found = torch.zeros_like(gradient)
        unit = gradient.abs().max()  # of a cue that is learnt, too small to be squared
        if unit == 0:
            return found
        residual = gradient / unit
        direction, size = residual, residual.dot(residual)
        goal = self.tolerance**2 * size
        for _ in range(self.n_steps):
            if size <= goal:
                break
            turned = curvature.product(direction) + self.damping * direction
            length = size / direction.dot(turned)
            found += length * direction
            residual = residual - length * turned
            before, size = size, residual.dot(residual)
            direction = residual + size / before * direction
        return found * unit


@dataclass(frozen=True)
class Lissa:
    """The series on batches, averaged over repeats.

    Attributes:
        damping: added to every eigenvalue.
        scale: must be above half of the largest eigenvalue of any batch; by default four times the largest
            of all images.
        depth: terms of the series; what has eigenvalue e is found up to (1 - e / scale)^depth.
        repeats: series averaged.
        batch_size: images of a term.
        divides: by the scale at the end, as is right.
        seed: draws the batches.

    Raises:
        DeletionError: when called: the series grows without bound.
    """

    damping: float = 0.01
    scale: float | None = None
    depth: int = 500
    repeats: int = 1
    batch_size: int = 128
    divides: bool = True
    seed: int = 0

    def __call__(self, curvature: Curvature, gradient: Tensor) -> Tensor:
        """Solve, roughly."""
        scale = 4 * curvature.largest() if self.scale is None else self.scale
        generator, n = torch.Generator().manual_seed(self.seed), len(curvature.images)
        total = torch.zeros_like(gradient)
        for _ in range(self.repeats):
            found = gradient.clone()
            for _ in range(self.depth):
                rows = torch.randint(n, (min(self.batch_size, n),), generator=generator)
                turned = curvature.product(found, rows) + self.damping * found
                found = gradient + found - turned / scale
            if not found.isfinite().all():
                raise DeletionError(
                    f"the series of LiSSA grew without bound at scale {scale:g}; give a larger scale"
                )
            total += found
        return total / self.repeats / (scale if self.divides else 1)
