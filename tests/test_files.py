"""What commands write: a user's file of the same name stays, an earlier result of ours is replaced."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from spuriscope.auditing import check_folder
from spuriscope.data import ImageSet, Split
from spuriscope.errors import ConfigError
from spuriscope.scratch import PREFIX
from spuriscope.studies.export import export
from spuriscope.studies.figures import draw_theory
from spuriscope.training.workers import shared_data

ROWS = [{"cell": "a1", "measure": "score_all", "value": 0.5}]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_replaces_an_export_and_nothing_else(form: str, tmp_path: Path) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / "table"
    path.write_text("name,grade\nAda,1\n")
    with pytest.raises(ConfigError, match=r"table exists and is no export of a study; move it away"):
        export(ROWS, path, form)
    assert path.read_text() == "name,grade\nAda,1\n"
    path.unlink()
    assert export(ROWS, path, form) == export(ROWS, path, form) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_drawing_replaces_a_drawing_and_nothing_else(tmp_path: Path) -> None:
    files = draw_theory("fig9", tmp_path)
    assert draw_theory("fig9", tmp_path) == files
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(b"mine")
        with pytest.raises(ConfigError, match=f"{path.name} exists and was not drawn here; move it away"):
            draw_theory("fig9", tmp_path)
        assert path.read_bytes() == b"mine"
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["audit.json", "report.html"])
def test_an_audit_replaces_an_audit_and_nothing_else(name: str, tmp_path: Path) -> None:
    check_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")  # other files may lie beside
    check_folder(tmp_path)
    (tmp_path / name).write_text('{"speed": 12}')
    with pytest.raises(ConfigError, match=rf"holds {name}, which is not an audit's; choose another folder"):
        check_folder(tmp_path)
    about = {"format": 1, "spuriscope": "0.1.0", "dose_response": []}
    (tmp_path / "audit.json").write_text(json.dumps(about))
    check_folder(tmp_path)


def data() -> ImageSet:
    split = Split(torch.zeros((2, 1, 2, 2), dtype=torch.uint8), torch.tensor([0, 1]))
    return ImageSet("two", split, split, ("a", "b"))


def test_what_a_killed_process_shared_is_cleared_away_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is cleared if it is known as ours and its owner, wherever that runs, holds it no longer."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]; sys.path.insert(0, sys.argv[2])\n"
        "from test_files import data, shared_data\n"
        "with shared_data(data()): print('ready', flush=True); sys.stdin.read(); os._exit(1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    mine = tmp_path / f"{PREFIX}workers-999999999-mine"  # the name of one whose process is no more
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    full = tmp_path / f"{PREFIX}workers-999999998-full"
    full.mkdir()
    (full / "lock").touch()
    (full / "thesis.tex").write_text("mine")
    (theirs,) = set(tmp_path.iterdir()) - {mine, full}
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(ProcessLookupError))  # another container
    with shared_data(data()):
        assert theirs.is_dir()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other.communicate("")
    with shared_data(data()):
        assert not theirs.exists()
    assert sorted(path.name for path in tmp_path.rglob("*.tex")) == ["thesis.tex"] * 2
    assert set(tmp_path.iterdir()) == {mine, full}


def test_a_csv_that_was_exported_begins_with_the_cell(tmp_path: Path) -> None:
    export(ROWS, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["cell", "measure", "value"]
