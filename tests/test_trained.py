"""Checkpoints: whole, and refused when they are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import load_file, save_file

from spuriscope.adapters.stored import state_dict_module
from spuriscope.data import load
from spuriscope.errors import CheckpointError
from spuriscope.measures import measure
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Recipe, TrainedModel, load_model, train
from spuriscope.training.checkpoint import to_file, to_parts


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    data = load("digits")
    plants = [
        Plant(pattern("r3", data.shape, seed=2), 0, 3, 2),
        Plant(pattern("s3", data.shape), 1, 2, 2),
    ]
    return train(
        data, plants, model="small-mlp", recipe=Recipe(epochs=2, clipping="value", clip_at=0.1), seed=4
    )


@pytest.fixture
def path(model: TrainedModel, tmp_path: Path) -> Path:
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_checkpoint_brings_back_everything(model: TrainedModel, path: Path) -> None:
    loaded = load_model(path)
    assert loaded.cell == model.cell
    assert loaded.cell.hash == model.cell.hash
    assert (loaded.losses, loaded.n_seconds) == (model.losses, model.n_seconds)
    test = load("digits").test
    assert torch.equal(loaded.predict(test.images), model.predict(test.images))
    plant = loaded.cell.plants[0]
    assert measure(loaded.predict, test, plant.pattern, 0) == measure(model.predict, test, plant.pattern, 0)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_the_file_of_a_run_is_a_state_dict_to_whoever_asks_for_weights(
    model: TrainedModel, path: Path
) -> None:
    """With the patterns that lie beside the weights, and the part, left out."""
    data = load("digits")
    module = state_dict_module(path, architecture="small-mlp", shape=data.shape, n_classes=10)
    for name, value in model.module.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)


def test_predict_gives_probabilities_whatever_the_form_of_the_images(model: TrainedModel) -> None:
    images = load("digits").test.images[:7]
    found = model.predict(images)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(7))
    torch.testing.assert_close(model.predict(images.float() / 255), found)
    assert model.predict(images[:0]).shape == (0, 10)
    assert not model.module.training


def test_values_are_short_to_look_at(model: TrainedModel) -> None:
    assert repr(model) == "TrainedModel(small-mlp on digits, r3 on 3 of class 0, s3 on 2 of class 1, seed 4)"
    assert repr(model.cell.plants[0]) == (
        "Plant(pattern=Pattern('r3', 1x28x28), target=0, n_planted=3, seed=2, placement='fixed', "
        "relabel=None)"
    )
    assert repr(load("digits")) == (
        "ImageSet(name='digits', train=Split(1,437 images of 1x28x28), test=Split(360 images of 1x28x28))"
    )


def test_a_missing_or_foreign_file_is_refused(path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no checkpoint .*missing\.safetensors; `spuriscope train` writes one"
    ):
        load_model(path.with_name("missing.safetensors"))
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(
        CheckpointError, match=r"not a checkpoint of this version of spuriscope \(format None, expected '2'\)"
    ):
        load_model(path)


def test_weights_of_another_model_are_refused(path: Path) -> None:
    tensors = load_file(path)
    tensors["weights.1.weight"] = torch.zeros(5, 784)
    n_header = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + n_header])["__metadata__"]
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="the checksum differs"):
        load_model(path)
    header |= {"spuriscope": "1"}  # the first form, which had none
    save_file(tensors, path, metadata=header)
    with pytest.raises(
        CheckpointError,
        match="these are not the weights of small-mlp for images of .*203,530, the file 6,746",
    ):
        load_model(path)
    save_file(tensors, path, metadata=header | {"cell": "{}"})
    with pytest.raises(CheckpointError, match="cell: object missing required field `data`"):
        load_model(path)
    changed = tensors | {"pattern.0": torch.zeros(1, 28, 28)}
    save_file(changed, path, metadata=header)
    with pytest.raises(CheckpointError, match="pattern r3 is not the one its cell was trained with"):
        load_model(path)


def test_a_file_of_the_first_form_is_read_still(model: TrainedModel, path: Path) -> None:
    texts, tensors = to_parts(path.read_bytes(), "")
    save_file(tensors, path, metadata=texts | {"spuriscope": "1"})
    loaded = load_model(path)
    assert (loaded.cell, loaded.losses) == (model.cell, model.losses)


@pytest.fixture(scope="module")
def whole(model: TrainedModel) -> bytes:
    return model.to_bytes()


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_header=st.booleans())
@settings(max_examples=150)
def test_a_changed_bit_is_told(
    model: TrainedModel, whole: bytes, share: float, bit: int, is_header: bool
) -> None:
    """Any bit of the tensors or of the header: a file that is read although it differs says the same."""
    n_header = 8 + int.from_bytes(whole[:8], "little")
    place = int(share * n_header) if is_header else n_header + int(share * (len(whole) - n_header))
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    try:
        loaded = TrainedModel.from_bytes(bytes(changed))
    except CheckpointError:
        return
    assert is_header
    assert loaded.to_bytes() == model.to_bytes()


CHANGES: dict[str, Callable[[dict[str, str], dict[str, torch.Tensor]], object]] = {
    "a weight": lambda texts, tensors: tensors["weights.1.bias"][0].add_(1e-6),
    "order of weights": lambda texts, tensors: tensors["weights.1.bias"].copy_(torch.arange(256)),
    "a pattern": lambda texts, tensors: tensors["pattern.0"].mul_(0.5),
    "type": lambda texts, tensors: tensors.update({"weights.1.bias": tensors["weights.1.bias"].double()}),
    "another tensor": lambda texts, tensors: tensors.update(more=torch.zeros(1)),
    "seed": lambda texts, tensors: texts.update(cell=texts["cell"].replace('"seed": 4', '"seed": 5')),
    "losses": lambda texts, tensors: texts.update(losses="[0.5, 0.25]"),
    "deletions": lambda texts, tensors: texts.update(deletions='[{"method": "repair"}]'),
    "no checksum": lambda texts, tensors: texts.pop("checksum"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_changed_on_purpose_is_refused(
    change: Callable[[dict[str, str], dict[str, torch.Tensor]], object], path: Path
) -> None:
    tensors = load_file(path)
    n_header = int.from_bytes(path.read_bytes()[:8], "little")
    texts = json.loads(path.read_bytes()[8 : 8 + n_header])["__metadata__"]
    save_file(tensors, path, metadata=texts)
    load_model(path)  # it is not the writing anew that is refused
    change(texts, tensors)
    save_file(tensors, path, metadata=texts)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the checksum differs"):
        load_model(path)


@given(share=st.floats(0, 0.999))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    cut = path.with_name("cut.safetensors")
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load_model(cut)


NEW_PLANTS = [
    ("square", {}), ("invert", {}), ("square", {"placement": "anywhere"}), ("s3", {"placement": "anywhere"}),
    ("s3", {"relabel": "all"}), ("watermark", {"placement": "anywhere", "relabel": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how"), NEW_PLANTS)
def test_every_kind_of_plant_comes_back_from_its_file(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    """Beside one of the paper; a version without kinds misses `pattern.1`, and so refuses the file."""
    data = load("digits")
    plants = [Plant(pattern("r3", data.shape), 0, 3, 2), Plant(pattern(name, data.shape), 1, 2, 1, **how)]
    trained = train(data, plants, model="small-mlp", recipe=Recipe(epochs=0))
    trained.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").cell == trained.cell
    assert load_model(tmp_path / "model.safetensors").cell.plants == tuple(plants)
    tensors = load_file(tmp_path / "model.safetensors")
    assert torch.equal(tensors["pattern.0"], pattern("r3", data.shape).picture)
    assert "pattern.1" not in tensors
    assert any(key.startswith("pattern.1.") for key in tensors)


def test_a_kind_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    data = load("digits")
    plant = Plant(pattern("square", data.shape), 1, 2)
    header, tensors = to_parts(train(data, plant, model="small-mlp", recipe=Recipe(epochs=0)).to_bytes(), "x")
    header["cell"] = header["cell"].replace('"kind": "cover"', '"kind": "blur"')
    (tmp_path / "new.safetensors").write_bytes(to_file(header, tensors))
    with pytest.raises(
        CheckpointError,
        match=r"new\.safetensors: pattern square is of kind 'blur', and .*; update spuriscope",
    ):
        load_model(tmp_path / "new.safetensors")


def test_a_file_of_a_version_without_kinds_is_read(tmp_path: Path) -> None:
    """Written out as that version did: pixels by number, plants of four settings."""
    data = load("digits")
    plant = Plant(pattern("r3", data.shape, seed=2), 0, 3, 2)
    trained = train(data, plant, model="small-mlp", recipe=Recipe(epochs=0))
    content = trained.cell.to_json() | {
        "plants": [
            {"pattern": {"name": "r3", "fingerprint": plant.pattern.fingerprint},
             "target": 0, "n_planted": 3, "seed": 2}
        ]
    }  # fmt: skip
    weights = {f"weights.{name}": value for name, value in trained.module.state_dict().items()}
    header = {"cell": json.dumps(content), "losses": "[]", "n_seconds": "1.0"}
    old = to_file(header, weights | {"pattern.0": plant.pattern.picture})
    (tmp_path / "old.safetensors").write_bytes(old)
    assert load_model(tmp_path / "old.safetensors").cell == trained.cell
