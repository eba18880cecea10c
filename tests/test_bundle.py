"""Bundles against one training after the other.

In double precision, where rounding is far below any mistake: in single precision a ResNet's batch
normalisation over dark corners turns rounding into gradients that differ by a hundredth.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import DivergenceError, TrainingError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, train_cell
from spuriscope.training.bundle import best_size, bundle_cells, train_bundle
from spuriscope.training.many import (
    FailedCell,
    Progress,
    _Count,
    _Job,
    _train_in_bundles,
    models_of,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:200], digits.train.labels[:200])
    return ImageSet("small", part, digits.test, digits.class_names)


def make_cells(data: ImageSet, model: str, recipes: list[Recipe]) -> list[Cell]:
    plants = [
        (),
        (Plant(pattern("r3", data.shape, seed=1), 0, 3, 1),),
        (Plant(pattern("s3", data.shape), 1, 2, 2), Plant(pattern("r1", data.shape), 2, 4, 3)),
    ]
    return [
        Cell(data=DataKey.of(data), plants=plants[seed % 3], model=model, recipe=recipe, seed=seed)
        for seed, recipe in enumerate(recipes)
    ]


def assert_close(found: object, cell: Cell, data: ImageSet) -> None:
    assert isinstance(found, TrainedModel)
    expected = train_cell(cell, data)
    assert found.cell == cell
    assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    for (name, ours), theirs in zip(
        found.module.state_dict().items(), expected.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9, msg=name)


def test_a_bundle_knows_every_kind_of_plant(data: ImageSet) -> None:
    """In one bundle, beside cells of other plants and of none: labels and stamps are each cell's own."""
    square = pattern("square", data.shape)
    plants = [
        (),
        (Plant(square, 0, 8, 1, "anywhere", "all"), Plant(pattern("dim", data.shape), 1, 4, 2)),
        (Plant(pattern("r3", data.shape, seed=1), 0, 3, 1),),
        (Plant(square, 0, 8, 1, relabel=3),),
        (Plant(pattern("watermark", data.shape), 2, 8, 1, "anywhere"),),
    ]
    recipe = Recipe(epochs=3, batch_size=64)
    cells = [
        Cell(data=DataKey.of(data), plants=each, model="small-mlp", recipe=recipe, seed=seed)
        for seed, each in enumerate(plants)
    ]
    assert len(bundle_cells(cells)) == 1
    for found, cell in zip(train_bundle(cells, data, CPU), cells, strict=True):
        assert_close(found, cell, data)


ADAM, SGD = (
    Recipe(epochs=3, batch_size=64),
    Recipe(epochs=3, batch_size=64, optimizer="sgd", learning_rate=0.05),
)


@pytest.mark.parametrize(
    ("model", "recipe", "changes"),
    [
        ("mlp", ADAM, [{}, {"learning_rate": 0.003}, {"weight_decay": 0.01}, {"input_noise": 0.2}]),
        ("mlp", SGD, [{}, {"learning_rate": 0.01}, {"weight_decay": 0.01}, {"milestones": (1,)}]),
        ("small-mlp", replace(ADAM, clipping="value", clip_at=0.01), [{}, {"clip_at": 0.001}, {}]),
        ("small-mlp", replace(ADAM, clipping="norm", clip_at=0.1), [{}, {"clip_at": 0.01}, {}]),
        ("cnn", replace(SGD, epochs=1, learning_rate=0.01), [{}, {}]),
        ("resnet20", replace(SGD, epochs=1, augmentation="crop-flip"), [{}, {"weight_decay": 1e-3}]),
    ],
)  # fmt: skip
def test_a_bundle_trains_each_model_as_alone(
    data: ImageSet, model: str, recipe: Recipe, changes: list[dict[str, Any]]
) -> None:
    if model in ("cnn", "resnet20"):
        data = ImageSet(
            "tiny", Split(data.train.images[:72], data.train.labels[:72]), data.test, data.class_names
        )
    cells = make_cells(data, model, [replace(recipe, **change) for change in changes])
    told: list[int] = []
    found = train_bundle(cells, data, CPU, on_epoch=told.append)
    assert told == [len(cells)] * recipe.epochs
    for result, cell in zip(found, cells, strict=True):
        assert_close(result, cell, data)


