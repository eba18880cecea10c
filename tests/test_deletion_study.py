"""Deletions of a study: measured beside their model, done once, drawn and judged."""

from pathlib import Path

import pytest
import torch

from spuriscope.data import load
from spuriscope.deletion import delete, planted_indices_of
from spuriscope.errors import ConfigError
from spuriscope.measures import measure
from spuriscope.studies import questions as module
from spuriscope.studies.figures import draw
from spuriscope.studies.results import by_seed, read_results
from spuriscope.studies.runner import run_study
from spuriscope.studies.store import Store
from spuriscope.studies.study import Grid
from spuriscope.training import Trainer

torch.set_num_threads(1)
DIGITS = load("digits")
HOW = {"models": ("small-mlp",), "counts": (10,), "n_seeds": 1, "epochs": 4, "figure": "deletions"}
PLAIN = Grid(name="plain", **HOW)  # type: ignore[arg-type]
GRID = Grid(name="deleted", **HOW, deletions=("retrain", "repair"))  # type: ignore[arg-type]


def test_deletions_are_measured_once_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, executor = GRID.expand(DIGITS), Trainer(n_workers=1)
    with Store(tmp_path / "store") as store:
        run_study(PLAIN.expand(DIGITS), DIGITS, store, executor)
        outcome = run_study(study, DIGITS, store, executor)
        assert (outcome.n_trained, outcome.n_measured) == (0, 1)  # the model was there already
        found = read_results(store, "deleted")
        planted = next(entry for entry in study.entries if entry.cell.plants)
        model = store.load(planted.cell)
        assert model is not None
        repaired = delete(model, DIGITS, planted_indices_of(model, DIGITS), "repair")
        expected = measure(repaired.predict, DIGITS.test, planted.pattern, 0)  # type: ignore[arg-type]
        left = by_seed(found, "after_repair_score_non_target", n_planted=10)
        assert left == {0: expected.score_non_target}
        assert by_seed(found, "after_retrain_seconds")[0] > 0
        assert by_seed(found, "after_repair_seconds", n_planted=0) == {}
        monkeypatch.setattr(module, "delete", None)
        outcome = run_study(study, DIGITS, store, executor)
        assert (outcome.n_trained, outcome.n_measured) == (0, 0)
        files = draw(store, "deleted", tmp_path / "figures")
        assert any("images planted" in file.read_text() for file in files if file.suffix == ".svg")


def test_without_kept_weights_the_model_is_trained_again(tmp_path: Path) -> None:
    study, executor = GRID.expand(DIGITS), Trainer(n_workers=1)
    with Store(tmp_path / "store") as store:
        run_study(PLAIN.expand(DIGITS), DIGITS, store, executor, keep_checkpoints=False)
        outcome = run_study(study, DIGITS, store, executor)
        assert (outcome.n_trained, outcome.n_measured) == (1, 0)
        assert by_seed(read_results(store, "deleted"), "after_repair_seconds")[0] > 0


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="study x: there is no deletion method 'magic'; choose of retrain"):
        Grid(name="x", deletions=("magic",))
