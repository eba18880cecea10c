"""Checkpoints: whole, and refused when they are not."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import load_file, save_file

from spuriscope.data import load
from spuriscope.errors import CheckpointError
from spuriscope.measures import measure
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Recipe, TrainedModel, load_model, train


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


def test_predict_gives_probabilities_whatever_the_form_of_the_images(model: TrainedModel) -> None:
    images = load("digits").test.images[:7]
    found = model.predict(images)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(7))
    torch.testing.assert_close(model.predict(images.float() / 255), found)
    assert model.predict(images[:0]).shape == (0, 10)
    assert not model.module.training


def test_values_are_short_to_look_at(model: TrainedModel) -> None:
    assert repr(model) == "TrainedModel(small-mlp on digits, r3 on 3 of class 0, s3 on 2 of class 1, seed 4)"
    assert (
        repr(model.cell.plants[0]) == "Plant(pattern=Pattern('r3', 1x28x28), target=0, n_planted=3, seed=2)"
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
        CheckpointError, match=r"not a checkpoint of this version of spuriscope \(format None, expected '1'\)"
    ):
        load_model(path)


def test_weights_of_another_model_are_refused(path: Path) -> None:
    tensors = load_file(path)
    tensors["weights.1.weight"] = torch.zeros(5, 784)
    n_header = int.from_bytes(path.read_bytes()[:8], "little")
    header = __import__("json").loads(path.read_bytes()[8 : 8 + n_header])["__metadata__"]
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="these are not the weights of small-mlp: .*size mismatch"):
        load_model(path)
    save_file(tensors, path, metadata=header | {"cell": "{}"})
    with pytest.raises(CheckpointError, match="the header lacks 'plants'"):
        load_model(path)
    changed = tensors | {"pattern.0": torch.zeros(1, 28, 28)}
    save_file(changed, path, metadata=header)
    with pytest.raises(CheckpointError, match="pattern r3 is not the one its cell was trained with"):
        load_model(path)


@given(share=st.floats(0, 0.999))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    cut = path.with_name("cut.safetensors")
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load_model(cut)
