"""Ridge regression on data with a rare cue, in closed form and simulated.

An image is two numbers. Along the invariant feature it is u ~ N(m y, s1), where y = 1 in the target class and
-1 in the other; along the spurious one v ~ N(0, s2). Half of the images are of the target class, and a share
`gamma` of those carries the cue, which adds t to v, and `overlap` to u where it lies on the invariant feature
too. The regression minimises the mean of (w_u u + w_v v + b - y)^2 + lam (w_u^2 + w_v^2).

Source: Yang, Chou and Chaudhuri (2022), Section 5 and Appendix A, with formulas derived anew; the overlap and
`fitted` go beyond it. Derivation, regimes, and where the authors' notebook goes wrong: docs/theory.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spuriscope.errors import ConfigError

__all__ = ["RidgeModel", "Simulation", "Weights", "fitted", "simulate"]

Floats = NDArray[np.float64]
Kind = Literal["training", "clean", "spurious"]
CHUNK = 500_000  # draws held at one time


class Weights(NamedTuple):
    """What a regression found: it answers w_u u + w_v v + b, and says "target" where that is above 0."""

    invariant: Floats
    spurious: Floats
    bias: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class RidgeModel:
    """The ridge model, or many at once: any parameter may be an array, and they broadcast as in numpy.

    Attributes:
        gamma: share of the target class that carries the cue, in [0, 1].
        m: distance of each class from the middle along the invariant feature.
        t: length of the cue along the spurious feature.
        s1: variance along the invariant feature.
        s2: variance along the spurious feature.
        lam: strength of the weight decay.
        noise: variance of Gaussian noise on both features, of training and test images alike.
        overlap: length of the cue along the invariant feature; above 0 it looks like the target class.

    Raises:
        ConfigError: a parameter is out of its range, they do not broadcast, or leave the weights open.
    """

    gamma: ArrayLike
    m: ArrayLike
    t: ArrayLike
    s1: ArrayLike
    s2: ArrayLike
    lam: ArrayLike = 0.0
    noise: ArrayLike = 0.0
    overlap: ArrayLike = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            values = np.asarray(getattr(self, name), dtype=float)
            object.__setattr__(self, name, values)
            _refuse(name, "a finite number", values, ~np.isfinite(values))
            if name in ("s1", "s2", "noise"):
                _refuse(name, "a variance of 0 or more", values, values < 0)
            elif name == "lam":
                _refuse(name, "a strength of 0 or more", values, values < 0)
            elif name == "gamma":
                _refuse(name, "a share in [0, 1]", values, (values < 0) | (values > 1))
        try:
            found = self._determinant
        except ValueError:
            shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
            raise ConfigError(f"parameters must broadcast, these shapes do not: {shapes}") from None
        if not ((found > 0) & np.isfinite(found)).all():
            raise ConfigError(
                "these parameters leave the weights open, or are too large to compute with: a feature that "
                "never varies needs weight decay; give lam above 0, or a variance above 0"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every result: that of the parameters, broadcast."""
        return np.shape(self._determinant)

    @property
    def weights(self) -> Weights:
        """What the regression finds, given all the images there could be."""
        m, t, overlap, g, a, c = self._parts
        spread = g * (1 - 2 * g) * t**2
        invariant = (m * spread + c * (m + g * overlap)) / self._determinant
        spurious = g * t * (a - (1 - 2 * g) * m * overlap) / self._determinant
        return Weights(invariant, spurious, -g * (invariant * overlap + spurious * t))

    @property
    def prediction_difference(self) -> Floats:
        """How far the cue moves the answer, which aims at -1 and 1 for the two classes: f(stamped) - f(x)."""
        weights = self.weights
        return weights.invariant * self._floats("overlap") + weights.spurious * self._floats("t")

    @property
    def clean_accuracy(self) -> Floats:
        """Share of images without the cue that are told right, half of them of each class."""
        weights, sd = self.weights, self._sd
        margin = weights.invariant * self._floats("m")
        return (_normal_share(margin + weights.bias, sd) + _normal_share(margin - weights.bias, sd)) / 2

    @property
    def spurious_accuracy(self) -> Floats:
        """Share of images of the other class that are told right although they carry the cue."""
        weights = self.weights
        margin = weights.invariant * self._floats("m") - self.prediction_difference - weights.bias
        return _normal_share(margin, self._sd)

    @property
    def critical_gamma(self) -> Floats:
        """The gamma at which the cue's effect levels off; infinite where it never does.

        There the part of the determinant that is linear in gamma is as large as its constant part; without
        overlap that is 2 (s2 + lam) / t^2. Below it the prediction difference grows with gamma, at it it has
        about half of its plateau, (s1 + lam) / (m^2 + s1 + lam).
        """
        m, t, overlap, _, a, c = self._parts
        constant = c * (m**2 + a)
        slope = t**2 * (m**2 + a) + c * (2 * m * overlap + overlap**2)
        critical: Floats = np.divide(2 * constant, slope, out=np.full(self.shape, np.inf), where=slope > 0)
        return critical

    def draw(self, n: int, rng: np.random.Generator, kind: Kind = "training") -> tuple[Floats, Floats]:
        """Images of one model: features (n, 2), invariant and spurious, and labels (n,), 1 for the target.

        Args:
            n: how many.
            rng: draws them.
            kind: "training", "clean" test images, or "spurious" ones: of the other class, all with the cue.
        """
        is_target = rng.random(n) < (0.0 if kind == "spurious" else 0.5)
        carries = (
            rng.random(n) < {"training": float(self._floats("gamma")), "clean": 0.0, "spurious": 1.0}[kind]
        )
        carries &= is_target | (kind == "spurious")
        labels = np.where(is_target, 1.0, -1.0)
        features = rng.standard_normal((n, 2)) * np.sqrt([float(s) for s in self._variances])
        features[:, 0] += float(self._floats("m")) * labels + float(self._floats("overlap")) * carries
        features[:, 1] += float(self._floats("t")) * carries
        return features, labels

    def each(self) -> Iterator["RidgeModel"]:
        """Every model of an array of them, in the order of `numpy.ravel`."""
        names = [field.name for field in fields(self)]
        columns = [np.broadcast_to(getattr(self, name), self.shape).ravel() for name in names]
        for values in zip(*columns, strict=True):
            yield RidgeModel(**dict(zip(names, values, strict=True)))

    def _floats(self, name: str) -> Floats:
        return np.asarray(getattr(self, name))

    @property
    def _variances(self) -> tuple[Floats, Floats]:
        noise = self._floats("noise")
        return self._floats("s1") + noise, self._floats("s2") + noise

    @property
    def _parts(self) -> tuple[Floats, ...]:
        """m, t, overlap, g (the share of all images with the cue), and each variance with the decay."""
        m, t, overlap, lam = (self._floats(name) for name in ("m", "t", "overlap", "lam"))
        s1, s2 = self._variances
        return m, t, overlap, self._floats("gamma") / 2, s1 + lam, s2 + lam

    @property
    def _determinant(self) -> Floats:
        """Of the normal equations, as a sum of terms of which none is negative: nothing cancels."""
        m, t, overlap, g, a, c = self._parts
        both = g * (1 - 2 * g)
        with np.errstate(over="ignore"):
            invariant = (m + g * overlap) ** 2 + both * overlap**2
            return both * (m * t) ** 2 + c * invariant + a * (g * (1 - g) * t**2 + c)

    @property
    def _sd(self) -> Floats:
        """Standard deviation of the answer among images of one class."""
        weights, (s1, s2) = self.weights, self._variances
        return np.sqrt(weights.invariant**2 * s1 + weights.spurious**2 * s2)


