"""A cell is named by all that decides its result."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError, PatternError, PlantingError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Cell, DataKey, Part, Recipe
from spuriscope.training.cell import pack, unpack
from spuriscope.training.loop import check_data, initial_model


def named(n_classes: int, labels: list[int]) -> ImageSet:
    """Two dozen images of noise, with these labels and so many class names."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(labels), 1, 4, 4), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.tensor(labels))
    return ImageSet("named", split, split, tuple(map(str, range(n_classes))))


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=8),
    surplus=st.lists(st.integers(0, 3), min_size=2, max_size=2, unique=True),
)
@settings(max_examples=30)
def test_cells_of_as_many_images_and_other_numbers_of_classes_differ(
    labels: list[int], surplus: list[int]
) -> None:
    """Equal pixels and labels, another number of class names: another head, so another hash."""
    least = max(2, max(labels) + 1)
    sets = [named(least + more, labels) for more in surplus]
    cells = [Cell(data=DataKey.of(data), model="small-mlp", recipe=Recipe()) for data in sets]
    assert cells[0].hash != cells[1].hash
    heads = {list(initial_model(cell).parameters())[-1].shape for cell in cells}
    assert len(heads) == 2
    for cell, own, other in zip(cells, sets, reversed(sets), strict=True):
        check_data(cell, own)
        with pytest.raises(
            CheckpointError, match=r"made for named with .* classes, this named has .* classes; give"
        ):
            check_data(cell, other)
        # of a version that left the number of classes out
        older = replace(cell, data=replace(cell.data, fingerprint=own.content_fingerprint))
        check_data(older, own)
        with pytest.raises(CheckpointError, match="made for named"):
            check_data(older, other)


def test_fingerprints_are_older_than_the_number_of_classes_where_the_labels_tell_it() -> None:
    digits = load("digits")
    assert digits.fingerprint == digits.content_fingerprint
    assert digits.fingerprint.startswith("409400bd1c58d319")
    split = Split(torch.zeros((2, 1, 1, 1), dtype=torch.uint8), torch.tensor([0, 1]))
    by_hand = 2 * (b"(2, 1, 1, 1)" + bytes(2) + (0).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    for n_classes in (2, 3):
        data = ImageSet("x", split, split, ("a", "b", "c")[:n_classes])
        assert data.content_fingerprint == hashlib.sha256(by_hand).hexdigest()
        assert (data.fingerprint == data.content_fingerprint) == (n_classes == 2)


GREY = DataKey("x", "ab" * 32, (1, 28, 28), tuple("0123456789"))


def planted(name: str, seed: int, target: int, n_planted: int, **how: Any) -> Plant:
    return Plant(pattern(name, GREY.shape, seed=seed), target, n_planted, seed, **how)


def cell(*plants: Plant, **changes: Any) -> Cell:
    settings: dict[str, Any] = {"data": GREY, "plants": plants, "model": "mlp", "recipe": Recipe()}
    return Cell(**(settings | changes))


def test_cells_are_called_as_before_there_were_kinds() -> None:
    """Hashes written down by the version before: its stores and runs go on."""
    assert cell().hash == "299dc77093381bd2"
    assert cell(planted("s3", 0, 0, 3), recipe=Recipe(epochs=8), seed=1).hash == "d3b03302dd9a8ae3"
    two = (planted("r3", 4, 1, 5), planted("inv", 4, 2, 7))
    assert cell(*two, model="small-mlp", recipe=Recipe(epochs=2), seed=4).hash == "d6d423e185114370"
    plant = Plant(pattern("r1", GREY.shape, seed=2), 3, 10, 9)
    recipe = Recipe(optimizer="sgd", learning_rate=0.1)
    assert cell(plant, part=Part(torch.arange(50)), recipe=recipe).hash == "9d1bde723413929b"
    assert pattern("s3", GREY.shape).fingerprint == (
        "d86029ce0e0d2426c970a775b41b4249ed090a0e88d384b13e4d70c40a160e16"
    )


def test_kind_placement_and_relabelling_each_make_another_cell() -> None:
    cells = [
        cell(planted("square", 0, 0, 3)),
        cell(planted("s3", 0, 0, 3)),
        cell(planted("square", 0, 0, 3, placement="anywhere")),
        cell(planted("square", 0, 0, 3, relabel=4)),
        cell(planted("square", 0, 0, 3, relabel=5)),
        cell(planted("square", 0, 0, 3, relabel="all")),
        cell(planted("square", 0, 0, 3, placement="anywhere", relabel="all")),
        cell(planted("invert", 0, 0, 3)),
    ]
    assert len({each.hash for each in cells}) == len(cells)
    for each in cells:  # as it travels to a worker
        assert unpack(pack(each)) == each
        assert unpack(pack(each)).plants == each.plants
        json.dumps(each.to_json())
    assert cells[0].clean_twin == cells[-1].clean_twin
    with pytest.raises(PlantingError, match="x has no class 10; choose 0 to 9"):
        cell(planted("square", 0, 0, 3, relabel=10))


def test_what_a_newer_version_plants_is_refused_by_name() -> None:
    parcel = pack(cell(planted("square", 0, 0, 3, placement="anywhere")))
    (plant,) = parcel.content["plants"]
    for changes, message in (
        ({"placement": "left"}, "no placement 'left'; choose fixed or anywhere, or update spuriscope"),
        ({"relabel": "some"}, "relabel must be a whole number"),
        ({"blur": 3}, r"the cell: plants\[0\].blur is not known; it may be misspelt, or of a newer version"),
    ):
        content = parcel.content | {"plants": [plant | changes]}
        with pytest.raises(CheckpointError, match=message):
            unpack(parcel._replace(content=content))
    unknown = parcel.content | {"plants": [plant | {"pattern": plant["pattern"] | {"kind": "blur"}}]}
    with pytest.raises(PatternError, match="square is of kind 'blur', and this version .* add, cover, shade"):
        unpack(parcel._replace(content=unknown))
