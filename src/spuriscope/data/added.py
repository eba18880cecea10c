"""Data sets that plugins add: loading functions, by name."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from spuriscope.argument_types import checked
from spuriscope.data.image_set import ImageSet
from spuriscope.data.published import PUBLISHED
from spuriscope.errors import DataError
from spuriscope.registry import Registry

__all__ = ["DATA_SETS", "is_added", "load_added", "register_data"]

LoadData = Callable[[Path | None], ImageSet]
AnyLoad = TypeVar("AnyLoad", bound=LoadData)

DATA_SETS: Registry[LoadData] = Registry("data set", {}, DataError, reserved=PUBLISHED)


@checked(DataError)
def register_data(name: str) -> Callable[[AnyLoad], AnyLoad]:
    """Register a data set of your own under a name, for `load`, studies and the command line.

    Decorate a function of the folder that `--root` names, or None. It returns an `ImageSet`, as `ss.load`
    makes of a folder or of arrays.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        DataError: the name is taken by us or by another module, or the decorated object is not a function.
    """
    return DATA_SETS.registering(name)


def load_added(source: object, root: Path | None) -> ImageSet | None:
    """The data set of a plugin, called by its name; None where no plugin has this name.

    A file or a folder takes precedence over the name of a plugin that has not been imported yet.

    Raises:
        DataError: its function returned something other than an `ImageSet`.
    """
    if not is_added(source):
        return None
    name = str(source)
    data = DATA_SETS[name](root)
    if not isinstance(data, ImageSet):
        raise DataError(
            f"the function of data set {name} returned {type(data).__name__}; return what ss.load makes"
        )
    return data if data.name == name else replace(data, name=name)  # studies look it up by this name


def is_added(source: object) -> bool:
    """Whether this is the name of a plugin's data set."""
    if not isinstance(source, str):
        return False
    is_path = os.path.exists(os.path.expanduser(source))
    return source in DATA_SETS.added or (not is_path and source in DATA_SETS)
