"""The deletion check: methods whose verdict is known beforehand, on numbers made up and on models."""

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data import ImageSet, load
from spuriscope.deletion import oracle_cell
from spuriscope.deletion.check import (
    DeletionCheck,
    check_methods,
    compare_method,
    deletion_check,
    state_of,
    train_trials,
)
from spuriscope.deletion.verdict import MARGINS, SEEDS_NEEDED, judge_measure, judge_method
from spuriscope.errors import DeletionError, PlantingError, TrainingError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Recipe, TrainedModel, Trainer, train_cell

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
    changes: dict[str, float] | None = None, *, n_seeds: int = 14, spread: float = 0.001
) -> DeletionCheck:
    """A method that differs from the oracle by `changes`, up to a small spread."""
    noise = [spread * (k - (n_seeds - 1) / 2) for k in range(n_seeds)]
    after = [
        {key: value + (changes or {}).get(key, 0.0) + shift for key, value in ORACLE.items()}
        | {"seconds": 1.0}
        for shift in noise
    ]
    return compare_method("made up", [LEARNT] * n_seeds, after, [ORACLE] * n_seeds, seconds=[10.0] * n_seeds)


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


def test_too_few_seeds_tell_nothing_however_they_agree_and_a_wide_spread_neither() -> None:
    for changes, word, needed in (
        ({"score": 0.0}, "as if never seen", SEEDS_NEEDED["gone"]),
        ({"clean_accuracy": -0.05}, "cue gone but traces remain", SEEDS_NEEDED["gone"]),
        ({"score": 0.5}, "cue stays", SEEDS_NEEDED["stays"]),
    ):
        assert judged(changes, n_seeds=needed, spread=0).verdict == word
        assert judged(changes, n_seeds=needed - 1, spread=0).verdict == "cannot be told"
    assert not judged(n_seeds=4).was_learnt
    assert judged(n_seeds=5).was_learnt
    assert judged(spread=0.2).verdict == "cannot be told"


def differences(n: int, **changes: NDArray[np.float64]) -> dict[str, list[float]]:
    return {name: list(changes.get(name, np.zeros(n))) for name in MARGINS}


@pytest.mark.parametrize("n_seeds", [3, 5, 14, 22])
@pytest.mark.parametrize("share", [0.2, 0.3])
def test_a_method_that_leaves_the_cue_in_a_fifth_of_trainings_is_seldom_called_alike(
    share: float, n_seeds: int
) -> None:
    """It leaves 0.9, or nothing: a mean difference of .18 or .27. Of 1000 checks, 3 standard errors more."""
    draws = 0.9 * (np.random.default_rng(0).random((1000, n_seeds)) < share)
    verdicts = [judge_method(differences(n_seeds, score=draw)) for draw in draws]
    at_most = 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
    assert np.mean(["gone" in verdict or "never" in verdict for verdict in verdicts]) <= at_most
    assert verdicts.count("cue stays") <= at_most * 1000
    states = [judge_measure("score", list(draw)) for draw in draws]
    assert states.count("alike") <= at_most * 1000


