"""Measures that plugins add: what studies compute for each model beside our measures."""

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
    """Register a measure of your own under a name, for studies.

    Decorate a function of a model's `predict`, the test images, a pattern and a target class, like
    `ss.measure`. It returns one number.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        MeasureError: the name is taken by another module, or the decorated object is not a function.
    """
    return MEASURES.registering(name)


def measure_added(
    names: Iterable[str], predict: Predict, split: Split, pattern: AnyPattern, target: int
) -> dict[str, float]:
    """Measures of plugins, each by NAME@FINGERPRINT; for the arguments see `ss.measure`.

    Raises:
        MeasureError: a name is unknown, or its measure failed or did not return a finite number.
    """
    found = {}
    for name in names:
        MEASURES.check(name)
        try:
            value = MEASURES[name](predict, split, pattern, target)
        except SpuriscopeError:
            raise
        except Exception as error:
            raise MeasureError(f"measure {name} failed: {told_failure(error)}; correct it") from error
        check_number(f"what measure {name} returns", value, error=MeasureError)
        found[MEASURES.key(name)] = float(value)
    return found
