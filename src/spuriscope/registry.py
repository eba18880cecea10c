"""Names that plugins add to ours: architectures, patterns, attacks, deletion methods, measures,
data sets, embeddings, transplants.

A plugin is a module that registers names when it is imported. A script imports it, `--plugin` names it, or an
installed package declares it as an entry point of the group `spuriscope.plugins`; the last is imported when
an unknown name is asked for. A worker imports the module that registered the architecture of its cell.

A plugin's name is recorded as NAME@FINGERPRINT, in the hash of a cell and in the names of measures, so that a
changed plugin counts as another one. The fingerprint is of its source: see `fingerprint`.
"""

import ast
import hashlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any, Generic, TypeVar

from spuriscope.errors import ConfigError, SpuriscopeError
from spuriscope.known_names import unknown

__all__ = ["Registry", "fingerprint", "load_installed", "load_plugin", "told_failure"]

GROUP = "spuriscope.plugins"
OURS = "spuriscope"
SCRIPT = "__main__"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
N_DIGITS = 12  # digits of a fingerprint that are recorded

Value = TypeVar("Value")
Given = TypeVar("Given", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Added(Generic[Value]):
    """What a plugin registered, the module to import for it, and the fingerprint of its source."""

    value: Value
    module: str
    source: str


class Registry(Mapping[str, Value]):
    """Things of one kind by name: ours, and those of plugins.

    Args:
        kind: what messages call them.
        built_in: ours, which no plugin replaces.
        error: class of the error for a name that is unknown or cannot be registered.
        reserved: other names of ours.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, Value],
        error: type[SpuriscopeError],
        *,
        reserved: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self.built_in = dict(built_in)
        self.error = error
        self.taken = {*built_in, *reserved}
        self.added: dict[str, _Added[Value]] = {}

    def __getitem__(self, name: str) -> Value:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self.added:
            load_installed()
        return self.added[name].value

    def __iter__(self) -> Iterator[str]:
        load_installed()
        return iter([*self.built_in, *self.added])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def registering(
        self, name: str, make: Callable[[Any], Value] = lambda given: given
    ) -> Callable[[Given], Given]:
        """A decorator that registers a function, and returns it unchanged.

        Args:
            name: lower-case letters, digits, dots, hyphens.
            make: makes the registered value from the function.

        Raises:
            ConfigError: the source cannot be read.
            SpuriscopeError: the name is taken by us or by another module, or the object is not a function.
        """
        if not NAME.fullmatch(name):
            raise self.error(
                f"{name!r} cannot be the name of a {self.kind}; take small letters, digits, dots and hyphens"
            )
        if name in self.taken:
            raise self.error(f"spuriscope has a {self.kind} {name!r} of its own; take another name")

        def register(given: Given) -> Given:
            if not callable(given):
                raise self.error(f"a {self.kind} is a function, got {type(given).__name__}")
            module = _calling_module()
            there = self.added.get(name)
            if there is not None and there.module != module:
                raise self.error(
                    f"{there.module} has registered a {self.kind} {name!r} before {module}; take another name"
                )
            self.added[name] = _Added(make(given), module, fingerprint(given, module))
            return given

        return register

    def check(self, name: str) -> None:
        """Raise, with the known names, unless `name` is one of them."""
        if name not in self:
            raise self.error(unknown(self.kind, name, self))

    def ours_and(self, names: Iterable[str]) -> dict[str, Value]:
        """The built-in values, and those of the named plugins.

        Raises:
            SpuriscopeError: a name is unknown.
        """
        for name in names:
            self.check(name)
        return self.built_in | {name: self[name] for name in names}

    def source(self, name: str) -> str:
        """The first digits of the fingerprint of a plugin's value; empty for ours."""
        return "" if name in self.built_in or name not in self else self.added[name].source[:N_DIGITS]

    def key(self, name: str) -> str:
        """A name as it is recorded: unchanged, or for a plugin NAME@FINGERPRINT."""
        return f"{name}@{source}" if (source := self.source(name)) else name

    def plugin(self, name: str) -> str | None:
        """The module to import for a plugin's name; None for ours.

        Raises:
            SpuriscopeError: it was registered in a script or a notebook, which no other process can import.
        """
        if not self.source(name):
            return None
        module = self.added[name].module
        if module == SCRIPT:
            raise self.error(
                f"the {self.kind} {name} was registered in a script or notebook, which workers do not "
                "import; put it into a module of its own and import that, or train with one worker"
            )
        return module


def load_plugin(module: str) -> None:
    """Import a plugin, which registers its names; it may lie in the current folder.

    Raises:
        ConfigError: there is no such module, or importing it failed.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # permanently, because workers search the same path as their parent
    try:
        importlib.import_module(module)
    except SpuriscopeError as error:
        raise ConfigError(f"plugin {module}: {error}") from error
    except ModuleNotFoundError as error:
        if error.name != module:
            raise ConfigError(f"plugin {module} cannot be imported: {told_failure(error)}") from error
        raise ConfigError(
            f"there is no plugin {module!r} in the current folder or among the installed packages; give the "
            "name of a module as `import` takes it"
        ) from None
    except Exception as error:
        raise ConfigError(f"plugin {module} cannot be imported: {told_failure(error)}") from error


def load_installed() -> None:
    """Import the plugins of installed packages, once.

    Raises:
        ConfigError: one cannot be imported.
    """
    for point in entry_points(group=GROUP):
        if point.module not in sys.modules:
            load_plugin(point.module)


def told_failure(error: Exception) -> str:
    """An exception in one line: ours unchanged, others as type, message, and the plugin's last line."""
    if isinstance(error, SpuriscopeError):
        return str(error)
    message = " ".join(str(error).split())
    told = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[0] != "<"]
    own = [frame for frame in frames if not {"torch", OURS} & set(Path(frame.filename).parts)]
    for last in (own or frames)[-1:]:
        told += f" ({Path(last.filename).name}:{last.lineno}, in {last.name})"
    return told