@dataclass(frozen=True, eq=False)
class Simulation:
    """What regressions on drawn images found, tried on other drawn images; a row for each seed.

    Attributes:
        weights: of each regression, (n_seeds, *shape).
        clean_accuracy: (n_seeds, *shape).
        spurious_accuracy: (n_seeds, *shape).
        prediction_difference: (n_seeds, *shape).
    """

    weights: Weights
    clean_accuracy: Floats
    spurious_accuracy: Floats
    prediction_difference: Floats


def simulate(model: RidgeModel, n: int, *, n_seeds: int = 1, seed: int = 0) -> Simulation:
    """Draw training images, regress, and try the result on test images: the finite sample, and a check.

    Nothing of the closed form is used. Where a sample leaves the weights open, the least are taken.

    Args:
        model: what is drawn; every model of an array gets the same seeds.
        n: training images, and as many test images of each kind.
        n_seeds: replications.
        seed: of the first.

    Raises:
        ConfigError: there are no images or no seeds.
    """
    if n < 1 or n_seeds < 1:
        raise ConfigError(f"a simulation takes 1 image and 1 seed at least, got n={n} and n_seeds={n_seeds}")
    rows = [
        [_trial(point, n, np.random.default_rng([seed, number])) for point in model.each()]
        for number in range(n_seeds)
    ]
    columns = np.moveaxis(np.asarray(rows), -1, 0).reshape(6, n_seeds, *model.shape)
    return Simulation(Weights(*columns[:3]), *columns[3:])


