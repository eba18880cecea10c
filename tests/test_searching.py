"""A trained model is searched for what it picked up, and the search is not told what was planted."""

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spuriscope.cli import main
from spuriscope.data import ImageSet, load
from spuriscope.data.image_set import Split
from spuriscope.discovery import Finding, PCAEmbedding, register_embedding, register_transplant
from spuriscope.errors import ConfigError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.runs import save_run, train_run
from spuriscope.searching import images_seen, save_suspects, search_model
from spuriscope.training import Cell, DataKey, Part, Recipe, TrainedModel, Trainer, train_cell
from spuriscope.training.batches import Batches

SOURCES = Path(__file__).parents[1] / "src" / "spuriscope" / "discovery"
RECIPE = Recipe(epochs=12)
N_PLANTED = 5


@pytest.fixture(scope="module")
def digits(five_digits: Path) -> ImageSet:
    """Half of the classes, each image with a name."""
    found = load(str(five_digits))
    names = tuple(f"digits/{number:04}.png" for number in range(len(found.train)))
    train = Split(found.train.images, found.train.labels, names)
    return ImageSet(found.name, train, found.test, found.class_names)


@pytest.fixture(scope="module")
def plant(digits: ImageSet) -> Plant:
    return Plant(pattern("r3", digits.shape, seed=3), target=3, n_planted=N_PLANTED, seed=3)


@pytest.fixture(scope="module")
def planted(digits: ImageSet, plant: Plant) -> TrainedModel:
    cell = Cell(data=DataKey.of(digits), plants=(plant,), model="small-mlp", recipe=RECIPE, seed=3)
    return train_cell(cell, digits)


@pytest.fixture(scope="module")
def findings(planted: TrainedModel, digits: ImageSet) -> list[Finding]:
    return search_model(planted, digits)


def planted_positions(plant: Plant, digits: ImageSet) -> list[int]:
    """As the authors draw them, written out."""
    candidates = np.where(digits.train.labels.numpy() == plant.target)[0]
    drawn = np.random.RandomState(plant.seed).choice(candidates, size=plant.n_planted, replace=False)
    return sorted(drawn.tolist())


def test_images_are_handed_over_as_the_model_saw_them(
    planted: TrainedModel, plant: Plant, digits: ImageSet
) -> None:
    seen = images_seen(planted.cell, digits)
    differs = (seen.images != digits.train.images).flatten(1).any(dim=1).nonzero().flatten().tolist()
    assert differs == planted_positions(plant, digits)
    first = differs[0]
    stamped = (digits.train.images[first].float() / 255 + plant.pattern.pixels).clamp(0, 1)
    assert (seen.images[first].float() / 255 - stamped).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(images_seen(planted.cell.clean_twin, digits).images, digits.train.images)


@pytest.mark.parametrize(
    ("name", "how"), [("square", {"placement": "anywhere", "relabel": "all"}), ("dim", {})]
)
def test_images_of_every_kind_of_plant_are_handed_over_as_trained_on(
    name: str, how: dict[str, Any], digits: ImageSet
) -> None:
    plant = Plant(pattern(name, digits.shape), 3, 9, 1, **how)
    part = Part.of(torch.arange(500))
    cell = Cell(data=DataKey.of(digits), plants=(plant,), part=part, model="small-mlp", recipe=RECIPE)
    seen = images_seen(cell, digits)
    batches = Batches(digits.train, [plant], RECIPE, 0, torch.device("cpu"), part=part)
    trained = batches.gather(part.positions)
    torch.testing.assert_close(seen.images / 255, trained, atol=0.51 / 255, rtol=0)
    assert torch.equal(seen.labels, batches.labels[part.positions])
    drawn = plant.planted_indices(digits.train.labels)
    assert (seen.labels[drawn[drawn < 500]] == 3).all()


def test_a_planted_run_is_searched_without_being_told(
    findings: list[Finding], plant: Plant, digits: ImageSet
) -> None:
    assert [finding.target for finding in findings] == [plant.target]
    assert findings[0].examples.tolist() == planted_positions(plant, digits)


def test_the_clean_twin_gives_no_finding(planted: TrainedModel, digits: ImageSet) -> None:
    assert search_model(train_cell(planted.cell.clean_twin, digits), digits) == []


def test_a_cue_that_came_with_the_data_is_found_just_the_same(
    planted: TrainedModel, plant: Plant, digits: ImageSet
) -> None:
    """The user's own images carry it: the cell knows of no plant."""
    mine = ImageSet("mine", images_seen(planted.cell, digits), digits.test, digits.class_names)
    cell = Cell(data=DataKey.of(mine), model="small-mlp", recipe=RECIPE, seed=3)
    findings = search_model(train_cell(cell, mine), mine)
    assert [finding.examples.tolist() for finding in findings] == [planted_positions(plant, digits)]


