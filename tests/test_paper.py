"""The paper's studies: how many models each trains, counted by hand, and which share them."""

from functools import cache
from pathlib import Path

import pytest
import torch

from spuriscope.data import ImageSet, Split
from spuriscope.errors import ConfigError
from spuriscope.studies import SIZES, STUDIES, THEORY, Store, Study, paper_grid
from spuriscope.studies.study import read_grid

REPOSITORY = Path(__file__).resolve().parents[1]
OF_PATTERNS = [name for name in STUDIES if not paper_grid(name, "short", "mnist").contexts]


def images_of(name: str, shape: tuple[int, int, int], n_of_class: int) -> ImageSet:
    """Black images, as many of classes 0 and 1 as the counts of the paper ask for."""
    labels = torch.arange(2).repeat_interleave(n_of_class)
    train = Split(torch.zeros((len(labels), *shape), dtype=torch.uint8), labels)
    test = Split(torch.zeros((2, *shape), dtype=torch.uint8), torch.arange(2))
    return ImageSet(name, train, test, tuple("0123456789"))


DATA = {"mnist": images_of("mnist", (1, 28, 28), 5000), "cifar10": images_of("cifar10", (3, 32, 32), 1000)}


@cache
def study_of(name: str, size: str, data: str = "mnist") -> Study:
    """A study of the paper, expanded once for all tests."""
    return paper_grid(name, size, data).expand(DATA[data])


@cache
def rows_of(name: str, size: str, data: str = "mnist") -> list[tuple[str, str, int]]:
    """Cell, pattern and target of each of its rows, by which a store knows it."""
    return [
        (entry.cell.hash, entry.pattern.fingerprint, entry.target)
        for entry in study_of(name, size, data).entries
    ]


@pytest.mark.parametrize(
    ("study", "n_cells"),
    [
        ("fig2", 7 * 8 * 2 * 5 + 5),  # patterns, counts, targets, seeds; and a clean twin for each seed
        ("fig3", 8 * 5 + 5),
        ("fig20", 7 * 8 * 5 + 5),
        ("fig8", (1 + 6 + 7 + 5) * (2 * 8 * 5 + 5)),  # own recipe, decays, noises, bounds
        ("fig12", (1 + 6 + 7 + 5) * (8 * 5 + 5)),
        ("mitigation", (1 + 6 + 7 + 3 * 5 + 5) * (2 * 8 * 5 + 5)),  # clipping of three kinds; privacy
        ("fig14", 4 * (2 * 8 * 5 + 5)),
        ("fig15", 4 * 5),
        ("fig16", 2 * (2 * 8 * 5 + 5)),
        ("fig17", 3 * (2 * 8 * 5 + 5)),
        ("table1", 5),
    ],
)
def test_cells_of_mnist_at_the_papers_size(study: str, n_cells: int) -> None:
    cells = study_of(study, "paper").cells()
    assert len(cells) == n_cells
    assert {cell.recipe.epochs for cell in cells} == {70}


@pytest.mark.parametrize(("study", "n_patterns"), [("fig22", 7), ("fig5", 1)])
def test_games_of_mnist_at_the_papers_size(study: str, n_patterns: int) -> None:
    found = study_of(study, "paper")
    halves = {entry.cell for entry in found.entries if entry.labels["part"] != "attacker"}
    assert len(halves) == 10 * 16 * (7 * n_patterns + 1)  # seeds, halves, counts; and none planted
    assert len(found.games) == 10 * 8 * n_patterns
    assert {len(cells) for cells in found.games.values()} == {17}
    assert {cell for cells in found.games.values() for cell in cells} == set(found.cells())


@pytest.mark.parametrize(
    ("study", "n_cells"),
    [
        ("fig2", 565),
        ("fig8", (1 + 6 + 5 + 4) * 85),
        ("mitigation", (1 + 6 + 5 + 3 * 4) * 85),
        ("fig14", 4 * 85),
    ],
)
def test_cells_of_cifar10_at_the_papers_size(study: str, n_cells: int) -> None:
    assert len(study_of(study, "paper", "cifar10").cells()) == n_cells


def test_architectures_of_cifar10_are_trained_by_sgd_at_the_papers_rates() -> None:
    cells = study_of("fig15", "paper", "cifar10").cells()
    rates = {cell.model: (cell.recipe.optimizer, cell.recipe.learning_rate) for cell in cells}
    assert rates == dict.fromkeys(("resnet20", "resnet32", "resnet110"), ("sgd", 0.1)) | {
        "vgg16": ("sgd", 0.01)
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("study", OF_PATTERNS)
def test_figures_of_the_same_models_train_none_of_their_own(study: str, size: str) -> None:
    assert set(rows_of(study, size)) <= set(rows_of(STUDIES[study].cells_of, size))


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
@pytest.mark.parametrize("study", OF_PATTERNS)
def test_no_row_stands_twice(study: str, data: str) -> None:
    rows = rows_of(study, "paper", data)
    assert len(set(rows)) == len(rows)


NOT_GAMES = [name for name in OF_PATTERNS if not paper_grid(name, "short", "mnist").halves]


@pytest.mark.parametrize("study", NOT_GAMES)
def test_every_cell_has_its_clean_twin(study: str) -> None:
    """Games have models of their own with nothing planted, on other halves."""
    cells = set(study_of(study, "short").cells())
    assert {cell.clean_twin for cell in cells} <= cells


def test_short_is_shorter() -> None:
    assert len(study_of("fig2", "short").cells()) == 7 * 5 * 2 * 3 + 3
    assert len(study_of("fig2", "short", "cifar10").cells()) == 2 * 2 * 2 * 3 + 3


def test_unknown_names_are_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match="no study 'fig99'; choose one of fig2, fig3"):
        paper_grid("fig99", "short", "mnist")
    with pytest.raises(ConfigError, match="fig7 is theory and trains nothing; `spuriscope study draw fig7"):
        paper_grid("fig7", "short", "mnist")
    with pytest.raises(ConfigError, match="no size 'huge'; choose one of smoke, short, paper"):
        paper_grid("fig2", "huge", "mnist")


def test_the_study_in_the_guide_is_one(tmp_path: Path) -> None:
    guide = (REPOSITORY / "docs" / "studies.md").read_text(encoding="utf-8")
    path = tmp_path / "noise.yaml"
    path.write_text(guide.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    study = read_grid(path).expand(DATA["mnist"])
    assert len(study.cells()) == 3 * (2 * 2 * 5 + 5)  # recipes; patterns, counts, seeds; twins
    with Store(tmp_path / "store") as store:
        store.add_study(study)
        assert [row["name"] for row in store.studies()] == ["noise"]


def test_the_guide_speaks_of_every_study() -> None:
    guide = (REPOSITORY / "docs" / "studies.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in guide for name in (*STUDIES, *THEORY, *SIZES))
