"""Documents and the values they hold: one converter for every file.

Inside the program a document is a frozen dataclass. Outside it is JSON (RFC 8259), or YAML where a user
writes it. This module converts between them. Anything of the wrong type, missing or unknown in a document
gives one line that names its place.
"""

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from spuriscope.checks import strict_json
from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.limits import LARGEST_DOCUMENT, LARGEST_STUDY, MOST_LEVELS, MOST_NODES

__all__ = [
    "document_schema",
    "from_document",
    "from_text",
    "parse_json",
    "parse_text",
    "parse_yaml",
    "read_document",
    "to_document",
    "to_json_text",
]

Value = TypeVar("Value")
WORDS = {  # the types of JSON, as msgspec and Python call them
    "array": "a list",
    "object": "a mapping",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_KINDS = re.compile(rf"`((?:{'|'.join(WORDS)})(?: \| (?:{'|'.join(WORDS)}))*)`")
_LONE_SURROGATE = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)


def to_document(value: Any) -> Any:
    """A value as JSON values: mappings, lists, strings, numbers, booleans and None.

    Args:
        value: a dataclass, made of dataclasses and JSON values.
    """
    return _lists(msgspec.to_builtins(value, enc_hook=_plain))


def to_json_text(value: Any) -> str:
    """A value as JSON text, in which every number is finite.

    Raises:
        MeasureError: a number is not finite; the message names its place.
    """
    return strict_json(to_document(value)) + "\n"


def from_document(
    kind: type[Value], document: object, *, source: str, error: type[SpuriscopeError] = ConfigError
) -> Value:
    """Convert a document to a value.

    Args:
        kind: the dataclass of the value.
        document: JSON values.
        source: what the user calls the document; begins the message.
        error: class of the error to raise.

    Raises:
        SpuriscopeError: a field is missing, of the wrong type, out of range, or unknown.
    """
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as reason:
        raise error(f"{source}: {_told(reason, kind)}") from None
    except RecursionError:
        raise error(f"{source}: it is nested too deeply to be read") from None
    unknown = _unknown(document, msgspec.to_builtins(value, enc_hook=_plain), "")
    if unknown is not None:
        raise error(f"{source}: {unknown} is not known; it may be misspelt, or of a newer version")
    return value


def read_document(kind: type[Value], path: Path, *, error: type[SpuriscopeError] = ConfigError) -> Value:
    """Read a JSON file as a value.

    Raises:
        SpuriscopeError: there is no such file, it is not JSON, or not of this kind.
    """
    return from_document(kind, parse_json(path, error=error), source=str(path), error=error)


def from_text(
    kind: type[Value], text: str | bytes, *, source: str, error: type[SpuriscopeError] = ConfigError
) -> Value:
    """Convert a JSON text from within another file to a value; see `from_document`."""
    return from_document(kind, parse_text(text, source=source, error=error), source=source, error=error)


def parse_json(path: Path, *, error: type[SpuriscopeError] = ConfigError) -> Any:
    """Read the JSON values in a file.

    Raises:
        SpuriscopeError: it cannot be read, or is not JSON.
    """
    return parse_text(_content(path, LARGEST_DOCUMENT, error), source=str(path), error=error)


def parse_text(text: str | bytes, *, source: str, error: type[SpuriscopeError] = ConfigError) -> Any:
    """The JSON values in a text.

    Raises:
        SpuriscopeError: it is not JSON, or holds a number that Python cannot represent.
    """
    try:
        if _LONE_SURROGATE.search(text if isinstance(text, bytes) else text.encode("utf-8", "replace")):
            return json.loads(text)  # for file names that are not valid text, which msgspec refuses
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as reason:  # ValueError: from either decoder, or from the encoding
        raise error(f"{source} is not a JSON document: {_told(reason)}") from None