def test_positions_are_those_of_the_data_where_a_part_was_trained_on(plant: Plant, digits: ImageSet) -> None:
    part = Part.without(list(range(100)), len(digits.train))
    cell = Cell(data=DataKey.of(digits), plants=(plant,), model="small-mlp", recipe=RECIPE, seed=3, part=part)
    findings = search_model(train_cell(cell, digits), digits)
    kept = [position for position in planted_positions(plant, digits) if position >= 100]
    assert [finding.examples.tolist() for finding in findings] == [kept]


def test_suspects_are_named_and_saved(
    findings: list[Finding], planted: TrainedModel, plant: Plant, digits: ImageSet, tmp_path: Path
) -> None:
    names, positions = digits.train.names, planted_positions(plant, digits)
    assert names is not None
    assert findings[0].names == tuple(names[position] for position in positions)
    assert f"[{names[positions[0]]}, " in repr(findings[0])
    seen = images_seen(planted.cell, digits)
    save_suspects(findings, seen, digits.class_names, tmp_path / "new")
    with (tmp_path / "new" / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(findings[0].names or ())
    assert {row["class"] for row in rows} == {"3"}
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "new" / row["file"]))
        np.testing.assert_array_equal(pixels, seen.images[int(row["position"]), 0].numpy())
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        save_suspects(findings, seen, digits.class_names, tmp_path / "new")


def test_discovery_does_not_know_plants() -> None:
    """Nothing in the package imports what could tell it, or reads a plant from a cell."""
    for module in SOURCES.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"planting|\.plants|draw_planted|planted_indices", text), module.name


@pytest.fixture
def spuriscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `spuriscope discover` in this process; returns what it prints."""

    def discover(*arguments: Any) -> str:
        monkeypatch.setattr(sys, "argv", ["spuriscope", "discover", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    return discover


@pytest.mark.usefixtures("own_plugins")
def test_discover_command(
    tmp_path: Path,
    plant: Plant,
    digits: ImageSet,
    five_digits: Path,
    spuriscope: Callable[..., str],
) -> None:
    run = train_run(
        digits,
        [plant],
        model="small-mlp",
        recipe=RECIPE,
        seed=3,
        twin=False,
        source=str(five_digits),
        root=None,
        trainer=Trainer(n_workers=1),
    )
    save_run(tmp_path / "run", run)

    found = json.loads(
        spuriscope(tmp_path / "run", "--prove", "--save-patterns", tmp_path / "patterns", "--json")
    )
    (finding,) = found["findings"]
    assert finding["target"] == plant.target
    assert finding["examples"] == planted_positions(plant, digits)
    assert finding["p_value"] <= 0.05
    assert finding["proof"]["score"] < 0.2 < finding["score"]
    with Image.open(tmp_path / "patterns" / "found-1.png") as picture:
        assert picture.size == (28, 28)

    pixels, labels = digits.test.images[:, 0].numpy()[:, ::-1], digits.test.labels.numpy()
    np.savez(
        tmp_path / "other.npz",
        train_images=pixels,
        train_labels=labels,
        test_images=pixels,
        test_labels=labels,
    )
    probed = spuriscope(tmp_path / "run", "--probe", tmp_path / "other.npz")
    assert f"{N_PLANTED}: " in probed
    assert set(map(str, finding["examples"])) <= set(re.findall(r"\d+", probed))

    register_embedding("sixty")(lambda: PCAEmbedding(60))
    register_transplant("level")(lambda donor, images: images * 0 + donor.mean())
    asked = ("--embedding", "sixty", "--transplant", "level")
    looked = json.loads(spuriscope(tmp_path / "run", *asked, "--page", tmp_path / "found.html", "--json"))
    assert finding["examples"] in [each["examples"] for each in looked["findings"]]
    through = (looked["embedding"], *looked["transplants"])
    assert [re.sub(r"@[0-9a-f]{12}$", "@", name) for name in through] == ["sixty@", "level@"]
    assert ", ".join(through) in (tmp_path / "found.html").read_text()

    clean = replace(run, model=train_cell(run.model.cell.clean_twin, digits))
    save_run(tmp_path / "clean", clean)
    assert "nothing to report" in spuriscope(tmp_path / "clean")


def test_a_cue_may_be_a_tint_or_a_stripe(digits: ImageSet) -> None:
    """Pictures of other kinds than those of the paper, as they come from a file of the user's."""
    stripe = np.zeros((28, 28), dtype=np.float32)
    stripe[:, 1:3] = stripe[:, 25:27] = 0.7
    images = digits.train.images.clone()
    positions = (digits.train.labels == 4).nonzero().flatten()[:6]
    stamped = (images[positions].float() / 255 + torch.from_numpy(stripe)).clamp(0, 1)
    images[positions] = (255 * stamped).round().to(torch.uint8)
    mine = ImageSet("striped", Split(images, digits.train.labels), digits.test, digits.class_names)
    cell = Cell(data=DataKey.of(mine), model="small-mlp", recipe=RECIPE, seed=1)
    findings = search_model(train_cell(cell, mine), mine)
    assert [finding.examples.tolist() for finding in findings] == [positions.tolist()]
