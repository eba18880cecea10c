"""Is a cue found without being told? Makes the tables of docs/results/discovery.md.

    python benchmarks/discovery.py trace  --root DATA --out rows.jsonl      planted cells, searched
    python benchmarks/discovery.py photographs --root DATA --out rows.jsonl cues that cover, shade, add
    python benchmarks/discovery.py relabelled --root DATA --out rows.jsonl  corner pixels on relabelled digits
    python benchmarks/discovery.py clean  --root DATA --out rows.jsonl      models with nothing to find
    python benchmarks/discovery.py unseen --root DATA --out rows.jsonl      marks that a clean model never saw
    python benchmarks/discovery.py marks  --root DATA --out rows.jsonl      what stands out, without any model
    python benchmarks/discovery.py peers  --root DATA --out rows.jsonl      other methods on the planted cells
    python benchmarks/discovery.py early  --root DATA --out rows.jsonl      losses of early epochs
    python benchmarks/discovery.py probe  --root DATA --out rows.jsonl      the interim report's own test
    python benchmarks/discovery.py show   --out rows.jsonl                  the tables

A row is appended for each cell as it is done, and never made twice, so a stopped run continues; all of seed 0
comes before seed 1. Trained models are kept in `--models`. `--quick` runs a few small cells, as a trial.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from discovery_tables import show
from peers import (
    activation_clustering,
    activations,
    infected,
    mask_sizes,
    outliers,
    scan,
    spectral_signatures,
)
from probing import CASES, N_UNRELATED, eight_bits, make_trial, search_trial
from spuriscope.data import ImageSet, Split, load
from spuriscope.data.image_set import unit_float
from spuriscope.discovery import discover
from spuriscope.discovery.marks import Pool
from spuriscope.discovery.suspects import suspected_marks
from spuriscope.environment import environment
from spuriscope.measures import spurious_score
from spuriscope.patterns import Cover, Kind, pattern
from spuriscope.planting import Plant, labels_as_trained
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, load_model, paper_recipe, train_cell

Row = dict[str, Any]

DATA = ("mnist", "fashion-mnist")
N_TRAIN = 10_000  # drawn anew for each seed; using all images is the same search, but takes longer
PATTERNS = ("r3", "s3", "r2", "s2", "r1", "inv", "s1")
COUNTS = (3, 10, 1, 100)
N_SCORED = 2000
EPOCHS = 8
EARLY = (1, 2)
CUES = (
    "square", "black-square", "disc", "letters", "watermark", "frame", "r3", "r1", "tint", "contrast",
    "disc anywhere", "letters anywhere",
)  # fmt: skip
CUE_COUNTS = (30, 10, 100, 3)
PEERS_COUNTS = (30, 10)
PHOTOGRAPHS = {  # where they are, their side if not their own, and how models are trained on them
    "xray-mixed": (
        "photographs/xray-mixed.tar",
        64,
        "resnet10",
        Recipe(epochs=15, batch_size=32, learning_rate=0.003),
    ),
    "clothing": (
        "photographs/clothing.tar",
        64,
        "resnet10",
        Recipe(epochs=8, batch_size=32, learning_rate=0.002),
    ),
    "pacs": ("pacs", None, "resnet10", Recipe(epochs=8, batch_size=32, learning_rate=0.002)),
    "cifar10": ("cifar10", None, "resnet20", Recipe(epochs=12, batch_size=64, learning_rate=0.002)),
}
N_IN_MARKS = 30
RELABELLED = (200, 20, 900)  # any part of 10,000 images has at least 931 eights
EIGHT, ONE = 8, 1
UNSEEN, N_UNSEEN = ("r3", "s3", "r1", "s2"), 30  # one pattern per model in turn, and images that carry it


class Bench:
    """Data, trained models, and the file of rows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.data = cache(self._data)
        options.models.mkdir(parents=True, exist_ok=True)

    @property
    def n_train(self) -> int:
        """Number of training images used."""
        return 3000 if self.options.quick else self.options.images

    def _data(self, name: str, seed: int) -> ImageSet:
        """The data set with a part of its training images, drawn anew for each seed."""
        if name in PHOTOGRAPHS and (side := PHOTOGRAPHS[name][1]):
            return load(self.options.root / PHOTOGRAPHS[name][0], image_size=side)
        data = load(name, root=self.options.root)
        if len(data.train) <= self.n_train:
            return data
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
        rows = order[: self.n_train].sort().values
        return ImageSet(
            data.name, Split(data.train.images[rows], data.train.labels[rows]), data.test, data.class_names
        )

    def model(self, data: ImageSet, plants: Sequence[Plant], seed: int, epochs: int) -> TrainedModel:
        """A trained model, from the folder if it was trained before: an MLP, or what photographs need."""
        model, recipe = "mlp", paper_recipe("mnist", "mlp", epochs=epochs)
        for place, _, of_photographs, how in PHOTOGRAPHS.values():
            if Path(place).stem == data.name:
                model, recipe = of_photographs, how
        cell = Cell(data=DataKey.of(data), plants=tuple(plants), model=model, recipe=recipe, seed=seed)
        path = self.options.models / f"{cell.hash}.safetensors"
        if not path.is_file():
            train_cell(cell, data).save(path)
        return load_model(path)


