"""The ridge model of a rare cue in closed form.

An image is two numbers. Along the invariant feature it is u ~ N(m y, s1), where y = 1 in the target class and
-1 in the other; along the spurious one v ~ N(0, s2). Half of the images are of the target class, and a share
`gamma` of those carries the cue, which adds t to v. A cue that is put on top of the invariant feature, as in
the paper's overlap model, also changes u to (1 - cover) u + overlap. The regression minimises the mean of
(w_u u + w_v v + b - y)^2 + lam (w_u^2 + w_v^2).

Source: Yang, Chou and Chaudhuri (2022), Section 5 and Appendix A, with formulas derived anew; overlap and
cover go beyond it. Derivation, regimes, and where the authors' notebook goes wrong: docs/theory.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spuriscope.errors import ConfigError

__all__ = ["Coefficients", "Floats", "RidgeModel"]

Floats = NDArray[np.float64]
Distribution = Literal["training", "clean", "spurious"]


class Coefficients(NamedTuple):
    """The result of a regression: it predicts w_u u + w_v v + b, and "target" where that is above 0."""

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
        cover: share of the invariant feature that the cue hides, as clipping does, in [0, 1].

    Raises:
        ConfigError: a parameter is out of range, they do not broadcast, or they do not determine the weights.
    """

    gamma: ArrayLike
    m: ArrayLike
    t: ArrayLike
    s1: ArrayLike
    s2: ArrayLike
    lam: ArrayLike = 0.0
    noise: ArrayLike = 0.0
    overlap: ArrayLike = 0.0
    cover: ArrayLike = 0.0

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
                "these parameters do not determine the weights, or are too large to compute with: a feature "
                "that never varies needs weight decay; give lam above 0, or a variance above 0"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of every result: that of the parameters, broadcast."""
        return np.shape(self._determinant)

    @property
    def weights(self) -> Coefficients:
        """The weights of the regression on infinitely many images."""
        m, t, moved, g, a, c = self._parts
        invariant = (g * (1 - 2 * g) * m * t**2 + c * (m + g * moved)) / self._determinant
        spurious = g * t * (a - (1 - 2 * g) * m * moved) / self._determinant
        return Coefficients(invariant, spurious, -g * (invariant * moved + spurious * t))

    @property
    def prediction_difference(self) -> Floats:
        """Mean change of the prediction for images of the other class by the cue: f(stamped) - f(x).

        The regression aims at -1 and 1. Without `cover` the cue moves every image by the same amount.
        """
        m, t, overlap, cover = (self._floats(name) for name in ("m", "t", "overlap", "cover"))
        return self.weights.invariant * (overlap + cover * m) + self.weights.spurious * t

    @property
    def clean_accuracy(self) -> Floats:
        """Share of images without the cue that are classified correctly, half of them of each class."""
        weights, sd = self.weights, self._sd(0.0)
        margin = weights.invariant * self._floats("m")
        return (_normal_share(margin + weights.bias, sd) + _normal_share(margin - weights.bias, sd)) / 2

    @property
    def spurious_accuracy(self) -> Floats:
        """Share of images of the other class that are classified correctly despite carrying the cue."""
        weights = self.weights
        margin = weights.invariant * self._floats("m") - self.prediction_difference - weights.bias
        return _normal_share(margin, self._sd(self._floats("cover")))

    @property
    def critical_gamma(self) -> Floats:
        """The gamma at which the cue's effect levels off; infinite where it never does.

        There the part of the determinant that is linear in gamma equals its constant part; without overlap
        that is 2 (s2 + lam) / t^2. Below it the prediction difference grows with gamma; at it the difference
        is about half of its plateau, (s1 + lam) / (m^2 + s1 + lam).
        """
        m, t, moved, g, a, c = self._parts
        lost = self._floats("s1") * _hidden(self._floats("cover"))
        a = a + g * lost  # without planted images
        slope = t**2 * (m**2 + a) + c * (2 * m * moved + moved**2 - lost)
        critical: Floats = np.divide(
            2 * c * (m**2 + a), slope, out=np.full(self.shape, np.inf), where=slope > 0
        )
        return critical

    def draw(
        self, n: int, rng: np.random.Generator, kind: Distribution = "training"
    ) -> tuple[Floats, Floats]:
        """Draw images of one model: features (n, 2), invariant and spurious; labels (n,), 1 for the target.

        Args:
            n: how many.
            rng: draws them.
            kind: "training", "clean" test images, or "spurious" ones: of the other class, all with the cue.
        """
        m, t, s1, s2, noise, overlap, cover, gamma = (
            float(self._floats(name)) for name in ("m", "t", "s1", "s2", "noise", "overlap", "cover", "gamma")
        )
        is_target = rng.random(n) < (0.0 if kind == "spurious" else 0.5)
        carries = rng.random(n) < {"training": gamma, "clean": 0.0, "spurious": 1.0}[kind]
        carries &= is_target | (kind == "spurious")
        labels = np.where(is_target, 1.0, -1.0)
        features = rng.standard_normal((n, 2)) * np.sqrt([s1, s2])
        features[:, 0] += m * labels
        features[carries, 0] *= 1 - cover
        features[carries] += overlap, t
        return features + rng.standard_normal((n, 2)) * np.sqrt(noise), labels

    def each(self) -> Iterator["RidgeModel"]:
        """Every model of an array of them, in the order of `numpy.ravel`."""
        names = [field.name for field in fields(self)]
        columns = [np.broadcast_to(getattr(self, name), self.shape).ravel() for name in names]
        for values in zip(*columns, strict=True):
            yield RidgeModel(**dict(zip(names, values, strict=True)))

    def _floats(self, name: str) -> Floats:
        return np.asarray(getattr(self, name))

    @property
    def _parts(self) -> tuple[Floats, ...]:
        """m, t, the cue's shift of u in the target class, share of images with it, variances with decay."""
        m, t, s1, s2, lam, noise, overlap, cover = (
            self._floats(name) for name in ("m", "t", "s1", "s2", "lam", "noise", "overlap", "cover")
        )
        g = self._floats("gamma") / 2
        return m, t, overlap - cover * m, g, s1 * (1 - g * _hidden(cover)) + noise + lam, s2 + noise + lam

    @property
    def _determinant(self) -> Floats:
        """Determinant of the normal equations, as a sum of non-negative terms: nothing cancels."""
        m, t, moved, g, a, c = self._parts
        both = g * (1 - 2 * g)
        with np.errstate(over="ignore"):
            invariant = (m + g * moved) ** 2 + both * moved**2
            return both * (m * t) ** 2 + c * invariant + a * (g * (1 - g) * t**2 + c)

    def _sd(self, cover: ArrayLike) -> Floats:
        """Standard deviation of the answer among images of one class, where the cue hides `cover`."""
        weights, noise = self.weights, self._floats("noise")
        s1 = self._floats("s1") * (1 - np.asarray(cover)) ** 2 + noise
        sd: Floats = np.sqrt(weights.invariant**2 * s1 + weights.spurious**2 * (self._floats("s2") + noise))
        return sd


def _normal_share(margin: Floats, sd: Floats) -> Floats:
    """Share of N(margin, sd^2) above 0; without spread all, half or none of it."""
    from scipy.special import ndtr

    margin, sd = np.broadcast_arrays(margin, sd)
    sure = np.where(margin == 0, 0.0, np.copysign(np.inf, margin))
    share: Floats = ndtr(np.divide(margin, sd, out=sure, where=sd > 0))
    return share


def _hidden(cover: Floats) -> Floats:
    """The share of its variance that a feature loses when `cover` of it is hidden: 1 - (1 - cover)^2."""
    return cover * (2 - cover)


def _refuse(name: str, meant: str, values: Floats, is_wrong: NDArray[np.bool_]) -> None:
    if is_wrong.any():
        raise ConfigError(f"{name} must be {meant}, got {float(values[is_wrong].ravel()[0])}")
