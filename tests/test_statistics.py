"""Intervals and n50 against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuriscope.errors import ConfigError
from spuriscope.statistics import mean_interval, n50


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
    with pytest.raises(ConfigError, match="counts must rise from 0"):
        n50([1, 0], np.zeros((3, 2)))
