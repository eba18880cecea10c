"""Names that are known without importing torch: they are those that there are, and refusals are quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from spuriscope import known_names
from spuriscope.cli import app
from spuriscope.data.catalog import _ALIASES
from spuriscope.data.published import PUBLISHED
from spuriscope.deletion import METHODS
from spuriscope.discovery import EMBEDDINGS
from spuriscope.errors import SpuriscopeError
from spuriscope.models import ARCHITECTURES, count_parameters
from spuriscope.patterns import AUTHORS_NAMES, COVER_NAMES, PATTERN_NAMES, SHADE_NAMES
from spuriscope.studies import STUDIES, THEORY

REFUSED = [
    "train digits --model mpl --out new",
    "audit digits --model mpl",
    "audit digits --pattern s3,s33",
    "audit diggits",
    "audit --run nowhere",
    "attack digits --pattern s33",
    "discover nowhere",
    "discover pyproject.toml --data digits --embedding umap",
    "discover pyproject.toml --data digits --transplant grain",
    "forget pyproject.toml --data digits --images 1 --method die",
    "score nowhere",
    "patterns diggits",
    "study run fig77",
]


def test_names_are_those_that_there_are() -> None:
    assert list(known_names.MODELS) == list(ARCHITECTURES.built_in)
    assert tuple(METHODS.built_in) == known_names.METHOD_NAMES
    assert tuple(EMBEDDINGS.built_in) == known_names.EMBEDDING_NAMES
    assert (*PATTERN_NAMES, *COVER_NAMES, *SHADE_NAMES) == known_names.PATTERNS
    assert tuple(AUTHORS_NAMES) == known_names.AUTHORS_PATTERNS
    assert (*PUBLISHED, *_ALIASES) == known_names.DATA_NAMES
    assert tuple(STUDIES) == known_names.STUDY_NAMES
    assert tuple(THEORY) == known_names.THEORY_NAMES


@pytest.mark.parametrize("name", known_names.MODELS)
def test_parameters_are_those_of_the_built_network(name: str) -> None:
    assert known_names.MODELS[name].n_parameters == count_parameters(name)


def alone(commands: list[str], folder: Path) -> list[dict[str, str]]:
    """What commands say in a process that has not imported torch, and whether they imported it."""
    code = f"""
import contextlib, io, json, sys
from spuriscope.cli import main
for line in {commands!r}:
    sys.argv, out, err = ["spuriscope", *line.split()], io.StringIO(), io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main()
    heavy = ",".join(name for name in ("torch", "numpy", "scipy") if name in sys.modules)
    print(json.dumps({{"out": out.getvalue(), "err": err.getvalue(), "heavy": heavy}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_names_are_listed_and_refused_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the words of whoever has the things: here torch is imported, and they are asked."""
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    listed = ["models", "models --json"]
    said = alone([*listed, *REFUSED], tmp_path)
    assert [each["heavy"] for each in said] == [""] * len(said)
    for line, each in zip(listed, said, strict=False):
        app(line.split(), standalone_mode=False)
        assert each["out"] == capsys.readouterr().out
    for line, each in zip(REFUSED, said[len(listed) :], strict=True):
        with pytest.raises((SpuriscopeError, typer.Exit)) as caught:
            app(line.split(), standalone_mode=False)
        assert each["err"] == f"spuriscope: {caught.value}\n", line
        assert each["out"] == ""
