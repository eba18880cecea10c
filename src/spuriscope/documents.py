"""Documents and the values they hold: one converter at the edge of every file.

Inside the program a document is a frozen dataclass. Outside it is JSON (RFC 8259). Here one becomes the
other: whatever in a document is of the wrong type, missing or unknown is one line that names its place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spuriscope.checks import strict_json
from spuriscope.errors import ConfigError, SpuriscopeError

__all__ = ["document_schema", "from_document", "parse_json", "read_document", "to_document", "to_json_text"]

Value = TypeVar("Value")


def to_document(value: Any) -> Any:
    """A value as JSON values: mappings, lists, texts, numbers, booleans and None.

    Args:
        value: a dataclass, of dataclasses and of what JSON has.
    """
    return _lists(msgspec.to_builtins(value, enc_hook=_plain))


def to_json_text(value: Any) -> str:
    """A value as the text of a JSON document, in which every number is finite.

    Raises:
        MeasureError: a number is not; the message names its place.
    """
    return strict_json(to_document(value)) + "\n"


def from_document(
    kind: type[Value], document: object, *, source: str, error: type[SpuriscopeError] = ConfigError
) -> Value:
    """The value that a document holds.

    Args:
        kind: the dataclass that it is to be.
        document: JSON values.
        source: what the user calls the document; begins the message.
        error: what is raised.

    Raises:
        SpuriscopeError: something in it is missing, of the wrong type, out of range, or not known.
    """
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as reason:
        raise error(f"{source}: {_told(reason)}") from None
    except RecursionError:
        raise error(f"{source}: it is nested too deeply to be read") from None
    unknown = _unknown(document, msgspec.to_builtins(value, enc_hook=_plain), "")
    if unknown is not None:
        raise error(f"{source}: {unknown} is not known; it may be misspelt, or of a newer version")
    return value


def read_document(kind: type[Value], path: Path, *, error: type[SpuriscopeError] = ConfigError) -> Value:
    """The value in a JSON file.

    Raises:
        SpuriscopeError: there is no such file, it is no JSON, or not of this kind.
    """
    return from_document(kind, parse_json(path, error=error), source=str(path), error=error)


def parse_json(path: Path, *, error: type[SpuriscopeError] = ConfigError) -> Any:
    """The JSON values in a file.

    Raises:
        SpuriscopeError: it cannot be read, or is no JSON.
    """
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise error(f"cannot read {path} ({reason.strerror})") from None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as reason:
        raise error(f"{path} is no JSON document: {_told(reason)}") from None


def document_schema(kind: type) -> dict[str, Any]:
    """The JSON schema (2020-12) of the documents that hold a value of this kind."""
    found: dict[str, Any] = _lists(msgspec.json.schema(kind))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own; a text of a kind of its own, as torch's version."""
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _lists(value: Any) -> Any:
    """JSON values whose sequences are lists, as a file gives them back."""
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _told(reason: Exception) -> str:
    """What a converter says, in our words: "3 was expected ..." becomes a place and a reason."""
    what, _, place = " ".join(str(reason).split()).partition(" - at ")
    where = place.strip("`").removeprefix("$").removeprefix(".")
    return f"{where}: {what[0].lower()}{what[1:]}" if where else f"{what[0].lower()}{what[1:]}"


def _unknown(given: object, kept: object, place: str) -> str | None:
    """The place of the first key of a document that its value did not take; None where all were taken."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for key, inner in given.items():
            here = f"{place}.{key}" if place else str(key)
            if key not in kept:
                return here
            found = _unknown(inner, kept[key], here)
            if found is not None:
                return found
    elif isinstance(given, list | tuple) and isinstance(kept, list | tuple):
        for number, (inner, taken) in enumerate(zip(given, kept, strict=False)):
            found = _unknown(inner, taken, f"{place}[{number}]")
            if found is not None:
                return found
    return None
