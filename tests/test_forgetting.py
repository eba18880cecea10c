"""A run made to forget, from Python and from the shell."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spuriscope.cli import main
from spuriscope.cli.forget import _positions
from spuriscope.data import load
from spuriscope.deletion import Repair
from spuriscope.errors import CheckpointError, ConfigError, DeletionError
from spuriscope.forgetting import forget
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.runs import Run, load_run, save_run
from spuriscope.training import Recipe, train

DIGITS = load("digits")
PLANT = Plant(pattern("r3", DIGITS.shape, seed=0), 0, 20, 0)


@pytest.fixture(scope="module")
def run() -> Run:
    model = train(DIGITS, PLANT, model="small-mlp", recipe=Recipe(epochs=8))
    return Run(model, None, "digits", None)


@pytest.fixture
def spuriscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spuriscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_before_after_and_oracle_are_what_their_models_score(run: Run) -> None:
    forgotten, found = forget(run, DIGITS, with_oracle=True)
    assert found["before"] == run.score(DIGITS)
    assert found["after"] == replace(forgotten, twin=None).score(DIGITS)
    assert found["after"]["spurious_score_non_target"] < 0.3 < found["before"]["spurious_score_non_target"]
    assert found["oracle"]["plants"][0]["pattern"] == "r3"
    assert found["images"] == PLANT.planted_indices(DIGITS.train.labels).sort().values.tolist()
    assert json.loads(json.dumps(found)) == found


def test_the_command_writes_a_run_that_remembers(run: Run, tmp_path: Path, spuriscope: Any) -> None:
    save_run(tmp_path / "run", run)
    (tmp_path / "some").write_text("1 2\n3")
    code, out, err = spuriscope(
        "forget", tmp_path / "run", "--images", tmp_path / "some", "--out", tmp_path / "new", "--json"
    )
    found = json.loads(out)
    assert (code, found["images"], found["method"]) == (0, [1, 2, 3], "repair")
    assert err == "forgetting: repair\n"
    new = load_run(tmp_path / "new")
    assert new.model.deletions[0]["images"] == [1, 2, 3]
    assert new.score(DIGITS)["clean_accuracy"] == found["after"]["clean_accuracy"]
    code, out, _ = spuriscope("forget", tmp_path / "run", "--oracle")
    assert code == 0
    assert all(word in out for word in ("before", "after", "oracle", "20 images"))
    for arguments, message in (
        (("--method", "magic"), "there is no deletion method 'magic'; choose one of"),
        (
            ("--images", "1,x"),
            "no training image is called 'x' (1 of 2 are unknown); give positions",
        ),
        (("--images", "gone.txt"), "no training image is called 'gone.txt', nor is it a file"),
        (("--images", "5000"), "digits has no training image 5000"),
        (("--out", tmp_path / "new"), "holds a run already"),
    ):
        code, out, err = spuriscope("forget", tmp_path / "run", *arguments)
        assert (code, out) == (2, "")
        assert message in err.splitlines()[-1]


def test_a_run_without_plants_needs_images(run: Run) -> None:
    clean = Run(train(DIGITS, model="small-mlp", recipe=Recipe(epochs=1)), None, "digits", None)
    with pytest.raises(DeletionError, match="name the images to forget with --images"):
        forget(clean, DIGITS)
    forgotten, found = forget(clean, DIGITS, [4, 5], Repair(share=0.5))
    assert (found["method"], found["after"]["plants"]) == ("Repair", [])
    assert forgotten.model.deletions[0]["images"] == [4, 5]
    with pytest.raises(CheckpointError, match="give the data it was made for"):
        forget(run, replace(DIGITS, train=DIGITS.test), [1])


def test_images_may_be_named_in_any_number(tmp_path: Path) -> None:
    names = tuple(f"train/0/{number}.png" for number in range(400))
    several = tmp_path / "names.txt"
    several.write_text("train/0/7.png\ntrain/0/9.png\n")
    assert _positions("train/0/5.png", names) == [5]
    assert _positions("train/0/5.png,train/0/12.png", names) == [5, 12]
    assert _positions(str(several), names) == [7, 9]
    assert _positions(",".join(map(str, range(300))), None) == list(range(300))
    with pytest.raises(ConfigError, match="no training image is called 'train/0/400.png'"):
        _positions("train/0/5.png,train/0/400.png", names)
