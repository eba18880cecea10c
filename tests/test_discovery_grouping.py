"""Groups of rows, against a planted direction, a slow twin of the search for pairs, and properties."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spuriscope.discovery.grouping import Crowd, _likeness, find_groups, find_singles, grow, strength


def crowd_of(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(size, d)).astype(np.float32) for size in (n, n // 2))  # type: ignore[return-value]


def planted(n_planted: int, *, size: float = 12.0, seed: int = 0) -> Crowd:
    """The first rows carry one direction whole, on top of what is their own."""
    rows, fresh = crowd_of(150, 40, seed)
    rows[:n_planted] += size / np.sqrt(40)
    return Crowd.of(rows, fresh)


@pytest.mark.parametrize("n_planted", [2, 3, 20])
def test_the_rows_that_carry_a_direction_are_the_strongest_group(n_planted: int) -> None:
    groups = sorted(find_groups(planted(n_planted), 10, 150), key=lambda one: -one[1])
    assert groups[0][0].tolist() == list(range(n_planted))
    assert groups[0][1] > 3 * groups[1][1]


def test_a_group_takes_in_rows_that_no_pair_started_from() -> None:
    crowd = planted(20)
    groups = find_groups(crowd, 1, n_paired=5)
    assert groups[0][0].tolist() == list(range(20))


def test_likeness_is_shared_energy_over_what_is_beside_it() -> None:
    crowd = planted(3)
    found = _likeness(crowd, np.arange(150))
    for i, j in ((0, 1), (1, 140), (60, 90)):
        a, b = crowd.rows[i].astype(float), crowd.rows[j].astype(float)
        beside = [max(each @ each - a @ b, crowd.usual) for each in (a, b)]
        assert found[i, j] == pytest.approx(a @ b / np.sqrt(beside[0] * beside[1]), rel=1e-4)
    assert np.isneginf(np.diag(found)).all()


def test_what_fresh_rows_carry_too_stands_out_less() -> None:
    rows, fresh = crowd_of(150, 40, 1)
    rows[:3] += 2
    nowhere_else = strength(Crowd.of(rows, fresh), np.arange(3))
    fresh[0] += 2
    assert strength(Crowd.of(rows, fresh), np.arange(3)) < nowhere_else / 3


def test_what_most_rows_carry_is_no_group() -> None:
    crowd = planted(100)
    assert strength(crowd, np.arange(100)) == 0


def test_rows_far_out_in_all_directions_are_not_alike_for_that() -> None:
    """Two rows of a hundred times the usual energy share more than two ordinary ones, by chance."""
    rows, fresh = crowd_of(150, 40, 2)
    rows[:2] *= 10
    crowd = Crowd.of(rows, fresh)
    assert abs(strength(crowd, np.arange(2))) < strength(planted(2), np.arange(2)) / 3


def test_singles_are_those_far_out_and_without_a_partner() -> None:
    crowd = planted(1, size=30)
    found = find_singles(crowd, 5)
    assert found[0][0].tolist() == [0]
    assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_groups_are_disjoint_and_turning_the_axes_changes_nothing(seed: int, n_planted: int) -> None:
    crowd = planted(n_planted, seed=seed)
    groups = find_groups(crowd, 8, 150)
    taken = np.concatenate([rows for rows, _ in groups])
    assert len(np.unique(taken)) == len(taken)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(40, 40)))[0].astype(np.float32)
    first = np.arange(n_planted)
    turned = Crowd.of(crowd.rows @ turn, crowd.fresh @ turn)
    assert strength(turned, first) == pytest.approx(strength(crowd, first), rel=1e-2, abs=1e-3)


def test_growing_stands_still_at_the_rows_that_carry_half() -> None:
    crowd = planted(10)
    rows = grow(crowd, crowd.rows[:2].mean(axis=0))
    mean = crowd.rows[rows].mean(axis=0)
    assert rows.tolist() == np.flatnonzero(crowd.rows @ mean > mean @ mean / 2).tolist() == list(range(10))
