"""Presence inference: did any training image carry the pattern?

The attacker holds the pattern, not an image. She asks whether it draws the model to the target class more
than it draws models that were trained without it, the null.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spuriscope.measures import THRESHOLD, Predict, probabilities
from spuriscope.membership.evaluation import Separation, separate
from spuriscope.patterns import AnyPattern

__all__ = ["PRESENCE_STATISTICS", "presence", "presence_statistics"]

PRESENCE_STATISTICS = ("score", "mean_rise")
FALSE_ALARMS = (0.01, 0.1)


def presence_statistics(
    predict: Predict, images: Tensor, pattern: AnyPattern, target: int
) -> dict[str, float]:
    """The attacker's statistics of one model: "score", the spurious score, and the softer "mean_rise".

    Args:
        predict: maps images to class probabilities.
        images: (n, channels, height, width), the attacker's own, preferably not of the target class.
        pattern: the pattern in question.
        target: the class in question.

    Raises:
        MeasureError: there are no images, or `predict` does not return probabilities.
    """
    clean = probabilities(predict, images)[:, target]
    stamped = probabilities(predict, pattern.apply(images))[:, target]
    return {
        "score": float((stamped - clean > THRESHOLD).double().mean()),
        "mean_rise": float((stamped - clean).double().mean()),
    }


def presence(with_pattern: Sequence[float], without: Sequence[float]) -> Separation:
    """How well a statistic tells models trained with the pattern from the null.

    Args:
        with_pattern: the statistic of models trained with the pattern planted.
        without: the statistic of models trained without it.
    """
    return separate(
        [(torch.tensor(list(with_pattern)).double(), torch.tensor(list(without)).double())],
        false_alarms=FALSE_ALARMS,
    )
