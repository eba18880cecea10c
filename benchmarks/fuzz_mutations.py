"""How the fuzzer changes a good input: its bytes, and the values of a document."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["NUMBERS", "broken_bytes", "broken_document", "document_text", "odd_value"]

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1),
    *(2**32, 2**33, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)),
)
DEEP = "@deep@"  # stands for nested lists, deeper than a converter may go
DEPTH = 3000


def broken_bytes(draw: Random, content: bytes) -> bytes:
    """Bytes with one to sixteen breaks in them."""
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        content = draw.choice(BREAKS)(draw, content)
    return content


def _flip(draw: Random, content: bytes) -> bytes:
    if not content:
        return b""
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]


def _set_byte(draw: Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]


def _set_number(draw: Random, content: bytes) -> bytes:
    """A number of 1 to 8 bytes in either order, as headers hold sizes."""
    width: int = draw.choice((1, 2, 4, 8))
    value: int = draw.choice(NUMBERS) % 256**width
    number = value.to_bytes(width, "little" if draw.random() < 0.5 else "big")
    at = draw.choice((0, 4, 8, draw.randrange(len(content) + 1)))
    return content[:at] + number + content[at + width :]


def _cut(draw: Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _leave_out(draw: Random, content: bytes) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 2, 4, 8, 64, 512)) :]


def _insert(draw: Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.choice((1, 2, 4, 8, 64, 512))) + content[at:]


def _repeat(draw: Random, content: bytes) -> bytes:
    start, n = draw.randrange(len(content) + 1), draw.choice((1, 8, 64, 512, 4096))
    return content[: start + n] + content[start : start + n] * draw.choice((1, 1, 50)) + content[start + n :]


def _zero(draw: Random, content: bytes) -> bytes:
    start, n = draw.randrange(len(content) + 1), draw.choice((4, 64, 512))
    piece = content[start : start + n]
    return content[:start] + bytes([draw.choice((0, 255))]) * len(piece) + content[start + n :]


def _exchange(draw: Random, content: bytes) -> bytes:
    """Exchange two pieces of equal length."""
    n = draw.choice((1, 8, 64, 512))
    one, other = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    if one + n > other:
        return content
    piece = content[one : one + n]
    return (
        content[:one] + content[other : other + n] + content[one + n : other] + piece + content[other + n :]
    )


BREAKS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(
        _flip,
        _flip,
        _set_byte,
        _set_number,
        _set_number,
        _cut,
        _leave_out,
        _insert,
        _repeat,
        _zero,
        _exchange,
    ),
)


def odd_value(draw: Random) -> Any:
    """A value that is wrong at almost any place of a document."""
    return draw.choice(
        (
            *(None, True, False, 0.5, -0.5, 1e30, 1e-300, float("inf"), float("nan"), 10**30, 10**400),
            *("", "x", "nan", "-1", "digits", "r3", "a" * 100_000, "../../x", "/dev/null", "\0", "é\u202e"),
            *([], {}, [[]], [["a"]], [None], {"a": {}}, {"": 1}, [1] * 100_000, DEEP, draw.choice(NUMBERS)),
        )
    )


def broken_document(draw: Random, document: Any) -> Any:
    """A document of JSON values with one to four changes; keys are removed, added and exchanged."""
    document = json.loads(json.dumps(document))
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        document = _change(draw, document)
    return document


def _change(draw: Random, value: Any) -> Any:
    """A value with one change in it, or replaced by another."""
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not keys or draw.random() < 0.02:
        return _near(draw, value)
    key, what = draw.choice(keys), draw.random()
    if what < 0.08:
        del value[key]
    elif what < 0.14:
        if isinstance(value, dict):
            value[draw.choice(("x", "kind", "placement", "privacy", "__metadata__", ""))] = odd_value(draw)
        else:
            value.insert(key, odd_value(draw))
    elif what < 0.2:
        other = draw.choice(keys)
        value[key], value[other] = value[other], value[key]
    elif what < 0.5 or not isinstance(value[key], dict | list):
        value[key] = _near(draw, value[key])
    else:
        value[key] = _change(draw, value[key])
    return value


def _near(draw: Random, value: Any) -> Any:
    """Another value: of the same type half of the time."""
    if isinstance(value, bool) or draw.random() < 0.5:
        return odd_value(draw)
    if isinstance(value, int):
        half = value / 2 if abs(value) < 2**64 else 0.5
        return draw.choice((value + 1, value - 1, -value, draw.choice(NUMBERS), half, 2 * half, str(value)))
    if isinstance(value, float):
        return draw.choice((-value, value * 1e9, 0.0, int(value) if abs(value) < 1e9 else 0, str(value)))
    if isinstance(value, str):
        return draw.choice((value[1:], value + "x", value.upper(), f"{value}/../x", [value], value * 2))
    return odd_value(draw)


def document_text(document: Any) -> str:
    """The JSON text of a broken document, with nested lists written out."""
    return json.dumps(document).replace(f'"{DEEP}"', "[" * DEPTH + "]" * DEPTH)
