"""Where results go: refused before the work, written whole by one writer, kept where their place fails."""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from spuriscope import places
from spuriscope.cli import main
from spuriscope.data import load
from spuriscope.errors import ConfigError
from spuriscope.places import hold, kept_elsewhere, unfinished_folder, written
from spuriscope.runs import Run, load_run, save_run, train_run
from spuriscope.training import Recipe

FULL = OSError(28, "No space left on device")
GONE = 4_000_000  # a number that no process has


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Runs of nothing, of seeds 0 to 4."""
    data, recipe = load("digits"), Recipe(epochs=0)
    how: dict[str, Any] = {"model": "small-mlp", "recipe": recipe, "twin": False, "source": "digits"}
    return [train_run(data, [], seed=seed, root=None, **how) for seed in range(5)]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says as it ends with 2, in one line, before it has computed anything."""

    def began(*_: Any, **__: Any) -> None:
        raise AssertionError("the work has begun")

    works = "runs.train_run forgetting.forget searching.search_model auditing.audit auditing.audit_model"
    for work in works.split():
        monkeypatch.setattr(f"spuriscope.{work}", began)

    def refuse(*line: object) -> str:
        monkeypatch.setattr(sys, "argv", ["spuriscope", *map(str, line)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2
        return told[-1]

    return refuse


@pytest.fixture
def folder(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder one is in, with a run, a file, and a link to nothing."""
    monkeypatch.chdir(tmp_path)
    save_run("run", runs[0])
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("x" * 300, "a name in it has 300 bytes, file names have at most 255"),
        ("dangling", "is a link to nowhere, which is not there"),
        ("file/below", "cannot write in file (Not a directory)"),
        ("", "is empty; give a value, or leave it out"),
    ],
    ids=["long", "dangling", "below a file", "empty"],
)
@pytest.mark.parametrize(
    "line",
    [
        "train digits --model small-mlp --out", "forget run --out", "discover run --save-patterns",
        "discover run --save", "discover run --page", "audit digits --out", "audit --run run digits --out",
    ],
)  # fmt: skip
def test_a_place_that_nothing_can_be_written_to_is_refused_before_the_work(
    line: str, place: str, told: str, refused: Callable[..., str], folder: Path
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert told in refused(*line.split(), place)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_folder_one_is_in_is_not_replaced(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is the folder you are in; name a new folder in it with --out" in refused(
        "train", "digits", "--model", "small-mlp", "--out", "."
    )


def test_a_name_of_the_greatest_length_is_written_and_replaced(runs: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / ("y" * 255)
    save_run(folder, runs[0])
    save_run(folder, runs[1], overwrite=True)
    assert load_run(folder).model.cell == runs[1].model.cell
    assert list(tmp_path.iterdir()) == [folder]


# --- one writer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_of_four_writers_one_wins_and_the_others_are_told(
    overwrite: bool, can_exchange: bool, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(places, "_exchange", lambda *_: False)
    folder, ready = tmp_path / "run", Barrier(4)
    whole = places.unfinished_folder

    def all_have_checked(*arguments: Any) -> Any:
        ready.wait(60)
        return whole(*arguments)

    monkeypatch.setattr("spuriscope.runs.unfinished_folder", all_have_checked)

    def save(run: Run) -> str:
        try:
            save_run(folder, run, overwrite=overwrite)
        except ConfigError as error:
            return str(error)
        return ""

    if overwrite:
        monkeypatch.setattr("spuriscope.runs.unfinished_folder", whole)
        save_run(folder, runs[4])
        monkeypatch.setattr("spuriscope.runs.unfinished_folder", all_have_checked)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(save, runs[:4]))
    (winner,) = [number for number, error in enumerate(told) if not error]
    assert load_run(folder).model.cell == runs[winner].model.cell
    assert {error for error in told if error} == {
        f"another process has written {folder} meanwhile; choose another --out"
    }
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_that_is_replaced_is_never_missing(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names can be exchanged no former run is ever without its name; elsewhere it gets it back."""
    folder = tmp_path / "run"
    save_run(folder, runs[0])
    moved: list[Path] = []
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.startswith("lock"):
            return rename(self, target)
        moved.append(self)
        if len(moved) % 2 == 0:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    save_run(folder, runs[1], overwrite=True)
    assert moved == []
    monkeypatch.setattr(places, "_exchange", lambda *_: False)
    with pytest.raises(ConfigError, match=r"cannot write .*run \(Input/output error\)"):
        save_run(folder, runs[2], overwrite=True)
    monkeypatch.undo()
    assert load_run(folder).model.cell == runs[1].model.cell
    assert list(tmp_path.iterdir()) == [folder]


# --- what killed writers left --------------------------------------------------------------------


def test_the_next_writer_deletes_what_a_killed_one_left_and_nothing_else(
    runs: list[Run], tmp_path: Path
) -> None:
    def hidden(pid: int, *files: str) -> Path:
        folder = tmp_path / f".run.{pid}-00ff.partial"
        (folder / "new").mkdir(parents=True)
        for name in files:
            (folder / name).write_text("x")
        return folder

    hidden(GONE, "lock", "new/model.safetensors", "new/.run.json.12-ab.partial")
    hidden(GONE + 1, "lock.partial")
    mine = hidden(GONE + 2, "lock", "new/thesis.tex")
    held = hidden(GONE + 3, "new/model.safetensors")
    lock = hold(held / "lock")
    other = tmp_path / ".runs.1-ab.partial"
    other.mkdir()
    alive = hidden(os.getppid(), "lock")
    save_run(tmp_path / "run", runs[0])
    os.close(lock)
    assert set(tmp_path.iterdir()) == {tmp_path / "run", mine, held, other, alive}
    save_run(tmp_path / "run", runs[1], overwrite=True)
    assert set(tmp_path.iterdir()) == {tmp_path / "run", mine, other, alive}


def test_a_former_run_that_a_killed_writer_put_away_comes_back(runs: list[Run], tmp_path: Path) -> None:
    save_run(tmp_path / "run", runs[0])
    away = tmp_path / f".run.{GONE}-00ff.partial"
    away.mkdir()
    (away / "lock").touch()
    (tmp_path / "run").rename(away / "old")
    with pytest.raises(ConfigError, match="holds a run already"):
        save_run(tmp_path / "run", runs[1])
    assert load_run(tmp_path / "run").model.cell == runs[0].model.cell
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, left = tmp_path / "page.html", tmp_path / f".page.html.{GONE}-00ff.partial"
    path.write_text("former")
    left.touch()
    with suppress(ZeroDivisionError), written(path) as file:
        file.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]
    held = hold(tmp_path / f".page.html.{GONE}-00aa.partial")
    with written(path) as file:
        file.write_text("whole")
    os.close(held)
    assert path.read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2  # what another process holds stays


def test_a_folder_that_is_not_finished_goes(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), unfinished_folder(tmp_path / "a" / "run", ["file"]) as new:
        (new / "file").touch()
        _ = 1 / 0
    assert list((tmp_path / "a").iterdir()) == []


# --- kept elsewhere ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_result_whose_place_fails_at_the_end_is_kept_elsewhere(
    is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / "disk" / "result"

    def write(path: Path) -> None:
        if path == place:
            raise (
                ConfigError("somebody was faster; go") if is_taken else OSError(28, "No space left on device")
            )
        path.write_text("worth an hour")

    with pytest.raises(ConfigError) as told:
        kept_elsewhere(write, place)
    reason = "somebody was faster" if is_taken else f"cannot write {place} (No space left on device)"
    before, _, kept = str(told.value).partition("; the result is kept: move it from ")
    assert before == reason
    assert Path(kept).read_text() == "worth an hour"


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def write(path: Path) -> None:
        raise FULL

    with pytest.raises(ConfigError, match=r"nor into .*; make room, and repeat the command"):
        kept_elsewhere(write, tmp_path / "result")
    assert list(tmp_path.iterdir()) == []
