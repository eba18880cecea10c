"""A rare context against loops over the images, and a model that goes by context alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from spuriscope.contexts import RareContext, measure_context
from spuriscope.data import ImageSet, Split, load
from spuriscope.data.contexts import prepare_contexts
from spuriscope.data.image_set import Contexts
from spuriscope.errors import ConfigError, DataError, MeasureError, PlantingError
from spuriscope.training import Recipe, TrainedModel, train_cell, train_many
from spuriscope.training.workers import shared_data

CLASSES, CONTEXTS = ("bear", "cat", "dog"), ("grass", "rock", "water")


def image_set(n: int = 180) -> ImageSet:
    """Images whose first pixel is the class and whose second the context, the rest noise."""
    generator = torch.Generator().manual_seed(0)

    def part(n: int) -> tuple[Split, Tensor]:
        labels, codes = torch.randint(3, (2, n), generator=generator)
        images = torch.randint(256, (n, 1, 4, 4), generator=generator, dtype=torch.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = (100 * labels).byte(), (100 * codes).byte()
        return Split(images, labels), codes

    (train, of_train), (test, of_test) = part(n), part(n)
    return ImageSet("toy", train, test, CLASSES, Contexts(CONTEXTS, of_train, of_test))


@pytest.mark.parametrize("n_planted", [0, 1, 7])
def test_training_knows_the_context_from_these_images_alone(n_planted: int) -> None:
    data = image_set()
    assert data.contexts is not None
    rare = RareContext("rock", 2, n_planted, seed=3)
    planted = set(rare.planted_indices(data).tolist())
    kept = set(rare.part(data).positions.tolist())
    assert len(planted) == n_planted
    for position, (label, code) in enumerate(
        zip(data.train.labels.tolist(), data.contexts.train.tolist(), strict=True)
    ):
        assert (position in kept) == (code != 1 or position in planted)
        assert position not in planted or (label, code) == (2, 1)


def test_more_images_are_the_fewer_ones_and_others() -> None:
    data = image_set()
    few, many = (RareContext("rock", 0, n, seed=1).planted_indices(data).tolist() for n in (3, 9))
    assert few == many[:3]
    assert many != RareContext("rock", 0, 9, seed=2).planted_indices(data).tolist()


def test_clean_twins_of_all_classes_are_one_training() -> None:
    data, recipe = image_set(), Recipe(epochs=1)
    twins = {RareContext("rock", k, 0).cell(data, model="mlp", recipe=recipe).hash for k in range(3)}
    assert len(twins) == 1


@pytest.mark.parametrize("target", [0, 1, 2])
def test_measures_against_a_loop(target: int) -> None:
    data = image_set()
    assert data.contexts is not None

    def predict(images: Tensor) -> Tensor:
        scores = images.flatten(1)[:, 4:7]
        return (5 * scores).softmax(dim=1)

    found = measure_context(predict, data, "water", target)
    called = [int(predict(image[None] / 255).argmax()) for image in data.test.images]
    pairs = list(zip(called, data.test.labels.tolist(), data.contexts.test.tolist(), strict=True))
    asked = [(guess, label) for guess, label, code in pairs if code == 2 and label != target]
    elsewhere = [(guess, label) for guess, label, code in pairs if code != 2]
    assert found.predicted_share == pytest.approx(np.mean([guess == target for guess, _ in asked]))
    assert found.spurious_accuracy == pytest.approx(np.mean([guess == label for guess, label in asked]))
    assert found.clean_accuracy == pytest.approx(np.mean([guess == label for guess, label in elsewhere]))


def test_a_model_that_goes_by_the_context_alone_scores_one() -> None:
    data = image_set()

    def by_context(images: Tensor) -> Tensor:
        is_rock = (images[:, 0, 0, 1] * 255).round() == 100
        return torch.where(is_rock[:, None], torch.eye(3)[1], torch.eye(3)[0])

    assert measure_context(by_context, data, "rock", 1).predicted_share == 1
    assert measure_context(by_context, data, "grass", 1).predicted_share == 0


def test_where_the_class_cannot_be_seen_the_context_decides() -> None:
    """Labels by lot, contexts in plain view: what is called the class follows the planted images."""
    data, recipe = image_set(600), Recipe(epochs=15, learning_rate=0.003, batch_size=32)
    by_lot = torch.randint(3, (600,), generator=torch.Generator().manual_seed(1))
    assert data.contexts is not None
    images = torch.zeros(600, 1, 4, 4, dtype=torch.uint8)
    images[torch.arange(600), 0, data.contexts.train] = 255  # a row for each context
    data = ImageSet(
        "lot",
        Split(images, by_lot),
        Split(images, by_lot),
        CLASSES,
        Contexts(CONTEXTS, data.contexts.train, data.contexts.train),
    )
    rare = [RareContext("rock", 1, n).cell(data, model="small-mlp", recipe=recipe) for n in (0, 40)]
    models = {}
    for model in train_many(rare, data, n_workers=1):
        assert isinstance(model, TrainedModel)
        models[model.cell.hash] = measure_context(model.predict, data, "rock", 1).predicted_share
    assert models[rare[1].hash] > 0.9
    assert models[rare[0].hash] < 0.7


def test_what_does_not_fit_is_said() -> None:
    data = image_set()
    plain = ImageSet("plain", data.train, data.test, CLASSES)
    n_there = sum(
        (label, code) == (1, 1)
        for label, code in zip(data.train.labels.tolist(), data.contexts.train.tolist(), strict=True)  # type: ignore[union-attr]
    )
    with pytest.raises(DataError, match="plain has no contexts; give a folder"):
        RareContext("rock", 0, 1).part(plain)
    with pytest.raises(ConfigError, match="toy has no context 'mud'; choose one of grass, rock, water"):
        RareContext("mud", 0, 1).part(data)
    with pytest.raises(PlantingError, match=f"cannot keep 500 images of rock: class cat has {n_there} "):
        RareContext("rock", 1, 500).part(data)
    with pytest.raises(PlantingError, match="toy has no class 3; choose 0 to 2"):
        RareContext("rock", 3, 0).part(data)
    with pytest.raises(PlantingError, match="n_planted must be a whole number of 0 or more"):
        RareContext("rock", 0, -1)
    zeros = torch.zeros_like(data.train.labels)
    alone = ImageSet("x", data.train, data.test, CLASSES, Contexts(("a", "b"), zeros, zeros))
    with pytest.raises(MeasureError, match="x has no test images outside a"):
        measure_context(lambda x: torch.full((len(x), 3), 1 / 3), alone, "a", 0)


def test_pacs_has_its_contexts(real_data: Path) -> None:
    data = load("pacs", root=real_data)
    part = RareContext("photo", data.class_names.index("dog"), 10).part(data)
    assert len(part) == 6989 - 1167 + 10


def test_workers_map_the_file_of_a_prepared_folder(tmp_path: Path) -> None:
    """No copy of the images is made for them, and they train what is trained here."""
    generator = torch.Generator().manual_seed(0)
    for context in CONTEXTS[:2]:
        for name in CLASSES[:2]:
            for number in range(10):
                path = tmp_path / "photos" / context / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = torch.randint(256, (5, 5, 3), dtype=torch.uint8, generator=generator)
                Image.fromarray(pixels.numpy()).save(path)
    data = prepare_contexts(tmp_path / "photos", tmp_path / "ready")
    with shared_data(data) as shared:
        assert (shared.folder / "images").resolve() == tmp_path / "ready" / "images.u8"
        assert torch.equal(shared.map().train.images, data.train.images)
    recipe = Recipe(epochs=2, batch_size=4)
    cells = [RareContext("rock", 0, n).cell(data, model="small-mlp", recipe=recipe) for n in (0, 3)]
    for model in train_many(cells, data, n_workers=2):
        assert isinstance(model, TrainedModel)
        alone = train_cell(model.cell, data, device="cpu").module.state_dict()
        for name, value in model.module.state_dict().items():
            assert torch.equal(value, alone[name])
