"""What the probe proposes: directions to search for among the training images.

A cluster of unrelated images that a model calls the same shares something, a cue or a resemblance. The
training images tell which: if the model has learnt it from them, some of them carry the mean deviation of the
cluster minus that of all unrelated images.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Split
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.embed import PCAEmbedding, check_images
from spuriscope.discovery.probe import probe
from spuriscope.errors import DiscoveryError
from spuriscope.measures import Predict

__all__ = ["propose"]

MOST_UNRELATED = 10_000  # takes HDBSCAN seconds; five times as many take a minute
MOST_OF_CLASS = 3  # clusters per predicted class


def propose(
    predict: Predict, unrelated: Tensor, train: Split, deviation: Deviation, seed: int
) -> dict[int, list[NDArray[np.float32]]]:
    """Deviations (d,), by predicted class, of the clusters that depend most on the unexplained residual.

    Args:
        predict: maps images to class probabilities.
        unrelated: (n, channels, height, width), uint8 or in [0, 1]; of more than 10,000 as many are drawn.
        train: the images that the model was trained on; the probe's embedding is fitted on them.
        deviation: fitted; directions are in its coordinates.
        seed: of the draw, and of the probe.

    Raises:
        DiscoveryError: images have another shape than the training images, are too few, or all get one class.
    """
    if check_images(unrelated) != tuple(train.images.shape[1:]):
        raise DiscoveryError(
            f"unrelated images are {tuple(unrelated.shape[1:])} and training images "
            f"{tuple(train.images.shape[1:])} (channels, height, width); bring them to one size"
        )
    order = torch.randperm(len(unrelated), generator=torch.Generator().manual_seed(seed))
    some = unrelated[order[:MOST_UNRELATED]]
    n_components = min(32, some[0].numel(), len(train.images))
    embedding = PCAEmbedding(n_components, seed=seed).fit(train.images)
    deviations = deviation.transform(some)
    usual = np.median(deviations, axis=0)
    proposed: dict[int, list[NDArray[np.float32]]] = {}
    for group in probe(predict, some, embedding, seed=seed).groups("contrast"):
        of_class = proposed.setdefault(group.target, [])
        if len(of_class) < MOST_OF_CLASS:
            of_class.append(deviations[group.positions].mean(axis=0) - usual)
    return proposed
