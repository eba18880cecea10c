"""Cells on a part of the training images against the same cells on a data set that holds only these rows."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import load_file, save_file

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError, ConfigError
from spuriscope.models import build_model
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import (
    Cell,
    DataKey,
    Part,
    Progress,
    Recipe,
    TrainedModel,
    fit,
    load_model,
    train,
    train_cell,
    train_many,
)
from spuriscope.training.batches import Batches
from spuriscope.training.bundle import bundle_cells, train_bundle
from spuriscope.training.loop import weights_seed

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=32, input_noise=0.1)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:300], digits.train.labels[:300])
    return ImageSet("small", part, digits.test, digits.class_names)


def drawn(n: int, seed: int, n_train: int = 300) -> Part:
    return Part.of(torch.randperm(n_train, generator=torch.Generator().manual_seed(seed))[:n])


def cell_of(data: ImageSet, part: Part | None, **changes: object) -> Cell:
    cell = Cell(data=DataKey.of(data), part=part, model="small-mlp", recipe=RECIPE, seed=3)
    return replace(cell, **changes)  # type: ignore[arg-type]


def planted(data: ImageSet) -> Plant:
    return Plant(pattern("r3", data.shape, seed=1), target=0, n_planted=12, seed=1)


def equal_weights(first: TrainedModel, second: TrainedModel) -> bool:
    pairs = zip(first.module.state_dict().values(), second.module.state_dict().values(), strict=True)
    return first.losses == second.losses and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("model", ["small-mlp", "cnn"])
def test_a_part_trains_as_a_data_set_of_only_these_images(data: ImageSet, model: str) -> None:
    part = drawn(90, seed=0)
    copied = Split(data.train.images[part.positions], data.train.labels[part.positions])
    alone = train(ImageSet("rows", copied, data.test, data.class_names), model=model, recipe=RECIPE, seed=3)
    found = train(data, part=part, model=model, recipe=RECIPE, seed=3)
    assert equal_weights(found, alone)
    assert not equal_weights(found, train(data, part=drawn(90, seed=1), model=model, recipe=RECIPE, seed=3))


def test_plants_are_drawn_from_all_images_and_then_the_part_is_taken(data: ImageSet) -> None:
    plant, part = planted(data), drawn(150, seed=0)
    is_planted = torch.zeros(300, dtype=torch.bool)
    is_planted[plant.planted_indices(data.train.labels)] = True
    assert 0 < int(is_planted[part.positions].sum()) < 12  # some are seen, some are not
    found = train_cell(cell_of(data, part, plants=(plant,)), data)

    rows = Split(data.train.images[part.positions], data.train.labels[part.positions])
    batches = Batches(rows, [], RECIPE, 3, CPU)
    batches.plants = (plant,)
    batches.carries = is_planted[part.positions].to(torch.int16)
    module = build_model("small-mlp", data.shape, 10, seed=weights_seed(3))
    losses = fit(module, batches, RECIPE, seed=3)
    assert found.losses == losses
    for ours, theirs in zip(found.module.parameters(), module.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    without = Part.without(plant.planted_indices(data.train.labels), 300)
    oracle = cell_of(data, without, plants=(plant,))
    assert oracle.clean_twin.part == without
    assert equal_weights(train_cell(oracle, data), train_cell(oracle.clean_twin, data))


def test_parts_train_alike_alone_and_in_workers(data: ImageSet) -> None:
    parts = [drawn(100, seed=1), drawn(60, seed=2), None]
    cells = [cell_of(data, part, plants=(planted(data),), seed=seed) for seed, part in enumerate(parts)]
    told: list[Progress] = []
    found = list(train_many(cells, data, n_workers=2, on_progress=told.append))
    assert {model.cell for model in found} == set(cells)
    for model in found:
        assert isinstance(model, TrainedModel)
        assert equal_weights(model, train_cell(model.cell, data))
    assert told[-1].epochs_done == 9


def test_parts_of_one_length_are_stacked(data: ImageSet) -> None:
    same = [cell_of(data, drawn(70, seed), plants=(planted(data),), seed=seed) for seed in range(3)]
    other, whole = cell_of(data, drawn(71, 0)), cell_of(data, None)
    assert sorted(map(len, bundle_cells([other, *same, whole]))) == [1, 1, 3]
    torch.set_default_dtype(torch.float64)  # rounding far below any mistake
    try:
        for result, cell in zip(train_bundle(same, data, CPU), same, strict=True):
            assert isinstance(result, TrainedModel)
            alone = train_cell(cell, data)
            assert result.losses == pytest.approx(alone.losses, rel=1e-9)
            for ours, theirs in zip(result.module.parameters(), alone.module.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def test_parts_train_alike_on_ray(data: ImageSet) -> None:
    """What a task does with what it is sent, without a cluster; test_ray_executor has one."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'spuriscope[ray]'")
    from spuriscope.studies.ray_executor import _Shipped, _train_bundle
    from spuriscope.training.cell import pack

    cell = cell_of(data, drawn(100, seed=1), plants=(planted(data),))
    ((position, content, answers),) = _train_bundle(_Shipped.of(data), [(pack(cell), None)], "cpu")
    assert (position, answers) == (0, None)
    assert isinstance(content, bytes)
    assert equal_weights(TrainedModel.from_bytes(content), train_cell(cell, data))


