"""Numbers over seeds: the seed is the unit of replication.

A planted cell and its clean twin share their seed, so they are compared seed by seed: intervals and tests use
differences. A test asks whether the mean lies above a bound; for "below", negate the values.

A few seeds may agree by luck, because a cue is learnt or not: the t-test assumes normal differences, and its
level does not hold otherwise. `sign_test` and `share_test` are exact for any distribution; they concern the
share of trainings, not the mean. Signs of n seeds never have a p-value below 2^-n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuriscope.errors import ConfigError

__all__ = [
    "N50",
    "Interval",
    "Tail",
    "correlation_interval",
    "fewest_seeds",
    "fisher_z",
    "holm",
    "mean_interval",
    "n50",
    "share_test",
    "sign_test",
    "t_test",
]

CONFIDENCE = 0.95
N_RESAMPLES = 2000
LEAST_CROWD = 5
ENOUGH_ABOVE = 10  # draws as large as the value, after which more would not change the answer
LARGEST_CORRELATION = 1 - 1e-9  # beyond it Fisher's z is infinite


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: over the seeds.
        low: lower end of the interval; equal to the mean for a single seed, which has no spread.
        high: its upper end.
        n: number of seeds.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> Interval:
    """Mean and 95 % interval by Student's t, kept within [low, high].

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


def t_test(differences: Sequence[float], bound: float = 0.0) -> float:
    """One-sided p-value of the paired t-test that the mean difference is above `bound`.

    It assumes normal differences. Equal ones have no spread, so only their signs count: p is then 2^-n above
    the bound, and 1 at or below it.

    Args:
        differences: one per seed, such as planted minus clean twin.
        bound: what the mean is compared with; 0 asks whether there is a rise at all.

    Raises:
        ConfigError: there are fewer than two seeds.
    """
    from scipy import stats

    above = np.asarray(differences, dtype=float) - bound
    if len(above) < 2:
        raise ConfigError(f"a t-test needs two seeds or more, got {len(above)}; train more seeds")
    mean, error = float(above.mean()), float(above.std(ddof=1) / np.sqrt(len(above)))
    if error < 1e-12:  # rounding of equal differences
        return 0.5 ** len(above) if mean > 1e-12 else 1.0
    return float(stats.t.sf(mean / error, len(above) - 1))


def share_test(n_hits: int, n: int, share: float) -> float:
    """Exact one-sided p-value that more than `share` of all trainings are hits, after `n_hits` of `n`.

    It assumes only that the trainings are independent. All hits have p = share^n.

    Args:
        n_hits: number of trainings that are hits.
        n: number of trainings.
        share: what the share is compared with, between 0 and 1.

    Raises:
        ConfigError: there are no trainings, or fewer than hits.

    Source: Clopper and Pearson (1934), "The use of confidence or fiducial limits".
    """
    from scipy import stats

    if not 0 <= n_hits <= n or n == 0:
        raise ConfigError(f"give 1 or more trainings, and hits from 0 to that number; got {n_hits} of {n}")
    return float(stats.binom.sf(n_hits - 1, n, share))


def sign_test(differences: Sequence[float], bound: float = 0.0) -> float:
    """Exact one-sided p-value that more than half of all differences lie above `bound`, for any distribution.

    With n seeds it cannot fall below 2^-n: 0.125 for three seeds, 0.031 for five.

    Args:
        differences: one per seed; those equal to the bound are not above it.
        bound: what they are compared with.

    Raises:
        ConfigError: there are no seeds.
    """
    return share_test(sum(difference > bound for difference in differences), len(differences), 0.5)


def fewest_seeds(share: float, *, level: float = 0.05, n_tests: int = 1) -> int:
    """Number of seeds needed to show that more than `share` of trainings are hits, if all of them are.

    Args:
        share: between 0 and 1.
        level: of the test.
        n_tests: number of tests that the p-value is corrected for (Bonferroni, or Holm's first step).
    """
    n = 1
    while n_tests * share**n >= level:
        n += 1
    return n


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: rejecting those below 0.05 errs anywhere with probability at most 5 %.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return [float(x) for x in adjusted]


