"""The interim report's own test: noise in classes of interest and in a share of unrelated images.

Digits 0 to 4 of MNIST are of interest, 5 to 9 unrelated. Noise is planted in training images of one class or
three; 5 % of the unrelated images carry each kind. How well does the share of a cluster that is predicted as
the class tell noisy unrelated images from clean ones (area under the ROC curve)?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import Tensor

from spuriscope.data import ImageSet, Split
from spuriscope.discovery import Embedding, Group, PCAEmbedding, Probed, VAEEmbedding, probe
from spuriscope.discovery.probe import Clustering, LookAt, RankBy
from spuriscope.patterns import pattern
from spuriscope.planting import Plant, draw_planted
from spuriscope.training import TrainedModel

# kinds of noise, each with its class and the number of training images that carry it; None: all of the class
CASES: dict[str, list[tuple[str, int, int | None]]] = {
    "R2, all of class 0": [("r2", 0, None)],
    "R3, 10 of class 0": [("r3", 0, 10)],
    "R2, 10 of class 0": [("r2", 0, 10)],
    "three R2, 10 each of 0, 2, 4": [("r2", target, 10) for target in (0, 2, 4)],
    "R1, 100 of class 0": [("r1", 0, 100)],
    "three R1, 100 each of 0, 2, 4": [("r1", target, 100) for target in (0, 2, 4)],
}
N_UNRELATED = 10_000
SHARE_NOISY = 0.05
EPOCHS = 5
VAE_STEPS = 600
FIRST_LOOK = 32, 60  # components and clusters of the first look
PURE = 0.8  # least share of noise in a cluster of noise

Train = Callable[[ImageSet, Sequence[Plant], int, int], TrainedModel]


@dataclass(frozen=True)
class Trial:
    """A model that has learnt noise, and unrelated images, some of which carry it."""

    model: TrainedModel
    plants: list[Plant]
    samples: Tensor  # the training images, stamped
    unrelated: Tensor
    kind: NDArray[np.int64]  # (n,) which noise an unrelated image carries, counted from 1; 0: none

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the predicted class of the unrelated images."""
        return np.asarray(self.model.predict(self.unrelated).argmax(dim=1))

    def learnt(self) -> list[dict[str, float]]:
        """For each kind of noise: share of noisy, and of clean, unrelated images predicted as its class."""
        is_clean = self.kind == 0
        return [
            {
                "noisy": float((self.predicted[self.kind == k + 1] == plant.target).mean()),
                "clean": float((self.predicted[is_clean] == plant.target).mean()),
            }
            for k, plant in enumerate(self.plants)
        ]

    def areas(self, regions: NDArray[np.int64], values: NDArray[np.float64]) -> list[float]:
        """For each kind of noise: AUC of the `values` (n_regions, n_classes) of the regions images are in."""
        found = []
        for k, plant in enumerate(self.plants):
            rows = (self.kind == 0) | (self.kind == k + 1)
            scores = values[regions[rows], plant.target]
            found.append(float(roc_auc_score(self.kind[rows] == k + 1, scores)))
        return found

    def first_look(self) -> list[float]:
        """AUCs of k-means with 60 clusters on 32 principal components of all images together."""
        n_components, n_clusters = FIRST_LOOK
        pixels = torch.cat([self.samples, self.unrelated]).flatten(1).float().numpy() / 255
        latents = PCA(n_components, random_state=0).fit(pixels).transform(pixels[len(self.samples) :])
        regions = KMeans(n_clusters, n_init=1, random_state=0).fit(latents).labels_
        return self.areas(regions, _shares(regions, self.predicted))

    def judge(self, found: Probed) -> dict[str, Any]:
        """AUCs by share and by contrast; rank, purity and share found of the first group of each noise."""
        ranked = {by: found.groups(by) for by in get_args(RankBy)}
        firsts = {
            by: [self.first_of(groups, k) for k in range(len(self.plants))] for by, groups in ranked.items()
        }
        return {
            "auc_share": self.areas(found.regions, found.shares),
            "auc_contrast": self.areas(found.regions, found.contrasts),
            "firsts": firsts,
            "n_groups": len(ranked["density"]),
        }

    def first_of(self, groups: list[Group], k: int) -> dict[str, Any]:
        """The strongest group that is mostly the k-th noise in its class."""
        is_meant = (self.kind == k + 1) & (self.predicted == self.plants[k].target)
        for rank, group in enumerate(groups, start=1):
            n_meant = int(is_meant[group.positions].sum())
            if n_meant >= PURE * len(group):
                return {"rank": rank, "purity": n_meant / len(group), "recall": n_meant / int(is_meant.sum())}
        return {"rank": None, "purity": None, "recall": 0.0}


def make_trial(data: ImageSet, train: Train, case: str, seed: int, *, n_unrelated: int) -> Trial:
    """Plant and train; draw unrelated images and stamp 5 % of them with each kind of noise."""
    train_part, test_part = (_digits(split, 0, 5) for split in (data.train, data.test))
    interest = ImageSet(f"{data.name} 0-4", train_part, test_part, data.class_names[:5])
    size = int((train_part.labels == 0).sum())
    plants = [
        Plant(pattern(name, data.shape, seed=10 * seed + k), target, n_planted or size, seed)
        for k, (name, target, n_planted) in enumerate(CASES[case])
    ]
    samples = train_part.images.clone()
    for plant, where in zip(plants, draw_planted(plants, train_part.labels), strict=True):
        samples[where] = eight_bits(plant.pattern.apply(samples[where]))
    rest = _digits(data.train, 5, 10).images
    unrelated = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[:n_unrelated]]
    n_noisy = int(SHARE_NOISY * len(unrelated))
    kind = np.zeros(len(unrelated), dtype=np.int64)
    for k, plant in enumerate(plants):
        rows = slice(k * n_noisy, (k + 1) * n_noisy)
        unrelated[rows] = eight_bits(plant.pattern.apply(unrelated[rows]))
        kind[rows] = k + 1
    return Trial(train(interest, plants, seed, EPOCHS), plants, samples, unrelated, kind)


def search_trial(trial: Trial, kind: str, seed: int) -> dict[str, Any]:
    """Results of each way of looking, clustering and ranking with one kind of embedding."""
    row: dict[str, Any] = {"learnt": trial.learnt(), "ways": {}}
    if kind == "pca":
        row["first_look"] = trial.first_look()
    together = torch.cat([trial.samples, trial.unrelated])
    fitted_on: dict[LookAt, Tensor] = {"latents": together, "residual": trial.samples}
    for look_at, images in fitted_on.items():
        embedding = make(kind).fit(images)
        for clustering in get_args(Clustering):
            found = probe(
                trial.model.predict,
                trial.unrelated,
                embedding,
                look_at=look_at,
                clustering=clustering,
                seed=seed,
            )
            row["ways"][f"{look_at} {clustering}"] = trial.judge(found)
    return row


def make(kind: str) -> Embedding:
    """An unfitted embedding: "pca", or "vae" with fewer steps than by default."""
    return PCAEmbedding() if kind == "pca" else VAEEmbedding(n_steps=VAE_STEPS)


def _digits(split: Split, low: int, high: int) -> Split:
    rows = (split.labels >= low) & (split.labels < high)
    return Split(split.images[rows], split.labels[rows] - low)


def eight_bits(images: Tensor) -> Tensor:
    """Images in [0, 1] rounded to 8 bits, as in a file."""
    return (images * 255).round().to(torch.uint8)


def _shares(regions: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.zeros((regions.max() + 1, 5))
    np.add.at(counts, (regions, predicted), 1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
