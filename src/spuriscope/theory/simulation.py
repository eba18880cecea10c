"""The ridge model with finitely many images: regressions on drawn images, tested on others."""

from dataclasses import dataclass

import numpy as np

from spuriscope.checks import check_seed, check_whole
from spuriscope.theory.model import Coefficients, Floats, RidgeModel

__all__ = ["Simulation", "simulate"]

MOST_SEEDS = 100_000
CHUNK = 500_000  # draws held at one time


@dataclass(frozen=True, eq=False)
class Simulation:
    """Regressions on drawn images, tested on other drawn images; one row per seed.

    Attributes:
        weights: of each regression, (n_seeds, *shape).
        clean_accuracy: (n_seeds, *shape).
        spurious_accuracy: (n_seeds, *shape).
        prediction_difference: (n_seeds, *shape).
    """

    weights: Coefficients
    clean_accuracy: Floats
    spurious_accuracy: Floats
    prediction_difference: Floats


def simulate(model: RidgeModel, n: int, *, n_seeds: int = 1, seed: int = 0) -> Simulation:
    """Draw training images, regress, and try the result on test images: the finite sample, and a check.

    The closed form is not used. Where a sample does not determine the weights, the smallest are taken.

    Args:
        model: what is drawn; every model of an array gets the same seeds.
        n: training images, and as many test images of each kind.
        n_seeds: replications.
        seed: the first seed.

    Raises:
        ConfigError: there are no images or no seeds.
    """
    check_whole("n", n, least=1)
    check_whole("n_seeds", n_seeds, least=1, most=MOST_SEEDS)
    check_seed("seed", seed)
    rows = [
        [_trial(point, n, np.random.default_rng([seed, number])) for point in model.each()]
        for number in range(n_seeds)
    ]
    columns = np.moveaxis(np.asarray(rows), -1, 0).reshape(6, n_seeds, *model.shape)
    return Simulation(Coefficients(*columns[:3]), *columns[3:])


def _trial(point: RidgeModel, n: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Weights, accuracies and prediction difference of one regression."""
    sizes = [min(CHUNK, n - begin) for begin in range(0, n, CHUNK)]
    moments = np.zeros((4, 4))  # of (1, u, v, y)
    for size in sizes:
        features, labels = point.draw(size, rng)
        columns = np.column_stack([np.ones(size), features, labels])
        moments += columns.T @ columns / n
    mean = moments[0, 1:]
    covariance = moments[1:, 1:] - np.outer(mean, mean)
    decayed = covariance[:2, :2] + float(np.asarray(point.lam)) * np.eye(2)
    w = np.linalg.lstsq(decayed, covariance[:2, 2], rcond=None)[0]
    bias = float(mean[2] - w @ mean[:2])
    right = {"clean": 0.0, "spurious": 0.0}
    for kind in ("clean", "spurious"):
        for size in sizes:
            features, labels = point.draw(size, rng, kind)
            right[kind] += float((1 + np.sign((features @ w + bias) * labels)).sum()) / (2 * n)
    m, t, overlap, cover = (float(np.asarray(x)) for x in (point.m, point.t, point.overlap, point.cover))
    moved = float(w @ [overlap + cover * m, t])
    return float(w[0]), float(w[1]), bias, right["clean"], right["spurious"], moved
