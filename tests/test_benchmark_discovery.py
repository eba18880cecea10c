"""What the benchmark of discovery counts, on cases worked by hand."""

from typing import Any, cast

import numpy as np
import pytest
import torch

from discovery_tables import grouped, is_learnt, kinds
from probing import Trial, make_trial
from spuriscope.data import ImageSet, load
from spuriscope.discovery import Group
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Recipe, TrainedModel, train


def answer_zero(data: ImageSet, plants: Any, seed: int, epochs: int) -> TrainedModel:
    """Stands in for a training: an untrained model."""
    return train(data, model="small-mlp", recipe=Recipe(epochs=0), seed=seed)


def trial(kind: list[int], predicted: list[int]) -> Trial:
    """Unrelated images of which only the noise and the predicted class matter."""
    plant = Plant(pattern("r1", (1, 4, 4), seed=0), 2, 1)
    nothing = torch.zeros(1, 1, 4, 4)
    made = Trial(cast(Any, None), [plant], nothing, nothing, np.array(kind))
    made.__dict__["predicted"] = np.array(predicted)
    return made


def test_every_kind_of_noise_is_on_its_share_of_unrelated_images() -> None:
    data = load("digits")
    made = make_trial(data, answer_zero, "three R1, 100 each of 0, 2, 4", 0, n_unrelated=200)
    assert np.bincount(made.kind).tolist() == [170, 10, 10, 10]
    assert [plant.target for plant in made.plants] == [0, 2, 4]
    left = made.unrelated[made.kind == 2].float() / 255 - made.plants[1].pattern.pixels
    assert left.min() > -0.003
    assert (made.unrelated[made.kind == 0].flatten(1).float().min(dim=1).values == 0).all()
    interest = data.train.images[data.train.labels < 5]
    assert int((made.samples != interest).flatten(1).any(dim=1).sum()) == 300


def test_areas_are_the_chance_that_a_noisy_image_scores_higher() -> None:
    made = trial(kind=[1, 1, 0, 0, 0], predicted=[2, 2, 2, 0, 0])
    shares = np.array([[0, 0, 0.9], [0, 0, 0.4], [0, 0, 0.1]])
    # noisy 0.9, 0.1; clean 0.4, 0.4, 0.1: 3 of 6 pairs won, one drawn
    assert made.areas(np.array([0, 2, 1, 1, 2]), shares) == [pytest.approx(3.5 / 6)]


def test_the_first_group_of_a_noise_is_of_its_class_and_pure() -> None:
    made = trial(kind=[1, 1, 1, 1, 0, 0], predicted=[2, 2, 2, 2, 2, 0])
    groups = [
        Group(target=2, positions=np.array(rows), strength=1.0, source="probe")
        for rows in ([0, 4], [1, 2, 3])
    ]
    assert made.first_of(groups, 0) == {"rank": 2, "purity": 1.0, "recall": 0.75}
    assert made.first_of(groups[:1], 0)["rank"] is None


def test_tables_keep_numbers_in_order_and_name_the_worst() -> None:
    rows = [{"data": name, "n": n} for name, n in (("mnist", 3), ("fashion", 3), ("mnist", 1))]
    assert [place for place, _ in grouped(rows, ("data", "n"))] == [
        ("mnist", 1),
        ("mnist", 3),
        ("fashion", 3),
    ]
    assert kinds([[0.5, 1], [0.7, 3], [0.9, None]]) == "0.700 (0.500); 2.0 (3), none in 1"
    assert is_learnt({"score": 0.3, "twin_score": 0.2})
    assert not is_learnt({"score": 0.3, "twin_score": 0.29})