def parse_yaml(path: Path, *, error: type[SpuriscopeError] = ConfigError) -> Any:
    """Read the values in a YAML file, with a limit on their number: a short text can expand to millions.

    Raises:
        SpuriscopeError: it cannot be read, is not YAML, or its anchors repeat too much.
    """
    import yaml

    content = _content(path, LARGEST_STUDY, error)
    too_much = (
        f"{path} holds more than {MOST_NODES:,} values, or lists in more than {MOST_LEVELS} lists, counting "
        "what anchors repeat; write a shorter one"
    )
    if _depth(content) > MOST_LEVELS:  # checked first: the parser takes seconds for thousands of levels
        raise error(too_much)
    try:
        found = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as reason:  # ValueError: a date such as 2026-99-99
        raise error(f"{path} is not YAML: {reason}") from None
    if _n_values(found, MOST_LEVELS, MOST_NODES) > MOST_NODES:
        raise error(too_much)
    return found


def _content(path: Path, most: int, error: type[SpuriscopeError]) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as reason:
        raise error(f"cannot read {path} ({getattr(reason, 'strerror', reason)}); check the path") from None
    if len(content) > most:
        raise error(f"{path} has more than {most:,} bytes, which no such document has; check the path")
    return content


def _depth(content: bytes) -> int:
    """Largest number of brackets open at once in a text."""
    steps = (1 if each in b"[{" else -1 for each in content if each in b"[]{}")
    return max(accumulate(steps), default=0)


def _n_values(value: Any, n_levels: int, most: int) -> int:
    """Number of values in a value, itself included; more than `most` where it is nested too deeply."""
    inner: Any = (*value.keys(), *value.values()) if isinstance(value, Mapping) else value
    if not isinstance(inner, list | tuple | set):
        return 1
    n = 1 if n_levels else most + 1
    for each in inner:
        if n > most:
            break
        n += _n_values(each, n_levels - 1, most - n)
    return n


def document_schema(kind: type) -> dict[str, Any]:
    """The JSON schema (2020-12) of the documents that hold a value of this kind."""
    found: dict[str, Any] = _lists(msgspec.json.schema(kind))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def _plain(value: Any) -> Any:
    """A scalar of numpy or torch as Python's own; a subclass of str, as torch's version, as a str."""
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _lists(value: Any) -> Any:
    """JSON values with lists for all sequences, as when read from a file."""
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _told(reason: Exception, kind: Any = None) -> str:
    """A converter's message in our words: "3 was expected ..." becomes a place and a reason."""
    what, _, place = " ".join(str(reason).split()).partition(" - at ")
    where = place.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".")
    if what.startswith("Invalid enum value"):
        what += f"; choose {' or '.join(_choices(kind, where))}"
    else:
        what = _KINDS.sub(lambda found: " or ".join(WORDS[word] for word in found[1].split(" | ")), what)
    return f"{where}: {what[0].lower()}{what[1:]}" if where else f"{what[0].lower()}{what[1:]}"


def _choices(kind: Any, place: str) -> list[str]:
    """The allowed choices at a place of a document, as `recipe.optimizer` or `plants[0].placement`."""
    kinds = [kind]
    for name in re.sub(r"\[[^\]]*\]", "", place).split("."):
        owners = [owner for found in kinds for owner in _made_of(found) if hasattr(owner, "__annotations__")]
        kinds = [get_type_hints(owner).get(name) for owner in owners]
    parts = [part for found in kinds for part in _made_of(found)]
    named = [WORDS[part.__name__] for part in parts if getattr(part, "__name__", "") in WORDS]
    return [*(str(choice) for part in parts for choice in get_args(part)), *named]


def _made_of(kind: Any) -> list[Any]:
    """The classes and choices in an annotation."""
    if get_origin(kind) is Literal or not get_args(kind):
        return [kind]
    return [part for inner in get_args(kind) for part in _made_of(inner)]


def _unknown(given: object, kept: object, place: str) -> str | None:
    """The place of the first key of a document that the value did not take; None where all were taken."""
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