# ---- keys of the rows to make; a row repeats the values of its key


def planted_keys(bench: Bench) -> Iterator[Row]:
    """Planted cells, all of a seed before the next."""
    for seed in seeds(bench):
        for n_planted in COUNTS:
            for name in bench.options.data:
                for pattern_name in PATTERNS:
                    yield {
                        "data": name,
                        "pattern": pattern_name,
                        "n_planted": n_planted,
                        "seed": seed,
                        "n_train": bench.n_train,
                    }


def photographs_keys(bench: Bench) -> Iterator[Row]:
    """Cues in photographs, one number planted after the other."""
    for seed in seeds(bench):
        for n_planted in CUE_COUNTS:
            for name in bench.options.data:
                for cue in CUES:
                    yield {"data": name, "pattern": cue, "n_planted": n_planted, "seed": seed}


def peers_keys(bench: Bench) -> Iterator[Row]:
    """The planted cells, and of photographs those with cues in 10 and 30 images."""
    of_photographs = [name for name in bench.options.data if name in PHOTOGRAPHS]
    yield from (key for key in planted_keys(bench) if key["data"] not in of_photographs)
    for key in photographs_keys(bench):
        if key["data"] in of_photographs and key["n_planted"] in PEERS_COUNTS:
            yield key | {"n_train": bench.n_train}


def relabelled_keys(bench: Bench) -> Iterator[Row]:
    """Four white pixels in a corner of eights that are called ones."""
    for seed in seeds(bench):
        for n_planted in RELABELLED:
            yield {"data": "mnist", "pattern": "corner", "n_planted": n_planted, "seed": seed}


def clean_keys(bench: Bench) -> Iterator[Row]:
    """Models with nothing planted."""
    for seed in seeds(bench):
        for name in bench.options.data:
            yield {"data": name, "seed": seed, "n_train": bench.n_train}


def unseen_keys(bench: Bench) -> Iterator[Row]:
    """Clean models, each with one pattern that its training images did not carry."""
    for key in clean_keys(bench):
        yield key | {"pattern": UNSEEN[key["seed"] % len(UNSEEN)], "n_planted": N_UNSEEN}


def marks_keys(bench: Bench) -> Iterator[Row]:
    """Classes as they are, and each with every cue in as many images as a small group has."""
    for name in bench.options.data:
        for cue in ("nothing", *(cue for cue in CUES if name in PHOTOGRAPHS or cue in PATTERNS)):
            for target in range(len(bench.data(name, 0).class_names)):
                yield {"data": name, "pattern": cue, "n_planted": N_IN_MARKS, "seed": target}


