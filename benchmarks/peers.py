"""Published ways to find planted training images, to compare with: they look at one class at a time.

No library that has them installs beside this one. Each is told the class here, which a user does not know.
"""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from spuriscope.data.image_set import unit_float
from spuriscope.discovery import PCAEmbedding, residuals
from spuriscope.training import TrainedModel

BATCH = 500
N_INDEPENDENT = 10  # components, as in Chen et al. (2018), Section 4

Floats = NDArray[np.float32]


@torch.inference_mode()
def activations(model: TrainedModel, images: Tensor) -> Floats:
    """What the last linear layer of a model gets for each image, (n, d)."""
    assert isinstance(model.module, nn.Sequential)
    body = model.module[:-1]
    return torch.cat([body(unit_float(part)).flatten(1) for part in images.split(BATCH)]).numpy()


def activation_clustering(of_class: Floats, *, seed: int = 0) -> NDArray[np.bool_]:
    """Which images of a class lie in the smaller of two clusters: those it suspects.

    Source: Chen et al. (2018), "Detecting backdoor attacks on deep neural networks by activation clustering":
    ten independent components, k-means with k = 2, the smaller cluster.
    """
    active = of_class[:, of_class.std(axis=0) > 0]
    n_components = min(N_INDEPENDENT, *active.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        components = FastICA(n_components, whiten="unit-variance", random_state=seed).fit_transform(active)
    labels = KMeans(2, n_init=10, random_state=seed).fit(components).labels_
    is_smaller: NDArray[np.bool_] = labels == np.bincount(labels, minlength=2).argmin()
    return is_smaller


def spectral_signatures(of_class: Floats) -> Floats:
    """Outlier score of each image of a class: its squared part along the first singular direction.

    Source: Tran, Li and Madry (2018), "Spectral signatures in backdoor attacks", Algorithm 1.
    """
    centred = of_class - of_class.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    scores: Floats = (centred @ directions[:, -1]) ** 2
    return scores


def outliers(fresh: Tensor, of_class: Tensor) -> Floats:
    """Plain outlier score of images: energy that 32 principal components of fresh images leave of them."""
    left = residuals(PCAEmbedding(32).fit(fresh), of_class)
    return left.square().sum(dim=(1, 2, 3)).numpy()
