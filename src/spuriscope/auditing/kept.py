"""Answers of an audit so far, kept in a folder, so that a stopped audit continues where it was.

Each answer is a JSON document under the key of the audit: data, settings, and version. Answers with another
key are left alone, and all with the key are deleted once the audit's page is written.
"""

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spuriscope.adapters import Fit
from spuriscope.documents import from_document, read_document, to_document, to_json_text
from spuriscope.errors import ConfigError
from spuriscope.places import written

__all__ = ["Kept", "key_of", "let_go", "source_of"]

Value = TypeVar("Value")
FOLDER, COMPLETE = ".unfinished", "complete"


def key_of(settings: Any) -> str:
    """A hash of everything that an audit's answers depend on."""
    text = json.dumps(to_document(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_of(fit: Fit | None) -> str:
    """What identifies a user's training function: its source and the values it holds; empty without one."""
    if fit is None:
        return ""
    try:
        text = inspect.getsource(fit)
    except (OSError, TypeError):
        text = ""
    held = [repr(cell.cell_contents) for cell in getattr(fit, "__closure__", None) or ()]
    return f"{text} {held} {fit!r}" if not text else f"{text} {held}"


@dataclass(frozen=True)
class Kept:
    """The answers of one audit.

    Attributes:
        folder: where they are; None keeps nothing.
    """

    folder: Path | None

    @classmethod
    def at(cls, out: Path | None, key: str) -> "Kept":
        """Keep answers beside the folder of the page."""
        return cls(None if out is None else out / FOLDER / key)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return self.folder is None or not self.folder.is_dir()

    def answer(self, name: str, kind: type[Value], make: Callable[[], Value]) -> Value:
        """The kept answer, or a new one."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.json"
        if path.is_file():
            try:
                return read_document(kind, path)
            except ConfigError:
                pass  # damaged, or of another version: ask again
        value = make()
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with written(path) as file:
                file.write_text(to_json_text(value), encoding="utf-8")
        return value

    def rows(self, name: str, kind: type[Value]) -> list[Value]:
        """The values that `add` kept under a name, without a line that was cut off."""
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
        path = self.folder / f"{name}.jsonl"
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            is_cut = path.is_file() and not path.read_bytes().endswith(b"\n")
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" * is_cut + json.dumps(to_document(value)) + "\n")

    def complete(self, created: str) -> None:
        """Record that the audit is complete, and when, so that `let_go` can delete its answers."""
        if self.folder is not None and self.folder.is_dir():
            with _told(self.folder):
                (self.folder / COMPLETE).write_text(created, encoding="utf-8")


def let_go(out: Path, created: str) -> None:
    """Delete the answers of the audit that was completed at this time, because its page is written."""
    folders = (out / FOLDER).iterdir() if (out / FOLDER).is_dir() else ()
    for folder in list(folders):
        mark = folder / COMPLETE
        if mark.is_file() and mark.read_text(encoding="utf-8", errors="replace") == created:
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not there, or another audit is unfinished
        (out / FOLDER).rmdir()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn a full disk into an error that a user can act on."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot write in {folder} ({error.strerror}); make room there") from None
