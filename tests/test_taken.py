"""A study that goes on from exported rows: what they hold is not trained again, and what they lack is."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spuriscope.cli.studies import study_app
from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import ConfigError
from spuriscope.studies import Grid, Outcome, Store, Study, run_study
from spuriscope.studies.export import export
from spuriscope.studies.exported import read_exported
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, train_cell

Lines = list[dict[str, str]]


class Counter:
    """Trains in this process, and knows what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Executor.run`."""
        for cell in cells:
            self.given.append(cell.hash)
            yield train_cell(cell, data, device="cpu")

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:400], digits.train.labels[:400])
    return ImageSet("small", part, digits.test, digits.class_names)


GRID: dict[str, Any] = {"models": ("small-mlp",), "patterns": ("s3", "r3"), "counts": (2,), "epochs": 1}


def grid(**changes: Any) -> Grid:
    return Grid(**{"name": "x", "n_seeds": 2, **GRID, **changes})


def run(study: Study, data: ImageSet, folder: Path, *files: Path) -> tuple[Outcome, list[str], Path]:
    """Run a study into a store and export it; which cells were trained, and the file."""
    counter, path = Counter(), folder.with_suffix(".csv")
    with Store(folder) as store:
        outcome = run_study(study, data, store, counter, rows=[read_exported(file) for file in files])
        export(store.rows(study.name), path)
    return outcome, counter.given, path


@pytest.fixture(scope="module")
def exported(data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(grid().expand(data), data, tmp_path_factory.mktemp("first") / "x")[2]


def changed(source: Path, path: Path, change: Callable[[Lines], Lines]) -> Path:
    """A file like `source` with other lines."""
    with source.open(newline="", encoding="utf-8") as file:
        lines = change(list(csv.DictReader(file)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_more_seeds_train_only_what_the_rows_lack(data: ImageSet, exported: Path, tmp_path: Path) -> None:
    outcome, given, path = run(grid(n_seeds=3).expand(data), data, tmp_path / "x", exported)
    assert (outcome.n_cells, outcome.n_taken, outcome.n_trained) == (9, 6, 3)
    assert set(given).isdisjoint({row["cell"] for row in read_exported(exported).rows})
    _, _, whole = run(grid(n_seeds=3).expand(data), data, tmp_path / "whole")
    assert path.read_bytes() == whole.read_bytes()


def test_a_taken_cell_says_where_it_is_from_and_its_store_is_sound(
    data: ImageSet, exported: Path, tmp_path: Path
) -> None:
    study = grid().expand(data)
    assert run(study, data, tmp_path / "x", exported)[0].n_taken == 6
    with Store(tmp_path / "x") as store:
        assert store.rows("x") == read_exported(exported).rows  # and their checksums are right
        cells = store.query("SELECT content, environment, n_seconds, losses, error FROM cells")
        assert {row["environment"] for row in cells} == {
            json.dumps({"rows": {"x.csv": read_exported(exported).digest}})
        }
        assert {(row["n_seconds"], row["losses"], row["error"]) for row in cells} == {(None, None, None)}
        assert store.studies()[0]["n_done"] == 6
        assert store.load(study.cells()[0]) is None
    outcome, given, _ = run(study, data, tmp_path / "x", exported)  # once more: they are there
    assert (outcome.n_taken, given) == (0, [])
    other = grid(name="y", patterns=("s3", "r1")).expand(data)
    _, given, _ = run(other, data, tmp_path / "x")  # trains the twins, for another pattern
    twins = {cell.hash for cell in other.cells() if not cell.plants}
    with Store(tmp_path / "x") as store:
        found = store.query("SELECT hash, environment FROM cells")
        told = {row["hash"]: json.loads(row["environment"]) for row in found}
    assert twins <= set(given)
    assert all({"rows", "torch"} <= told[twin].keys() for twin in twins)  # measures of both


def test_rows_that_lack_a_measure_are_trained(data: ImageSet, exported: Path, tmp_path: Path) -> None:
    study = grid().expand(data)
    first = study.cells()[0].hash
    holes = changed(
        exported,
        tmp_path / "holes.csv",
        lambda lines: [row for row in lines if (row["cell"], row["measure"]) != (first, "normalised_score")],
    )
    outcome, given, path = run(study, data, tmp_path / "x", holes)
    assert (outcome.n_taken, given) == (5, [first])
    assert outcome.passed_over == "1 lack measures that it asks for"
    assert path.read_bytes() == exported.read_bytes()


def test_rows_of_other_cells_are_passed_over_and_counted(
    data: ImageSet, exported: Path, tmp_path: Path
) -> None:
    outcome, given, _ = run(grid(n_seeds=1).expand(data), data, tmp_path / "x", exported)
    assert (outcome.n_taken, given) == (3, [])
    assert outcome.passed_over == "3 cells of the rows are not of this study"
    with pytest.raises(ConfigError, match=r"no cell of x among its 6: they are of other images, or trained"):
        run(grid(epochs=2).expand(data), data, tmp_path / "other", exported)


def test_two_files_that_disagree_are_refused(data: ImageSet, exported: Path, tmp_path: Path) -> None:
    def change(lines: Lines) -> Lines:
        return [lines[0] | {"value": "0.123"}, *lines[1:]]

    other = changed(exported, tmp_path / "other.csv", change)
    with pytest.raises(ConfigError, match=r"is 0\.\d+ in .*x.csv and 0.123 in .*other.csv; give one"):
        run(grid().expand(data), data, tmp_path / "x", exported, other)
    assert run(grid().expand(data), data, tmp_path / "y", exported, exported)[0].n_taken == 6


def test_twins_of_patterns_that_stand_elsewhere_are_not_taken(data: ImageSet, tmp_path: Path) -> None:
    """A twin's hash knows no pattern, and the rows of both studies call theirs s3."""
    anywhere = run(grid(patterns=("s3",), placement="anywhere").expand(data), data, tmp_path / "any")[2]
    fixed = grid(patterns=("s3",)).expand(data)
    outcome, given, path = run(fixed, data, tmp_path / "x", anywhere)
    assert (outcome.n_taken, len(given)) == (0, 4)
    assert path.read_bytes() == run(fixed, data, tmp_path / "y")[2].read_bytes()


def test_deletions_count_as_done_where_the_rows_have_them(
    data: ImageSet, exported: Path, tmp_path: Path
) -> None:
    study = grid(patterns=("r3",), n_seeds=1, deletions=("repair",)).expand(data)
    outcome, given, path = run(study, data, tmp_path / "x", exported)
    assert (outcome.n_taken, len(given)) == (1, 1)  # the twin forgets nothing
    outcome, given, _ = run(study, data, tmp_path / "y", path)
    assert (outcome.n_taken, given) == (2, [])


def test_a_game_is_taken_whole_or_not_at_all(data: ImageSet, tmp_path: Path) -> None:
    study = grid(patterns=("r3",), counts=(0, 1), n_seeds=1, halves=6).expand(data)
    _, _, path = run(study, data, tmp_path / "x")
    outcome, given, again = run(study, data, tmp_path / "y", path)
    assert (outcome.n_taken, outcome.n_judged, given) == (13, 0, [])
    assert again.read_bytes() == path.read_bytes()

    def without_a_half(lines: Lines) -> Lines:
        return [row for row in lines if (row["part"], row["n_planted"]) != ("half 3", "1")]

    def without_areas(lines: Lines) -> Lines:
        return [row for row in lines if not row["measure"].startswith("auc_all")]

    holes = changed(path, tmp_path / "holes.csv", without_a_half)
    outcome, given, again = run(study, data, tmp_path / "z", holes)
    assert (outcome.n_taken, outcome.n_judged, len(given)) == (7, 1, 7)  # the attacker's is trained again
    assert again.read_bytes() == path.read_bytes()
    plain = changed(path, tmp_path / "plain.csv", without_areas)
    assert run(study, data, tmp_path / "w", plain)[0].n_judged == 2


def test_a_cell_that_failed_here_is_taken(data: ImageSet, exported: Path, tmp_path: Path) -> None:
    study = grid().expand(data)
    with Store(tmp_path / "x") as store:
        store.add_study(study)
        store.fail(study.cells()[0], "no luck", {"torch": "0"})
    outcome, given, _ = run(study, data, tmp_path / "x", exported)
    assert (outcome.n_taken, outcome.n_failed, given) == (6, 0, [])


def test_the_command_takes_seeds_and_rows(tmp_path: Path) -> None:
    def study(*arguments: str) -> str:
        (tmp_path / "x.yaml").write_text("models: [small-mlp]\ncounts: [2]\nepochs: 1\nn_seeds: 1\n")
        result = CliRunner().invoke(
            study_app, ["run", str(tmp_path / "x.yaml"), "--workers", "1", *arguments], catch_exceptions=False
        )
        return result.stdout.splitlines()[-1]

    first = str(tmp_path / "first")
    assert study("--store", first) == "x: 2 cells, 2 trained, 0 done before, 0 failed"
    assert study("--store", first, "--seeds", "2") == "x: 4 cells, 2 trained, 2 done before, 0 failed"
    CliRunner().invoke(study_app, ["export", "x", "--store", first, "--out", str(tmp_path / "x.csv")])
    told = study("--store", str(tmp_path / "other"), "--seeds", "3", "--rows", str(tmp_path / "x.csv"))
    assert told == "x: 6 cells, 2 trained, 0 done before, 4 from rows, 0 failed"
