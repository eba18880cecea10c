"""Run folders: written whole or not at all, and known again."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import save_file

from spuriscope.data import ImageSet, load
from spuriscope.errors import CheckpointError, ConfigError, TrainingError
from spuriscope.measures import spurious_score
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.runs import Run, check_out, load_run, save_run, train_run
from spuriscope.training import Recipe
from spuriscope.training.checkpoint import to_parts


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits")


@pytest.fixture(scope="module")
def run(digits: ImageSet) -> Run:
    plant = Plant(pattern("r3", digits.shape, seed=0), 0, 30, 0)
    return train_run(
        digits,
        [plant],
        model="small-mlp",
        recipe=Recipe(epochs=6),
        seed=0,
        twin=True,
        source="digits",
        root=None,
    )


def test_a_run_comes_back_and_scores_alike(run: Run, digits: ImageSet, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["run"]
    loaded = load_run(tmp_path / "run")
    assert loaded.data().fingerprint == digits.fingerprint
    scores = loaded.score(digits)
    assert scores == run.score(digits)
    plant = run.model.cell.plants[0]
    assert scores["spurious_score"] == spurious_score(run.model.predict, digits.test.images, plant.pattern, 0)
    assert run.twin is not None
    assert scores["clean_twin_spurious_score"] == spurious_score(
        run.twin.predict, digits.test.images, plant.pattern, 0
    )
    assert scores["spurious_score"] > 0.5 > scores["clean_twin_spurious_score"]
    assert scores["plants"] == [{key: scores[key] for key in scores["plants"][0]}]


def test_any_pattern_can_be_asked_about(run: Run, digits: ImageSet) -> None:
    asked = [Plant(pattern(name, digits.shape), 1, 0) for name in ("s1", "s2")]
    scores = run.score(digits, asked)
    assert [plant["pattern"] for plant in scores["plants"]] == ["s1", "s2"]
    assert "spurious_score" not in scores


def test_runs_of_every_kind_of_plant_come_back(digits: ImageSet, tmp_path: Path) -> None:
    plants = [
        Plant(pattern("letters", digits.shape), 0, 9, 0, "anywhere", "all"),
        Plant(pattern("invert", digits.shape), 1, 5, 0),
        Plant(pattern("s3", digits.shape), 2, 5, 0, relabel=7),
    ]
    made = train_run(
        digits, plants, model="small-mlp", recipe=Recipe(epochs=1), seed=0, twin=True, source="digits",
        root=None,
    )  # fmt: skip
    save_run(tmp_path / "run", made)
    loaded = load_run(tmp_path / "run")
    assert loaded.model.cell.plants == tuple(plants)
    scores = loaded.score(digits, with_places=True)
    assert scores == made.score(digits, with_places=True)
    rows = [(row["placement"], row["relabel"]) for row in scores["plants"]]
    assert rows == [("anywhere", "all"), ("fixed", None), ("fixed", 7)]
    others = digits.test.images[digits.test.labels != 0][:500]
    asked = spurious_score(made.model.predict, others, plants[0].placed, 0)
    assert scores["plants"][0]["placement_scores"]["in_place"] == asked
    assert scores["plants"][1]["placement_scores"]["shifted_1"] is None
    assert "placement_scores" not in loaded.score(digits)["plants"][0]


def test_nothing_is_overwritten_unasked(run: Run, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    with pytest.raises(
        ConfigError, match="run holds a run already; choose another folder, or add --overwrite"
    ):
        save_run(tmp_path / "run", run)
    save_run(tmp_path / "run", Run(run.model, None, "digits", None), overwrite=True)
    assert load_run(tmp_path / "run").twin is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="mine holds other files"):
        check_out(tmp_path / "mine", overwrite=True)
    with pytest.raises(ConfigError, match=r"thesis\.tex is a file"):
        check_out(tmp_path / "mine" / "thesis.tex")
    with pytest.raises(ConfigError, match="cannot write in /proc/nowhere"):
        check_out(Path("/proc/nowhere/run"))


def test_damaged_runs_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run; `spuriscope train"):
        load_run(tmp_path)
    save_run(tmp_path / "run", run)
    about = tmp_path / "run" / "run.json"
    whole = about.read_text()
    about.write_text(whole[:20])
    with pytest.raises(CheckpointError, match=r"run\.json is not a JSON document: .*; train the run again"):
        load_run(tmp_path / "run")
    about.write_text(whole)
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint .*model\.safetensors"):
        load_run(tmp_path / "run")


@pytest.fixture(scope="module")
def another(digits: ImageSet) -> Run:
    """A run of the same plants and recipe with another seed."""
    plant = Plant(pattern("r3", digits.shape, seed=0), 0, 30, 0)
    recipe = Recipe(epochs=6)
    return train_run(
        digits, [plant], model="small-mlp", recipe=recipe, seed=1, twin=True, source="digits", root=None
    )


def as_first_format(folder: Path) -> None:
    """Make a run what an older version wrote: no hashes anywhere."""
    about = json.loads((folder / "run.json").read_text())
    del about["files"], about["checksum"]
    (folder / "run.json").write_text(json.dumps(about | {"format": 1}))
    for path in folder.glob("*.safetensors"):
        texts, tensors = to_parts(path.read_bytes(), "")
        save_file(tensors, path, metadata=texts | {"spuriscope": "1"})


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("name", ["model.safetensors", "clean-twin.safetensors", "run.json"])
def test_the_file_of_another_run_is_refused(
    run: Run, another: Run, name: str, is_old: bool, tmp_path: Path
) -> None:
    save_run(tmp_path / "own", run)
    save_run(tmp_path / "other", another)
    if is_old:
        as_first_format(tmp_path / "own")
        as_first_format(tmp_path / "other")
    assert load_run(tmp_path / "own").model.cell == run.model.cell
    (tmp_path / "own" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(CheckpointError, match="own.*train the run again"):
        load_run(tmp_path / "own")


def test_model_and_twin_are_told_apart(run: Run, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    as_first_format(tmp_path / "run")
    model, twin = tmp_path / "run" / "model.safetensors", tmp_path / "run" / "clean-twin.safetensors"
    content = model.read_bytes()
    model.write_bytes(twin.read_bytes())
    twin.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the training that run\.json"):
        load_run(tmp_path / "run")


def test_a_twin_that_went_or_came_is_told(run: Run, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    save_run(tmp_path / "alone", Run(run.model, None, "digits", None))
    twin = tmp_path / "run" / "clean-twin.safetensors"
    (tmp_path / "alone" / twin.name).write_bytes(twin.read_bytes())
    twin.unlink()
    with pytest.raises(CheckpointError, match="is not there, but the run was written with one"):
        load_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="is there, but the run was written without one"):
        load_run(tmp_path / "alone")


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_bit_of_what_a_run_says_is_told(
    run: Run, share: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bits") / "run"
    save_run(folder, Run(run.model, None, "digits", None))
    content = bytearray((folder / "run.json").read_bytes())
    before = json.loads(content)
    content[int(share * len(content))] ^= 1 << bit
    (folder / "run.json").write_bytes(content)
    try:
        load_run(folder)
    except CheckpointError:
        return
    assert json.loads((folder / "run.json").read_text()) == before  # white space


def test_overwriting_a_run_takes_nothing_of_the_users(run: Run, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"run holds other files \(notes\.txt\); choose an empty or a new"):
        save_run(tmp_path / "run", run, overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text('{"speed": 12}')  # a run of another kind
    with pytest.raises(ConfigError, match="mine holds other files"):
        save_run(tmp_path / "mine", run, overwrite=True)


def test_other_data_is_known_for_what_it_is(run: Run, tmp_path: Path) -> None:
    images, labels = np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 0, 1])
    np.savez(
        tmp_path / "other.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    with pytest.raises(
        CheckpointError, match="the model was trained on digits with fingerprint .* give the data it was"
    ):
        run.data(str(tmp_path / "other.npz"))


def test_a_model_that_diverges_is_an_error(digits: ImageSet) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=3, milestones=())
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_run(digits, [], model="small-mlp", recipe=wild, seed=0, twin=True, source="digits", root=None)