def probe_keys(bench: Bench) -> Iterator[Row]:
    """Cases of the interim report's test."""
    n_unrelated = 2000 if bench.options.quick else N_UNRELATED
    for seed in seeds(bench):
        for case in bench.options.cases:
            for kind in bench.options.embeddings:
                yield {"case": case, "seed": seed, "embedding": kind, "n_unrelated": n_unrelated}


def seeds(bench: Bench) -> range:
    """The requested seeds."""
    return range(bench.options.first_seed, bench.options.first_seed + bench.options.seeds)


# ---- what is in a row


@dataclass(frozen=True)
class PlantedCell:
    """A model that was trained on stamped images, and the data that a user would have."""

    plant: Plant
    model: TrainedModel
    train: Split  # stamped, 8 bits a value, as in a user's file
    planted: NDArray[np.int64]
    learnt: Row  # spurious scores of the model and of its clean twin


def planted_cell(bench: Bench, key: Row) -> PlantedCell:
    """Train it, or find it trained; scores are over the first test images that are not of the class."""
    seed = key["seed"]
    data = bench.data(key["data"], seed)
    plant = plant_of(data, key)
    model, twin = (bench.model(data, plants, seed, EPOCHS) for plants in ([plant], []))
    others = data.test.images[data.test.labels != plant.target][:N_SCORED]
    images, planted = data.train.images.clone(), plant.planted_indices(data.train.labels)
    images[planted] = eight_bits(plant.apply(images[planted], planted))
    labels = labels_as_trained([plant], data.train.labels)
    learnt = {
        name: spurious_score(of.predict, others, plant.placed, plant.target)
        for name, of in (("score", model), ("twin_score", twin))
    }
    return PlantedCell(plant, model, Split(images, labels), planted.numpy(), learnt)


def plant_of(data: ImageSet, key: Row) -> Plant:
    """The plant of a row. In photographs the class is the largest, or the one after it, by the seed."""
    seed, n_planted = key["seed"], key["n_planted"]
    if key["pattern"] == "corner":
        return Plant(corner(data.shape), ONE, n_planted, seed, relabel=EIGHT)
    if key["data"] not in PHOTOGRAPHS:
        return Plant(pattern(key["pattern"], data.shape, seed=seed), seed % 2, n_planted, seed)
    target = int(data.train.labels.bincount().argsort(descending=True, stable=True)[seed % 2])
    name, _, placement = key["pattern"].partition(" ")
    picture = pattern(name, data.shape, seed=seed)
    return Plant(picture, target, n_planted, seed, placement="anywhere" if placement else "fixed")


def corner(shape: tuple[int, int, int]) -> Kind:
    """Four white pixels in the lower right corner."""
    alpha = torch.zeros(shape[1:])
    alpha[-3:-1, -3:-1] = 1
    return Cover("corner", torch.ones(shape), alpha)