@dataclass(frozen=True)
class Tail:
    """How heavy the tail of natural values is, estimated from the crowd below a few suspects.

    Peaks over a threshold: the threshold is the largest value below the suspects, and the crowd tells how
    fast logarithms fall off beyond it (Hill's estimate, for a sample without its largest values). Without
    outliers the logarithms of the suspects above the threshold are exponential draws of that mean.

    Attributes:
        threshold: the largest value of the crowd.
        n: number of spacings that estimate the mean.
        total: their sum.

    Source: exact for a Pareto tail by Renyi's (1953) independent spacings; Hill (1975).
    """

    threshold: float
    n: int
    total: float

    @classmethod
    def of(cls, values: Sequence[float], *, n_suspects: int = 3, n_crowd: int = 17) -> "Tail | None":
        """The tail of positive values, of which `n_suspects` may be outliers; None for a crowd below 5."""
        crowd = np.sort(np.asarray(values, dtype=float))[::-1][n_suspects : n_suspects + n_crowd]
        if len(crowd) < LEAST_CROWD or crowd[-1] <= 0 or crowd[0] == crowd[-1]:
            return None
        return cls(float(crowd[0]), len(crowd) - 1, _spacings(crowd, n_suspects))

    @classmethod
    def known(
        cls,
        values: Sequence[float] | NDArray[np.float64],
        *,
        n_suspects: int,
        least: float,
        n: int,
        mean: float,
        n_crowd: int = 17,
    ) -> "Tail":
        """The same where the crowd may be small or missing, and other data tell the usual spacings.

        Args:
            values: positive, as for `of`.
            n_suspects: as for `of`.
            least: the smallest threshold, and the threshold where there is no crowd.
            n: number of spacings of other data that are counted with those of the crowd.
            mean: of these spacings.
        """
        crowd = np.sort(np.asarray(values, dtype=float))[::-1][n_suspects : n_suspects + n_crowd]
        crowd = crowd[crowd > least]
        if len(crowd) == 0:
            return cls(least, n, n * mean)
        return cls(float(crowd[0]), n + len(crowd) - 1, n * mean + _spacings(crowd, n_suspects))

    def p_value(self, value: float) -> float:
        """Probability that a natural value beyond the threshold lies so far out; 1 up to the threshold."""
        if value <= self.threshold:
            return 1.0
        return float((1 + np.log(value / self.threshold) / self.total) ** -self.n)


def _spacings(crowd: NDArray[np.float64], n_suspects: int) -> float:
    """Sum of the spacings of descending logarithms, times their ranks; `n_suspects` values lie above."""
    above = np.log(crowd / crowd[-1])
    return float(above.sum() + n_suspects * above[0])


def sequential_p_value(null: Sequence[float] | NDArray[np.float64], value: float) -> float:
    """The p-value of `value` among draws that were taken one by one until the answer was clear.

    If the tenth draw as large as `value` comes, it is ten divided by the number of draws up to it; otherwise
    (k + 1) / (n + 1), where k of n draws were as large. It is valid whatever came after.

    Args:
        null: draws, in order.
        value: compared with them.

    Source: Besag and Clifford (1991), "Sequential Monte Carlo p-values".
    """
    above = np.cumsum(np.asarray(null) >= value)
    if len(above) and above[-1] >= ENOUGH_ABOVE:
        return ENOUGH_ABOVE / (1 + int(np.searchsorted(above, ENOUGH_ABOVE)))
    return float((1 + (above[-1] if len(above) else 0)) / (1 + len(above)))


def fisher_z(correlation: float) -> float:
    """Fisher's z, on which correlations are averaged; finite even where the correlation is 1."""
    return float(np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION)))


def correlation_interval(correlations: Sequence[float]) -> Interval:
    """Mean of the Pearson correlations of several seeds, with its 95 % interval over the seeds.

    Both are computed on Fisher's z and transformed back. The interval says how much another seed would change
    the correlation, not how much other patterns would.

    Raises:
        ConfigError: there are no seeds.
    """
    z = mean_interval([fisher_z(r) for r in correlations], low=-np.inf, high=np.inf)
    mean, low, high = (float(np.tanh(end)) for end in (z.mean, z.low, z.high))
    return Interval(mean, low, high, z.n)


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
        counts: (k,) numbers planted, ascending, 0 (the clean twins) first.
        scores: (seeds, k) spurious scores over non-target images.

    Raises:
        ConfigError: shapes do not match, or counts do not ascend from 0.
    """
    n = np.asarray(counts)
    if scores.ndim != 2 or scores.shape[1] != len(n) or len(scores) == 0:
        raise ConfigError(f"scores must be (seeds, {len(n)}), one column for each count, got {scores.shape}")
    if n[0] != 0 or not (np.diff(n) > 0).all():
        raise ConfigError(f"counts must ascend from 0, got {list(counts)}")
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
