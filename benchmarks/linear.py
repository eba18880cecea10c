"""How well the ridge model predicts ridge regression on real images: docs/results/theory.md.

    python benchmarks/linear.py --data digits mnist --out docs/results

Two classes of a data set, equally many images of each, pixels in [0, 1]; the first of the two is the target.
The cue is stamped on some of its training images, scikit-learn's Ridge regresses -1 and 1 on the pixels, and
is tested on the test images. The theory sees the training images, clean and stamped, but not the regressions.
Rows are written as they come; those in the file are kept.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from spuriscope.data import ImageSet, Split, load
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.report.drawing import PALETTE, dose_axes, figure_style, place
from spuriscope.statistics import mean_interval
from spuriscope.studies.panels import Sheet
from spuriscope.theory import RidgeModel, fitted

Floats = NDArray[np.float64]
Row = dict[str, Any]

PAIRS = ((0, 1), (3, 8))  # easy to tell apart, and harder
PATTERNS = ("s3", "r1", "r3")
DECAYS = (0.01, 1.0)
COUNTS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000)
MEASURES = ("prediction_difference", "spurious_accuracy", "clean_accuracy")
PARAMETERS = ("m", "t", "s1", "s2", "overlap", "cover")
PLACE = ("data", "target", "other", "pattern", "lam", "seed", "n_planted")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    path = given.out / "theory.csv"
    rows = read(path)
    for name in given.data:
        data = load(name, root=given.root)
        for pair in PAIRS:
            for row in measured(data, pair, given.seeds, {key(row) for row in rows}):
                rows.append(row)
                write(path, rows[-1])
    for name in dict.fromkeys(row["data"] for row in rows):
        for lam in DECAYS:
            draw(
                [row for row in rows if row["data"] == name and float(row["lam"]) == lam],
                given.out / "figures",
            )
    summarise(rows)


def measured(
    data: ImageSet, pair: tuple[int, int], n_seeds: int, known: set[tuple[str, ...]]
) -> Iterator[Row]:
    """A row for each regression that has none yet: the measurement, and the prediction of the theory."""
    train, test = two_classes(data.train, pair), two_classes(data.test, pair)
    x, y = flat(train.images), np.where(train.labels.numpy() == pair[0], 1.0, -1.0)
    tested, truth = flat(test.images), np.where(test.labels.numpy() == pair[0], 1.0, -1.0)
    counts = [n for n in COUNTS if n <= (y == 1).sum()]
    for name in PATTERNS:
        for seed in range(n_seeds):
            picture = pattern(name, data.shape, seed=seed)
            others = flat(picture.apply(test.images[test.labels == pair[1]]))
            stamped_x = flat(picture.apply(train.images))
            for lam in DECAYS:
                place_of: Row = {"data": data.name, "target": pair[0], "other": pair[1], "pattern": name}
                place_of |= {"lam": lam, "seed": seed}
                due = [n for n in counts if key(place_of | {"n_planted": n}) not in known]
                if not due:
                    continue
                model = fitted(x, stamped_x, y, lam=lam, gamma=np.array(due) / (y == 1).sum())
                bare = replace(model, overlap=0.0, cover=0.0)
                for position, n_planted in enumerate(due):
                    indices = Plant(picture, pair[0], n_planted, seed).planted_indices(train.labels).numpy()
                    planted = x.copy()
                    planted[indices] = stamped_x[indices]
                    ridge = Ridge(alpha=lam * len(y), solver="cholesky").fit(planted, y)  # penalises the sum
                    answers = ridge.predict(tested)
                    stamped = ridge.predict(others)
                    yield place_of | {
                        "n_planted": n_planted,
                        "n_train": len(y),
                        "gamma": n_planted / (y == 1).sum(),
                        "prediction_difference": float((stamped - answers[truth == -1]).mean()),
                        "clean_accuracy": float((answers * truth > 0).mean()),
                        "spurious_accuracy": float((stamped < 0).mean()),
                        **{f"theory_{m}": at(model, m, position) for m in MEASURES},
                        **{f"concatenated_{m}": at(bare, m, position) for m in MEASURES},
                        **{p: float(np.asarray(getattr(model, p))) for p in PARAMETERS},
                    }


def at(model: RidgeModel, measure: str, position: int) -> float:
    return float(getattr(model, measure)[position])


def two_classes(split: Split, pair: tuple[int, int]) -> Split:
    """Equally many images of both classes: the first of each."""
    places = [(split.labels == label).nonzero().flatten() for label in pair]
    n = min(map(len, places))
    chosen = torch.cat([place[:n] for place in places]).sort().values
    return Split(split.images[chosen], split.labels[chosen])


def flat(images: torch.Tensor) -> Floats:
    """(n, pixels), float64 in [0, 1]."""
    values = images.double() / (255 if images.dtype == torch.uint8 else 1)
    found: Floats = values.flatten(1).numpy()
    return found


def key(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in PLACE)


def read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, row: Row) -> None:
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(
            {name: f"{x:.6g}" if isinstance(x, float) and name != "lam" else x for name, x in row.items()}
        )


def draw(rows: list[Row], folder: Path) -> None:
    """Two panels for each pair and pattern: difference and spurious accuracy, measured and predicted."""
    if not rows:
        return
    data, lam = rows[0]["data"], float(rows[0]["lam"])
    places = list(dict.fromkeys((row["target"], row["other"], row["pattern"]) for row in rows))
    name = f"theory-{data}-decay-{lam:g}"
    with figure_style(name):
        sheet = Sheet(
            f"Ridge regression on {data}, weight decay {lam:g}: measured and predicted",
            "Dots: regressions on real images, one for each seed. Line: closed form, mean over seeds; "
            "dashed: without overlap and cover, the paper's model.",
            2 * len(places),
            n_columns=len(places) // 2,
        )
        for measure in MEASURES[:2]:
            for target, other, cue in places:
                here = [r for r in rows if (r["target"], r["other"], r["pattern"]) == (target, other, cue)]
                axes = sheet.panel(f"{cue.upper()}, {target} or {other}: {measure.split('_')[1]}")
                counts = sorted({int(row["n_planted"]) for row in here})
                dose_axes(axes, counts)
                at_count = [[r for r in here if int(r["n_planted"]) == n] for n in counts]
                for n, group in zip(counts, at_count, strict=True):
                    values = [float(row[measure]) for row in group]
                    hue = PALETTE["twin" if n == 0 else "target"]
                    axes.plot(
                        [place(n)] * len(values), values, ls="", marker="o", ms=4, mew=0, color=hue, alpha=0.7
                    )
                for prefix, dashes in (("theory", "-"), ("concatenated", (0, (3, 2)))):
                    means = [
                        np.mean([float(row[f"{prefix}_{measure}"]) for row in group]) for group in at_count
                    ]
                    axes.plot([place(n) for n in counts], means, color=PALETTE["warning"], lw=1.4, ls=dashes)
                if measure == "prediction_difference":
                    reach = max(float(row[measure]) for row in rows)
                    axes.set_ylim(min(-0.1, *(float(row[measure]) for row in rows)), max(1.0, 1.05 * reach))
                    ticks = [0, 0.5, 1] if reach < 1.2 else [0, 1, 2]
                    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        folder.mkdir(parents=True, exist_ok=True)
        sheet.figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def summarise(rows: list[Row]) -> None:
    """Print the distance between prediction and measurement: means over seeds, then over counts."""
    print(
        "mean |measured - predicted| of means over seeds, largest in brackets; behind the bar without overlap"
    )
    cases = dict.fromkeys((r["data"], r["target"], r["other"], r["pattern"], float(r["lam"])) for r in rows)
    for case in cases:
        here = [
            r for r in rows if (r["data"], r["target"], r["other"], r["pattern"], float(r["lam"])) == case
        ]
        counts = sorted({int(row["n_planted"]) for row in here})
        texts = []
        for measure in MEASURES:
            gaps: dict[str, list[float]] = {"theory": [], "concatenated": []}
            for n in counts:
                group = [row for row in here if int(row["n_planted"]) == n]
                real = mean_interval([float(row[measure]) for row in group], low=-9, high=9).mean
                for prefix, found in gaps.items():
                    predicted = np.mean([float(row[f"{prefix}_{measure}"]) for row in group])
                    found.append(float(abs(real - predicted)))
            full, bare = gaps.values()
            texts.append(f"{measure} {np.mean(full):.3f} ({max(full):.3f}) | {np.mean(bare):.3f}")
        print(*case, "; ".join(texts))


if __name__ == "__main__":
    main()
