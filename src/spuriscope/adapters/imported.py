"""A function of the user's by its name, package.module:function. Importing it executes its module."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spuriscope.errors import SpuriscopeError

__all__ = ["current_folder", "import_function"]


def import_function(name: str, what: str, error: type[SpuriscopeError]) -> Callable[..., Any]:
    """The function of a name.

    Args:
        name: "package.module:function"; looked for in the current folder first, as `python -m` does.
        what: the user calls it, for errors.
        error: what is raised.

    Raises:
        SpuriscopeError: there is none, or its module cannot be imported.
    """
    where, _, function_name = name.partition(":")
    if not where or not function_name:
        raise error(f"a {what} is written package.module:function, got {name!r}")
    with current_folder():
        try:
            function = getattr(importlib.import_module(where), function_name)
        except (ImportError, AttributeError, SyntaxError) as reason:
            raise error(
                f"cannot import the {what} {name} ({reason}); it is looked for in the current folder and in "
                "what is installed"
            ) from None
    if not callable(function):
        raise error(f"the {what} {name} is no function")
    found: Callable[..., Any] = function
    return found


@contextmanager
def current_folder() -> Iterator[None]:
    """Import from the current folder first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
