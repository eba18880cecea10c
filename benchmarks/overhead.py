"""What a study costs beside training: a cell's place in the store, and its way through an executor.

Cells that train for 0 epochs go through each, so that nothing but the overhead is left: preparing the model,
sending the cell, bringing the model back. Nothing is measured on these models.

    python benchmarks/overhead.py [--cells 200] [--folder DIR] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spuriscope.data import ImageSet, load
from spuriscope.environment import environment
from spuriscope.measures import Measures, measure
from spuriscope.patterns import pattern
from spuriscope.studies import Executor, Grid, Store, Study
from spuriscope.studies.ray_executor import RayExecutor
from spuriscope.training import TrainedModel, Trainer, train_cell
from spuriscope.training.many import n_cores

REPEATS = 5


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
    """Milliseconds for each cell, and the bytes it takes."""
    versions = environment()
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
    """Milliseconds for each cell when workers are there; the first round starts them and does not count."""
    cells = study.cells()
    rounds = []
    for _ in range(REPEATS + 1):
        results: list[object] = []
        rounds.append(milliseconds(lambda: results.extend(executor.run(cells, data))) / len(cells))  # noqa: B023
        if not all(isinstance(result, TrainedModel) for result in results):
            raise SystemExit("a cell failed")
    executor.close()
    return spread(rounds[1:])


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
    bare = spread([milliseconds(lambda: train_cell(study.cells()[0], data, device="cpu")) for _ in range(50)])
    where = environment()
    if arguments.json:
        found = {"stores": stores, "executors": costs, "train_cell": bare}
        print(json.dumps({"environment": where, "n_cells": arguments.cells, **found}, indent=1))
        return
    print(f"{where['processor']}, {n_cores()} cores, torch {where['torch']}, Python {where['python']}")
    print(f"milliseconds a cell, {arguments.cells} cells: median (min to max)")
    for name, cost in stores.items():
        sizes = f"{cost['database_bytes']:,.0f} + {cost['checkpoint_bytes']:,.0f} bytes"
        print(f"{'store: ' + name:32}{text(cost['finish_ms']):>28}   {sizes}")
    for name, spent in costs.items():
        print(f"{'executor: ' + name:32}{text(spent):>28}")
    print(f"{'train_cell, 0 epochs':32}{text(bare):>28}")
    declare, look_up = stores["rows"]["add_study_ms_per_row"], stores["rows"]["missing_ms_per_row"]
    print(f"a row of a study: {declare:.3f} ms to declare, {look_up:.4f} ms to look up")


def text(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


if __name__ == "__main__":
    main()
