"""Planting against the two lines of the authors' code."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from spuriscope.errors import PlantingError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant, PlantedSet, draw_planted, parse_planted_set, stamp

GREY = (1, 28, 28)
S3, R3 = pattern("s3", GREY), pattern("r3", GREY)


@given(seed=st.integers(0, 2**32 - 1), target=st.integers(0, 4), data=st.data())
def test_indices_are_the_authors_to_the_bit(seed: int, target: int, data: st.DataObject) -> None:
    labels = np.random.RandomState(0).randint(0, 5, 200)
    n = data.draw(st.integers(0, int((labels == target).sum())))
    expected = np.random.RandomState(seed).choice(np.where(labels == target)[0], size=n, replace=False)
    found = Plant(S3, target, n, seed).planted_indices(torch.from_numpy(labels))
    assert found.tolist() == expected.tolist()


def test_a_two_class_set_draws_from_one_random_state() -> None:
    labels = np.random.RandomState(0).randint(0, 3, 300)
    state = np.random.RandomState(7)  # as twoclasslmnist_aug in the authors' code
    first = state.choice(np.where(labels == 0)[0], size=10, replace=False)
    second = state.choice(np.where(labels == 1)[0], size=10, replace=False)
    found = draw_planted([Plant(R3, 0, 10, 7), Plant(R3, 1, 10, 7)], torch.from_numpy(labels))
    assert [indices.tolist() for indices in found] == [first.tolist(), second.tolist()]


@given(counts=st.lists(st.integers(0, 10), min_size=1, max_size=5), seeds=st.integers(0, 3))
def test_no_image_is_stamped_twice(counts: list[int], seeds: int) -> None:
    labels = torch.zeros(60, dtype=torch.int64)
    labels[50:] = 1
    plants = [Plant(S3, 0, n, seed % (seeds + 1)) for seed, n in enumerate(counts)]
    drawn = torch.cat(draw_planted(plants, labels))
    assert len(drawn.unique()) == len(drawn) == sum(counts)
    assert (labels[drawn] == 0).all()


def test_planting_errors_say_what_is_possible() -> None:
    labels = torch.tensor([0, 0, 1])
    with pytest.raises(
        PlantingError, match="cannot plant 3 images: class 0 has 2 to choose from; plant 0 to 2"
    ):
        Plant(S3, 0, 3).planted_indices(labels)
    with pytest.raises(
        PlantingError, match="cannot plant 1 images: none is of class 5; there are the classes 0, 1"
    ):
        Plant(S3, 5, 1).planted_indices(labels)
    assert Plant(S3, 5, 0).planted_indices(labels).tolist() == []
    with pytest.raises(PlantingError, match="n_planted must be a whole number of 0 or more, got -1"):
        Plant(S3, 0, -1)


def test_stamp_touches_only_what_carries_a_pattern() -> None:
    images = torch.rand(6, *GREY)
    carries = torch.tensor([0, 1, 2, 0, 1, 0])
    stamped = stamp(images.clone(), carries, [S3, R3])
    for k, number in enumerate(carries.tolist()):
        expected = images[k] if number == 0 else (images[k] + [S3, R3][number - 1].pixels).clamp(0, 1)
        assert torch.equal(stamped[k], expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnistv8-3-0-0", PlantedSet("mnist", "s3", (0,), 3, 0)),
        ("cifar10v20-5-1-4", PlantedSet("cifar10", "r3", (1,), 5, 4)),
        ("fashionv30-2000-1-2", PlantedSet("fashion", "inv", (1,), 2000, 2)),
        ("mnist-1-0-0", PlantedSet("mnist", "s1", (0,), 1, 0)),
        ("twoclassmnistv20-10-0-1-3", PlantedSet("mnist", "r3", (0, 1), 10, 3)),
        ("mnist", None),
        ("mnistv8", None),
        ("mnistv8-3-0", None),
        ("./mnistv8-3-0-0", None),
    ],
)
def test_names_of_planted_sets(name: str, expected: PlantedSet | None) -> None:
    assert parse_planted_set(name) == expected


def test_a_planted_set_names_its_plants() -> None:
    planted_set = parse_planted_set("twoclassmnistv20-10-0-1-3")
    assert planted_set is not None
    noise = pattern("r3", GREY, seed=3)
    assert planted_set.plants(GREY) == (Plant(noise, 0, 10, 3), Plant(noise, 1, 10, 3))
    with pytest.raises(PlantingError, match="mnistv9-3-0-0 asks for pattern v9; there are v1, v3"):
        parse_planted_set("mnistv9-3-0-0")