def test_a_model_does_not_depend_on_its_neighbours(data: ImageSet) -> None:
    cells = make_cells(data, "small-mlp", [ADAM] * 7)
    together = train_bundle(cells, data, CPU)
    for positions in ([3], [6, 3, 0], [5, 4, 3, 2, 1]):
        found = train_bundle([cells[k] for k in positions], data, CPU)
        ours, theirs = found[positions.index(3)], together[3]
        assert isinstance(ours, TrainedModel)
        assert isinstance(theirs, TrainedModel)
        for a, b in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_a_model_that_diverges_leaves_its_neighbours_alone(data: ImageSet) -> None:
    wild = replace(SGD, learning_rate=1e300, milestones=())
    cells = make_cells(data, "small-mlp", [SGD, wild, SGD])
    found = train_bundle(cells, data, CPU)
    assert isinstance(found[1], DivergenceError)
    assert "in epoch 1 of 3" in str(found[1])
    for position in (0, 2):
        assert_close(found[position], cells[position], data)


def test_only_what_can_be_stacked_is_bundled(data: ImageSet) -> None:
    one_by_one = Recipe(epochs=3, clipping="per-example", clip_at=1.0)
    recipes = [ADAM, SGD, replace(ADAM, learning_rate=0.1), replace(ADAM, epochs=4), one_by_one, one_by_one]
    cells = make_cells(data, "mlp", recipes) + make_cells(data, "cnn", [ADAM])
    groups = bundle_cells(cells)
    assert sorted(len(group) for group in groups) == [1, 1, 1, 1, 1, 2]
    assert sorted(cell.hash for group in groups for cell in group) == sorted(cell.hash for cell in cells)
    assert [cells[0], cells[2]] in groups or [cells[2], cells[0]] in groups


def test_the_size_of_a_bundle_is_what_pays_and_fits(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = make_cells(data, "small-mlp", [ADAM] * 6)
    assert best_size(cells, data, CPU) in (1, 2, 4)

    def rates(of_size: dict[int, float]) -> None:
        def rate(cells: list[Cell], *_: object) -> float:
            if len(cells) not in of_size:
                raise torch.OutOfMemoryError
            return of_size[len(cells)]

        monkeypatch.setattr("spuriscope.training.bundle._images_per_second", rate)

    rates({1: 10.0, 2: 15.0, 4: 15.5})
    assert best_size(cells, data, CPU) == 2
    rates({1: 10.0, 2: 20.0})
    assert best_size(cells, data, CPU) == 2
    rates({1: 10.0, 2: 20.0, 4: 40.0})
    assert best_size(cells, data, CPU) == 4
    rates({})
    with pytest.raises(TrainingError, match="small-mlp at batch size 64 does not fit into the memory of cpu"):
        best_size(cells, data, CPU)


def test_many_in_bundles_equals_one_by_one(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `train_many` does on a GPU, here on a CPU."""
    monkeypatch.setattr("spuriscope.training.many.best_size", lambda *_: 2)
    wild = replace(SGD, learning_rate=1e300, milestones=())
    cells = make_cells(data, "small-mlp", [SGD, SGD, wild, ADAM])
    told: list[Progress] = []
    jobs = [_Job(cell, None) for cell in cells]
    results = list(models_of(_train_in_bundles(jobs, data, CPU, _Count(cells, data, told.append))))
    assert {result.cell for result in results} == set(cells)
    for result in results:
        if result.cell is cells[2]:
            assert isinstance(result, FailedCell)
        else:
            assert_close(result, result.cell, data)
    last = told[-1]
    assert (last.models_done, last.epochs_done, last.n_epochs) == (4, 12, 12)
