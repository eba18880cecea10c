"""Numbers on the page: few digits, never more certain than they are."""

import pytest
from hypothesis import given, strategies as st

from spuriscope.report import wording
from spuriscope.statistics import N50, Interval


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("share", "in_text", "beside_a_bar", "in_a_table"),
    [
        (0.0, "0 %", "0 %", "0 %"),
        (1.0, "100 %", "100 %", "100 %"),
        (0.997, "more than 99 %", "> 99 %", "99.7 %"),
        (0.9999, "more than 99 %", "> 99 %", "> 99.9 %"),
        (0.002, "less than 1 %", "< 1 %", "0.2 %"),
        (1e-25, "less than 1 %", "< 1 %", "< 0.1 %"),
        (0.8401, "84 %", "84 %", "84.0 %"),
        (0.0051, "1 %", "1 %", "0.5 %"),
        (0.9949, "99 %", "99 %", "99.5 %"),
    ],
)
def test_a_share(share: float, in_text: str, beside_a_bar: str, in_a_table: str) -> None:
    assert plain(wording.percent(share)) == in_text
    assert plain(wording.short_percent(share)) == beside_a_bar
    assert plain(wording.table_percent(share)) == in_a_table


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_only_exact_shares_are_called_0_or_100_percent(share: float) -> None:
    for say in (wording.percent, wording.short_percent, wording.table_percent):
        assert float(plain(say(share)).removesuffix(" %").split()[-1]) not in (0, 100)


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.002, "+0.2 points"), (-0.176, "−18 points"), (0.0, "0.0 points"), (-0.0004, "0.0 points")],
)
def test_a_difference(difference: float, text: str) -> None:
    assert plain(wording.points(difference)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Interval(0.84, 0.67, 1.0, 5), "95 % interval 67 % to 100 %"),
        (Interval(0.5, 0.5, 0.5, 1), "one seed, so no interval"),
        (Interval(0.0, 0.0, 0.0, 5), "the same in every seed"),
    ],
)
def test_an_interval(value: Interval, text: str) -> None:
    assert plain(wording.interval(value)) == text


def test_an_interval_of_a_difference_is_signed() -> None:
    value = Interval(-0.17, -0.293, 0.06, 5)
    assert plain(wording.interval(value, signed=True)) == "95 % interval −29 to +6.0"


@pytest.mark.parametrize(
    ("value", "number", "ends"),
    [
        (N50(1.0, 1.0, 1.0, 100), "1 image", "1 to 1"),
        (N50(5.62, 3.58, 7.22, 100), "5.6 images", "3.6 to 7.2"),
        (N50(92.1, 57.3, None, 100), "92 images", "57 to more than 100"),
        (N50(None, 57.3, None, 100), "more than 100 images", "57 to more than 100"),
        (N50(None, None, None, 1), "more than 1 image", "more than 1"),
        (N50(1.04, 1.0, 9.97, 10), "1 image", "1 to 10"),
        (N50(1234.5, 3.0, 4.96, 5000), "1,234 images", "3 to 5"),
    ],
)
def test_n50(value: N50, number: str, ends: str) -> None:
    assert plain(wording.n50_number(value, 1)) == number
    assert plain(wording.n50_ends(value, 1)) == ends


def test_n50_is_at_most_the_fewest_images_tried() -> None:
    value = N50(10.0, 10.0, 21.0, 100)
    assert plain(wording.n50_number(value, 10)) == "at most 10 images"
    assert plain(wording.n50_number(value, 3)) == "10 images"
    assert wording.n50_ends(value, 10) == "10 or fewer to 21"
    assert wording.n50_ends(N50(10.0, 10.0, 10.0, 100), 10) == "10 or fewer"
    assert wording.n50_ends(N50(10.0, 10.0, None, 100), 10) == "10 or fewer to more than 100"


def test_table_cells_say_the_unit_once_and_leave_out_an_interval_of_one_seed() -> None:
    assert plain(wording.cell(Interval(0.9, 0.749, 1.0, 5))) == "90.0 % (75 to 100)"
    assert plain(wording.cell(Interval(0.9, 0.9, 0.9, 1))) == "90.0 %"
    assert wording.change_cell(Interval(-0.18, -0.3, -0.051, 5)) == "−18 (−30 to −5.1)"
    assert wording.change_cell(Interval(-0.18, -0.18, -0.18, 1)) == "−18"
    assert wording.bare_percent(0.001) == "<1"


def test_nouns_follow_their_number() -> None:
    assert plain(wording.images(1)) == "1 image"
    assert plain(wording.images(1437)) == "1,437 images"
    assert plain(wording.seeds(1)) == "1 seed"
    assert plain(wording.seeds(5)) == "5 seeds"


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_in_a_row(names: list[str], text: str) -> None:
    assert wording.listed(names) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.3, "0.3 s"), (41.2, "41 s"), (75.7, "1 min 16 s"), (7500.0, "2 h 5 min")]
)
def test_a_time(seconds: float, text: str) -> None:
    assert plain(wording.duration(seconds)) == text
