"""What rounded arithmetic does to every measure: float32 against bfloat16, paired over seeds.

Same cells, same seeds, same images; r3 on some images of class 0, and the clean twins.

    python benchmarks/precision.py run --data digits --model mlp --epochs 21 --out rows.csv
    python benchmarks/precision.py run --data mnist --images 10000 --model cnn --epochs 3 --out rows.csv
    python benchmarks/precision.py show --out rows.csv

A row is appended as its model is done, and never made twice, so a stopped run continues.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from spuriscope.data import ImageSet, Split, load
from spuriscope.environment import environment
from spuriscope.measures import measure
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.statistics import mean_interval
from spuriscope.training import Cell, DataKey, TrainedModel, paper_recipe, train_many
from spuriscope.training.recipe import Precision

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
PLACE = ("data", "images", "model", "epochs", "precision", "n_planted", "seed")
SHOWN = ("score_non_target", "normalised_score", "spurious_accuracy", "clean_accuracy")

Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("run", "show"))
    parser.add_argument("--out", type=Path, required=True, help="CSV file of the rows")
    parser.add_argument("--root", type=Path, help="folder with the data sets")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=60_000, help="training images, the first ones")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--epochs", type=int, default=21)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 1, 3, 10])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    if options.part == "run":
        run(options)
    show(read_rows(options.out))


def read_rows(out: Path) -> list[Row]:
    """The rows that are there already."""
    if not out.is_file():
        return []
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def run(options: argparse.Namespace) -> None:
    """Train and measure what has no row yet."""
    whole = load(options.data, root=options.root)
    n = min(options.images, len(whole.train))
    data = ImageSet(
        whole.name, Split(whole.train.images[:n], whole.train.labels[:n]), whole.test, whole.class_names
    )
    done = {tuple(row[name] for name in PLACE) for row in read_rows(options.out)}
    recipe = paper_recipe(data.name, options.model, epochs=options.epochs)
    noise = {seed: pattern("r3", data.shape, seed=seed) for seed in range(options.seeds)}
    cells: dict[Cell, Row] = {}
    for seed, picture in noise.items():  # a seed is whole before the next begins
        for count in options.counts:
            for precision in PRECISIONS:
                values = (data.name, n, options.model, options.epochs, precision, count, seed)
                place = dict(zip(PLACE, map(str, values), strict=True))
                if tuple(place.values()) in done:
                    continue
                cell = Cell(
                    data=DataKey.of(data),
                    plants=(Plant(picture, 0, count, seed),) if count else (),
                    model=options.model,
                    recipe=replace(recipe, precision=precision),
                    seed=seed,
                )
                cells[cell] = place
    for model in train_many(list(cells), data, n_workers=options.workers) if cells else ():
        if not isinstance(model, TrainedModel):
            raise SystemExit(model.reason)
        place = cells[model.cell]
        found = asdict(measure(model.predict, data.test, noise[int(place["seed"])], 0))
        append(options.out, place | {name: f"{value:.6g}" for name, value in found.items()})


def append(out: Path, row: Row) -> None:
    """Add a row; the first one brings the names of the columns."""
    is_new = not out.is_file()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def show(rows: Sequence[Row]) -> None:
    """A table for each data set and architecture: measures in float32, and what bfloat16 changes."""
    where = environment()
    print(f"{where.processor}, torch {where.torch}")
    for of in dict.fromkeys(tuple(row[name] for name in PLACE[:4]) for row in rows):
        there = [row for row in rows if tuple(row[name] for name in PLACE[:4]) == of]
        print(f"\n{of[0]}, {of[1]} images, {of[2]}, {of[3]} epochs, r3 in class 0\n")
        print("| planted | seeds | measure | float32 | bfloat16 | difference (95 %) |")
        print("| ---: | ---: | --- | ---: | ---: | --- |")
        for count in dict.fromkeys(row["n_planted"] for row in there):
            pairs = paired([row for row in there if row["n_planted"] == count])
            if len(pairs) < 2:
                continue
            for name in SHOWN:
                whole, short = ([float(pair[k][name]) for pair in pairs] for k in range(2))
                change = mean_interval([b - a for a, b in zip(whole, short, strict=True)], low=-1.0)
                means = [sum(values) / len(values) for values in (whole, short)]
                print(
                    f"| {count} | {len(pairs)} | {name} | {means[0]:.3f} | {means[1]:.3f} "
                    f"| {change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f}) |"
                )


def paired(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The rows of each seed that has both precisions."""
    found = {(row["precision"], row["seed"]): row for row in rows}
    seeds = dict.fromkeys(row["seed"] for row in rows)
    both = [tuple(found.get((precision, seed)) for precision in PRECISIONS) for seed in seeds]
    return [(a, b) for a, b in both if a is not None and b is not None]


if __name__ == "__main__":
    main()
