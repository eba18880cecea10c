"""Contexts that training images have and fresh images lack, from which no pattern can be reconstructed.

A manner of drawing or a background is not a mark: its images agree in no pixel. But to a network trained on
ImageNet they are a kind of image. So the training and fresh images of a class, as one crowd, are clustered by
the features of such a network, without regard to which are fresh. If nothing was done to the training images,
the number of fresh ones in a cluster is hypergeometric, exactly and whatever the clusters are. A context that
only training images have is a cluster without fresh ones.

This shows what is different, not that the model responds to it: a context cannot be put on other images.

Source: Fisher's exact test; Holm (1979).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_number, check_seed
from spuriscope.data.given import Given, as_splits
from spuriscope.discovery.finding import Carriers, names_of, shown_as
from spuriscope.discovery.marks import Pool, Rows, is_same
from spuriscope.errors import DiscoveryError
from spuriscope.statistics import holm

__all__ = ["MissingContext", "missing_contexts"]

N_CLUSTERS = (5, 10, 20)  # per class: a context may be large or small
LEAST_OF_CLUSTER = 4  # least mean number of images per cluster
N_COMPONENTS = 32  # of the features, for k-means
N_STARTS = 3

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class MissingContext:
    """Training images of a class that are of a kind which its fresh images lack.

    Attributes:
        target: the class.
        examples: (n,) int64, ascending: positions in the training set.
        p_value: that so few of the cluster are fresh by chance, adjusted for all clusters of all classes.
        carriers: number of images of this kind.
        names: (n,) of these images, their files or keys; None where they have none.
    """

    target: int
    examples: NDArray[np.int64]
    p_value: float
    carriers: Carriers
    names: tuple[str, ...] | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the images, or their positions where they have none."""
        return shown_as(self.names, self.examples)

    def to_json(self) -> dict[str, object]:
        """The context as JSON values."""
        return {
            "target": self.target,
            "examples": self.examples.tolist(),
            "names": None if self.names is None else list(self.names),
            "p_value": self.p_value,
            "carriers": asdict(self.carriers),
        }


@checked(DiscoveryError)
def missing_contexts(
    train: Given,
    holdout: Given,
    *,
    features: Features | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> list[MissingContext]:
    """Find kinds of training images that the fresh images of their class lack.

    Args:
        train: a `Split`, a pair of arrays, ...
        holdout: fresh images with labels, drawn as the training images were.
        features: maps images (n, channels, height, width), uint8 or in [0, 1], to features (n, d); by default
            those of efficientnet-lite0 trained on ImageNet, from the extra `pretrained`.
        level: probability of any false answer, over all classes.
        seed: draws the order of the images and the starts of k-means.

    Returns:
        The most certain first; of those of a class that share a third of their images only the first.

    Raises:
        ConfigError: a number is out of range.
        DataError: images or labels do not fit together.
        DiscoveryError: no class has 20 images, or features are not one row of numbers per image.
        ModelError: the extra is not installed.
    """
    check_number("level", level, above=0, below=1)
    check_seed("seed", seed)
    (searched, fresh), _ = as_splits({"training": train, "holdout": holdout}, renumbers=False)
    seen = _imagenet() if features is None else features
    found: list[tuple[Pool, Rows]] = []
    for target in searched.labels.unique().tolist():
        pool = Pool.of(searched, fresh, target, seed=seed)
        found += [(pool, rows) for rows in _clusters(pool, seen, seed)]
    if not found:
        raise DiscoveryError(
            f"contexts are for classes of {LEAST_OF_CLUSTER * N_CLUSTERS[0]} images or more, fresh ones "
            "included, copies left out; no class has as many: give more images"
        )
    p_values = holm([pool.p_absent(rows) for pool, rows in found])
    kept: list[tuple[Pool, Rows]] = []
    missing = []
    for place in np.argsort(p_values, kind="stable"):
        pool, rows = found[place]
        if p_values[place] > level:
            break
        if any(pool is other and is_same(rows, theirs) for other, theirs in kept):
            continue
        kept.append((pool, rows))
        positions = pool.of_training(rows)
        missing.append(
            MissingContext(
                target=pool.target,
                examples=positions,
                p_value=p_values[place],
                carriers=pool.carriers(rows),
                names=names_of(searched, positions),
            )
        )
    return missing


def _imagenet() -> Features:
    from spuriscope.models.pretrained import imagenet_features, imagenet_weights

    imagenet_weights()  # raises an error if they are missing
    return imagenet_features


def _clusters(pool: Pool, features: Features, seed: int) -> list[Rows]:
    """Rows of a pool that look alike, coarsely and finely; none for a class that is too small."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    numbers = [n for n in N_CLUSTERS if len(pool) >= LEAST_OF_CLUSTER * n]
    if not numbers or not pool.is_fresh.any():
        return []
    seen = features(pool.images)
    if seen.dim() != 2 or len(seen) != len(pool) or not bool(torch.isfinite(seen).all()):
        raise DiscoveryError(
            f"features must be one row of finite numbers for each of {len(pool)} images, got shape "
            f"{tuple(seen.shape)}; check what the function returns"
        )
    rows = torch.nn.functional.normalize(seen.double()).numpy()
    n_components = min(N_COMPONENTS, *rows.shape)
    reduced = PCA(n_components, random_state=seed).fit_transform(rows)
    labels = [KMeans(n, n_init=N_STARTS, random_state=seed).fit_predict(reduced) for n in numbers]
    return [np.flatnonzero(of == one) for of in labels for one in np.unique(of)]
