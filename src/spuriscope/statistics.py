"""Numbers over seeds: the seed is the unit of replication."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuriscope.errors import ConfigError

__all__ = ["N50", "Interval", "mean_interval", "n50"]

CONFIDENCE = 0.95
N_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: over the seeds.
        low: lower end of the interval; equal to the mean where one seed leaves no spread to judge by.
        high: its upper end.
        n: number of seeds.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> Interval:
    """Mean and 95 % interval by Student's t, kept within [low, high], where shares live.

    Raises:
        ConfigError: there are no values.
    """
    from scipy import stats

    if len(values) == 0:
        raise ConfigError("a mean needs at least one seed, got none")
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, mean, mean, 1)
    error = float(stats.sem(array))
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1))
    return Interval(mean, max(low, mean - reach), min(high, mean + reach), len(array))


@dataclass(frozen=True)
class N50:
    """How many planted images move half of the test images, with a 95 % interval; None: more than was tried.

    Attributes:
        estimate: interpolated number of planted images, at least the smallest tried.
        low: lower end of the interval.
        high: its upper end.
        n_max: the largest number tried.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n_max: int


def n50(counts: Sequence[int], scores: NDArray[np.float64]) -> N50:
    """Where the dose-response crosses one half.

    The mean score over seeds is made non-decreasing in the count (isotonic regression) and interpolated
    on the scale log(1 + count). The interval is a percentile bootstrap over seeds.

    Args:
        counts: (k,) numbers planted, rising, 0 (the clean twins) first.
        scores: (seeds, k) spurious scores over non-target images.

    Raises:
        ConfigError: shapes do not match, or counts do not rise from 0.
    """
    n = np.asarray(counts)
    if scores.ndim != 2 or scores.shape[1] != len(n) or len(scores) == 0:
        raise ConfigError(f"scores must be (seeds, {len(n)}), one column for each count, got {scores.shape}")
    if n[0] != 0 or not (np.diff(n) > 0).all():
        raise ConfigError(f"counts must rise from 0, got {list(counts)}")
    rng = np.random.default_rng(0)
    resamples = np.sort(rng.integers(len(scores), size=(N_RESAMPLES, len(scores))), axis=1)
    distinct, times = np.unique(resamples, axis=0, return_counts=True)  # 126 of 5 seeds, whatever N_RESAMPLES
    crossings = np.repeat([_crossing(n, scores[rows].mean(axis=0)) for rows in distinct], times)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(crossings, [tail, 1 - tail], method="inverted_cdf")
    estimate = _crossing(n, scores.mean(axis=0))
    return N50(_finite(estimate), _finite(low), _finite(high), int(n[-1]))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _crossing(counts: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """The count at which the curve first reaches one half, infinity if it never does."""
    from sklearn.isotonic import isotonic_regression

    curve = isotonic_regression(scores)
    reached = np.flatnonzero(curve >= 0.5)
    if len(reached) == 0:
        return float("inf")
    if reached[0] == 0:
        return float(counts[1])
    before, after = reached[0] - 1, reached[0]
    part = (0.5 - curve[before]) / (curve[after] - curve[before])
    ends = np.log1p(counts[[before, after]])
    return max(float(counts[1]), float(np.expm1(ends[0] + part * (ends[1] - ends[0]))))
