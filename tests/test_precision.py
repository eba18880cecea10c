"""Which precision trains fastest: by the clock of this machine, once, and written into the cell."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from spuriscope.auditing import plan_audit
from spuriscope.cli import app
from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import ConfigError
from spuriscope.studies import Grid
from spuriscope.training import Cell, DataKey, Privacy, Recipe, fit, train
from spuriscope.training.precision import _Step, fastest_precision
from spuriscope.training.recipe import Precision

AUTO = Recipe(epochs=1, precision="auto")


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    return ImageSet(
        "small", Split(digits.train.images[:128], digits.train.labels[:128]), digits.test, digits.class_names
    )


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """What an earlier trial found is forgotten, and what is found here."""
    fastest_precision.cache_clear()
    yield
    fastest_precision.cache_clear()


def clocks(monkeypatch: pytest.MonkeyPatch, seconds: dict[Precision, float]) -> list[Precision]:
    """Machines that take so long for a step; what was tried on them, in order."""
    tried: list[Precision] = []

    def of_step(step: _Step) -> float:
        tried.append(step.recipe.precision)
        return seconds[step.recipe.precision]

    monkeypatch.setattr(_Step, "seconds", of_step)
    return tried


@pytest.mark.parametrize(
    ("bfloat16", "expected"), [(0.05, "bfloat16"), (0.095, "float32"), (0.1, "float32"), (1.1, "float32")]
)
def test_a_cell_has_what_is_fastest_here_and_its_hash(
    bfloat16: float, expected: Precision, data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = clocks(monkeypatch, {"float32": 0.1, "bfloat16": bfloat16})
    cell = Cell(data=DataKey.of(data), model="small-mlp", recipe=AUTO)
    named = replace(cell, recipe=replace(AUTO, precision=expected))
    assert (cell, cell.hash) == (named, named.hash)
    assert cell.to_json()["recipe"]["precision"] == expected
    n_tried = len(tried)
    Cell(data=DataKey.of(data), model="small-mlp", recipe=AUTO, seed=1)
    assert len(tried) == n_tried  # it is kept
    Cell(data=DataKey.of(data), model="mlp", recipe=AUTO)
    assert len(tried) > n_tried  # for this network alone
    if bfloat16 > 1:
        assert tried[:n_tried] == ["float32", "bfloat16"] * 2  # it does not wait for more of that


def test_the_trial_is_of_real_steps(data: ImageSet) -> None:
    model = train(data, model="small-mlp", recipe=AUTO)
    found = model.cell.recipe.precision
    assert found in ("float32", "bfloat16")
    assert train(data, model="small-mlp", recipe=replace(AUTO, precision=found)).losses == model.losses


def test_what_looks_at_each_image_stays_at_float32(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks(monkeypatch, {"float32": 0.1, "bfloat16": 0.01})
    for recipe in (
        replace(AUTO, clipping="per-example", clip_at=1.0),
        replace(AUTO, privacy=Privacy(noise_multiplier=1.0)),
    ):
        cell = Cell(data=DataKey.of(data), model="small-mlp", recipe=recipe)
        assert cell.recipe.precision == "float32"
    with pytest.raises(ConfigError, match="is settled when a cell is made; name one of the others"):
        fit(None, None, AUTO)  # type: ignore[arg-type]


def test_audits_and_studies_take_it_and_say_what_it_was(
    data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks(monkeypatch, {"float32": 0.1, "bfloat16": 0.01})
    assert plan_audit(data).recipe.precision == "float32"
    assert plan_audit(data, precision="auto").recipe.precision == "bfloat16"
    with pytest.raises(ConfigError, match="in which precision to train is up to fit"):
        plan_audit(data, precision="auto", fit=lambda images, labels, seed: None)  # type: ignore[arg-type, return-value]
    recipes: tuple[dict[str, str], ...] = ({}, {"precision": "auto"})
    study = Grid(name="x", models=("small-mlp",), counts=(3,), n_seeds=1, recipes=recipes).expand(data)
    assert {(e.labels["precision"], e.cell.recipe.precision) for e in study.entries} == {
        ("float32", "float32"),
        ("bfloat16", "bfloat16"),
    }


def test_the_command_says_what_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    clocks(monkeypatch, {"float32": 0.1, "bfloat16": 0.01})
    command = ["train", "digits", "--model", "small-mlp", "--epochs", "0", "--precision", "auto"]
    done = CliRunner().invoke(app, [*command, "--out", f"{tmp_path}/run"])
    assert done.exit_code == 0
    assert "bfloat16 is fastest here" in done.stderr