def fitted(features: Floats, labels: ArrayLike, stamp: Floats, *, lam: float, gamma: ArrayLike) -> RidgeModel:
    """The ridge model that regression on images of many pixels is, with its numbers taken from clean images.

    The weights of such a regression lie in the plane of (S + lam)^-1 d and (S + lam)^-1 stamp; d is half the
    difference of the class means, S the covariance within the classes. Along two directions of this plane,
    orthogonal under S + lam, the normal equations are those of `RidgeModel`. So its weights and prediction
    difference are exact for any number of pixels and any covariance, as far as planted images are like their
    class and the stamp is the same in all; its accuracies take both classes as normal with covariance S, and
    leave out a term that vanishes with lam. Derivation: docs/theory.md.

    Args:
        features: (n, d) images without the cue.
        labels: (n,) 1 for the target class, -1 for the other; each class weighs one half.
        stamp: (d,) what the cue adds to an image.
        lam: weight decay, above 0.
        gamma: share of the target class that is to carry the cue; an array makes an array of models.

    Raises:
        ConfigError: shapes do not fit, a class is missing, or lam is not above 0.
    """
    from scipy.linalg import solve

    x, y, cue = np.asarray(features, float), np.asarray(labels), np.asarray(stamp, float)
    if x.ndim != 2 or y.shape != x.shape[:1] or cue.shape != x.shape[1:]:
        raise ConfigError(
            f"features (n, d), labels (n,) and stamp (d,) must fit, got {x.shape}, {y.shape}, {cue.shape}"
        )
    if set(np.unique(y)) != {-1, 1}:
        raise ConfigError(f"labels must be 1 and -1, both of them, got {np.unique(y)[:5]}")
    if not lam > 0:
        raise ConfigError(f"lam must be above 0, or pixels that never vary have no weight; got {lam}")
    classes = x[y == 1], x[y == -1]
    half = (classes[0].mean(axis=0) - classes[1].mean(axis=0)) / 2
    within = sum(np.cov(part, rowvar=False, bias=True) for part in classes) / 2
    metric = within + lam * np.eye(len(cue))
    along, towards = solve(metric, np.column_stack([half, cue]), assume_a="pos").T
    along = _unit(along)
    across = _unit(towards - along * (along @ cue) / (along @ metric @ along))
    return RidgeModel(
        gamma=gamma,
        m=along @ half,
        t=across @ cue,
        s1=along @ within @ along,
        s2=across @ within @ across,
        lam=lam,
        overlap=along @ cue,
    )


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
    moved = float(w @ [float(np.asarray(point.overlap)), float(np.asarray(point.t))])
    return float(w[0]), float(w[1]), bias, right["clean"], right["spurious"], moved


def _normal_share(margin: Floats, sd: Floats) -> Floats:
    """Share of N(margin, sd^2) above 0; without spread all, half or none of it."""
    from scipy.special import ndtr

    margin, sd = np.broadcast_arrays(margin, sd)
    sure = np.where(margin == 0, 0.0, np.copysign(np.inf, margin))
    share: Floats = ndtr(np.divide(margin, sd, out=sure, where=sd > 0))
    return share


def _unit(direction: Floats) -> Floats:
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else direction


def _refuse(name: str, meant: str, values: Floats, is_wrong: NDArray[np.bool_]) -> None:
    if is_wrong.any():
        raise ConfigError(f"{name} must be {meant}, got {float(values[is_wrong].ravel()[0])}")