def trace_row(bench: Bench, key: Row) -> Row:
    """The search of a planted cell. Precision is over the suspected images of all findings."""
    cell = planted_cell(bench, key)
    start = time.perf_counter()
    findings = discover(
        cell.model.predict, train=cell.train, holdout=bench.data(key["data"], key["seed"]).test
    )
    seconds = time.perf_counter() - start
    examples = [np.asarray(finding.examples) for finding in findings]
    suspected = np.unique(np.concatenate(examples)) if examples else np.array([], dtype=int)
    n_hits = len(np.intersect1d(suspected, cell.planted))
    cosines = [
        cosine(finding.pattern.picture, cell.plant.pattern.picture)
        for finding, of in zip(findings, examples, strict=True)
        if finding.target == cell.plant.target and np.isin(cell.planted, of).any()
    ]
    return cell.learnt | {
        "seconds": seconds,
        "n_findings": len(findings),
        "n_suspected": len(suspected),
        "precision": n_hits / len(suspected) if len(suspected) else None,
        "recall": n_hits / len(cell.planted),
        "cosine": max(cosines, default=None),
        "p_values": [finding.p_value for finding in findings],
        "sources": [f"{finding.source}, {finding.pattern.kind}" for finding in findings],
    }


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of two pictures."""
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def clean_row(bench: Bench, key: Row) -> Row:
    """The search of a model with nothing to find."""
    data = bench.data(key["data"], key["seed"])
    model = bench.model(data, [], key["seed"], EPOCHS)
    start = time.perf_counter()
    findings = discover(model.predict, train=data.train, holdout=data.test)
    return {
        "seconds": time.perf_counter() - start,
        "n_findings": len(findings),
        "p_values": [finding.p_value for finding in findings],
    }


def unseen_row(bench: Bench, key: Row) -> Row:
    """The search of images that were stamped after the training, so that nothing of them was learnt."""
    seed = key["seed"]
    data = bench.data(key["data"], seed)
    model = bench.model(data, [], seed, EPOCHS)
    plant = Plant(pattern(key["pattern"], data.shape, seed=seed), seed % 10, key["n_planted"], seed)
    images, planted = data.train.images.clone(), plant.planted_indices(data.train.labels)
    images[planted] = eight_bits(plant.pattern.apply(images[planted]))
    others = data.test.images[data.test.labels != plant.target][:N_SCORED]
    start = time.perf_counter()
    findings = discover(model.predict, train=Split(images, data.train.labels), holdout=data.test)
    return {
        "seconds": time.perf_counter() - start,
        "score": spurious_score(model.predict, others, plant.pattern, plant.target),
        "n_findings": len(findings),
        "n_of_mark": sum(bool(np.isin(finding.examples, planted).any()) for finding in findings),
        "p_values": [finding.p_value for finding in findings],
    }


def marks_row(bench: Bench, key: Row) -> Row:
    """Marks that stand out of one class, whose number is the seed, with or without a planted cue.

    For each look the p-values of its suspects, their numbers of images, and of planted ones among these.
    """
    target = key["seed"]
    data = bench.data(key["data"], 0)
    images, planted = data.train.images.clone(), np.array([], dtype=np.int64)
    if key["pattern"] != "nothing":
        name, _, placement = key["pattern"].partition(" ")
        plant = Plant(
            pattern(name, data.shape, seed=target),
            target,
            key["n_planted"],
            target,
            placement="anywhere" if placement else "fixed",
        )
        rows = plant.planted_indices(data.train.labels)
        images[rows] = eight_bits(plant.apply(images[rows], rows))
        planted = rows.numpy()
    start = time.perf_counter()
    suspects = suspected_marks(Pool.of(Split(images, data.train.labels), data.test, target))
    seconds = time.perf_counter() - start
    of_look: dict[str, list[Row]] = {}
    for suspect in suspects:
        group = suspect.group
        n_hits = len(np.intersect1d(group.positions, planted))
        of_look.setdefault(group.look, []).append(
            {"p": suspect.p_group, "n": len(group), "n_planted": n_hits}
        )
    return {"seconds": seconds, "looks": of_look}


def peers_row(bench: Bench, key: Row) -> Row:
    """Other methods on a planted cell, given its class, and for rankings the number of planted images.

    Precision and recall of the smaller of two groups (activation clustering, SCAn); share of planted images
    among the first n of each ranking, which is both precision and recall; and, in photographs, whether Neural
    Cleanse calls the class infected, and how many others.
    """
    cell, test = planted_cell(bench, key), bench.data(key["data"], key["seed"]).test
    of_class = (cell.train.labels == cell.plant.target).nonzero().flatten()
    images, is_planted = cell.train.images[of_class], np.isin(of_class.numpy(), cell.planted)
    inside = activations(cell.model, images)
    clean = activations(cell.model, test.images)
    groups = {
        "clustering": activation_clustering(inside, seed=cell.plant.seed),
        "scan": scan(clean, test.labels.numpy(), inside),
    }
    rankings = {
        "spectral": spectral_signatures(inside),
        "outliers": outliers(test.images, images),
    }
    firsts = {name: np.argsort(-scores)[: is_planted.sum()] for name, scores in rankings.items()}
    row = cell.learnt | {name: float(is_planted[first].mean()) for name, first in firsts.items()}
    for name, is_suspected in groups.items():
        n_hits = int((is_suspected & is_planted).sum())
        row[f"{name}_precision"] = n_hits / max(1, int(is_suspected.sum()))
        row[f"{name}_recall"] = n_hits / len(cell.planted)
    if key["data"] in PHOTOGRAPHS:
        is_infected = infected(mask_sizes(cell.model, test.images, test.labels))
        row["cleanse"] = bool(is_infected[cell.plant.target])
        row["cleanse_others"] = int(is_infected.sum()) - row["cleanse"]
    return row


def early_row(bench: Bench, key: Row) -> Row:
    """AUC of a high loss of planted images in their class, after each of the first epochs."""
    cell = planted_cell(bench, key)
    data = bench.data(key["data"], key["seed"])
    of_class = (cell.train.labels == cell.plant.target).nonzero().flatten()
    is_planted = np.isin(of_class.numpy(), cell.planted)
    areas = []
    for epochs in EARLY:
        recipe = replace(cell.model.cell.recipe, epochs=epochs)
        model = train_cell(replace(cell.model.cell, recipe=recipe), data)
        of_target = model.predict(unit_float(cell.train.images[of_class]))[:, cell.plant.target]
        areas.append(float(roc_auc_score(is_planted, -of_target.clamp(min=1e-12).log().numpy())))
    return cell.learnt | {"early": areas}


def probe_row(bench: Bench, key: Row) -> Row:
    """The interim report's test, on all of MNIST."""
    data = load("mnist", root=bench.options.root)
    trial = make_trial(data, bench.model, key["case"], key["seed"], n_unrelated=key["n_unrelated"])
    return search_trial(trial, key["embedding"], key["seed"])


