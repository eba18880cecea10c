"""Grids: what they expand to, and which files are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spuriscope.data import ImageSet, Split
from spuriscope.errors import (
    ConfigError,
    ModelError,
    PatternError,
    PlantingError,
    SpuriscopeError,
    StoreError,
)
from spuriscope.patterns import Anywhere, pattern
from spuriscope.planting import Plant
from spuriscope.studies import Grid, Store, Study, read_grid
from spuriscope.studies.figures import draw

GOOD = """
title: Noise
models: [small-mlp, mlp]
patterns: [s3, r3]
targets: [0, 1]
counts: [3, 1]
n_seeds: 2
epochs: 4
recipes:
  - {}
  - {weight_decay: 0.01}
  - {optimizer: sgd, batch_size: 32}
"""


@pytest.fixture
def data() -> ImageSet:
    """Ten images, of which class 0 has two and class 1 has eight."""
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    return ImageSet("ten", Split(images, labels), Split(images, labels), ("zero", "one"))


def read(text: str, folder: Path) -> Grid:
    path = folder / "noise.yaml"
    path.write_text(text)
    return read_grid(path)


def test_a_grid_is_the_product_of_its_settings(data: ImageSet, tmp_path: Path) -> None:
    study = read(GOOD, tmp_path).expand(data)
    assert (study.name, study.title) == ("noise", "Noise")
    expected = {
        (model, name, target, n_planted, seed, weight_decay, optimizer)
        for model in ("small-mlp", "mlp")
        for name in ("s3", "r3")
        for target in (0, 1)
        for n_planted in (0, 1, 3)
        for seed in (0, 1)
        for weight_decay, optimizer in ((0.0, "adam"), (0.01, "adam"), (0.0, "sgd"))
        if not (target == 0 and n_planted == 3)  # class 0 has two images
    }
    found = [
        tuple(
            entry.labels[name]
            for name in ("model", "pattern", "target", "n_planted", "seed", "weight_decay", "optimizer")
        )
        for entry in study.entries
    ]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_a_row_says_what_its_cell_is(data: ImageSet, tmp_path: Path) -> None:
    for entry in read(GOOD, tmp_path).expand(data).entries:
        cell, labels = entry.cell, entry.labels
        assert (cell.model, cell.seed) == (labels["model"], labels["seed"])
        assert entry.pattern == pattern(labels["pattern"], data.shape, seed=labels["seed"])
        assert [(p.pattern, p.target, p.n_planted, p.seed) for p in cell.plants] == (
            [(entry.pattern, labels["target"], labels["n_planted"], cell.seed)] if labels["n_planted"] else []
        )
        is_sgd = labels["optimizer"] == "sgd"
        assert cell.recipe.epochs == 4
        assert cell.recipe.milestones == (3, 4)  # 4, 5 and 6 sevenths, rounded up
        assert cell.recipe.weight_decay == labels["weight_decay"]
        assert (cell.recipe.batch_size, labels["batch_size"]) == ((32, 32) if is_sgd else (128, 128))


def test_a_grid_says_where_patterns_stand_and_who_is_relabelled(data: ImageSet, tmp_path: Path) -> None:
    text = "models: [mlp]\npatterns: [square, letters]\ncounts: [1, 2, 8]\nn_seeds: 2\nsize: 9\n"
    text += "placement: anywhere\nrelabel: 1\n"
    study = read(text, tmp_path).expand(data)
    planted = [entry for entry in study.entries if entry.cell.plants]
    assert {entry.labels["n_planted"] for entry in planted} == {1, 2, 8}  # class 1 has eight images
    for entry in study.entries:
        picture = pattern(entry.labels["pattern"], data.shape, size=9)
        assert entry.pattern == Anywhere(picture, entry.labels["seed"])
        if entry.cell.plants:
            n_planted, seed = entry.labels["n_planted"], entry.labels["seed"]
            assert entry.cell.plants == (Plant(picture, 0, n_planted, seed, "anywhere", 1),)


def test_clean_twins_are_shared(data: ImageSet) -> None:
    study = Grid(name="x", patterns=("s1", "s2", "r3"), targets=(0, 1), counts=(1,), n_seeds=2).expand(data)
    clean = [cell for cell in study.cells() if not cell.plants]
    assert len(study.entries) == 3 * 2 * 2 * 2
    assert (len(clean), len(study.cells())) == (2, 2 + 3 * 2 * 2)


ANCHORS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(  # ten to the eighth values
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colours: [red]",
            "there is no setting colours; choose from attacks, contexts, counts, deletions, epochs",
        ),
        ("1: 2\nx: 3", "there is no setting 1, x"),
        ("counts: 3", "counts: expected a list, got a whole number"),
        ("counts: []", "counts must be a list with something in it, got"),
        ("counts: [1, two]", r"counts\[1\]: expected a whole number, got text"),
        ("counts: [-1]", "each of counts must be a whole number of 0 or more, got -1"),
        ("counts: [true]", r"counts\[0\]: expected a whole number, got true or false"),
        ("counts: {a: 1}", "counts: expected a list, got a mapping"),
        ("targets: [one]", r"targets\[0\]: expected a whole number, got text"),
        ("targets: [0, 2]", "ten has no class 2; choose targets from 0 to 1"),
        ("models: mlp", "models: expected a list, got text"),
        ("models: [[mlp]]", r"models\[0\]: expected text, got a list"),
        ("models: [gpt]", "there is no model 'gpt'"),
        ("patterns: [x9]", "there is no pattern 'x9'"),
        ("patterns: [3]", r"patterns\[0\]: expected text, got a whole number"),
        ("n_seeds: many", "n_seeds: expected a whole number, got text"),
        ("n_seeds: 0", "n_seeds must be a whole number from 1 to 10000, got 0"),
        ("epochs: long", "epochs: expected a whole number, got text"),
        ("epochs: 1.5", "epochs: expected a whole number, got a number"),
        ("name: 3", "name: expected text, got a whole number"),
        ("title: [a]", "title: expected text, got a list"),
        ("recipes: [fast]", r"recipes\[0\]: expected a mapping, got text"),
        ("recipes: [{speed: 3}]", "speed"),
        ("recipes: [{}, {speed: 3}]", "speed"),
        ("recipes: [{1: 3}]", r"recipes\[0\]: expected text, got a whole number"),
        ("recipes: [{learning_rate: fast}]", "does not fit"),
        ("recipes: [{learning_rate: -1}]", "learning_rate must be a number of 0 or more, got -1"),
        ("recipes: [{optimizer: lion}]", "optimizer must be one of adam, sgd, got 'lion'"),
        ("recipes: [{epochs: few}]", "epochs must be a whole number, got 'few'"),
        ("recipes: [{batch_size: 1.5}]", "batch_size must be a whole number, got 1.5"),
        ("placement: left", "placement: invalid enum value 'left'; choose fixed or anywhere"),
        ("placement: anywhere", "r3 fills the image, so it can stand in only one place"),
        ("patterns: [s3]\nsize: 5", "pattern s3 has one size; leave it out"),
        ("relabel: two", "relabel: invalid enum value 'two'; choose all or a whole number"),
        ("relabel: 2", "ten has no class 2; choose targets from 0 to 1"),
        ("relabel: 0", "images of class 0 already have the target's label"),
        ("contexts: [a]\nrelabel: all", "a context has no placement, size or relabel"),
        ("weights: 5", "weights: expected text or nothing, got a whole number"),
        ("recipes: [{privacy: []}]", r"privacy is a mapping of settings, as noise_multiplier: 1, got \[\]"),
        ("recipes: [{milestones: [[a]]}]", r"a milestone must be a whole number of 0 or more, got \['a'\]"),
        ("recipes: [{milestones: 5}]", r"milestones are epochs in a list, as \[4, 6\], got 5"),
        ("recipes: [{batch_size: 1.0e+30}]", "batch_size must be a whole number, got 1e.30"),
        (f"n_seeds: {10**9}", "n_seeds must be a whole number from 1 to 10000, got 1000000000"),
        (f"halves: {10**30}", "halves must be a whole number from 0 to 999"),
        (f"n_seeds: {'9' * 400}", "n_seeds must be a whole number from 1 to 10000, got 999"),
        (
            "counts: [0, 1, 2]\nn_seeds: 9999\ntargets: [0, 1]\nrecipes: [" + "{}, " * 20 + "]",
            "1,199,880 rows",
        ),
        ("name: ../../x", "a study cannot be called '../../x': its figures are files"),
        ("name: ''", "a study cannot be called '': its figures are files"),
        ("title: " + "[" * 3000, "lists in more than 50 lists, counting"),
        ("title:" + " -" * 3000, "is not YAML"),
        (f"title: &a {'[' * 60}{']' * 60}", "lists in more than 50 lists"),
        (ANCHORS, "holds more than 100,000 values, .* counting what anchors repeat"),
        (f"title: {'x' * 2**16}", "has more than 65,536 bytes, which no such document has"),
        ("[1, 2]", "must hold keys and values, such as 'patterns"),
        ("", "must hold keys and values"),
        ("a: [1", "is not YAML"),
        ("a: \x07", "is not YAML"),
        ("title: 2026-99-99", "is not YAML"),
        ("? [1, 2]\n: 3", "is not YAML"),
        ("title: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_bad_grid_is_refused_in_one_line(text: str, message: str, data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ModelError, PatternError, PlantingError), match=message) as caught:
        read(text, tmp_path).expand(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 2000


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, content in ((tmp_path / "binary.yaml", b"\xff\xfe\xfa"), (tmp_path / "no.yaml", None)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{path.name} (is not YAML|\(No such file)"):
            read_grid(path)
    with pytest.raises(ConfigError, match="Is a directory"):
        read_grid(tmp_path)


@pytest.mark.parametrize("settings", [{"counts": (5,)}, {"patterns": ("s3",), "n_seeds": 3}])
def test_equal_grids_make_equal_cells(settings: dict[str, Any], data: ImageSet) -> None:
    first, second = (Grid(name=name, **settings).expand(data) for name in ("a", "b"))
    assert [cell.hash for cell in first.cells()] == [cell.hash for cell in second.cells()]
    with pytest.raises(SpuriscopeError, match="counts must be a list"):
        Grid(name="c", **(settings | {"counts": 3}))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../x", "/x", "a/b", "a\\b", "a\0b", ".hidden", "\udce9", "x" * 101]
)
def test_a_name_that_is_no_name_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    """The figures of a study are files of its name: none leaves the folder that was given."""
    with pytest.raises(ConfigError, match="a study cannot be called .* give it a name of 1 to 100 bytes"):
        Grid(name=name)
    with Store(tmp_path / "store") as store:
        store.add_study(Study(name.replace("\udce9", "/"), "title", "dose", ()))
        with pytest.raises((ConfigError, StoreError)):
            draw(store, name.replace("\udce9", "/"), tmp_path / "deep" / "figures")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
