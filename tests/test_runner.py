"""Running a study: finished cells are never trained again, failed ones only when asked."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError
from spuriscope.measures import measure
from spuriscope.patterns import Anywhere, Pattern, pattern
from spuriscope.studies import Entry, Grid, Outcome, Store, Study, run_study
from spuriscope.studies.checksums import seal_all
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, Trainer, train_cell


@dataclass
class Recorder:
    """Trains as usual, and remembers what it was given."""

    given: list[Cell] = field(default_factory=list)

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        self.given += cells
        return Trainer("cpu", 1).run(cells, data, on_progress)

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:256], digits.train.labels[:256])
    return ImageSet("small", part, digits.test, digits.class_names)


@pytest.fixture(scope="module")
def study(data: ImageSet) -> Study:
    return Grid(name="x", models=("small-mlp",), patterns=("s3",), counts=(3,), n_seeds=2, epochs=2).expand(
        data
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def test_the_table_holds_what_training_and_measuring_by_hand_give(
    study: Study, data: ImageSet, store: Store
) -> None:
    run_study(study, data, store, Trainer("cpu", 2))
    expected = {
        (entry.cell.hash, name): value
        for entry in study.entries
        if isinstance(entry.pattern, Pattern)
        for name, value in asdict(
            measure(train_cell(entry.cell, data).predict, data.test, entry.pattern, entry.target)
        ).items()
    }
    assert {(row["cell"], row["measure"]): row["value"] for row in store.rows("x")} == expected
    assert len(store.rows("x")) == len(expected) == 4 * 7


def test_a_study_of_other_plants_is_stored_measured_where_they_stand_and_taken_up_again(
    data: ImageSet, store: Store
) -> None:
    grid = Grid(
        name="x", models=("small-mlp",), patterns=("square", "disc"), counts=(5,), n_seeds=2, epochs=2,
        placement="anywhere", relabel="all", deletions=("incremental",),
    )  # fmt: skip
    executor = Recorder()
    study = grid.expand(data)
    assert run_study(study, data, store, executor) == Outcome(6, 6, 0, 0)
    assert run_study(study, data, store, executor) == Outcome(6, 0, 0, 0)
    rows = {(row["cell"], row["pattern"], row["measure"]): row["value"] for row in store.rows("x")}
    for entry in study.entries:
        assert isinstance(entry.pattern, Anywhere)
        model = store.load(entry.cell)
        assert model is not None
        assert model.cell.plants == entry.cell.plants
        found = asdict(measure(model.predict, data.test, entry.pattern, entry.target))
        for name, value in found.items():
            assert rows[entry.cell.hash, entry.labels["pattern"], name] == value
        is_deleted = (entry.cell.hash, entry.labels["pattern"], "after_incremental_score_all") in rows
        assert is_deleted == bool(entry.cell.plants)
    fixed = replace(grid, name="y", placement="fixed").expand(data)  # the clean twins are asked elsewhere now
    assert run_study(fixed, data, store, executor) == Outcome(6, 4, 2, 0)


def test_games_of_other_plants_are_judged_once(data: ImageSet, store: Store) -> None:
    study = Grid(
        name="x", models=("small-mlp",), patterns=("square",), counts=(2,), n_seeds=1, epochs=1, halves=6,
        placement="anywhere", relabel=3,
    ).expand(data)  # fmt: skip
    assert run_study(study, data, store, Trainer("cpu", 1)).n_judged > 0
    assert run_study(study, data, store, Trainer("cpu", 1)).n_judged == 0
    assert "auc_stamped_gap" in {row["measure"] for row in store.rows("x")}


def test_finished_cells_are_not_trained_again(study: Study, data: ImageSet, store: Store) -> None:
    executor = Recorder()
    assert run_study(study, data, store, executor) == Outcome(4, 4, 0, 0)
    before, checkpoints = store.rows("x"), sorted(store.checkpoints.iterdir())
    assert run_study(study, data, store, executor) == Outcome(4, 0, 0, 0)
    assert len(executor.given) == 4
    assert (store.rows("x"), sorted(store.checkpoints.iterdir())) == (before, checkpoints)


def test_cells_of_another_study_are_shared(study: Study, data: ImageSet, store: Store) -> None:
    run_study(study, data, store, Recorder())
    executor = Recorder()
    larger = Grid(
        name="y", models=("small-mlp",), patterns=("s3",), counts=(3, 5), n_seeds=2, epochs=2
    ).expand(data)
    assert run_study(larger, data, store, executor) == Outcome(6, 2, 0, 0)
    assert [cell.plants[0].n_planted for cell in executor.given] == [5, 5]


def other_pattern(study: Study, data: ImageSet) -> Study:
    """The same cells, measured under another pattern and another target."""
    bar = pattern("inv", data.shape)
    entries = [Entry(entry.cell, bar, 1, entry.labels) for entry in study.entries]
    return Study("other", "other", "dose", (*study.entries, *entries))


@pytest.mark.parametrize("keep", [True, False])
def test_another_measure_trains_only_what_was_not_kept(
    keep: bool, study: Study, data: ImageSet, store: Store
) -> None:
    executor = Recorder()
    run_study(study, data, store, executor, keep_checkpoints=keep)
    assert len(list(store.checkpoints.iterdir())) == (4 if keep else 0)
    store.connection.execute("UPDATE cells SET finished = 'before', environment = 'elsewhere'")
    seal_all(store.connection.execute)
    before = store.query(
        "SELECT hash, content, n_seconds, losses, finished, environment FROM cells ORDER BY hash"
    )
    outcome = run_study(other_pattern(study, data), data, store, executor, keep_checkpoints=keep)
    assert outcome == (Outcome(4, 0, 4, 0) if keep else Outcome(4, 4, 0, 0))
    assert len(executor.given) == (4 if keep else 8)
    if keep:
        assert (
            store.query(
                "SELECT hash, content, n_seconds, losses, finished, environment FROM cells ORDER BY hash"
            )
            == before
        )  # when, where and how long: as it was
    bar = pattern("inv", data.shape)
    for cell in study.cells():
        expected = measure(train_cell(cell, data).predict, data.test, bar, 1)
        found = store.query(
            "SELECT name, value FROM measures WHERE cell = ? AND pattern = ? AND target = 1",
            (cell.hash, bar.fingerprint),
        )
        assert {row["name"]: row["value"] for row in found} == asdict(expected)


def test_a_damaged_checkpoint_is_trained_anew(study: Study, data: ImageSet, store: Store) -> None:
    run_study(study, data, store, Recorder())
    path = store.checkpoint_path(study.cells()[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    executor = Recorder()
    assert run_study(other_pattern(study, data), data, store, executor) == Outcome(4, 1, 3, 0)
    assert executor.given == study.cells()[:1]
    model = store.load(study.cells()[0])
    assert model is not None
    alone = train_cell(study.cells()[0], data)
    assert torch.equal(model.logits(data.test.images), alone.logits(data.test.images))


def test_failed_cells_keep_their_error_and_are_tried_again_when_asked(data: ImageSet, store: Store) -> None:
    wild = {"optimizer": "sgd", "learning_rate": 1e30}
    study = Grid(
        name="x", models=("small-mlp",), patterns=("s3",), counts=(0,), n_seeds=1, epochs=2,
        recipes=({}, wild),
    ).expand(data)  # fmt: skip
    executor = Recorder()
    assert run_study(study, data, store, executor) == Outcome(2, 1, 0, 1)
    bad = study.cells()[1]
    (reason,) = store.failures("x").values()
    assert list(store.failures("x")) == [bad.hash]
    assert "lower the learning rate" in reason
    assert {row["cell"] for row in store.rows("x")} == {study.cells()[0].hash}
    (row,) = store.studies()
    assert (row["n_cells"], row["n_done"], row["n_failed"]) == (2, 1, 1)
    assert run_study(study, data, store, executor) == Outcome(2, 0, 0, 1)
    assert executor.given == study.cells()
    assert run_study(study, data, store, executor, retry=True) == Outcome(2, 0, 0, 1)
    assert executor.given == [*study.cells(), bad]
    assert store.failures("x") == {bad.hash: reason}


def test_a_study_of_other_data_is_refused_and_leaves_no_trace(
    study: Study, data: ImageSet, store: Store
) -> None:
    other = replace(data, train=Split(data.train.images.flip(0), data.train.labels))
    with pytest.raises(CheckpointError, match="give the data it was made for"):
        run_study(study, other, store, Recorder())
    assert store.studies() == []
