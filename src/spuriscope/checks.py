"""The gate for numbers from outside: each is checked once for being finite and in its range.

NaN compares as false with everything, so a threshold of NaN turns a search into "nothing found". Whatever a
user can give, on the command line, in a file or as an argument, is checked here before anything is computed
with it. Output is checked too: a document never holds NaN or infinity.
"""

import json
import os
from collections.abc import Callable, Iterator
from math import isfinite
from operator import index
from typing import Any, TypeGuard

from spuriscope.errors import ConfigError, MeasureError, SpuriscopeError

__all__ = [
    "LARGEST_COUNT",
    "LARGEST_SEED",
    "check_number",
    "check_path",
    "check_seed",
    "check_share",
    "check_whole",
    "is_whole",
    "strict_json",
]

LARGEST_SEED = 2**32 - 1  # the largest for numpy's RandomState, which draws the paper's planted sets
LARGEST_COUNT = 2**31 - 1
LONGEST_NAME = 255  # bytes of a file name


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    error: type[SpuriscopeError] = ConfigError,
) -> None:
    """Raise `error` unless a value is a finite number in its range.

    Args:
        name: what the user calls it.
        value: what was given.
        least: smallest allowed value.
        above: or a bound that the value must exceed.
        most: largest allowed value.
        below: or a bound that the value must stay below.
        error: class of the error to raise.
    """
    if not _is_finite(value) or not _is_inside(value, least, above, most, below):
        raise error(f"{name} must be {_range('a number', least, above, most, below)}, got {value!r}")


def check_share(name: str, value: object, *, error: type[SpuriscopeError] = ConfigError) -> None:
    """Raise `error` unless a value lies in [0, 1]: a share, a probability, a difference of probabilities."""
    check_number(name, value, least=0, most=1, error=error)


def check_whole(
    name: str,
    value: object,
    *,
    least: int = 0,
    most: int = LARGEST_COUNT,
    error: type[SpuriscopeError] = ConfigError,
) -> None:
    """Raise `error` unless a value is a whole number from `least` to `most`, as a count is."""
    if not is_whole(value) or not least <= value <= most:
        is_too_large = is_whole(value) and value > most
        upper = most if is_too_large or most != LARGEST_COUNT else None
        raise error(f"{name} must be {_range('a whole number', least, None, upper, None)}, got {value!r}")


def check_seed(name: str, value: object, *, error: type[SpuriscopeError] = ConfigError) -> None:
    """Raise `error` unless a value can seed every generator."""
    check_whole(name, value, most=LARGEST_SEED, error=error)


def check_path(name: str, path: object, *, error: type[SpuriscopeError] = ConfigError) -> None:
    """Raise `error` where a path cannot exist: a part of it is longer than file names may be."""
    longest = max((len(part) for part in os.fsencode(str(path)).split(b"/")), default=0)
    if longest > LONGEST_NAME or "\0" in str(path):
        raise error(
            f"{name} is not a path: a name in it has {longest} bytes, file names have at most {LONGEST_NAME}"
        )


def strict_json(document: Any, *, indent: int | None = 1) -> str:
    """A document as JSON (RFC 8259) without NaN and infinity.

    Where a number does not exist a document has null, with the reason beside it. NaN in a document is a bug
    of ours, and no reader of JSON has to accept it.

    Raises:
        MeasureError: a number is not finite; the message names its place.
    """
    for place, value in _numbers(document):
        if not isfinite(value):
            raise MeasureError(
                f"{place or 'the result'} came out as {value}, which is not a number; nothing was written"
            )
    return json.dumps(document, indent=indent, default=str, allow_nan=False)


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every float in a document, with its place, as `plants.0.spurious_score`."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _numbers(item, f"{place}.{number}" if place else str(number))


def _is_finite(value: object) -> TypeGuard[float]:
    return _is_made(value, float) and isfinite(float(value))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, also of numpy or torch, but neither a string nor True or False."""
    return _is_made(value, index)


def _is_made(value: object, make: Callable[[Any], Any]) -> TypeGuard[Any]:
    """Whether a value converts to a number, as numpy's and torch's do, but is not a string."""
    try:
        make(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last
        return False
    return not isinstance(value, str | bytes | bool)


def _is_inside(
    value: float, least: float | None, above: float | None, most: float | None, below: float | None
) -> bool:
    return (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )


def _range(
    what: str, least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    if least is not None and most is not None:
        return f"{what} from {least} to {most}"
    lower = f"of {least} or more" if least is not None else f"above {above}" if above is not None else ""
    upper = f"of {most} or less" if most is not None else f"below {below}" if below is not None else ""
    limits = " and ".join(limit for limit in (lower, upper) if limit)
    return f"{what} {limits}" if limits else what.replace("a ", "a finite ", 1)
