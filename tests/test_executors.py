"""Executors do what `train_many` does, and ask each model where it was trained."""

import resource
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from spuriscope.contexts import Context, measure_context
from spuriscope.data import ImageSet, Split, load
from spuriscope.data.image_set import Contexts
from spuriscope.errors import ConfigError
from spuriscope.measures import measure, measure_each
from spuriscope.patterns import Anywhere, Kind, pattern
from spuriscope.planting import Plant
from spuriscope.studies import Entry, Grid, Store, run_study
from spuriscope.studies.executors import Executor, run_and_ask
from spuriscope.studies.questions import Questions
from spuriscope.training import (
    Cell,
    DataKey,
    FailedCell,
    OnProgress,
    Progress,
    Recipe,
    TrainedModel,
    Trainer,
    train_cell,
)
from spuriscope.training.asked import Asked
from spuriscope.training.many import train_and_ask


@dataclass
class OnlyTrains:
    """An executor of a user's own, from before models were asked where they are trained."""

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        return Trainer("cpu", 1).run(cells, data, on_progress)

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def data() -> ImageSet:
    """A few digits; an image lies in one of two contexts."""
    digits = load("digits")
    train = Split(digits.train.images[:256], digits.train.labels[:256])
    contexts = Contexts(("even", "odd"), torch.arange(256) % 2, torch.arange(len(digits.test)) % 2)
    return ImageSet("small", train, digits.test, digits.class_names, contexts)


def make_cells(data: ImageSet, n: int, recipe: Recipe) -> list[Cell]:
    plant = Plant(pattern("r3", data.shape), 0, 5)
    return [
        Cell(data=DataKey.of(data), plants=(plant,), model="small-mlp", recipe=recipe, seed=seed)
        for seed in range(n)
    ]


def cues(data: ImageSet) -> list[tuple[Kind | Anywhere | Context, int]]:
    """A cue of every kind; one pattern under two targets."""
    square = pattern("square", data.shape)
    return [
        (pattern("r3", data.shape), 0),
        (pattern("r3", data.shape), 3),
        (Anywhere(square, 5), 2),
        (pattern("invert", data.shape), 1),
        (Context("odd"), 4),
    ]


def test_cells_train_as_alone(data: ImageSet) -> None:
    cells = make_cells(data, 2, Recipe(epochs=1))
    told: list[Progress] = []
    executor = Trainer("cpu", 1)
    found = list(executor.run(cells, data, told.append))
    executor.close()
    for result, cell in zip(found, cells, strict=True):
        assert isinstance(result, TrainedModel)
        alone = train_cell(cell, data)
        assert torch.equal(result.logits(data.test.images), alone.logits(data.test.images))
    assert (told[-1].models_done, told[-1].epochs_done) == (2, 2)
    with pytest.raises(ConfigError, match="n_workers must be 1 or more, got 0"):
        Trainer("cpu", 0).run(cells, data)


@pytest.mark.parametrize("executor", [Trainer("cpu", 1), Trainer("cpu", 2), OnlyTrains()], ids=repr)
def test_what_is_asked_elsewhere_is_what_is_measured_here(executor: Executor, data: ImageSet) -> None:
    cells = make_cells(data, 2, Recipe(epochs=2))
    asks = {
        cell: Questions.of([Entry(cell, cue, target, {}) for cue, target in cues(data)]) for cell in cells
    }
    for result in run_and_ask(executor, cells, data, asks):
        assert isinstance(result, Asked)
        alone = train_cell(result.model.cell, data)
        for (cue, target), values in zip(cues(data), result.answers, strict=True):
            if isinstance(cue, Context):
                assert values == asdict(measure_context(alone.predict, data, cue.name, target))
            else:
                assert values == asdict(measure(alone.predict, data.test, cue, target))


def test_the_process_that_drives_a_study_asks_no_model(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a model was asked here")

    grid = Grid(
        name="x", models=("small-mlp",), patterns=("r3", "s3"), counts=(5,), n_seeds=1, epochs=1,
        deletions=("incremental",),
    )  # fmt: skip
    study = grid.expand(data)
    monkeypatch.setattr(TrainedModel, "logits", refuse)
    with Store(tmp_path / "store") as store:
        outcome = run_study(study, data, store, Trainer("cpu", 2))
        assert (outcome.n_trained, outcome.n_failed) == (3, 0)
        names = {row["measure"] for row in store.rows("x")}
    assert {"score_all", "after_incremental_score_all", "after_incremental_seconds"} <= names


def test_the_images_are_asked_about_once_and_once_under_each_pattern(data: ImageSet) -> None:
    n_asked = 0

    def predict(images: torch.Tensor) -> torch.Tensor:
        nonlocal n_asked
        n_asked += len(images)
        return images.flatten(1)[:, :10].softmax(dim=1)

    pictures = [(cue, target) for cue, target in cues(data) if not isinstance(cue, Context)]
    together = measure_each(predict, data.test, pictures)
    assert n_asked == (1 + 3) * len(data.test)  # of the four one is there twice
    assert together == tuple(measure(predict, data.test, cue, target) for cue, target in pictures)


@pytest.mark.parametrize("executor", [Trainer("cpu", 2), OnlyTrains()], ids=repr)
def test_a_model_that_cannot_be_measured_costs_its_own_cell_only(
    executor: Executor, data: ImageSet, tmp_path: Path
) -> None:
    alone = replace(data, test=Split(data.test.images[:4], torch.zeros(4, dtype=torch.int64)), contexts=None)
    study = Grid(
        name="x", models=("small-mlp",), patterns=("s3",), targets=(0, 1), counts=(5,), n_seeds=1, epochs=1
    ).expand(alone)
    with Store(tmp_path / "store") as store:
        assert run_study(study, alone, store, executor).n_failed == 2  # class 0, and the twin of both
        reasons = set(store.failures("x").values())
        assert {row["target"] for row in store.rows("x")} == {1}
    (reason,) = reasons
    assert "it was trained, but could not be measured: all 4 images are of class 0" in reason


@dataclass(frozen=True)
class Faults:
    """How many pages the system clears for a block of memory that was had, and given back, before."""

    def __call__(self, model: TrainedModel, data: ImageSet) -> int:
        counts = []
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.empty(2**26, dtype=torch.uint8).fill_(1)
            counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        return counts[-1]


def test_workers_keep_the_memory_they_have_had(data: ImageSet) -> None:
    """A block of 64 MB is 16,384 pages."""
    cells = make_cells(data, 2, Recipe(epochs=0))
    for result in train_and_ask(cells, data, dict.fromkeys(cells, Faults()), n_workers=2):
        assert isinstance(result, Asked)
        assert result.answers < 1000
