"""Run a study: train what is missing, measure it, and put it into the store.

Models are measured where they were trained; the process that drives the study records the results.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from spuriscope.data.image_set import ImageSet
from spuriscope.environment import environment
from spuriscope.errors import CheckpointError, ConfigError
from spuriscope.studies.added import AddedMeasures
from spuriscope.studies.deletions import Deletions
from spuriscope.studies.executors import Executor, run_and_ask
from spuriscope.studies.exported import Exported
from spuriscope.studies.games import Games
from spuriscope.studies.questions import Answers, Questions
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Study
from spuriscope.studies.taken import take
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel
from spuriscope.training.loop import check_data

__all__ = ["Outcome", "run_study"]


@dataclass(frozen=True)
class Outcome:
    """What one run of a study did.

    Attributes:
        n_cells: cells of the study.
        n_trained: cells trained in this run.
        n_measured: cells measured from a kept checkpoint, without training.
        n_failed: cells that failed, in this run or before.
        n_judged: membership games judged in this run.
        n_taken: cells taken from exported rows in this run.
        passed_over: what was not taken of the rows, and why; empty if all was.
    """

    n_cells: int
    n_trained: int
    n_measured: int
    n_failed: int
    n_judged: int = 0
    n_taken: int = 0
    passed_over: str = ""


def run_study(
    study: Study,
    data: ImageSet,
    store: Store,
    executor: Executor,
    *,
    retry: bool = False,
    keep_checkpoints: bool = True,
    rows: Sequence[Exported] = (),
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Train and measure the cells of a study that are not in the store yet.

    Args:
        study: the study to run.
        data: what its cells were made for.
        store: holds the finished cells.
        executor: trains the cells.
        retry: whether to try failed cells again.
        keep_checkpoints: whether to keep the weights of trained models.
        rows: exported files, whose cells are used instead of training them again.
        on_progress: called after each epoch of any model.

    Raises:
        CheckpointError: the study was made for other data.
        ConfigError: it has membership games, which need the weights, but they are not to be kept; or rows
            cannot be used.
        StoreError: the store cannot be written to; finished cells are in it.
    """
    cells = study.cells()
    for cell in cells:
        check_data(cell, data)
    if study.games and not keep_checkpoints:
        raise ConfigError(
            f"{study.name} attacks models together when all are trained, so their weights must be kept; "
            "leave out --no-checkpoints"
        )
    store.add_study(study)
    if retry:
        store.forget_failures(cells)
    taken = take(study, store, rows)
    entries: dict[Cell, list[Entry]] = defaultdict(list)
    for entry in study.entries:
        entries[entry.cell].append(entry)

    here = asdict(environment())
    deletions, added = Deletions(study, data, store), AddedMeasures(study, data, store)

    def questions(cell: Cell) -> Questions:
        return Questions.of(entries[cell], deletions.asked_there(cell))

    def with_plugins(model: TrainedModel, answers: Answers) -> list[tuple[Entry, dict[str, float]]]:
        """The measures from the executor, and those of plugins, which this process has imported."""
        return [
            (entry, values | deletions.measured(model, entry) | added.measured(model, entry))
            for entry, values in zip(entries[model.cell], answers, strict=True)
        ]

    n_measured = 0
    for cell in dict.fromkeys([*store.missing(study), *deletions.lost(), *added.lost()]):
        with suppress(CheckpointError):  # damaged, or of another version: train it again
            model = store.load(cell)
            if model is not None:
                store.add_measures(with_plugins(model, questions(cell)(model, data)))
                deletions.left.pop(cell, None)
                added.left.pop(cell, None)
                n_measured += 1
    games = Games(study, store)
    n_judged = games.judge()
    lost = [*games.lost(), *deletions.lost(), *added.lost()]
    missing = list(dict.fromkeys([*store.missing(study), *lost]))
    n_trained = 0
    asks = {cell: questions(cell) for cell in missing}
    for result in run_and_ask(executor, missing, data, asks, on_progress) if missing else ():
        if isinstance(result, FailedCell):
            store.fail(result.cell, result.reason, here)
        else:
            model = result.model
            store.finish(model, with_plugins(model, result.answers), here, keep_checkpoint=keep_checkpoints)
            n_trained += 1
            n_judged += games.judge(model.cell)
    n_failed = len(store.failures(study.name))
    return Outcome(len(cells), n_trained, n_measured, n_failed, n_judged, taken.n_taken, taken.passed_over)
