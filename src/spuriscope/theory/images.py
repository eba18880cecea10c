"""The ridge model of images of many pixels."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve

from spuriscope.errors import ConfigError
from spuriscope.theory.model import Floats, RidgeModel

__all__ = ["fitted"]


def fitted(
    features: Floats, stamped: Floats, labels: ArrayLike, *, lam: float, gamma: ArrayLike
) -> RidgeModel:
    """The ridge model equivalent to a regression on images of many pixels, estimated from clean images.

    The weights of such a regression lie in the plane of (S + lam)^-1 d and (S + lam)^-1 p: d is half the
    difference of the class means, S the covariance within the classes, p the mean change that the stamp makes
    in the target class. Along two directions of this plane, orthogonal under S + lam, the normal equations
    are those of `RidgeModel`. So for any number of pixels and any covariance its weights and its prediction
    difference are exact where the stamp changes all images alike and planted images are like their class. Its
    accuracies treat both classes as normal with covariance S, and omit a term that vanishes with lam. Where
    the stamp changes images differently, as clipping does, its change along the invariant direction in either
    class gives overlap and cover. Derivation: docs/theory.md.

    Args:
        features: (n, d) images without the cue.
        stamped: (n, d) the same images with it.
        labels: (n,) 1 for the target class, -1 for the other; each class weighs one half.
        lam: weight decay, above 0.
        gamma: share of the target class that carries the cue; an array makes an array of models.

    Raises:
        ConfigError: shapes do not fit, a class is missing, or lam is not above 0.
    """
    x, y = np.asarray(features, float), np.asarray(labels)
    changes = np.asarray(stamped, float) - x
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ConfigError(f"features (n, d) and labels (n,) must fit, got {x.shape} and {y.shape}")
    if set(np.unique(y)) != {-1, 1}:
        raise ConfigError(f"labels must be 1 and -1, both of them, got {np.unique(y)[:5]}")
    if not lam > 0:
        raise ConfigError(f"lam must be above 0, or pixels that never vary have no weight; got {lam}")
    half = (x[y == 1].mean(axis=0) - x[y == -1].mean(axis=0)) / 2
    within = sum(np.cov(x[y == label], rowvar=False, bias=True) for label in (1, -1)) / 2
    cue, elsewhere = changes[y == 1].mean(axis=0), changes[y == -1].mean(axis=0)
    metric = within + lam * np.eye(len(cue))
    along, towards = solve(metric, np.column_stack([half, cue]), assume_a="pos").T
    along = _unit(along)
    across = _unit(towards - along * (along @ cue) / (along @ metric @ along))
    m = along @ half
    return RidgeModel(
        gamma=gamma,
        m=m,
        t=across @ cue,
        s1=along @ within @ along,
        s2=across @ within @ across,
        lam=lam,
        overlap=along @ (cue + elsewhere) / 2,
        cover=along @ (elsewhere - cue) / (2 * m) if m else 0.0,
    )


def _unit(direction: Floats) -> Floats:
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else direction
