"""Documents, names and numbers from outside: whatever is wrong with them is one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spuriscope as ss
from spuriscope.adapters import open_model
from spuriscope.adapters.form import ModelForm
from spuriscope.checks import check_path
from spuriscope.cli import main
from spuriscope.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    PlantingError,
    SpuriscopeError,
)
from spuriscope.limits import LONGEST_MESSAGE
from spuriscope.models.tensors import read_tensors
from spuriscope.planting import parse_planted_set
from spuriscope.runs import Run, load_run, save_run
from spuriscope.studies.results import distinct, own_settings, results
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Weights, load_model
from spuriscope.training.checkpoint import to_file, to_parts
from spuriscope.training.loop import initial_model

# --- documents -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    data = ss.load("digits")
    plant = ss.Plant(ss.pattern("s1", data.shape), 0, 2)
    cell = Cell(data=DataKey.of(data), plants=(plant,), model="small-mlp", recipe=Recipe(epochs=1))
    return TrainedModel(cell, initial_model(cell).eval(), (0.5,), 1.0)


DEEP = "[" * 3000 + "]" * 3000
TEXTS = {
    "cell": ("5", "null", "[]", "{}", DEEP, '{"data": 3}', "nonsense"),
    "losses": ("5", '["a"]', "null", DEEP, "[1e400]"),
    "n_seconds": ('"x"', "[]", "1e999", "NaN"),
    "deletions": ("5", "[3]", '[{"method": 3}]', '[{"method": "x", "settings": "", "images": ["a"]}]'),
    "epsilon": ('"x"', "[1]"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TEXTS for text in TEXTS[name]])
def test_a_checkpoint_whose_texts_are_of_the_wrong_type_is_one_line(
    name: str, text: str, model: TrainedModel
) -> None:
    texts, tensors = to_parts(model.to_bytes(), "x")
    del texts["spuriscope"]
    with pytest.raises(CheckpointError, match=f"^it: {name}"):
        TrainedModel.from_bytes(to_file(texts | {name: text}, tensors), source="it")


SHAPES = ([1, -8, 28], [1, 0, 28], [1, 2**20, 2**20], [1, 2**40, 2**40], [1, 28], [1, 28, 10**30])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_checkpoint_makes_no_model_that_is_larger_than_its_weights(
    shape: list[int], model: TrainedModel
) -> None:
    clean = TrainedModel(model.cell.clean_twin, model.module, (0.5,), 1.0)
    texts, tensors = to_parts(clean.to_bytes(), "x")
    del texts["spuriscope"]
    cell = json.loads(texts["cell"])
    cell["data"]["shape"] = shape
    with pytest.raises(CheckpointError):
        TrainedModel.from_bytes(to_file(texts | {"cell": json.dumps(cell)}, tensors), source="it")


@pytest.mark.parametrize("metadata", ["null", "3", '["a"]', '{"cell": 3}', DEEP])
def test_a_header_whose_metadata_are_none_is_one_line(metadata: str, tmp_path: Path) -> None:
    text = f'{{"__metadata__": {metadata}}}'.encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_model(tmp_path / "x.safetensors")


CELL_CHANGES: tuple[dict[str, Any], ...] = (
    {"weights": 5}, {"seed": 1e30}, {"seed": "0"}, {"plants": None}, {"plants": [[]]}, {"model": ["mlp"]},
    {"recipe": 3}, {"recipe": {"privacy": []}}, {"recipe": {"milestones": [["a"]]}}, {"part": {"x": 1}},
    {"recipe": {"batch_size": 1e30}}, {"data": {"name": 1}}, {"model": "no-such"}, {"seed": 10**400},
    {"part": None, "plants": [None]},
)  # fmt: skip


@pytest.mark.parametrize("change", CELL_CHANGES, ids=str)
def test_a_cell_of_the_wrong_type_is_one_line(change: dict[str, Any], model: TrainedModel) -> None:
    with pytest.raises(CheckpointError):
        Cell.from_json(model.cell.to_json() | change, model.cell.patterns)


@pytest.mark.parametrize(
    "text",
    [
        DEEP, "null", "[]", "3", '{"format": 2}', '{"format": [2]}',
        '{"format": 2, "source": ["x"], "root": null, "cell": {}}',
        '{"format": 2, "source": "x", "root": 5, "cell": {}}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "reading": "no"}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "reading": {"image_size": -1}}',
        '{"format": 1, "source": "x", "root": null, "cell": 5}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "files": {"a": 3}}',
    ],
)  # fmt: skip
def test_a_run_whose_document_is_of_the_wrong_type_is_one_line(
    text: str, model: TrainedModel, tmp_path: Path
) -> None:
    save_run(tmp_path / "run", Run(model, None, "digits", None))
    (tmp_path / "run" / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="train the run again"):
        load_run(tmp_path / "run")


def test_the_source_of_a_run_may_have_a_name_that_is_no_text(model: TrainedModel, tmp_path: Path) -> None:
    save_run(tmp_path / "run", Run(model, None, "photos-\udcff", None))
    assert load_run(tmp_path / "run").source == "photos-\udcff"


def test_two_files_of_runs_exchanged_and_every_byte_of_a_checkpoint_are_noticed(
    model: TrainedModel, tmp_path: Path
) -> None:
    twin = TrainedModel(model.cell.clean_twin, initial_model(model.cell.clean_twin).eval(), (0.5,), 1.0)
    save_run(tmp_path / "run", Run(model, twin, "digits", None))
    one, other = (tmp_path / "run" / name for name in ("model.safetensors", "clean-twin.safetensors"))
    content, exchanged = one.read_bytes(), other.read_bytes()
    one.write_bytes(exchanged)
    other.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file that was written with this run"):
        load_run(tmp_path / "run")
    for at in (*range(0, 3000, 37), *range(3000, len(content), len(content) // 40)):
        broken = bytearray(content)
        broken[at] ^= 4
        with pytest.raises(CheckpointError):
            TrainedModel.from_bytes(bytes(broken))


# --- names and numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "mnistv8-3-0-99999999999",
        f"mnistv8-3-0-{'9' * 5000}",
        f"cifar10v20-{'9' * 5000}-0-0",
        "fashion-3-0-4294967296",
    ],
)
def test_a_planted_set_with_a_number_that_nothing_takes_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(PlantingError, match="must be a whole number from 0 to"):
        parse_planted_set(name)


LONG = "x" * 300


@pytest.mark.parametrize(
    "call",
    [
        lambda: load_run(LONG),
        lambda: load_model(LONG),
        lambda: open_model(LONG),
        lambda: ss.load(LONG),
        lambda: ss.load(f"{LONG}.npz"),
        lambda: ss.load("a\0b.csv"),
        lambda: Weights.of("a\0b.pth"),
        lambda: read_tensors("a\0b.pth"),
        lambda: ss.pattern(LONG, (1, 8, 8)),
        lambda: check_path("--store", Path("a") / LONG),
    ],
)
def test_a_name_longer_than_files_have_is_one_line(call: Callable[[], object]) -> None:
    with pytest.raises(SpuriscopeError):
        call()


@pytest.mark.parametrize(
    "line",
    [
        ["study", "status", f"--store={LONG}"],
        ["study", "export", "x", "--out=x.csv", f"--store={LONG}"],
        ["score", LONG],
    ],
)
def test_a_path_that_is_none_ends_a_command_in_one_line(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["spuriscope", *line])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert "is not a path: a name in it has 300 bytes, file names have at most 255" in err


@pytest.mark.parametrize(
    "number", [np.int64, np.uint8, np.array, torch.tensor], ids=["int64", "uint8", "array", "tensor"]
)
def test_a_cell_of_numpys_numbers_is_the_cell_of_pythons(number: Callable[[Any], Any]) -> None:
    real = np.float64 if number in (np.int64, np.uint8) else number
    data = ss.load("digits")

    def cell(whole: Callable[[int], Any], share: Callable[[float], Any]) -> Cell:
        plant = ss.Plant(ss.pattern("r3", data.shape, seed=whole(3)), whole(0), whole(3), whole(1))
        recipe = Recipe(
            learning_rate=share(0.5),
            epochs=whole(2),
            milestones=(whole(1),),
            clipping="norm",
            clip_at=share(0.25),
        )
        return Cell(data=DataKey.of(data), plants=(plant,), model="mlp", recipe=recipe, seed=whole(4))

    assert cell(number, real).hash == cell(int, float).hash
    assert cell(number, real).to_json() == cell(int, float).to_json()


@pytest.mark.parametrize("mean", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)], ids=repr)
def test_the_form_of_a_model_takes_numbers_of_any_kind(mean: Any) -> None:
    form = ModelForm(mean=mean, std=mean)
    assert torch.equal(form.prepare(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))


def test_a_message_of_what_cannot_be_shown_is_no_longer_than_others() -> None:
    assert len(str(DataError("\0" * 10**6))) <= LONGEST_MESSAGE + len(" ... ")


def test_rows_whose_recipes_differ_in_their_milestones_are_told_apart() -> None:
    rows = [
        {"cell": str(number), "seed": 0, "milestones": [number], "measure": "score_all", "value": 0.5}
        for number in (1, 2)
    ]
    found = results(json.loads(json.dumps(rows)))
    assert distinct(found, "milestones") == [(1,), (2,)]
    assert own_settings(found)["milestones"] == (1,)


def test_settings_that_are_no_lists_and_no_mappings_are_one_line() -> None:
    bad: list[tuple[str, Any]] = [("milestones", 5), ("milestones", "12"), ("milestones", [["a"]])]
    for name, value in [*bad, ("privacy", []), ("privacy", 3), ("clip_at", 10**400)]:
        with pytest.raises(ConfigError):
            Recipe(**{name: value})
