"""Suspects: what weight they have, and what is natural where a class has few marks."""

import numpy as np
import pytest

from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.marks import Mark
from spuriscope.discovery.suspects import (
    AGREED,
    NATURAL,
    WEIGHTS,
    Place,
    Suspect,
    _stand_out,
    weigh_agreement,
)
from test_discovery_strays import pool_with


def suspect(positions: list[int], look: Look, *, target: int = 0, weight: float = 1.0) -> Suspect:
    is_mark = look not in ("whole", "windows", "single")
    group = Group(
        target=target,
        positions=np.array(positions),
        strength=1.0,
        source="marks" if is_mark else "trace",
        look=look,
    )
    place = Place(mark(1.0), pool_with(None, 0)[0]) if is_mark else None
    return Suspect(group, 0.03, weight, place)


def mark(strength: float, look: Look = "cover") -> Mark:
    return Mark(np.arange(4), strength, look, lambda rows: pytest.fail("not asked"))


def test_what_both_searches_name_has_more_weight() -> None:
    both = list(range(10))
    suspects = [
        suspect(both, "whole", weight=2.25),
        suspect([*both[:9], 40], "cover", weight=0.5),  # 9 of 11
        suspect(both, "detail", target=1),  # of another class
        suspect([1, 2, 3, 30, 31], "windows"),  # shares 3 of 12
        suspect([7], "single"),
        suspect([8, 9], "windows"),  # too few to agree about
        suspect([8, 9], "tone"),
    ]
    weights = [each.weight for each in weigh_agreement(suspects)]
    assert weights == [AGREED * 2.25, AGREED * 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert [each.p_group for each in weigh_agreement(suspects)] == [0.03] * 7


def test_two_looks_of_one_search_do_not_bear_each_other_out() -> None:
    marks = [suspect([1, 2, 3, 4], "cover"), suspect([1, 2, 3, 4], "detail")]
    of_trace = [suspect([1, 2, 3, 4], "whole"), suspect([1, 2, 3, 4], "windows")]
    assert [each.weight for each in weigh_agreement(marks) + weigh_agreement(of_trace)] == [1.0] * 4


@pytest.mark.parametrize("look", NATURAL)
def test_in_a_small_class_other_data_say_what_is_natural(look: Look) -> None:
    """Where only known spacings count, it is that of a Pareto tail with a gamma distributed rate."""
    of = NATURAL[look]
    ((_, p, weight),) = _stand_out([mark(of.scale, look)])  # twice the scale in all
    known = of.n_spacings * of.spacing
    assert p == pytest.approx((known / (known + np.log(2))) ** of.n_spacings)
    assert weight == (1.0 if look == "stray" else WEIGHTS[0])
    assert _stand_out([]) == []


def test_a_crowd_of_strong_marks_makes_one_of_them_ordinary() -> None:
    alone = _stand_out([mark(20.0)])[0][1]
    beside = _stand_out([mark(strength) for strength in (20.0, 19, 18, 17, 15, 13, 11, 9, 7, 5, 3, 2)])[0][1]
    assert alone < 0.01
    assert beside > 0.2
