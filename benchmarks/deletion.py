"""Deletion methods beside the oracle; makes docs/results/deletion.md.

For each seed, pattern and number planted: the planted model, the oracle without its images, and every method.
The oracle's own disagreement is with the oracle of another number planted: nearly the same images in another
order. Models are kept in `--models`, rows are appended to `--out`, and finished work is not repeated, so a
stopped run continues. Seconds are processor time on one thread, so that they hold on a busy machine too.

    nice -n 5 python benchmarks/deletion.py --data mnist --root DATA --out deletion.jsonl --models models
    python benchmarks/deletion.py --show deletion.jsonl
    python benchmarks/deletion.py --show docs/results/deletion.csv

A verdict takes 14 seeds, "cue stays" 6 (see `spuriscope.deletion.verdict`).
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.data import ImageSet, load
from spuriscope.deletion import METHODS, Method, Repair, delete, oracle_cell
from spuriscope.deletion.check import DeletionCheck, DeletionTrial, compare_method, state_of
from spuriscope.deletion.curvature import moved, summed_gradient
from spuriscope.deletion.request import Request, copy_of_module
from spuriscope.environment import environment
from spuriscope.errors import DeletionError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import (
    Cell,
    DataKey,
    TrainedModel,
    load_model,
    paper_recipe,
    short_epochs,
    train_cell,
)

PATTERNS, COUNTS, TARGET = ("r3", "s3"), (10, 3, 100), 0
KNOWN = "repair, pattern known"


@dataclass(frozen=True, kw_only=True)
class PublishedInfluence:
    """First-order group influence as in the authors' public code, with its settings for MNIST.

    For each image h <- v + (1 - damping) h - H h / scale, from h = v, its gradient: H the Hessian of one
    training image, drawn anew for each term. The damping is not divided by the scale, nor the result by
    anything, so a component with eigenvalue e becomes about v / (damping + e / scale). The sum over the
    images is divided by n (1 - k / n).

    The series is linear in v, so we run it on the summed gradient: all images share the draws, and the mean
    over draws is the same.

    Source: yangarbiter/rare-spurious-correlation, `influence.py` and `group_influence.py`.
    """

    damping: float = 0.01
    scale: float = 25.0
    depth: int | None = None  # by default 2,000, and 1,000 from 100 images on
    repeats: int = 10
    seed: int = 0

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        asked, module = Request.of(model, data, planted_indices), copy_of_module(model)
        gone, n = asked.gone.positions, len(asked.gone) + len(asked.kept)
        everything = torch.cat([gone, asked.kept.positions])
        gradient = summed_gradient(module, asked.images(gone), asked.labels(gone))
        depth = self.depth or (2000 if len(gone) < 100 else 1000)
        series = self.series(depth, module, asked.images(everything), asked.labels(everything), gradient)
        if not series.isfinite().all():
            raise DeletionError("the published series grew without bound")
        return replace(model, module=moved(module, series / n / (1 - len(gone) / n)), losses=())

    def series(
        self, depth: int, module: nn.Module, images: Tensor, labels: Tensor, gradient: Tensor
    ) -> Tensor:
        """The last term (p,) from a gradient (p,), averaged over the repeats."""
        weights = list(module.parameters())
        sizes = [weight.numel() for weight in weights]
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(gradient)
        if not gradient.any():  # every term is 0
            return total
        for _ in range(self.repeats):
            found = gradient
            for row in torch.randint(len(images), (depth, 1), generator=generator):
                parts = [part.view_as(w) for part, w in zip(found.split(sizes), weights, strict=True)]
                loss = F.cross_entropy(module(images[row]), labels[row])
                slopes = torch.autograd.grad(loss, weights, create_graph=True)
                turned = torch.autograd.grad(slopes, weights, parts)
                product = torch.cat([part.flatten() for part in turned])
                found = gradient + (1 - self.damping) * found - product / self.scale
            total += found
        return total / self.repeats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("deletion.jsonl"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--show", type=Path)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, choices=COUNTS)
    parser.add_argument("--leave-out", nargs="*", default=(), help="methods")
    parser.add_argument("--minutes", type=float, default=600, help="start nothing new after this time")
    options = parser.parse_args()
    if options.show:
        show(read(options.show))
        return
    torch.set_num_threads(1)
    start = time.perf_counter()
    data = load(options.data, root=options.root)
    options.models.mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for seed, n_planted, name in ((s, n, p) for s in seeds for n in options.counts for p in PATTERNS):
        for method in ("none", "retrain", *methods(None)):
            if method in options.leave_out or (name, n_planted, seed, method) in done(options.out, data):
                continue
            if time.perf_counter() - start > 60 * options.minutes:
                return
            trial = train_trial(data, name, n_planted, seed, options.models)
            row = measured(data, trial, method)
            row |= {"data": data.name, "pattern": name, "n_planted": n_planted, "seed": seed}
            row |= {
                "method": method,
                "epochs": trial.planted.cell.recipe.epochs,
                "environment": asdict(environment()),
            }
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{name} {n_planted} seed {seed} {method}: {row['seconds']:.1f} s", flush=True)


def methods(trial: DeletionTrial[TrainedModel] | None) -> dict[str, Method]:
    """The library's methods, and two more: repair given the pattern, and the published LiSSA."""
    own = {name: method for name, method in METHODS.items() if name != "retrain"}
    known = Repair(pattern=trial.plant.pattern if trial else None)
    return own | {KNOWN: known, "influence as published": PublishedInfluence()}


