"""The strength that is chosen, on rows made by hand; and what a study of private trainings keeps."""

from typing import Any

import pytest
from typer.testing import CliRunner

from spuriscope.cli.studies import study_app
from spuriscope.data import load
from spuriscope.studies import Grid, Store, run_study
from spuriscope.studies.figures import draw
from spuriscope.studies.mitigation import choices, families
from spuriscope.studies.results import Result, own_settings, read_results
from spuriscope.training import Trainer

PLAIN = {
    "weight_decay": 0.0,
    "clipping": "none",
    "clip_at": 0.0,
    "noise_multiplier": 0.0,
    "max_grad_norm": 0.0,
}
Row = tuple[dict[str, Any], float, float]  # what differs, score, clean accuracy


def rows(*recipes: Row, seeds: int = 3, n_planted: int = 3) -> list[Result]:
    """Each recipe at each seed; scores and accuracies move by the seed, in opposite directions."""
    found = []
    for changed, score, clean in recipes:
        for seed in range(seeds):
            settings = PLAIN | changed
            place = {"model": "mlp", "pattern": "r3", "target": 0, "n_planted": n_planted, "seed": seed}
            measures = {
                "score_non_target": score + 0.01 * (seed - 1),
                "clean_accuracy": clean - 0.001 * (seed - 1),
                "spurious_accuracy": 1 - score,
            } | ({"epsilon": 8.0} if settings["noise_multiplier"] else {})
            found.append(Result(f"{settings}{seed}", place | settings, measures))
    return found


def test_the_smallest_score_within_a_point_is_chosen() -> None:
    found = rows(
        ({}, 0.9, 0.98),
        ({"weight_decay": 1e-4}, 0.7, 0.975),
        ({"weight_decay": 1e-3}, 0.4, 0.97),  # a point below, exactly
        ({"weight_decay": 1e-2}, 0.1, 0.969),  # and a little more
        ({"clipping": "norm", "clip_at": 0.1}, 0.95, 0.98),
        ({"clipping": "value", "clip_at": 0.1}, 0.8, 0.98),
        ({"noise_multiplier": 1.0, "max_grad_norm": 1.0}, 0.05, 0.975),
    )
    decay, value, norm, private = choices(found)
    assert [choice.mitigation for choice in (decay, value, norm, private)] == [
        "weight decay", "clipped by value at", "clipped by norm at", "private, noise multiplier",
    ]  # fmt: skip
    assert decay.strength == 1e-3
    assert decay.place == {"pattern": "r3", "n_planted": 3}
    assert (decay.score.mean, decay.own_score.mean) == pytest.approx((0.4, 0.9))
    assert decay.score.low < 0.4 < decay.score.high
    assert decay.epsilon is None
    assert value.strength == 0.1
    assert norm.strength is None  # no strength is better than none
    assert norm.score == norm.own_score
    assert str(norm).endswith("clipped by norm at: no strength is better than none, score 0.900, n = 3")
    assert (private.strength, private.epsilon) == (1.0, 8.0)
    assert str(private) == (
        "pattern r3, n_planted 3: private, noise multiplier 1: score 0.050 for 0.900, "
        "clean accuracy 0.975 for 0.980, spurious 0.950, epsilon 8, n = 3"
    )
    assert private.to_json()["own_score"]["mean"] == pytest.approx(0.9)


def test_a_strength_without_all_seeds_is_not_chosen_yet() -> None:
    plain, strong = rows(({}, 0.9, 0.98)), rows(({"weight_decay": 1e-3}, 0.4, 0.98), seeds=2)
    assert choices(plain + strong) == []
    weak = rows(({"weight_decay": 1e-4}, 0.8, 0.98))
    (choice,) = choices(plain + weak + strong)
    assert choice.strength == 1e-4


def test_the_own_recipe_is_the_common_one_also_where_one_choice_has_two_settings() -> None:
    private = [({"noise_multiplier": noise, "max_grad_norm": 1.0}, 0.1, 0.9) for noise in (0.5, 1.0, 2.0)]
    found = rows(({}, 0.9, 0.98), *private)
    assert own_settings(found) == PLAIN
    (family,) = families(found)
    assert [strength for strength, _ in family.steps] == [0.5, 1.0, 2.0]


def test_a_private_study_keeps_epsilon_and_marks_the_choice(tmp_path: Any) -> None:
    pytest.importorskip("opacus")
    digits = load("digits")
    grid = Grid(
        name="private", figure="strengths", models=("small-mlp",), epochs=1, n_seeds=1, counts=(3,),
        recipes=({}, {"privacy": {"noise_multiplier": 1.0, "max_grad_norm": 0.5}}),
    )  # fmt: skip
    with Store(tmp_path / "store") as store:
        run_study(grid.expand(digits), digits, store, Trainer("cpu", 1))
        found = read_results(store, "private")
        files = draw(store, "private", tmp_path)
    private = [result for result in found if result.labels["noise_multiplier"] == 1.0]
    assert {result.labels["max_grad_norm"] for result in private} == {0.5}
    assert all(result.measures["epsilon"] > 0 for result in private)
    assert all("epsilon" not in result.measures for result in found if result not in private)
    assert [path.name for path in files] == ["private-planted-3.svg", "private-planted-3.png"]
    text = files[0].read_text(encoding="utf-8")
    assert "private, noise multiplier" in text
    told = CliRunner().invoke(study_app, ["check", "--store", str(tmp_path / "store")])
    assert "pattern r3, n_planted 3: private, noise multiplier" in told.stdout
