"""Refuse unknown names on the command line before anything is imported that takes seconds."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from spuriscope import known_names as known
from spuriscope.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeletionError,
    DiscoveryError,
    ModelError,
    PatternError,
    SpuriscopeError,
)

__all__ = ["check_names", "may_have_plugins"]

Refusal = Callable[[str], SpuriscopeError | None]  # from a given value; None for a known one


def may_have_plugins() -> bool:
    """Whether a plugin may have added names: one was imported, which imports torch, or one is installed."""
    if "torch" in sys.modules:
        return True
    from importlib.metadata import entry_points

    return bool(entry_points(group="spuriscope.plugins"))


def check_names(command: str, given: Mapping[str, Any]) -> None:
    """Refuse unknown names, in the words of the code that would refuse them later.

    Args:
        command: what runs.
        given: its arguments, by name.

    Raises:
        SpuriscopeError: a name is unknown, and no plugin can have added it.
    """
    refusals = {**REFUSALS, "name": _study} if command == "run" else REFUSALS
    refused = [
        error
        for name, refuse in refusals.items()
        for value in _values(given.get(name), several="," if name == "pattern" else None)
        if (error := refuse(value)) is not None
    ]
    if refused and not may_have_plugins():
        raise refused[0]


def _values(given: Any, *, several: str | None) -> list[str]:
    """The given value as strings; one string may hold several."""
    values = given if isinstance(given, list | tuple) else [given]
    strings = [str(value) for value in values if isinstance(value, str | os.PathLike)]
    return [part for value in strings for part in (value.split(several) if several else [value])]


def _model(name: str) -> ModelError | None:
    return None if name in known.MODELS else ModelError(known.unknown("model", name, known.MODELS))


def _method(name: str) -> DeletionError | None:
    if name in known.METHOD_NAMES:
        return None
    return DeletionError(known.unknown("deletion method", name, known.METHOD_NAMES))


def _embedding(name: str) -> DiscoveryError | None:
    if name in known.EMBEDDING_NAMES:
        return None
    return DiscoveryError(known.unknown("embedding", name, known.EMBEDDING_NAMES))


def _transplant(name: str) -> DiscoveryError:
    return DiscoveryError(known.unknown("transplant", name, ()))


def _pattern(name: str) -> PatternError | None:
    if name.lower() in (*known.PATTERNS, *known.AUTHORS_PATTERNS) or not known.is_name_alone(name):
        return None
    return PatternError(known.unknown_pattern(name, known.PATTERNS))


def _data(name: str) -> DataError | None:
    if name in known.DATA_NAMES or not known.is_name_alone(name):
        return None
    return DataError(known.unknown_data(name, known.DATA_NAMES))


def _study(name: str) -> ConfigError | None:
    if name in (*known.STUDY_NAMES, *known.THEORY_NAMES) or not known.is_name_alone(name):
        return None
    return ConfigError(known.unknown_study(name, known.STUDY_NAMES))


def _run(folder: str) -> CheckpointError | None:
    return CheckpointError(known.no_run(folder)) if known.is_name_alone(folder) else None


REFUSALS: dict[str, Refusal] = {  # by the name of the argument, in the order they are checked
    "run": _run,
    "data": _data,
    "model": _model,
    "method": _method,
    "embedding": _embedding,
    "transplant": _transplant,
    "pattern": _pattern,
}
