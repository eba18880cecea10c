"""A `.pt2` file of `torch.export` as `predict`; only torch's own operators, checked before it is loaded.

`torch.export.load` unpickles what its archive declares as pickled, falls back to unpickling anything,
evaluates the file's size expressions as Python, and executes its guards. So the archive is checked first: it
may hold only tensors, arithmetic sizes and torch's operators. Anything else is refused by name.
"""

import io
import json
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from spuriscope.adapters.form import ModelForm
from spuriscope.adapters.torch_module import ask_module
from spuriscope.errors import ModelError
from spuriscope.measures import Predict
from spuriscope.models.tensors import archive_names

__all__ = ["exported_predict", "is_exported"]

_DAMAGE = (  # raised while a damaged archive is read
    *(OSError, EOFError, ValueError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
NAME = re.compile(  # names that an expression of a size may use
    r"[suz]\d+|Symbol|positive|integer|True|False|Integer|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv"
    r"|ModularIndexing|Eq|Ne|Gt|Ge|Lt|Le|And|Or|Not|oo|int_oo"
)
EXPRESSION = re.compile(r"[\w\s'+\-*/%(),=<>!&|~]*")
OPERATOR = re.compile(
    r"torch\.ops\.(?!aten\.from_file\b)(aten|prims|quantized_decomposed)\.\w+\.\w+"
    r"|_operator\.(add|sub|mul|neg|pow|mod|floordiv|truediv|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.\w+|torch\.sym_\w+"
)


def is_exported(path: Path) -> bool:
    """Whether a file is an archive of `torch.export`."""
    return any(
        _inside(name) == "archive_format" or "exported_program" in name for name in archive_names(path)
    )


def exported_predict(path: Path, form: ModelForm) -> Predict:
    """Make `predict` from the model in a `.pt2` file; it runs on the CPU.

    Args:
        path: of the file, which must allow any batch size.
        form: how the model wants its images and gives its answers.

    Raises:
        ModelError: it cannot be read, or holds something to unpickle or execute.
        MeasureError: when `predict` is called: the images do not fit.
    """
    content = path.read_bytes()
    _check(path, content)
    try:
        program = torch.export.load(io.BytesIO(content))
        module = program.module()
    except Exception as error:  # torch.export's errors have no narrower common class
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path} cannot be read ({reason}); export it again with this torch") from None
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return lambda images: ask_module(module, images, form, like=like, source=str(path))


def _check(path: Path, content: bytes) -> None:
    """Raise ModelError where reading the archive would unpickle or execute anything."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [_inside(name) for name in archive.namelist()]
            files = {_inside(name): archive.read(name) for name in archive.namelist()}
    except _DAMAGE as error:
        raise ModelError(f"{path} is not a whole archive ({error}); export it again") from None
    twice = [name for name, n in Counter(names).items() if n > 1]
    models = {name: text for name, text in files.items() if re.fullmatch(r"models/\w+\.json", name)}
    if twice or len(models) != 1 or any("aotinductor" in name for name in names):
        found = f"{twice[0]} twice" if twice else f"{len(models)} graphs, or compiled code"
        raise ModelError(f"{path} holds {found}; export one model with this torch: torch.export.save")
    for name, text in files.items():
        if name.endswith(".json"):
            try:
                document = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path} is damaged ({name}: {error}); export it again") from None
            for key, value in _leaves(document):
                _check_leaf(path, key, value)
        elif name.endswith(".pt"):  # sample inputs, or weights in the older form
            try:
                torch.load(io.BytesIO(text), weights_only=True)
            except Exception:  # torch's errors about damaged files have no narrower common class
                _refuse(path, f"{name}, which holds objects")


def _check_leaf(path: Path, key: str, value: Any) -> None:
    if key == "use_pickle" and value:
        _refuse(path, "pickled tensors")
    elif key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
        _refuse(path, f"the object {value}")
    elif key == "guards_code":
        _refuse(path, f"guards ({str(value)[:60]})")
    elif key == "expr_str" and not _is_arithmetic(str(value)):
        _refuse(path, f"the expression {str(value)[:60]!r}")
    elif key == "target" and not OPERATOR.fullmatch(str(value)):
        _refuse(path, f"the operator {str(value)[:60]!r}")


def _refuse(path: Path, what: str) -> None:
    raise ModelError(
        f"{path} holds {what}: reading it could execute code; export the model as ONNX, or give its weights"
    )


def _is_arithmetic(expression: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", expression)
    return bool(EXPRESSION.fullmatch(expression)) and all(NAME.fullmatch(word) for word in words)


def _leaves(document: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a container, with the nearest name above it; empty containers are skipped."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _leaves(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from _leaves(value, key)
    else:
        yield key, document


def _inside(name: str) -> str:
    """The name of a file within the archive's own folder."""
    return name.partition("/")[2] or name
