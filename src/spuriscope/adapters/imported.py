"""A user's function by its name, package.module:function. Importing it executes its module."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spuriscope.errors import SpuriscopeError

__all__ = ["current_folder", "import_function"]


def import_function(name: str, what: str, error: type[SpuriscopeError]) -> Callable[..., Any]:
    """Import a function by its name.

    Args:
        name: "package.module:function"; the current folder is searched first, as `python -m` does.
        what: what errors call it.
        error: class of the error to raise.

    Raises:
        SpuriscopeError: there is no such function, or its module cannot be imported.
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
        raise error(f"the {what} {name} is not a function")
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
