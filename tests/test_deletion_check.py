"""The deletion check: methods whose verdict is known beforehand, on numbers made up and on models."""

import json

import pytest
from torch import Tensor

from spuriscope.data import ImageSet, load
from spuriscope.deletion import oracle_cell
from spuriscope.deletion.check import (
    MARGINS,
    DeletionCheck,
    check_methods,
    compare,
    deletion_check,
    train_trials,
)
from spuriscope.errors import DeletionError, TrainingError
from spuriscope.training import Recipe, TrainedModel, train_cell

DIGITS = load("digits")
ORACLE = {
    "score": 0.1,
    "spurious_accuracy": 0.5,
    "clean_accuracy": 0.97,
    "disagreement": 0.03,
    "membership": 0.5,
}
LEARNT = ORACLE | {"score": 0.95, "spurious_accuracy": 0.02}


def judged(
    changes: dict[str, float] | None = None, *, n_seeds: int = 5, spread: float = 0.002
) -> DeletionCheck:
    """A method that differs from the oracle by `changes`, up to a small spread."""
    noise = [spread * (k - (n_seeds - 1) / 2) for k in range(n_seeds)]
    after = [
        {key: value + (changes or {}).get(key, 0.0) + shift for key, value in ORACLE.items()}
        | {"seconds": 1.0}
        for shift in noise
    ]
    return compare("made up", [LEARNT] * n_seeds, after, [ORACLE] * n_seeds, seconds=[10.0] * n_seeds)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "as if never seen"),
        ({"score": 0.03, "disagreement": -0.03}, "as if never seen"),
        ({"score": 0.5}, "cue stays"),
        ({"spurious_accuracy": -0.4}, "cue stays"),
        ({"score": -0.09}, "cue gone but traces remain"),
        ({"spurious_accuracy": 0.3}, "cue gone but traces remain"),
        ({"clean_accuracy": -0.05}, "cue gone but traces remain"),
        ({"disagreement": 0.1}, "cue gone but traces remain"),
        ({"membership": 0.3}, "cue gone but traces remain"),
        ({"membership": 0.1}, "cue gone, traces cannot be told"),
        ({"score": 0.05}, "cannot be told"),
    ],
    ids=str,
)
def test_the_verdict_follows_from_the_differences(changes: dict[str, float], verdict: str) -> None:
    assert judged(changes).verdict == verdict


def test_two_seeds_tell_nothing_and_a_wide_spread_neither() -> None:
    assert judged(n_seeds=2).verdict == "cannot be told"
    assert not judged(n_seeds=2).was_learnt
    assert judged(n_seeds=3).verdict == "as if never seen"
    assert judged(spread=0.2).verdict == "cannot be told"


def test_a_comparison_has_its_numbers() -> None:
    check = judged({"score": 0.03})
    score = check["score"]
    assert score.difference.mean == pytest.approx(0.03)
    assert (score.margin, score.state, score.before.mean) == (0.05, "alike", 0.95)
    assert check.was_learnt
    assert check.share_of_training == 0.1
    assert [comparison.name for comparison in check.comparisons] == list(MARGINS)
    assert json.loads(json.dumps(check.to_json()))["rows"][0]["oracle"] == ORACLE


def test_the_oracle_is_as_if_never_seen_and_doing_nothing_leaves_the_cue() -> None:
    trials = train_trials(
        DIGITS,
        pattern="r3",
        target=0,
        n_planted=20,
        model="small-mlp",
        recipe=Recipe(epochs=10),
        seeds=range(3),
    )

    def oracle(model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        return train_cell(oracle_cell(model.cell, data, planted_indices), data)

    def nothing(model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        return model

    never, stays = check_methods({"oracle": oracle, "nothing": nothing}, trials, DIGITS)
    assert never.verdict == "as if never seen"
    assert all(comparison.difference.mean == 0 for comparison in never.comparisons[:3])
    assert never["disagreement"].after.mean == 0 < never["disagreement"].oracle.mean
    assert stays.verdict == "cue stays"
    assert stays.was_learnt
    assert stays["score"].after == stays["score"].before
    for trial in trials:
        assert trial.oracle.cell.part is not None
        assert not set(trial.gone.tolist()) & set(trial.oracle.cell.part.positions.tolist())
        assert trial.other.cell.part == trial.oracle.cell.part
        assert trial.other.cell.seed != trial.oracle.cell.seed


def test_the_check_of_one_method() -> None:
    recipe = Recipe(epochs=2)
    check = deletion_check("repair", DIGITS, model="small-mlp", recipe=recipe, n_seeds=1, first_seed=3)
    assert (check.method, check.verdict, len(check.rows)) == ("repair", "cannot be told", 1)
    assert check["clean_accuracy"].after.mean > 0.5


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(DeletionError, match="needs an image to delete and a seed, got 0 images and 5 seeds"):
        deletion_check("repair", DIGITS, n_planted=0)
    with pytest.raises(DeletionError, match="no deletion method 'magic'"):
        deletion_check("magic", DIGITS)
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=2, milestones=())
    with pytest.raises(TrainingError, match="lower the learning rate"):
        deletion_check("repair", DIGITS, recipe=wild, n_seeds=1, n_workers=1)
