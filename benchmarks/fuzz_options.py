"""Whole command lines that the fuzzer breaks; a command stops where its work would begin."""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from typer.main import get_command

from fuzz import Kind
from fuzz_models import MODEL, STUDIES, prepare_run, prepare_store
from spuriscope.cli import app, main
from spuriscope.errors import SpuriscopeError

__all__ = ["KINDS"]

WORDS = (
    *("-1", "0", "1", "2", "3", "10", "6", "0.5", "nan", "inf", "-inf", "1e400", "1e-400", "1e9"),
    *(str(2**31), str(2**32), str(2**64), "9" * 400, "9" * 5000, "", " ", "x", "r3", "s1", "disc", "tint"),
    *("digits", "data.npz", "run", "store", "study.yaml", "mnistv8-3-0-99999999999", "digitsv20-1-0-0"),
    *("mnistv8-99999999999-0-0", f"mnistv8-3-0-{'9' * 5000}", "twoclassmnistv20-10-0-1-3", "1,2,3", "1,,x"),
    *("a\nb", "../..", ".", "/dev/null", "/", "~", "x" * 300, "\udcff", "cats,dogs", "image=a,label=b"),
    *("image=", "10m", "5", "auto", "cpu", "mlp", MODEL, "resnet50", "repair", "all", "adam", "sgd", "norm"),
    *("value", "body", "csv", "parquet", "local", "retrain", "influence", "é", "None", "[]", "0.5,0.5,0.5"),
    *(",".join(map(str, range(300))), "fig2", "mine", "fig7", "smoke", "x.pt", "x.onnx"),
)
N_IMAGES = {"--simulate"}  # may be large: it asks for that much work


@cache
def _commands() -> list[tuple[tuple[str, ...], Any]]:
    def below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        inner = getattr(command, "commands", None)
        if not inner:
            yield path, command
        for name, leaf in (inner or {}).items():
            yield from below(leaf, (*path, name))

    return list(below(get_command(app), ()))


def _prepare_options(folder: Path) -> None:
    prepare_run(folder)
    prepare_store(folder)
    shutil.rmtree(folder / "other")
    (folder / "study.yaml").write_text(json.dumps(STUDIES[0]), encoding="utf-8")


ARGUMENTS = ("data.npz", "data.npz", "digits", "run", "mine", "study.yaml")


def _make_options(draw: Random, good: Path, out: Path) -> bool:
    shutil.copytree(good, out, dirs_exist_ok=True)
    path, command = draw.choice(_commands())
    line = list(path)
    options = [found for found in command.params if found.param_type_name == "option"]
    for found in command.params:
        if found.param_type_name == "argument" and draw.random() < 0.95:
            line += [draw.choice(ARGUMENTS if draw.random() < 0.8 else WORDS)]
    needed = [found for found in options if found.required]
    for found in (*needed, *draw.sample(options, min(len(options), draw.choice((1, 1, 2, 3, 5))))):
        name = draw.choice(found.opts)
        if found.is_flag:
            line.append(name)
        elif name not in N_IMAGES:
            line.append(f"{name}={draw.choice(WORDS)}")
        else:
            line.append(f"{name}={draw.choice(('-1', '0', '3', 'nan', str(2**64), '9' * 400))}")
    (out / "line.json").write_text(json.dumps(line), encoding="utf-8")
    return False


class Reached(BaseException):
    """A command reached its work: its arguments are accepted."""


def _reached(*_: object, **__: object) -> Any:
    raise Reached


def _read_options(folder: Path) -> object:
    path = folder / "line.json"
    line = json.loads(path.read_text(encoding="utf-8")) if path.exists() else ["models"]
    said, errors, was = io.StringIO(), io.StringIO(), Path.cwd()
    work = ("training.trainer.train_many", "progress.audit_progress", "progress.class_progress")
    os.chdir(folder)
    try:
        with contextlib.ExitStack() as stack:
            for name in work:
                stack.enter_context(patch(f"spuriscope.{name}", _reached))
            stack.enter_context(patch.object(sys, "argv", ["spuriscope", *line]))
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.enter_context(contextlib.redirect_stderr(errors))
            main()
    except Reached:
        return "reached"
    except SystemExit as ended:
        if ended.code == 0:
            return "done"
        told = errors.getvalue().splitlines()
        if ended.code != 2 or not told or not told[-1].startswith("spuriscope: "):
            raise RuntimeError(f"{line} ended with {ended.code}: {errors.getvalue()[-300:]!r}") from None
        raise SpuriscopeError(told[-1]) from None
    finally:
        os.chdir(was)
    return "done"


KINDS = (Kind("options", _prepare_options, _make_options, _read_options),)
