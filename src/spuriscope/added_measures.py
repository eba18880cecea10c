"""Measures that plugins add: what studies take of each model beside ours."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from spuriscope.argument_types import checked
from spuriscope.checks import check_number
from spuriscope.data.image_set import Split
from spuriscope.errors import MeasureError, SpuriscopeError
from spuriscope.measures import Predict
from spuriscope.patterns import AnyPattern
from spuriscope.registry import Registry, told_failure

__all__ = ["MEASURES", "measure_added", "register_measure"]

AddedMeasure = Callable[[Predict, Split, AnyPattern, int], float]
AnyMeasure = TypeVar("AnyMeasure", bound=AddedMeasure)

MEASURES: Registry[AddedMeasure] = Registry("measure", {}, MeasureError)


@checked(MeasureError)
def register_measure(name: str) -> Callable[[AnyMeasure], AnyMeasure]:
    """A decorator: give a measure of your own a name, for studies.

    What it is put on is a function of a model's `predict`, the test images, a pattern and a target class, as
    `ss.measure` is. It returns one number.

    Args:
        name: small letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        MeasureError: another module has the name; or what it is put on is no function.
    """
    return MEASURES.registering(name)


def measure_added(
    names: Iterable[str], predict: Predict, split: Split, pattern: AnyPattern, target: int
) -> dict[str, float]:
    """Measures of plugins, each by NAME@FINGERPRINT; for the arguments see `ss.measure`.

    Raises:
        MeasureError: there is none of a name, one failed, or it returned no finite number.
    """
    found = {}
    for name in names:
        MEASURES.check(name)
        try:
            value = MEASURES[name](predict, split, pattern, target)
        except SpuriscopeError:
            raise
        except Exception as error:
            raise MeasureError(f"measure {name} failed: {told_failure(error)}; mend it") from error
        check_number(f"what measure {name} returns", value, error=MeasureError)
        found[MEASURES.key(name)] = float(value)
    return found