def test_a_part_enters_the_hash_only_where_there_is_one(data: ImageSet) -> None:
    fixed = replace(DataKey.of(data), fingerprint="0" * 64)
    whole = replace(cell_of(data, None, plants=(planted(data),)), data=fixed)
    assert whole.hash == "6bd92fb2fcb01abe"  # of a cell made before there were parts
    assert "part" not in whole.to_json()
    part = Part.of([2, 0, 1])
    assert replace(whole, part=part).hash == replace(whole, part=Part.of([0, 1, 2])).hash
    assert len({whole.hash, *(replace(whole, part=p).hash for p in (part, Part.of([0, 1])))}) == 3
    assert hash(part) == hash(Part.of([1, 0, 2]))


def test_a_checkpoint_keeps_its_part_and_refuses_another(data: ImageSet, tmp_path: Path) -> None:
    cell = cell_of(data, drawn(40, seed=1), plants=(planted(data),))
    model, path = train_cell(cell, data), tmp_path / "model.safetensors"
    assert repr(model) == "TrainedModel(small-mlp on 40 images of small, r3 on 12 of class 0, seed 3)"
    model.save(path)
    loaded = load_model(path)
    assert loaded.cell == cell
    assert loaded.cell.hash == cell.hash
    assert loaded.cell.part is not None
    assert torch.equal(loaded.cell.part.positions, cell.part.positions)  # type: ignore[union-attr]
    tensors = load_file(path)
    n_header = int.from_bytes(path.read_bytes()[:8], "little")
    header = __import__("json").loads(path.read_bytes()[8 : 8 + n_header])["__metadata__"]
    header |= {"spuriscope": "1"}  # the first form, which had no checksum
    save_file(tensors | {"part": torch.arange(40)}, path, metadata=header)
    with pytest.raises(CheckpointError, match="the part of the training images is not the one"):
        load_model(path)
    save_file(tensors | {"part": torch.zeros(40)}, path, metadata=header)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: its part is damaged .*train it again"):
        load_model(path)
    del tensors["part"]
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="the part of the training images is not the one"):
        load_model(path)


@given(st.sets(st.integers(0, 99), min_size=1, max_size=99), st.randoms(use_true_random=False))
def test_without_is_the_complement(positions: set[int], random: object) -> None:
    given_, rest = Part.of(sorted(positions, reverse=True)), Part.without(sorted(positions), 100)
    assert given_.positions.tolist() == sorted(positions)
    assert sorted([*given_.positions.tolist(), *rest.positions.tolist()]) == list(range(100))
    assert (len(given_), len(rest)) == (len(positions), 100 - len(positions))


def test_what_is_no_part_is_refused(data: ImageSet) -> None:
    with pytest.raises(ConfigError, match="position 4 is in the part twice; give each image once"):
        Part.of([4, 1, 4])
    with pytest.raises(ConfigError, match="at least one training image, got none"):
        Part.of([])
    with pytest.raises(ConfigError, match="count from 0, got -1"):
        Part.of([3, -1])
    with pytest.raises(
        ConfigError, match=r"got torch.bool of shape \(3,\); turn a mask into positions with mask.nonzero"
    ):
        Part.of(torch.tensor([True, False, True]))
    with pytest.raises(ConfigError, match="must ascend; Part.of sorts them"):
        Part(torch.tensor([2, 1]))
    with pytest.raises(ConfigError, match="at least one training image, got none"):
        Part.without(range(5), 5)
    with pytest.raises(ConfigError, match="position 5, but there are 5 training images; choose .* 0 to 4"):
        Part.without([5], 5)
    assert len(Part.without([], 5)) == 5
    beyond = cell_of(data, Part.of([0, 300]))
    with pytest.raises(ConfigError, match="position 300, but there are 300 training images"):
        train_cell(beyond, data)
    with pytest.raises(ConfigError, match="position 300, but there are 300 training images"):
        train_many([beyond], data)
    assert not multiprocessing.active_children()
