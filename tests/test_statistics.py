"""Intervals and n50 against closed forms."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from spuriscope.errors import ConfigError
from spuriscope.statistics import (
    Tail,
    correlation_interval,
    fewest_seeds,
    fisher_z,
    holm,
    mean_interval,
    n50,
    sequential_p_value,
    share_test,
    sign_test,
    t_test,
)

DIFFERENCES = [0.31, -0.04, 0.22, 0.18, 0.09]


def test_interval_is_students() -> None:
    interval = mean_interval([0.2, 0.4, 0.6])  # mean 0.4, sd 0.2, t(0.975, 2) = 4.3027
    assert interval.mean == pytest.approx(0.4)
    assert interval.low == 0.0
    assert interval.high == pytest.approx(0.4 + 4.302653 * 0.2 / 3**0.5)
    wide = mean_interval([0.2, 0.4, 0.6], low=-np.inf)
    assert wide.low == pytest.approx(0.4 - 4.302653 * 0.2 / 3**0.5)
    assert mean_interval([0.3]).low == mean_interval([0.3]).high == 0.3
    with pytest.raises(ConfigError, match="at least one seed"):
        mean_interval([])


def test_n50_of_a_curve_drawn_by_hand() -> None:
    # crosses one half midway between 1 and 3 on the scale log(1 + n): 1 + n = sqrt(2 * 4)
    found = n50([0, 1, 3], np.array([[0.0, 0.25, 0.75]] * 4))
    assert found.estimate == pytest.approx(8**0.5 - 1)
    assert found.low == found.high == found.estimate


def test_n50_is_the_smallest_count_at_least_and_none_when_never_reached() -> None:
    assert n50([0, 1, 10], np.array([[0.0, 0.9, 1.0]])).estimate == 1.0
    assert n50([0, 100, 200], np.array([[0.0, 0.9, 1.0]])).estimate == 100.0
    never = n50([0, 1, 10], np.array([[0.0, 0.1, 0.4]]))
    assert (never.estimate, never.low, never.high, never.n_max) == (None, None, None, 10)
    sometimes = n50([0, 1, 10], np.array([[0.0, 0.1, 0.2], [0.0, 0.1, 0.9]]))
    assert sometimes.estimate is not None
    assert sometimes.high is None


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_n50_interval_holds_its_ends_in_order(scores: list[list[float]]) -> None:
    found = n50([0, 1, 3, 10], np.array(scores))
    low, high = (x if x is not None else float("inf") for x in (found.low, found.high))
    assert 1 <= low <= high


def test_n50_refuses_what_does_not_match() -> None:
    with pytest.raises(ConfigError, match=r"scores must be \(seeds, 2\)"):
        n50([0, 1], np.zeros((3, 3)))
    with pytest.raises(ConfigError, match="counts must ascend from 0"):
        n50([1, 0], np.zeros((3, 2)))


@pytest.mark.parametrize("bound", [-0.1, 0.0, 0.15, 0.4])
def test_t_test_is_scipys(bound: float) -> None:
    expected = stats.ttest_1samp(DIFFERENCES, bound, alternative="greater").pvalue
    assert t_test(DIFFERENCES, bound) == pytest.approx(expected)


def test_t_test_of_equal_differences_has_their_signs_alone_and_of_one_seed_is_refused() -> None:
    assert t_test([0.1] * 3, 0.05) == 1 / 8
    assert t_test([0.1] * 3, 0.1) == t_test([0.1] * 3, 0.2) == 1.0
    with pytest.raises(ConfigError, match="needs two seeds or more, got 1"):
        t_test([0.1])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("n", [3, 14, 22])
def test_the_share_test_is_scipys_binomial(n: int, share: float) -> None:
    for n_hits in range(n + 1):
        expected = stats.binomtest(n_hits, n, share, alternative="greater").pvalue
        assert share_test(n_hits, n, share) == pytest.approx(expected)


def test_signs_of_few_seeds_by_hand() -> None:
    assert sign_test([0.1, 0.2, 0.3]) == pytest.approx(1 / 8)
    assert sign_test([0.1, -0.1]) == pytest.approx(3 / 4)
    assert sign_test([0.0, 0.0, 0.0]) == 1.0
    assert sign_test([0.1, 0.2, 0.3, 0.3, 0.1], 0.1) == pytest.approx(16 / 32)  # 3 of 5 or more: 10 + 5 + 1
    for n_hits, n in ((0, 0), (4, 3), (-1, 3)):
        with pytest.raises(ConfigError, match=f"hits from 0 to that number; got {n_hits} of"):
            share_test(n_hits, n, 0.5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.floats(-1, 1))
def test_no_p_value_of_signs_falls_below_that_of_their_number(differences: list[float], bound: float) -> None:
    assert sign_test(differences, bound) >= 0.5 ** len(differences) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("share", "n_tests", "n"), [(0.5, 1, 5), (0.5, 2, 6), (0.5, 7, 8), (0.8, 1, 14), (0.95, 1, 59)]
)
def test_the_fewest_seeds_are_enough_and_one_less_is_not(share: float, n_tests: int, n: int) -> None:
    assert fewest_seeds(share, n_tests=n_tests) == n
    assert n_tests * share_test(n, n, share) < 0.05 <= n_tests * share_test(n - 1, n - 1, share)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_correlation_interval_is_students_on_fishers_scale() -> None:
    z = [0.5, 0.6, 0.7]  # mean 0.6, sd 0.1, t(0.975, 2) = 4.3027
    interval = correlation_interval([float(np.tanh(x)) for x in z])
    assert interval.mean == pytest.approx(np.tanh(0.6))
    assert interval.high == pytest.approx(np.tanh(0.6 + 4.302653 * 0.1 / 3**0.5))
    assert interval.low == pytest.approx(np.tanh(0.6 - 4.302653 * 0.1 / 3**0.5))
    assert correlation_interval([1.0, 1.0]).mean == pytest.approx(1.0)
    assert np.isfinite(fisher_z(-1.0))


def p_values(values: list[float], n_suspects: int = 3) -> list[float]:
    tail = Tail.of(values, n_suspects=n_suspects)
    assert tail is not None
    return [tail.p_value(value) for value in values]


@pytest.mark.parametrize("index", [0.3, 1.5])
def test_exceedances_of_a_pareto_tail_have_uniform_p_values(index: float) -> None:
    """Drawn from a Pareto law, suspects are no outliers: their p-values are uniform whatever its index."""
    rng = np.random.default_rng(0)
    draws = np.exp(rng.exponential(index, size=(2000, 200)))
    p = np.array([sorted(p_values(row.tolist()))[:3] for row in draws])
    one_of_three = np.take_along_axis(p, rng.integers(3, size=(2000, 1)), axis=1)[:, 0]
    assert stats.kstest(one_of_three, "uniform").pvalue > 0.01


def test_an_exceedance_of_known_height() -> None:
    """Of 8, 2, 2, 2, 2, 1 the spacings behind the first sum up to 5 log 2, the first lies 2 log 2 higher."""
    assert p_values([1.0, 2.0, 8.0, 2.0, 2.0, 2.0], n_suspects=1) == pytest.approx([1, 1, 1.4**-4, 1, 1, 1])


def test_too_small_a_crowd_judges_nobody() -> None:
    assert Tail.of([100.0, 1.0, 1.0, 1.0, 1.0], n_suspects=1) is None
    assert Tail.of([100.0, 3.0, 2.0, 1.0], n_suspects=3) is None
    assert Tail.of([]) is None


def test_a_tail_that_is_known_needs_no_crowd_and_takes_one_that_is_there() -> None:
    alone = Tail.known([30.0], n_suspects=1, least=1.0, n=8, mean=0.25)
    assert alone == Tail(1.0, 8, 2.0)
    assert alone.p_value(30.0) == pytest.approx((1 + np.log(30) / 2) ** -8)
    crowd = [3.0, 2.0, 1.5]
    of_crowd = Tail.known([30.0, *crowd, 0.5], n_suspects=1, least=1.0, n=8, mean=0.25)
    total = 2.0 + np.log(3 / 1.5) + np.log(2 / 1.5) + np.log(3 / 1.5)
    assert (of_crowd.threshold, of_crowd.n) == (3.0, 10)
    assert of_crowd.total == pytest.approx(total)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 3))
def test_a_sequential_p_value_is_that_of_a_loop(null: list[int], value: int) -> None:
    n_above, slow = 0, None
    for number, each in enumerate(null, start=1):
        n_above += each >= value
        if n_above == 10:
            slow = 10 / number
            break
    assert sequential_p_value(null, value) == pytest.approx(slow or (1 + n_above) / (1 + len(null)))


def test_a_sequential_p_value_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    p_values = np.array([sequential_p_value(rng.normal(size=200), rng.normal()) for _ in range(4000)])
    for level in (0.01, 0.05, 0.3):
        n_below = int((p_values <= level).sum())
        assert stats.binomtest(n_below, 4000, level, alternative="greater").pvalue > 0.001