def done(path: Path, data: ImageSet) -> set[tuple[str, int, int, str]]:
    """The keys that already have a row."""
    if not path.is_file():
        return set()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (row["pattern"], row["n_planted"], row["seed"], row["method"])
        for row in rows
        if row["data"] == data.name
    }


def train_trial(
    data: ImageSet, name: str, n_planted: int, seed: int, folder: Path
) -> DeletionTrial[TrainedModel]:
    """The models of one place, trained or read."""
    recipe = paper_recipe(data.name, "mlp", epochs=short_epochs(len(data.train)))
    plant = Plant(pattern(name, data.shape, seed=seed), TARGET, n_planted, seed)
    cell = Cell(data=DataKey.of(data), plants=(plant,), model="mlp", recipe=recipe, seed=seed)
    gone = plant.planted_indices(data.train.labels)
    another = COUNTS[(COUNTS.index(n_planted) + 1) % len(COUNTS)]
    more = Plant(plant.pattern, TARGET, another, seed).planted_indices(data.train.labels)
    peer = replace(oracle_cell(cell, data, more), plants=())
    planted, first, other = (kept(each, data, folder) for each in (cell, oracle_cell(cell, data, gone), peer))
    return DeletionTrial(plant=plant, gone=gone, planted=planted, oracle=first, other=other)


def kept(cell: Cell, data: ImageSet, folder: Path) -> TrainedModel:
    path = folder / f"{cell.hash}.safetensors"
    if not path.is_file():
        start = time.process_time()
        trained = train_cell(cell, data, device="cpu")
        replace(trained, n_seconds=time.process_time() - start).save(path)
    return load_model(path)


def measured(data: ImageSet, trial: DeletionTrial[TrainedModel], method: str) -> dict[str, Any]:
    """The measures of the model after a method; "none" is the planted model, "retrain" the oracle.

    A method that does not converge leaves the model as it was; the row then has `failed`.
    """
    start, failed = time.process_time(), ""
    if method in ("none", "retrain"):
        model = trial.planted if method == "none" else trial.oracle
    else:
        try:
            model = delete(trial.planted, data, trial.gone, methods(trial)[method])
        except DeletionError as error:
            model, failed = trial.planted, str(error)
    seconds = time.process_time() - start
    asked = Request.of(trial.planted, data, trial.gone)
    gradient = summed_gradient(model.module, asked.images(trial.gone), asked.labels(trial.gone))
    return {
        **state_of(model, trial, data),
        "seconds": trial.oracle.n_seconds if method == "retrain" else seconds,
        "training_seconds": trial.planted.n_seconds,
        "gradient_norm": float(gradient.norm()),
    } | ({"failed": failed} if failed else {})


def read(path: Path) -> list[dict[str, Any]]:
    """Rows as they were written, or those of the table beside the results."""
    if path.suffix != ".csv":
        return [json.loads(line) for line in path.read_text().splitlines()]
    texts, whole = ("data", "pattern", "method"), ("epochs", "n_planted", "seed")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                key: value if key in texts else int(value) if key in whole else float(value)
                for key, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the tables of docs/results/deletion.md. Intervals are over seeds, differences paired with the
    oracle's.
    """
    places: dict[tuple[str, str, int], dict[str, dict[int, dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        places[row["data"], row["pattern"], row["n_planted"]][row["method"]][row["seed"]] = row
    if "environment" in rows[0]:
        print(f"{rows[0]['environment']['processor']}, torch {rows[0]['environment']['torch']}\n")
    for (data, name, n_planted), found in sorted(places.items()):
        print(f"### {data}, {name}, {n_planted} planted\n")
        print(
            "| method | seeds | score | difference [95 %] | spurious accuracy | clean accuracy | "
            "disagreement | membership | share of training | verdict |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for method, of_seed in found.items():
            seeds = sorted(of_seed.keys() & found["none"].keys() & found["retrain"].keys())
            if seeds:
                of_method, before, oracle = (
                    [found[key][seed] for seed in seeds] for key in (method, "none", "retrain")
                )
                times = [row["training_seconds"] for row in of_method]
                print(line(compare_method(method, before, of_method, oracle, seconds=times), len(seeds)))
        norms = [row["gradient_norm"] for row in found["none"].values()]
        print(f"\nNorm of the planted images' gradient: {min(norms):.1e} to {max(norms):.1e}.\n")


def line(check: DeletionCheck, n_seeds: int) -> str:
    score = check["score"].difference
    others = ("spurious_accuracy", "clean_accuracy", "disagreement")
    means = " | ".join(f"{check[key].after.mean:.3f}" for key in others)
    verdict = "" if check.method in ("none", "retrain") else check.verdict
    return (
        f"| {check.method} | {n_seeds} | {check['score'].after.mean:.3f} | {score.mean:+.3f} "
        f"[{score.low:+.3f}, {score.high:+.3f}] | {means} | {check['membership'].after.mean:.2f} | "
        f"{check.share_of_training:.0%} | {verdict} |"
    )


if __name__ == "__main__":
    main()