def fingerprint(value: object, module: str) -> str:
    """SHA-256 of the source of what a plugin registers, and of its settings.

    The source is that of the module that defines it, and of the modules of the same package that this one
    imports, recursively. In a notebook it is only that of the function or class. Other libraries are left
    out.

    Args:
        value: a function, a class, a `functools.partial`, or an object.
        module: the module that registers it.

    Raises:
        ConfigError: the source cannot be read.
    """
    defined_in = str(_definition(value).__module__)
    start = defined_in if _package(defined_in) == _package(module) else module
    try:
        texts = _sources(start, value)
    except (OSError, TypeError, ImportError, SyntaxError, ValueError) as error:
        raise ConfigError(
            f"the source of {start} cannot be read ({error}), but a plugin is identified by its source; put "
            "it into a module"
        ) from None
    has_repr = type(value).__repr__ is not object.__repr__
    settings = value if has_repr else getattr(value, "__dict__", "")
    digest = hashlib.sha256(ADDRESS.sub("", repr(settings)).encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def _calling_module() -> str:
    """The module outside spuriscope that calls it."""
    frame = sys._getframe()
    while frame.f_back is not None and _package(frame.f_globals["__name__"]) == OURS:
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


def _package(module: str) -> str:
    """The outermost package of a module, or the module itself if it is in none."""
    return module.partition(".")[0]


def _definition(value: Any) -> Any:
    """The function or class that a value is, or is made from."""
    if isinstance(value, partial):
        return _definition(value.func)
    return value if isinstance(value, type) or inspect.isroutine(value) else type(value)


def _sources(start: str, value: object) -> list[str]:
    """The source of a module and of those it imports from its own package, sorted by name."""
    if start == SCRIPT:
        file = getattr(sys.modules[SCRIPT], "__file__", None)
        return [inspect.getsource(_definition(value)) if file is None else _text(Path(file))]
    texts: dict[str, str] = {}
    left = [start]
    while left:
        name = left.pop()
        found = _spec(name)
        if name not in texts and found is not None and str(found.origin).endswith(".py"):
            texts[name] = _text(Path(str(found.origin)))
            left += _imported(texts[name], found.parent or "", _package(start))
    return [texts[name] for name in sorted(texts)]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _imported(text: str, parent: str, package: str) -> list[str]:
    """Names of the modules of a package that a module in `parent` imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), parent)
            within = [f"{base}.{each.name}" for each in node.names]
            found += [name if _package(name) == package and _spec(name) else base for name in within]
    return [name for name in found if _package(name) == package]


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is; None where there is none with this name."""
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # something inside a module, or a package that is not installed
        return None
