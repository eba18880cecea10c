"""Planting against the two lines of the authors' code."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from spuriscope.errors import PatternError, PlantingError
from spuriscope.patterns import Anywhere, pattern
from spuriscope.planting import (
    Plant,
    PlantedSet,
    Relabel,
    draw_planted,
    labels_as_trained,
    parse_planted_set,
    stamp,
)

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
    stamped = stamp(images.clone(), carries, [Plant(S3, 0, 2), Plant(R3, 0, 1)], torch.arange(6))
    for k, number in enumerate(carries.tolist()):
        expected = images[k] if number == 0 else (images[k] + [S3, R3][number - 1].pixels).clamp(0, 1)
        assert torch.equal(stamped[k], expected)


@given(seed=st.integers(0, 2**32 - 1), positions=st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_an_image_gets_its_place_from_the_seed_and_its_position_alone(
    seed: int, positions: list[int]
) -> None:
    """Whatever batch it is in, and whatever else is there; a loop over the pixels puts the square there."""
    square = pattern("square", GREY)
    plant = Plant(square, 0, 3, seed, placement="anywhere")
    images = torch.rand((len(positions), *GREY), generator=torch.Generator().manual_seed(0)) / 2
    found = plant.apply(images, torch.tensor(positions))
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 1])))
    draws = state.rand(5001, 2)
    for image, position, stamped in zip(images, positions, found, strict=True):
        top, left = (int(24 * draw) for draw in draws[position])  # a square of 5 in 28 pixels
        slow = image.clone()
        for row in range(top, top + 5):
            for column in range(left, left + 5):
                slow[0, row, column] = 1
        assert torch.equal(stamped, slow)
        assert torch.equal(plant.apply(image[None], torch.tensor([position]))[0], stamped)


def test_places_are_uniform() -> None:
    """24 x 24 of them, chi-squared; other seeds give other places."""
    positions = torch.arange(24 * 24 * 20)
    places = Anywhere(pattern("square", GREY), 3).places(positions) + 21  # it was made at row and column 21
    assert int(places.min()) == 0
    assert int(places.max()) == 23
    counts = (24 * places[:, 0] + places[:, 1]).bincount(minlength=576).double()
    statistic = float(((counts - 20) ** 2 / 20).sum())
    assert abs(statistic - 575) < 4 * (2 * 575) ** 0.5
    others = Anywhere(pattern("square", GREY), 4).places(positions) + 21
    assert float((others == places).all(dim=1).double().mean()) < 0.01


@pytest.mark.parametrize("relabel", [3, "all"])
def test_relabelled_images_are_of_other_classes_and_get_the_targets_label(relabel: Relabel) -> None:
    labels = torch.from_numpy(np.random.RandomState(0).randint(0, 5, 200))
    plant = Plant(S3, 1, 20, 7, relabel=relabel)
    classes = labels.numpy()
    candidates = np.where(classes == 3 if relabel == 3 else classes != 1)[0]
    expected = np.random.RandomState(7).choice(candidates, size=20, replace=False)
    drawn = plant.planted_indices(labels)
    assert drawn.tolist() == expected.tolist()
    before = labels.clone()
    trained = labels_as_trained([Plant(R3, 0, 4, 7), plant], labels)
    assert torch.equal(labels, before)
    second = draw_planted([Plant(R3, 0, 4, 7), plant], labels)[1]
    for position, (old, new) in enumerate(zip(labels.tolist(), trained.tolist(), strict=True)):
        assert new == (1 if position in second.tolist() else old)
    assert labels_as_trained([Plant(R3, 0, 4, 7)], labels) is labels


def test_errors_of_placement_and_relabelling_say_what_to_do() -> None:
    with pytest.raises(PatternError, match="r3 fills the image.*leave it fixed, or take a smaller one"):
        Plant(R3, 0, 3, placement="anywhere")
    with pytest.raises(PatternError, match="pattern dim fills the image"):
        Plant(pattern("dim", GREY), 0, 3, placement="anywhere")
    with pytest.raises(PlantingError, match="no placement 'left'; choose fixed or anywhere"):
        Plant(S3, 0, 3, placement="left")  # type: ignore[arg-type]
    with pytest.raises(PlantingError, match="class 2 already have the target's label; leave out relabel"):
        Plant(S3, 2, 3, relabel=2)
    with pytest.raises(PlantingError, match="none is of class 4; there are the classes 0, 1"):
        Plant(S3, 0, 3, relabel=4).planted_indices(torch.tensor([0, 1]))
    with pytest.raises(PlantingError, match="every class but 0 together has 1 to choose from; plant 0 to 1"):
        Plant(S3, 0, 3, relabel="all").planted_indices(torch.tensor([0, 1]))
    with pytest.raises(
        PlantingError, match="Plant: pattern must be a Pattern or a Cover or a Shade, got Anywhere"
    ):
        Plant(Anywhere(S3), 0, 3)  # type: ignore[arg-type]
    with pytest.raises(
        PlantingError, match="a plant of s3 has blur, which this version .* update spuriscope"
    ):
        Plant.from_json({"target": 0, "n_planted": 1, "seed": 0, "blur": 2}, S3)


def test_plants_come_back_from_json_and_those_of_the_paper_are_written_as_ever() -> None:
    assert Plant(S3, 1, 2, 3).to_json() == {
        "pattern": {"name": "s3", "fingerprint": S3.fingerprint}, "target": 1, "n_planted": 2, "seed": 3
    }  # fmt: skip
    square = pattern("square", GREY)
    for plant in (
        Plant(S3, 1, 2, 3), Plant(square, 1, 2, 3, "anywhere"), Plant(square, 1, 2, 3, relabel="all"),
        Plant(pattern("invert", GREY), 1, 2, 3, relabel=4),
    ):  # fmt: skip
        assert Plant.from_json(plant.to_json(), plant.pattern) == plant
    assert str(Plant(square, 1, 2, 3, "anywhere", "all")) == (
        "square anywhere on 2 of the other classes, labelled 1"
    )


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
