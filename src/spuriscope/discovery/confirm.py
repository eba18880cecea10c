"""Confirm by intervention: the effect of a pattern on fresh images of other classes.

A group that stands out may still mean nothing to the model. So its pattern is stamped on images that the
model was not trained on, and the rise of the target's probability is compared with that under patterns made
in the same way from control groups: natural look-alikes of the same class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Split, unit_float
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.reconstruct import Brightness, reconstruct_groups
from spuriscope.errors import DiscoveryError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import AnyPattern

__all__ = ["ClassPatterns", "Intervention"]

STAMPED_AT_ONCE = 2000  # images
STAMPED_VALUES = 2**25  # most of their values at once: 128 MB


class ClassPatterns:
    """Makes patterns from sets of images of one class, given with their deviations (n, d)."""

    def __init__(self, deviation: Deviation, images: Tensor, deviations: NDArray[np.float32]) -> None:
        self.images = images
        self._deviation, self._brightness = deviation, Brightness(images)
        self._deviations = deviations
        self._usual = np.median(deviations, axis=0)

    def of(self, sets: Sequence[NDArray[np.int64]]) -> Tensor:
        """Pixels (k, channels, height, width) of the patterns of k sets of positions among the images."""
        shared = np.stack([self._deviations[each].mean(axis=0) for each in sets])
        darkest = torch.stack([unit_float(self.images[torch.from_numpy(each)].amin(dim=0)) for each in sets])
        sizes = np.array([len(each) for each in sets])
        return reconstruct_groups(
            self._deviation, shared, self._usual, sizes, brightness=self._brightness, darkest=darkest
        )


@dataclass(frozen=True, eq=False)
class Intervention:
    """Stamps patterns on fresh images and runs the model on them.

    Attributes:
        predict: maps images to class probabilities.
        fresh: (n, channels, height, width) images of other classes than the target, uint8 or in [0, 1].
        before: (n,) their probability of the target.
        target: the class.
        threshold: least rise of a probability that counts.
    """

    predict: Predict
    fresh: Tensor
    before: Tensor
    target: int
    threshold: float

    @classmethod
    def on(
        cls, predict: Predict, holdout: Split, target: int, *, n_fresh: int, threshold: float, seed: int
    ) -> "Intervention":
        """Use `n_fresh` random images of `holdout` that are not of the target class.

        Raises:
            DiscoveryError: there are none.
            MeasureError: `predict` does not return probabilities.
        """
        others = (holdout.labels != target).nonzero().flatten()
        if len(others) == 0:
            raise DiscoveryError(
                f"all {len(holdout)} fresh images are of class {target}; a pattern is tried on images of "
                "other classes: give some"
            )
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
        fresh = unit_float(holdout.images[others[order[:n_fresh]]])
        return cls(predict, fresh, probabilities(predict, fresh)[:, target], target, threshold)

    def scores(self, patterns: Tensor) -> NDArray[np.float64]:
        """Spurious score (k,) of each of the pictures (k, channels, height, width), added."""
        return self._moved(
            (self.fresh[None] + part[:, None]).clamp_(0, 1).flatten(0, 1)
            for part in patterns.split(self._at_once)
        )

    def scores_of(self, patterns: Sequence[AnyPattern]) -> NDArray[np.float64]:
        """Spurious score (k,) of each pattern, of any kind."""
        return self._moved(
            torch.cat([pattern.apply(self.fresh) for pattern in patterns[first : first + self._at_once]])
            for first in range(0, len(patterns), self._at_once)
        )

    @property
    def _at_once(self) -> int:
        most = min(STAMPED_AT_ONCE, STAMPED_VALUES // self.fresh[0].numel())
        return max(1, most // len(self.fresh))

    def _moved(self, batches: Iterable[Tensor]) -> NDArray[np.float64]:
        """Share of the fresh images that each pattern moves; each pattern's batch holds all of them."""
        scores = []
        for stamped in batches:
            after = probabilities(self.predict, stamped)[:, self.target].reshape(-1, len(self.fresh))
            scores.append((after - self.before > self.threshold).double().mean(dim=1))
        return torch.cat(scores).numpy()
