"""What an audit has answered so far, in a folder: one that was stopped goes on where it was.

Each answer is a JSON document under the key of the audit: data, settings, and version. What is of another key
is left alone, and all of a key goes when its audit is complete.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spuriscope.documents import from_document, read_document, to_document, to_json_text
from spuriscope.errors import ConfigError

__all__ = ["Kept", "key_of"]

Value = TypeVar("Value")
FOLDER = ".unfinished"


def key_of(settings: Any) -> str:
    """A name for all that an audit's answers depend on."""
    text = json.dumps(to_document(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Kept:
    """The answers of one audit.

    Attributes:
        folder: where they are; None keeps nothing.
    """

    folder: Path | None

    @classmethod
    def at(cls, out: Path | None, key: str) -> "Kept":
        """In the folder of the page, apart from it."""
        return cls(None if out is None else out / FOLDER / key)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return self.folder is None or not self.folder.is_dir()

    def answer(self, name: str, kind: type[Value], make: Callable[[], Value]) -> Value:
        """The answer that was kept, or a new one."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.json"
        if path.is_file():
            try:
                return read_document(kind, path)
            except ConfigError:
                pass  # damaged, or of another version: it is asked again
        value = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(to_json_text(value), encoding="utf-8")
        partial.replace(path)
        return value

    def rows(self, name: str, kind: type[Value]) -> list[Value]:
        """The values that `add` kept under a name; a line that was cut off is left out."""
        path = None if self.folder is None else self.folder / f"{name}.jsonl"
        if path is None or not path.is_file():
            return []
        found = []
        for line in path.read_bytes().splitlines():
            try:
                found.append(from_document(kind, msgspec.json.decode(line), source=str(path)))
            except (ConfigError, msgspec.DecodeError):
                continue
        return found

    def add(self, name: str, value: Any) -> None:
        """Keep one more value under a name."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.jsonl"
        is_cut = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * is_cut + json.dumps(to_document(value)) + "\n")

    def clear(self) -> None:
        """Let go of all of it: the audit is complete."""
        if self.folder is None or not self.folder.is_dir():
            return
        shutil.rmtree(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