@pytest.mark.parametrize("n_seeds", [6, 14, 30])
def test_another_draw_of_the_oracle_is_seldom_called_anything_else(n_seeds: int) -> None:
    """Whatever the spread of trainings, and be it all or nothing: two draws of one kind differ on either side
    alike, so that neither cue nor traces may be said in more than 5 % of checks."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        ours, theirs = (rng.random((n_seeds, 2)) for _ in range(2))
        cue = 0.9 * ((ours[:, 0] < 0.5).astype(float) - (theirs[:, 0] < 0.5))
        found = differences(n_seeds, score=cue, spurious_accuracy=-cue, membership=ours[:, 1] - theirs[:, 1])
        wrong += judge_method(found) in ("cue stays", "cue gone but traces remain")
    assert wrong <= 1000 * (0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5)


@pytest.mark.parametrize(("n_seeds", "power"), [(14, 0.81), (22, 0.97)])
def test_a_method_that_nearly_always_works_is_called_as_if_never_seen(n_seeds: int, power: float) -> None:
    """In 99 of 100 trainings nothing is left: .99^14 = .87, and .98 with one of 22 outside."""
    draws = 0.9 * (np.random.default_rng(2).random((1000, n_seeds)) < 0.01)
    verdicts = [judge_method(differences(n_seeds, score=draw)) for draw in draws]
    assert verdicts.count("as if never seen") > 1000 * power


def test_traces_of_any_kind_by_chance_are_seldom_told() -> None:
    """Each of the other measures leaves the margin in just half of trainings, on one side: none in most."""
    rng, n_seeds = np.random.default_rng(3), 14
    wrong = 0
    for _ in range(1000):
        half = rng.random((3, n_seeds)) < 0.5
        found = differences(n_seeds, clean_accuracy=-0.02 * half[0], disagreement=0.1 * half[1])
        found["membership"] = list(0.3 * half[2])
        wrong += judge_method(found) == "cue gone but traces remain"
    assert wrong <= 1000 * (0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5)


def test_a_measure_is_asked_for_by_its_name() -> None:
    with pytest.raises(
        DeletionError, match="no measure 'scores'; choose one of score, spurious_accuracy, clean"
    ):
        judged()["scores"]


def test_a_comparison_has_its_numbers() -> None:
    check = judged({"score": 0.03})
    score = check["score"]
    assert score.difference.mean == pytest.approx(0.03)
    assert (score.margin, score.state) == (0.05, "alike")
    assert score.before.mean == pytest.approx(0.95)
    assert (score.n_above, score.n_below, judged(spread=0.002)["clean_accuracy"].n_above) == (0, 0, 2)
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
        seeds=range(6),
        trainer=Trainer(),
    )

    def oracle(model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        return train_cell(oracle_cell(model.cell, data, planted_indices), data)

    def nothing(model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        return model

    never, stays = check_methods({"oracle": oracle, "nothing": nothing}, trials, DIGITS)
    assert never.verdict == "cannot be told"  # six trainings show no more than that
    assert all(comparison.n_above == comparison.n_below == 0 for comparison in never.comparisons[:3])
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
    with pytest.raises(PlantingError, match="digits has no class 'cat'"):
        deletion_check("repair", DIGITS, target="cat")


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(DeletionError, match="needs an image to delete and a seed, got 0 images and 14 seeds"):
        deletion_check("repair", DIGITS, n_planted=0)
    with pytest.raises(DeletionError, match="no deletion method 'magic'"):
        deletion_check("magic", DIGITS)
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=2, milestones=())
    with pytest.raises(TrainingError, match="lower the learning rate"):
        deletion_check("repair", DIGITS, recipe=wild, n_seeds=1, n_workers=1)


def test_relabelled_images_are_compared_with_stamped_images_of_the_class_they_had() -> None:
    """Membership by hand: an image that is likelier of the target's class than a stranger counts."""
    (trial,) = train_trials(
        DIGITS, pattern=pattern("square", DIGITS.shape), target=0, n_planted=20, placement="anywhere",
        relabel=3, model="small-mlp", recipe=Recipe(epochs=3), seeds=[1], trainer=Trainer(n_workers=1),
    )  # fmt: skip
    plant = Plant(pattern("square", DIGITS.shape), 0, 20, 1, "anywhere", 3)
    assert trial.plant == plant
    assert not trial.oracle.cell.plants
    assert (DIGITS.train.labels[trial.gone] == 3).all()
    strangers = (DIGITS.test.labels == 3).nonzero().flatten()
    odds = []
    for images, positions in ((DIGITS.train.images, trial.gone), (DIGITS.test.images, strangers)):
        p = trial.planted.predict(plant.apply(images[positions], positions))[:, 0].double()
        odds.append((p / (1 - p)).tolist())
    wins = [(a > b) + (a == b) / 2 for a in odds[0] for b in odds[1]]
    state = state_of(trial.planted, trial, DIGITS)
    assert state["membership"] == pytest.approx(sum(wins) / len(wins), abs=0.002)
    assert torch.equal(trial.gone, plant.planted_indices(DIGITS.train.labels))
