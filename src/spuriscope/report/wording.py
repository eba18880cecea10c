"""Numbers in the words of the page: few digits, never more certain than they are.

A share that is not exactly 0 is never called 0 %, and one that is not exactly 1 is never called 100 %.
"""

from collections.abc import Sequence
from math import exp
from typing import TYPE_CHECKING

from spuriscope.statistics import N50, Interval

if TYPE_CHECKING:
    from spuriscope.membership.evaluation import Rate

__all__ = [
    "bare_percent",
    "cell",
    "change",
    "change_cell",
    "count",
    "dose",
    "duration",
    "images",
    "interval",
    "listed",
    "n50_ends",
    "n50_number",
    "odds",
    "percent",
    "points",
    "quoted",
    "rate_ends",
    "seeds",
    "short_percent",
    "table_percent",
]

NBSP = "\u00a0"  # keeps a number and its unit on one line
MINUS = "\u2212"


def count(n: int) -> str:
    """A count with a thousands separator: 1,437."""
    return f"{n:,}"


def images(n: int) -> str:
    """A count with its noun: 1 image, 3 images."""
    return f"{count(n)}{NBSP}{'image' if n == 1 else 'images'}"


def seeds(n: int) -> str:
    """A number of repetitions with its noun: 1 seed, 5 seeds."""
    return f"{count(n)}{NBSP}{'seed' if n == 1 else 'seeds'}"


def percent(share: float) -> str:
    """A share within a sentence: 93 %, less than 1 %, more than 99 %; 0 % and 100 % only if exact."""
    return _guarded(share, digits=0, below="less than ", above="more than ")


def short_percent(share: float) -> str:
    """A share beside a bar or within an interval: 93 %, < 1 %, > 99 %."""
    return _guarded(share, digits=0, below=f"<{NBSP}", above=f">{NBSP}")


def table_percent(share: float) -> str:
    """A share with one decimal, for accuracies and tables: 97.3 %, < 0.1 %, > 99.9 %."""
    return _guarded(share, digits=1, below=f"<{NBSP}", above=f">{NBSP}")


def _guarded(share: float, *, digits: int, below: str, above: str) -> str:
    step = 10.0**-digits
    if share in (0, 1):
        return f"{share * 100:.0f}{NBSP}%"
    if round(share * 100, digits) <= 0:
        return f"{below}{step:.{digits}f}{NBSP}%"
    if round(share * 100, digits) >= 100:
        return f"{above}{100 - step:.{digits}f}{NBSP}%"
    return f"{share * 100:.{digits}f}{NBSP}%"


def change(difference: float) -> str:
    """A difference of shares in percentage points, signed, without its unit: +0.2, −18."""
    size = abs(difference) * 100
    digits = 0 if size >= 9.95 else 1
    text = f"{size:.{digits}f}"
    if float(text) == 0:
        return "0.0"
    return f"{'+' if difference > 0 else MINUS}{text}"


def points(difference: float) -> str:
    """A difference of shares with its unit: +0.2 points."""
    return f"{change(difference)}{NBSP}points"


def interval(value: Interval, *, signed: bool = False) -> str:
    """The interval of a mean over seeds: 95 % interval 67 % to 100 %; of one seed there is none."""
    if value.n == 1:
        return "one seed, so no interval"
    if value.high - value.low < 1e-9:
        return "the same in every seed"
    low, high = (change(x) if signed else short_percent(x) for x in (value.low, value.high))
    return f"95{NBSP}% interval {low} to {high}"


def odds(epsilon: float) -> str:
    """By which factor the odds may grow: e to the epsilon, with its significant digits."""
    times = exp(min(epsilon, 20.0))
    return f"{times:.1f}" if times < 10 else count(int(float(f"{times:.2g}")))


def rate_ends(rate: "Rate") -> str:
    """The interval of a rate that has a value: 12 % to 40 %."""
    return " to ".join(short_percent(0.0 if end is None else end) for end in (rate.low, rate.high))


def dose(number: float) -> str:
    """An interpolated number of images: 5.6, 52; without decimals where it is whole."""
    if number < 9.95 and round(number, 1) != round(number):
        return f"{number:.1f}"
    return count(round(number))


def n50_number(value: N50, fewest: int) -> str:
    """How many planted images move half: 5.6 images, more than 100 images, at most 10 images.

    Args:
        value: the estimate.
        fewest: smallest number tried; an estimate of that, unless it is 1, may be too high.
    """
    if value.estimate is None:
        return f"more than {images(value.n_max)}"
    if value.estimate <= fewest and fewest > 1:
        return f"at most {images(fewest)}"
    text = dose(value.estimate)
    return f"{text}{NBSP}{'image' if text == '1' else 'images'}"


def n50_ends(value: N50, fewest: int) -> str:
    """Both ends of the interval of an n50: 3.6 to 7.2, 57 to more than 100, 10 or fewer to 21."""
    if value.low is None:
        return f"more than {count(value.n_max)}"
    low = f"{count(fewest)} or fewer" if value.low <= fewest and fewest > 1 else dose(value.low)
    if value.high is None:
        return f"{low} to more than {count(value.n_max)}"
    if value.high <= fewest and fewest > 1:
        return low
    return f"{low} to {dose(value.high)}"


def quoted(name: str) -> str:
    """A class as text: ‘0’."""
    return f"‘{name}’"


def listed(names: Sequence[str]) -> str:
    """Names in a row: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """A time with its two largest units: 41 s, 1 min 16 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s" if whole else f"{seconds:.1f}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    return f"{count(whole // 3600)}{NBSP}h {whole % 3600 // 60}{NBSP}min"


def bare_percent(share: float) -> str:
    """A share whose unit is stated elsewhere: 93, <1, >99."""
    return short_percent(share).replace(f"{NBSP}%", "").replace(NBSP, "")


def cell(value: Interval) -> str:
    """A mean and its interval in a table: 84.0 % (67 to 100)."""
    if value.n == 1:
        return table_percent(value.mean)
    return f"{table_percent(value.mean)} ({bare_percent(value.low)} to {bare_percent(value.high)})"


def change_cell(value: Interval) -> str:
    """A mean difference and its interval in a table: −18 (−30 to −5.1)."""
    if value.n == 1:
        return change(value.mean)
    return f"{change(value.mean)} ({change(value.low)} to {change(value.high)})"
