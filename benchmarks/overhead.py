"""What a study costs beside training: storing a cell, and its way through an executor.

Cells that train for 0 epochs go through each executor, so that only the overhead is left: preparing the
model, sending the cell, bringing the model back. These models are not measured.

Then a study of such cells is run as a whole, on random images as many and as large as MNIST's. It shows how
much processor time per cell the process that drives it needs: when models are measured where they were
trained, and, as in earlier versions, when this process measures them all. Its share of 30 s tells how many
cores it keeps busy.

    python benchmarks/overhead.py [--cells 200] [--folder DIR] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.environment import environment
from spuriscope.measures import Measures, measure
from spuriscope.patterns import pattern
from spuriscope.studies import Executor, Grid, Store, Study, run_study
from spuriscope.studies.ray_executor import RayExecutor
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, Trainer, train_cell
from spuriscope.training.many import n_cores

REPEATS = 5
CELL_SECONDS = 30  # training time per cell for which the cores are computed
N_DRIVEN = {True: 40, False: 4}  # cells of a study, by whether workers measure


@dataclass(frozen=True)
class OnlyTrains:
    """An executor that leaves measuring to the process that drives the study."""

    executor: Executor

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        return self.executor.run(cells, data, on_progress)

    def close(self) -> None:
        self.executor.close()


def make_study(data: ImageSet, n_cells: int) -> Study:
    """The MLP of the paper on digits, half of the cells clean and half planted."""
    grid = Grid(name="overhead", patterns=("r3",), counts=(3,), n_seeds=-(-n_cells // 2), epochs=0)
    return grid.expand(data)


def milliseconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return 1000 * (time.perf_counter() - start)


def store_costs(
    study: Study, model: TrainedModel, measures: Measures, folder: Path, *, keep_checkpoint: bool
) -> dict[str, Any]:
    """Milliseconds and bytes per cell."""
    versions = asdict(environment())
    with tempfile.TemporaryDirectory(dir=folder) as place:
        with Store(Path(place)) as store:
            n_empty = store.path.stat().st_size
            adding = milliseconds(lambda: store.add_study(study)) / len(study.entries)

            def finish(number: int) -> None:
                entry = study.entries[number]
                done = replace(model, cell=entry.cell)
                store.finish(done, [(entry, asdict(measures))], versions, keep_checkpoint=keep_checkpoint)

            finishing = [milliseconds(lambda n=n: finish(n)) for n in range(len(study.entries))]  # type: ignore[misc]
            looking = milliseconds(lambda: store.missing(study)) / len(study.entries)
        n_bytes = Path(place, "store.sqlite").stat().st_size - n_empty
        n_checkpoints = sum(path.stat().st_size for path in Path(place, "checkpoints").iterdir())
    return {
        "add_study_ms_per_row": adding,
        "missing_ms_per_row": looking,
        "finish_ms": spread(finishing),
        "database_bytes": n_bytes / len(study.entries),
        "checkpoint_bytes": n_checkpoints / len(study.entries),
    }


def executor_cost(executor: Executor, study: Study, data: ImageSet) -> dict[str, float]:
    """Milliseconds per cell once workers run; the first round starts them and does not count."""
    cells = study.cells()
    rounds = []
    for _ in range(REPEATS + 1):
        results: list[object] = []
        rounds.append(milliseconds(lambda: results.extend(executor.run(cells, data))) / len(cells))  # noqa: B023
        if not all(isinstance(result, TrainedModel) for result in results):
            raise SystemExit("a cell failed")
    executor.close()
    return spread(rounds[1:])


def random_data() -> ImageSet:
    """As many images as MNIST has, of its size."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (70_000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (70_000,), generator=generator)
    train, test = Split(images[:60_000], labels[:60_000]), Split(images[60_000:], labels[60_000:])
    return ImageSet("random", train, test, tuple("0123456789"))


def driver_cost(executor: Executor, data: ImageSet, folder: Path, n_cells: int) -> float:
    """Milliseconds of processor time that this process spends per cell of a study, keeping models."""
    torch.set_num_threads(1)
    study = make_study(data, n_cells)
    with tempfile.TemporaryDirectory(dir=folder) as place, Store(Path(place)) as store:
        start = time.process_time()
        outcome = run_study(study, data, store, executor)
        spent = time.process_time() - start
    if outcome.n_trained != len(study.cells()):
        raise SystemExit("a cell failed")
    return 1000 * spent / outcome.n_trained


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=200, help="cells of each round")
    parser.add_argument("--folder", type=Path, help="where the stores are written; the disk that is measured")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    arguments = parser.parse_args()
    data = load("digits")
    study = make_study(data, arguments.cells)
    model = train_cell(study.cells()[0], data, device="cpu")
    measures = measure(model.predict, data.test, pattern("r3", data.shape, seed=0), 0)
    stores = {
        name: store_costs(study, model, measures, arguments.folder, keep_checkpoint=keep)
        for name, keep in (("rows", False), ("rows and checkpoint", True))
    }
    executors: dict[str, Executor] = {"train_many": Trainer("cpu", n_cores())}
    if find_spec("ray"):
        executors |= {f"ray, {n} a task": RayExecutor(cells_per_task=n, n_gpus_per_task=0) for n in (1, 16)}
    costs = {name: executor_cost(executor, study, data) for name, executor in executors.items()}
    large = random_data()
    large.fingerprint  # noqa: B018 - computed once per data set
    drivers = {
        f"{name}, measured {'there' if measures_there else 'by the driver'}": spread(
            [
                driver_cost(
                    executor if measures_there else OnlyTrains(executor),
                    large,
                    arguments.folder,
                    N_DRIVEN[measures_there],
                )
                for _ in range(3)
            ]
        )
        for name, executor in executors.items()
        for measures_there in (True, False)
    }
    bare = spread([milliseconds(lambda: train_cell(study.cells()[0], data, device="cpu")) for _ in range(50)])
    where = environment()
    if arguments.json:
        found = {"stores": stores, "executors": costs, "drivers": drivers, "train_cell": bare}
        print(json.dumps({"environment": asdict(where), "n_cells": arguments.cells, **found}, indent=1))
        return
    print(f"{where.processor}, {n_cores()} cores, torch {where.torch}, Python {where.python}")
    print(f"milliseconds a cell, {arguments.cells} cells: median (min to max)")
    for name, cost in stores.items():
        sizes = f"{cost['database_bytes']:,.0f} + {cost['checkpoint_bytes']:,.0f} bytes"
        print(f"{'store: ' + name:32}{text(cost['finish_ms']):>28}   {sizes}")
    for name, spent in costs.items():
        print(f"{'executor: ' + name:32}{text(spent):>28}")
    print(f"{'train_cell, 0 epochs':32}{text(bare):>28}")
    print("milliseconds of the driver's processor time, and cores that it keeps busy at 30 s a cell")
    for name, spent in drivers.items():
        n_cores_busy = CELL_SECONDS * 1000 / spent["median"]
        print(f"{name:44}{text(spent):>28}{n_cores_busy:>10,.0f}")
    declare, look_up = stores["rows"]["add_study_ms_per_row"], stores["rows"]["missing_ms_per_row"]
    print(f"a row of a study: {declare:.3f} ms to declare, {look_up:.4f} ms to look up")


def text(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


if __name__ == "__main__":
    main()
