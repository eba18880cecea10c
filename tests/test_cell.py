"""A cell is named by all that decides its result."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError
from spuriscope.training import Cell, DataKey, Recipe
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
