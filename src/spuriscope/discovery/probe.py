"""The probe: unrelated images that a model calls the same, although they have nothing to do with its classes.

The four steps of the interim report: (1) take the samples in which a cue is suspected, and many unrelated
images; (2) let the model classify the unrelated ones; (3) embed them; (4) search for clusters within each
predicted class. A cluster that is much denser in that class than among all unrelated images is suspected to
share what the model uses. It may also be a natural look-alike (a 7 that resembles a 1), which ranking by
"contrast" puts below a cue, by running the model again on what the embedding explains.

Source: Tischler (2024), Section 2. It does not say what is embedded: `look_at="residual"` is ours, because a
few latents lose faint noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.embed import Embedding, PCAEmbedding, check_images, reconstructions
from spuriscope.discovery.group import Group
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.measures import Predict, probabilities

__all__ = ["Clustering", "LookAt", "Probed", "RankBy", "probe"]

Clustering = Literal["hdbscan", "k-means"]
LookAt = Literal["residual", "latents"]
RankBy = Literal["density", "contrast"]

N_DIRECTIONS = 32  # principal components of the residuals that are clustered


@dataclass(frozen=True, eq=False)
class Probed:
    """The result of the probe. A region is all images nearest to a cluster, or to the rest of a class.

    Attributes:
        predicted: (n,) class that the model gives to each unrelated image.
        regions: (n,) the region of each unrelated image.
        owners: (n_regions,) the class among whose images the region's centre was found.
        is_cluster: (n_regions,) false for what HDBSCAN left over in a class, and for classes with few images.
        shares: (n_regions, n_classes) share of a region's images that is predicted as the class.
        contrasts: (n_regions, n_classes) that share, minus the share once the residual is removed.
    """

    predicted: NDArray[np.int64]
    regions: NDArray[np.int64]
    owners: NDArray[np.int64]
    is_cluster: NDArray[np.bool_]
    shares: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    def groups(self, by: RankBy = "density") -> list[Group]:
        """Clusters that are denser in their class than among all unrelated images, strongest first.

        Args:
            by: their strength. "density": lower end of the share's 95 % interval over the class's share of
                all unrelated images, a ratio (the report's step 4). "contrast": the same lower end minus the
                share that remains once the residual is removed, a difference; only for clusters of residuals,
                as it says nothing about what latents keep.

        Returns:
            Groups whose `target` is the predicted class and whose `positions` are among the unrelated images.

        Raises:
            ConfigError: `by` is neither.
        """
        _check_one_of("by", by, RankBy)
        groups = []
        for region in np.flatnonzero(self.is_cluster):
            target = int(self.owners[region])
            inside, of_class = self.regions == region, self.predicted == target
            share, base = self.shares[region, target], of_class.mean()
            if share <= base:
                continue
            low = _lower_bound(share, int(inside.sum()))
            strength = low / base if by == "density" else low - share + self.contrasts[region, target]
            positions = np.flatnonzero(inside & of_class)
            groups.append(Group(target=target, positions=positions, strength=float(strength), source="probe"))
        return sorted(groups, key=lambda group: -group.strength)


def probe(
    predict: Predict,
    unrelated: Tensor,
    embedding: Embedding,
    *,
    look_at: LookAt = "residual",
    clustering: Clustering = "hdbscan",
    n_clusters: int = 10,
    least: int = 25,
    seed: int = 0,
) -> Probed:
    """Find clusters of unrelated images within the classes that a model predicts for them.

    Clusters are sought among the images of each predicted class alone. Then each unrelated image, whatever
    its class, goes to the nearest centre of all clusters (what HDBSCAN leaves over has a centre, too), and
    the share of the predicted class is counted there. Its ratio to the share among all unrelated images is
    how much denser the cluster is in its class.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        unrelated: (n, channels, height, width), uint8 or in [0, 1]: images of none of the classes.
        embedding: fitted; for "residual" on the samples in which a cue is suspected (a frequent cue would be
            explained away), for "latents" preferably on both sorts of images together.
        look_at: what is clustered: "latents" (n, n_components), or the first 32 principal components of the
            "residual", image minus reconstruction.
        clustering: of scikit-learn, "hdbscan" or "k-means".
        n_clusters: per class, for k-means.
        least: least images of a cluster; a class with less than twice as many is one region, not a cluster.
        seed: for k-means and the principal components.

    Raises:
        DiscoveryError: the images have another form or are too few, or the model gives all the same class.
        ConfigError: a setting is out of range.
        MeasureError: `predict` does not return probabilities.
    """
    _check_one_of("look_at", look_at, LookAt)
    _check_one_of("clustering", clustering, Clustering)
    if n_clusters < 1 or least < 2:
        raise ConfigError(f"n_clusters must be 1 or more and least 2 or more, got {n_clusters} and {least}")
    check_images(unrelated, least=2 * least)
    answers = probabilities(predict, unrelated)
    predicted, n_classes = answers.argmax(dim=1).numpy(), answers.shape[1]
    if len(np.unique(predicted)) == 1:
        raise DiscoveryError(
            f"the model gives all {len(unrelated)} unrelated images the class {predicted[0]}, so nothing can "
            "be denser in one class than in another; probe with more varied images"
        )
    explained = reconstructions(embedding, unrelated)
    without_residual = probabilities(predict, explained).argmax(dim=1).numpy()
    if look_at == "latents":
        points = embedding.transform(unrelated).numpy(force=True)
    else:
        points = _main_directions(unit_float(unrelated).float() - explained, seed)

    def find(of_class: NDArray[np.float32]) -> NDArray[np.int64]:
        if clustering == "hdbscan":
            return _hdbscan(of_class, least)
        return _k_means(of_class, min(n_clusters, len(of_class) // least), seed)

    centres, owners, is_cluster = _clusters(points, predicted, find, least)
    regions = _nearest(points, centres)
    shares, remaining = (
        _region_means(regions, labels[:, None] == np.arange(n_classes), len(centres))
        for labels in (predicted, without_residual)
    )
    return Probed(predicted, regions, owners, is_cluster, shares, shares - remaining)


def _check_one_of(name: str, value: str, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise ConfigError(f"{name} must be one of {', '.join(get_args(allowed))}, got {value!r}")


def _main_directions(left: Tensor, seed: int) -> NDArray[np.float32]:
    """Coordinates of residuals (n, channels, height, width) in [-1, 1] along their main directions (n, d)."""
    as_images = (left + 1) / 2
    n_directions = min(N_DIRECTIONS, left[0].numel(), len(left))
    return PCAEmbedding(n_directions, seed=seed).fit(as_images).transform(as_images).numpy()


def _clusters(
    points: NDArray[np.float32],
    predicted: NDArray[np.int64],
    find: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    least: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Centres (k, d) of the clusters of each class, their classes, and whether each is a true cluster."""
    centres, owners, is_cluster = [], [], []
    for owner in np.unique(predicted):
        of_class = points[predicted == owner]
        labels = np.full(len(of_class), -1)
        if len(of_class) >= 2 * least:
            labels = find(of_class)
            if labels.max() < 0:  # no clusters: the whole class is one
                labels[:] = 0
        for label in np.unique(labels):
            centres.append(of_class[labels == label].mean(axis=0))
            owners.append(owner)
            is_cluster.append(label >= 0)
    return np.stack(centres), np.array(owners), np.array(is_cluster)


def _hdbscan(points: NDArray[np.float32], least: int) -> NDArray[np.int64]:
    from sklearn.cluster import HDBSCAN

    labels: NDArray[np.int64] = (
        HDBSCAN(min_cluster_size=least, min_samples=min(5, least), copy=True).fit(points).labels_
    )
    return labels


def _k_means(points: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans

    labels: NDArray[np.int64] = KMeans(n_clusters, n_init=1, random_state=seed).fit(points).labels_
    return labels


def _nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    from sklearn.metrics import pairwise_distances_argmin

    nearest: NDArray[np.int64] = pairwise_distances_argmin(points, centres)
    return nearest


def _region_means(regions: NDArray[np.int64], is_class: NDArray[Any], n_regions: int) -> NDArray[np.float64]:
    """Share of each class in each region, (n_regions, n_classes); 0 in an empty region."""
    counts = np.stack([np.bincount(regions, column, minlength=n_regions) for column in is_class.T], axis=1)
    return counts / np.maximum(1, np.bincount(regions, minlength=n_regions))[:, None]


def _lower_bound(share: float, n: int) -> float:
    """Lower end of Wilson's 95 % interval of a share of n."""
    from scipy.stats import binomtest

    return float(binomtest(round(share * n), n).proportion_ci(0.95, method="wilson").low)
