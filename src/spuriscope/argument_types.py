"""Refuse arguments of the wrong type where they are passed, in one line that says what to give.

Public functions and settings carry `@checked(error)`: their arguments are compared with their annotations
before anything is computed, so that a swapped argument does not end in an `AttributeError` from deep inside.
Scalars of numpy or torch are converted to Python's own numbers, because JSON has no others.
"""

import inspect
import operator
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, wraps
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
import torch

from spuriscope.errors import SpuriscopeError

__all__ = ["checked"]

Target = TypeVar("Target", bound=Callable[..., Any])

MAKERS = {  # class: how to make one
    "Pattern": "ss.pattern(name, shape) makes one",
    "ImageSet": "ss.load(source) makes one",
    "Split": "data.train and data.test are some",
    "TrainedModel": "ss.train and ss.load_model make one",
    "Plant": "ss.Plant(pattern, target, n_planted) makes one",
    "Recipe": "ss.Recipe(epochs=8) makes one",
    "Run": "ss.load_run(folder) makes one",
    "Cell": "ss.Cell(data=ss.DataKey.of(data), model=..., recipe=...) makes one",
    "DataKey": "ss.DataKey.of(data) makes one",
    "Part": "ss.Part.of(positions) makes one",
    "Tensor": "torch.as_tensor(values) makes one",
}
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "True or False",
    Path: "a path",
    NoneType: "None",
    Callable: "a function",
    np.ndarray: "an array",
}
MANY = 10_000  # most items that are checked


def checked(error: type[SpuriscopeError], *, passing: Sequence[str] = ()) -> Callable[[Target], Target]:
    """Check arguments against annotations: of a function when called, of a dataclass when made.

    Args:
        error: class of the error for an argument of another type.
        passing: names of arguments that accept more than their annotations say.
    """

    def decorate(target: Target) -> Target:
        is_class = isinstance(target, type)
        function: Any = vars(target)["__init__"] if is_class else target
        signature, called = inspect.signature(function), target.__name__
        in_order = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]

        @cache
        def hints() -> dict[str, Any]:  # resolved at the first call: annotations may name later definitions
            resolved = typing.get_type_hints(target)
            return {name: kind for name, kind in resolved.items() if name not in passing}

        @cache
        def numbers() -> frozenset[str]:
            return frozenset(name for name, kind in hints().items() if _takes_number(kind))

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            kinds = hints()
            if any(map(_is_foreign, (*args, *kwargs.values()))):
                named = zip(args, (*in_order, *[""] * len(args)), strict=False)
                args = tuple(_own(value) if name in numbers() else value for value, name in named)
                kwargs = {name: _own(value) if name in numbers() else value for name, value in kwargs.items()}
            for name, value in (*zip(in_order, args, strict=False), *kwargs.items()):
                if name in kinds and not _is(value, kinds[name]):
                    if not _can_bind(signature, args, kwargs):
                        break  # one too many or too few: Python says which
                    raise error(_message(called, name, kinds[name], value))
            return function(*args, **kwargs)

        if is_class:
            setattr(target, "__init__", call)  # noqa: B010  (mypy refuses to assign to a method)
            return target
        return typing.cast(Target, call)

    return decorate


def _takes_number(kind: Any) -> bool:
    """Whether a whole number, or a number, is among what an annotation allows."""
    origin, kinds = _parts(kind)
    return kind in (int, float) or (origin in (Union, UnionType) and any(map(_takes_number, kinds)))


def _is_foreign(value: Any) -> bool:
    """Whether a value is a scalar of numpy or torch."""
    return isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0


def _own(value: Any) -> Any:
    """A scalar as Python's own number; anything else unchanged."""
    return value.item() if _is_foreign(value) else value


def _can_bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function takes these arguments, whatever their types."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that an annotation names."""
    if type(value) is kind:
        return True
    origin, kinds = _parts(kind)
    if origin in (Union, UnionType):
        found = any(_is(value, one) for one in kinds)
    elif origin is Literal:
        found = isinstance(value, str | int)  # the function itself checks the choice, and lists them
    elif kind is None or kind is Any:
        found = value is None or kind is Any
    elif kind in (int, float):
        found = _is_number(value, operator.index if kind is int else float)
    elif origin is not None:
        found = _is_generic(value, origin, kinds)
    elif getattr(kind, "_is_protocol", False):
        found = all(hasattr(value, name) for name in vars(kind) if not name.startswith("_"))
    else:
        found = not isinstance(kind, type) or isinstance(value, PathLike if kind is Path else kind)
    return found


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Origin and arguments of a generic type."""
    return get_origin(kind), get_args(kind)


def _is_number(value: Any, make: Callable[[Any], Any]) -> bool:
    try:
        make(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last
        return False
    return not isinstance(value, str | bytes)


def _is_generic(value: Any, origin: Any, kinds: tuple[Any, ...]) -> bool:
    if origin is tuple:
        each = kinds[:1] * len(value) if isinstance(value, tuple) and kinds[-1:] == (...,) else kinds
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_is, value, each))
    if origin in (Sequence, Collection, Iterable, list):
        if isinstance(value, str | bytes):
            return False  # a string is a sequence of strings, but never meant as one
        if isinstance(value, torch.Tensor | np.ndarray):
            return (
                origin is not list and value.ndim == 1 and all(_is(item, kinds[0]) for item in value[:MANY])
            )
        is_one = isinstance(value, origin)
        return is_one and (
            not isinstance(value, list | tuple) or all(_is(item, kinds[0]) for item in value[:MANY])
        )
    if origin is Mapping:
        return isinstance(value, Mapping)
    return isinstance(value, origin) if isinstance(origin, type) else True


def _message(called: str, name: str, kind: Any, value: Any) -> str:
    hint = next((MAKERS[word] for word in _class_names(kind) if word in MAKERS), "")
    if name == "target" and isinstance(value, str):
        hint = "a class is given by its number: data.label(name) has it"
    elif name == "model" and callable(value) and str in (kind, *get_args(kind)):
        hint = "ss.register_architecture(name)(function) gives an architecture its name"
    elif hasattr(value, "predict") and Callable in {get_origin(one) for one in (kind, *get_args(kind))}:
        hint = "give its .predict"
    told = f"{called}: {name} must be {_told(kind)}, got {_told_value(value)}"
    return f"{told}; {hint or f'see help({called})'}"


def _class_names(kind: Any) -> list[str]:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return [part.__name__ for part in parts if isinstance(part, type)]


def _told(kind: Any) -> str:
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_told, kinds)))
    if origin is Literal:
        return f"one of {', '.join(map(repr, kinds))}"
    if origin in (Sequence, Collection, Iterable, tuple, list):
        word = "list" if origin is list else "tuple" if origin is tuple else "sequence"
        return f"a {word}" + (f" of items that are {_told(kinds[0])}" if kinds else "")
    named = kind if origin is None else origin
    name = getattr(named, "__name__", str(named))
    return WORDS.get(named, f"{'an' if name[0] in 'AEIOaeiou' else 'a'} {name}")


def _told_value(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"
    if isinstance(value, str | int | float):
        return f"{type(value).__name__} {value!r:.60}"
    return type(value).__name__
