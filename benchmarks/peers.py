"""Published ways to find planted training images, or their class, to compare with.

No library that has them can be installed beside this one. Those that name images are told the class here,
which a user does not know; Neural Cleanse names the class, but no image.
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
MOST_STEPS = 50  # of SCAn's two groups
RIDGE = 0.05  # of the mean variance, because a class has few images for so many activations
N_STEPS, STEP, N_BATCH = 150, 0.1, 32  # of Neural Cleanse
FIRST_COST, COST_FACTOR, PATIENCE, ENOUGH = 1e-3, 1.5, 5, 0.99  # of its mask, as in the authors' code
INFECTED = 2.0  # anomaly index of a class

Floats = NDArray[np.float32]


@torch.inference_mode()
def activations(model: TrainedModel, images: Tensor) -> Floats:
    """Input of the last linear layer of a model for each image, (n, d)."""
    last = [layer for layer in model.module.modules() if isinstance(layer, nn.Linear)][-1]
    found: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: found.append(given[0].flatten(1)))
    try:
        for part in images.split(BATCH):
            model.module(unit_float(part))
    finally:
        hook.remove()
    return torch.cat(found).numpy()


def activation_clustering(of_class: Floats, *, seed: int = 0) -> NDArray[np.bool_]:
    """Which images of a class lie in the smaller of two clusters, the suspects.

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
    """Plain outlier score of images: energy not explained by 32 principal components of fresh images."""
    left = residuals(PCAEmbedding(32).fit(fresh), of_class)
    return left.square().sum(dim=(1, 2, 3)).numpy()


def scan(clean: Floats, clean_labels: NDArray[np.int64], of_class: Floats) -> NDArray[np.bool_]:
    """Which images of a class lie in the smaller of two groups that share the covariance of clean classes.

    Activations are whitened by the within-class covariance of clean images; the two groups are the fixed
    point of a linear discriminant, started from the first principal component.

    Source: Tang et al. (2021), "Demon in the variant: statistical analysis of DNNs for robust backdoor
    contamination detection": the two-component model of a class, its untangling. The test whether there are
    two groups is left out.
    """
    means = np.stack([clean[clean_labels == label].mean(axis=0) for label in np.unique(clean_labels)])
    within = clean - means[np.searchsorted(np.unique(clean_labels), clean_labels)]
    covariance = within.T @ within / len(within)
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    values, directions = np.linalg.eigh(covariance)
    white = (of_class - of_class.mean(axis=0)) @ directions / np.sqrt(values.clip(0) + ridge)
    along = white @ np.linalg.eigh(white.T @ white)[1][:, -1]
    is_far = np.abs(along) > np.quantile(np.abs(along), 0.9)
    for _ in range(MOST_STEPS):
        if is_far.all() or not is_far.any():
            break
        first, second = white[is_far].mean(axis=0), white[~is_far].mean(axis=0)
        nearer = (white - (first + second) / 2) @ (first - second) > 0
        if np.array_equal(nearer, is_far):
            break
        is_far = nearer
    is_smaller: NDArray[np.bool_] = is_far if is_far.mean() <= 0.5 else ~is_far
    return is_smaller


def mask_sizes(model: TrainedModel, fresh: Tensor, labels: Tensor, *, seed: int = 0) -> Floats:
    """For each class the size of the mask of a patch that moves fresh images of other classes to it.

    Source: Wang et al. (2019), "Neural Cleanse: identifying and mitigating backdoor attacks in neural
    networks": the mask's L1 norm after descent on the cross-entropy and a cost for it that grows while the
    patch succeeds.
    """
    return np.array(
        [_mask_size(model.module, fresh[labels != label], int(label), seed) for label in labels.unique()],
        dtype=np.float32,
    )


def infected(sizes: Floats) -> NDArray[np.bool_]:
    """Which classes need so small a mask that the anomaly index, by the median deviation, is above 2."""
    away = np.median(sizes) - sizes
    spread = 1.4826 * np.median(np.abs(away))
    is_infected: NDArray[np.bool_] = away > INFECTED * max(float(spread), 1e-9)
    return is_infected


def _mask_size(module: nn.Module, others: Tensor, label: int, seed: int) -> float:
    draws = torch.Generator().manual_seed(seed)
    shape = others.shape[1:]
    raw_mask = torch.zeros(1, *shape[1:], requires_grad=True)  # tanh of it lies in (-1, 1)
    raw_pattern = torch.zeros(shape, requires_grad=True)
    descent = torch.optim.Adam([raw_mask, raw_pattern], lr=STEP, betas=(0.5, 0.9))
    target = torch.full((N_BATCH,), label)
    cost, n_good, n_bad, best = FIRST_COST, 0, 0, float("inf")
    for _ in range(N_STEPS):
        images = unit_float(others[torch.randint(len(others), (N_BATCH,), generator=draws)])
        mask, pattern = raw_mask.tanh() / 2 + 0.5, raw_pattern.tanh() / 2 + 0.5
        answers = module(images * (1 - mask) + pattern * mask)
        size = mask.sum()
        descent.zero_grad()
        (nn.functional.cross_entropy(answers, target) + cost * size).backward()
        descent.step()
        is_good = float((answers.argmax(dim=1) == label).float().mean()) >= ENOUGH
        best = min(best, size.item()) if is_good else best
        n_good, n_bad = (n_good + 1, 0) if is_good else (0, n_bad + 1)
        if n_good == PATIENCE:
            cost, n_good = cost * COST_FACTOR, 0
        elif n_bad == PATIENCE:
            cost, n_bad = cost / COST_FACTOR, 0
    return best if np.isfinite(best) else size.item()
