"""Is a natural rare context learnt? Models of PACS that saw a context in 0 to 30 images of one class.

One pair of context and class for each of the four contexts, fixed before anything was trained: the k-th
context with the k-th class. Rows are written as models are finished, all pairs and counts of a seed before
the next seed; a stopped run continues where it was. The tables of docs/results/contexts.md:

    python benchmarks/contexts.py run --out contexts.csv --seeds 3
    python benchmarks/contexts.py run --out contexts.csv --seeds 1 --counts 100
    python benchmarks/contexts.py show --out contexts.csv
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spuriscope.contexts import RareContext, context_names, measure_context
from spuriscope.data import ImageSet, load
from spuriscope.statistics import mean_interval, t_test
from spuriscope.training import Cell, Recipe, train_cell

COUNTS = (0, 1, 3, 10, 30)
FIELDS = (
    "context", "target", "n_planted", "seed",
    "predicted_share", "spurious_accuracy", "clean_accuracy", "train_loss", "seconds", "cell",
)  # fmt: skip
RECIPE = Recipe(epochs=6, learning_rate=0.01, batch_size=64)
MODEL = "resnet10"

Row = dict[str, str]
Place = tuple[str, str, int, int]  # context, class, number planted, seed


def places(data: ImageSet, n_seeds: int, counts: Sequence[int]) -> Iterator[Place]:
    """Every training, seed by seed."""
    for seed in range(n_seeds):
        for context, target in zip(context_names(data), data.class_names, strict=False):
            for n_planted in counts:
                yield context, target, n_planted, seed


def read(path: Path) -> list[Row]:
    """The rows already written."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(out: Path, n_seeds: int, counts: Sequence[int]) -> None:
    """Train and measure what is not in the file yet."""
    data = load("pacs")
    done = {(row["context"], row["target"], int(row["n_planted"]), int(row["seed"])) for row in read(out)}
    is_new = not out.is_file()
    with out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for place in places(data, n_seeds, counts):
            if place in done:
                continue
            context, name, n_planted, seed = place
            target = data.class_names.index(name)
            rare = RareContext(context, target, n_planted, seed)
            cell: Cell = rare.cell(data, model=MODEL, recipe=RECIPE, seed=seed)
            model = train_cell(cell, data, device="cpu")
            found = measure_context(model.predict, data, context, target)
            writer.writerow(
                {
                    "context": context, "target": name, "n_planted": n_planted, "seed": seed,
                    "predicted_share": f"{found.predicted_share:.6f}",
                    "spurious_accuracy": f"{found.spurious_accuracy:.6f}",
                    "clean_accuracy": f"{found.clean_accuracy:.6f}",
                    "train_loss": f"{model.losses[-1]:.4f}", "seconds": f"{model.n_seconds:.1f}",
                    "cell": cell.hash,
                }
            )  # fmt: skip
            file.flush()
            print(
                *place,
                f"{found.predicted_share:.3f}",
                f"{model.n_seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def show(out: Path) -> None:
    """Print the tables: shares with 95 % intervals over seeds, and the rise over the clean twin."""
    rows = read(out)
    counts = sorted({int(row["n_planted"]) for row in rows})
    pairs = list(dict.fromkeys((row["context"], row["target"]) for row in rows))

    def values(pair: tuple[str, str], n_planted: int, measure: str) -> dict[str, float]:
        return {
            row["seed"]: float(row[measure])
            for row in rows
            if (row["context"], row["target"]) == pair and int(row["n_planted"]) == n_planted
        }

    print("| context, class | " + " | ".join(str(n) if n else "0 (twin)" for n in counts) + " |")
    print("| --- |" + " --- |" * len(counts))
    for pair in pairs:
        cells = []
        for n_planted in counts:
            found = list(values(pair, n_planted, "predicted_share").values())
            cells.append(_interval(found))
        print(f"| {pair[0]}, {pair[1]} | " + " | ".join(cells) + " |")
    print(
        "\n| context, class | planted | rise over the twin | each seed | p, one-sided t "
        "| clean accuracy, twin and planted |"
    )
    print("| --- |" + " --- |" * 5)
    for pair in pairs:
        for n_planted in counts[1:]:
            twin, planted = (values(pair, n, "predicted_share") for n in (0, n_planted))
            rises = [planted[seed] - twin[seed] for seed in sorted(twin.keys() & planted.keys())]
            if len(rises) < 2:
                continue
            mean = mean_interval(rises, low=-1.0, high=1.0)
            accuracies = [
                mean_interval(list(values(pair, n, "clean_accuracy").values())).mean for n in (0, n_planted)
            ]
            print(
                f"| {pair[0]}, {pair[1]} | {n_planted} "
                f"| {mean.mean:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}] | "
                + " ".join(f"{rise:+.3f}" for rise in rises)
                + f" | {t_test(rises, 0.0):.3f} | {accuracies[0]:.3f}, {accuracies[1]:.3f} |"
            )


def _interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}, one seed" if values else ""
    mean = mean_interval(values)
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments.out, arguments.seeds, arguments.counts)
    else:
        show(arguments.out)