PARTS: Mapping[str, tuple[Callable[[Bench], Iterator[Row]], Callable[[Bench, Row], Row]]] = {
    "trace": (planted_keys, trace_row),
    "photographs": (photographs_keys, trace_row),
    "relabelled": (relabelled_keys, trace_row),
    "clean": (clean_keys, clean_row),
    "unseen": (unseen_keys, unseen_row),
    "marks": (marks_keys, marks_row),
    "peers": (peers_keys, peers_row),
    "early": (planted_keys, early_row),
    "probe": (probe_keys, probe_row),
}


def work(bench: Bench, part: str) -> None:
    """Make the missing rows, until time is up."""
    keys, row_of = PARTS[part]
    todo = [{"part": part} | key for key in keys(bench)][: 3 if bench.options.quick else None]
    made = read_rows(bench.options.out)
    start = time.perf_counter()
    for key in todo:
        if any(key.items() <= row.items() for row in made):
            continue
        if time.perf_counter() - start > 60 * bench.options.minutes:
            return
        row = key | row_of(bench, key) | {"environment": asdict(environment())}
        with bench.options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{time.perf_counter() - start:6.0f} s", *key.values(), flush=True)


def read_rows(path: Path) -> list[Row]:
    """What is in the file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    )


def main() -> None:
    """Parse, work, or show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=(*PARTS, "show"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("discovery.jsonl"))
    parser.add_argument("--models", type=Path, default=Path("discovery-models"))
    parser.add_argument(
        "--data", nargs="+", default=["mnist", "fashion-mnist"], choices=[*DATA, *PHOTOGRAPHS]
    )
    parser.add_argument("--embeddings", nargs="+", default=["pca", "vae"], choices=["pca", "vae"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--images", type=int, default=N_TRAIN, help="training images, drawn for each seed")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=600, help="start no new cell after this time")
    parser.add_argument("--quick", action="store_true", help="three cells of 3,000 images")
    options = parser.parse_args()
    if options.part == "show":
        show(read_rows(options.out))
    else:
        work(Bench(options), options.part)


if __name__ == "__main__":
    main()
