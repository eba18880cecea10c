"""How commands read DATA: one line on stderr, and options that every command takes."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from spuriscope.cli import app, main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    for part, n in (("train", 12), ("val", 6)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "mine" / part / name).mkdir(parents=True)
            for k in range(n):
                pixels = random.randint(0, 100, (20 + k, 25, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "mine" / part / name / f"{k}.png")
    return tmp_path / "mine"


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["spuriscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_folder_of_many_sizes_to_a_trained_model_and_its_score(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    train = ("train", "mine", "--model", "small-mlp", "--epochs", 2, "--out", tmp_path / "run", "--json")
    code, out, err = run(monkeypatch, capsys, *map(str, train))
    assert (code, out) == (2, "")
    assert "bring all to one size with --image-size 16" in err
    assert not (tmp_path / "run").exists()
    code, out, err = run(monkeypatch, capsys, *map(str, train), "--image-size", "16")
    assert code == 0
    assert json.loads(out)["clean_accuracy"] >= 0
    assert "mine: 2 parts, 2 classes; train/ to train on, val/ as fresh images\n" in err
    monkeypatch.chdir("/")  # the run knows where its data lie, and how they were read
    code, out, err = run(monkeypatch, capsys, "score", tmp_path / "run", "--anyway", "--json")
    assert code == 0, err
    assert json.loads(out)["data"] == "mine"
    code, _, err = run(monkeypatch, capsys, "score", tmp_path / "run", "--image-size", "17", "--anyway")
    assert code == 2
    assert "the model was trained on mine with fingerprint" in err
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["reading"]["image_size"] == 16
    about = {"format": 1, **{key: about[key] for key in ("source", "root", "cell")}}  # as older versions
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    code, _, err = run(
        monkeypatch, capsys, "score", tmp_path / "run", "--image-size", "16", "--anyway", "--json"
    )
    assert code == 0, err
    (tmp_path / "run" / "run.json").write_text(json.dumps({**about, "reading": {"image_size": "large"}}))
    code, _, err = run(monkeypatch, capsys, "score", tmp_path / "run", "--anyway")
    assert code == 2
    assert "run.json: reading.image_size: expected a whole number or nothing, got text" in err


def test_skipped_images_are_counted_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train/cat/3.png").write_bytes(b"no image")
    (folder / "train/notes.txt").touch()
    how = ("data", "verify", str(folder), "--image-size", "16")
    code, _, err = run(monkeypatch, capsys, *how)
    assert code == 2
    assert "train/cat/3.png cannot be read as an image" in err
    assert len(err.splitlines()) == 1
    code, out, _ = run(monkeypatch, capsys, *how, "--unreadable", "skip", "--json")
    assert code == 0
    assert json.loads(out)["skipped"] == ["train/cat/3.png"]
    assert json.loads(out)["train_counts"] == {"cat": 11, "dog": 12}
    code, _, err = run(
        monkeypatch, capsys, "patterns", folder, "--image-size", "16", "--unreadable", "skip", "--json"
    )
    assert "1 other file passed over; 1 unreadable image skipped: train/cat/3.png\n" in err


def test_a_table_with_its_columns_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.rglob("*.png")]
    (folder / "t.csv").write_text("\n".join(["where,what", *lines]))
    given = ("patterns", folder / "t.csv", "--image-size", "16", "--json")
    code, out, err = run(monkeypatch, capsys, *given, "--columns", "image=where, label=what")
    assert code == 0, err
    assert json.loads(out)["data"] == "t"
    code, _, err = run(monkeypatch, capsys, *given, "--columns", "where")
    assert code == 2
    assert "columns are given as image=FILE,label=KIND,split=PART; got 'where'" in err


def test_the_cache_is_shown_and_cleared(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPURISCOPE_CACHE", str(tmp_path / "cache"))
    run(monkeypatch, capsys, "patterns", folder, "--image-size", "16")
    found = json.loads(run(monkeypatch, capsys, "data", "cache", "--json")[1])
    assert (found["folder"], found["n_entries"]) == (str(tmp_path / "cache"), 1)
    assert "deleted" in run(monkeypatch, capsys, "data", "cache", "--clear")[1]
    assert list((tmp_path / "cache").iterdir()) == []


def test_every_command_that_reads_data_takes_the_options() -> None:
    def walk(command: Any) -> list[Any]:
        below = getattr(command, "commands", {}).values()
        return [leaf for sub in below for leaf in walk(sub)] if below else [command]

    reading = set()
    for command in walk(get_command(app)):
        options = {parameter.name for parameter in command.params}
        if "image_size" in options and command.name != "prepare":
            assert {"unreadable", "background", "columns", "root"} <= options, command.name
            reading.add(command.name)
    assert reading == {"audit", "train", "score", "discover", "attack", "forget", "patterns", "verify", "run"}
