"""The audit: the questions of a user about her data, answered in order, on one page.

Today it asks two. Would my training pick up a rare cue? Each pattern is planted in growing numbers of images
of one class, a model is trained on each, and every model stands beside its clean twin. And who pays? Models
trained on known halves of the data are attacked for who was among their training images. The result is a
document of JSON values (docs/audit-json.md); the page shows what is in it and nothing else.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import spuriscope
from spuriscope.data.image_set import ImageSet
from spuriscope.environment import environment
from spuriscope.errors import ConfigError, MeasureError, PatternError, PlantingError, TrainingError
from spuriscope.measures import empirical_norm, measure, probabilities, weight_importance
from spuriscope.membership.game import Game, attack_game
from spuriscope.patterns import PATTERN_NAMES, Pattern, pattern
from spuriscope.planting import Plant
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri
from spuriscope.statistics import mean_interval, n50
from spuriscope.training import (
    Cell,
    DataKey,
    FailedCell,
    OnProgress,
    Recipe,
    TrainedModel,
    paper_recipe,
    short_epochs,
    train_many,
)

__all__ = ["Audit", "AuditPlan", "audit", "check_folder", "plan_audit", "write_audit"]

FORMAT = 1
COUNTS = (1, 3, 10, 30, 100)
N_SEEDS = 5
N_EXAMPLES = 4
N_ATTACKED, N_CLEAN = 16, 10
LEAST_OF_CLASS = 16  # for images of the class in both halves, stamped and not

Audit = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What an audit will train.

    Attributes:
        data: the data set.
        model: name of the architecture.
        recipe: how each model is trained.
        target: the class whose images carry the pattern.
        patterns: for each name and seed, the pattern: noise is drawn anew for each seed.
        counts: how many images carry it, rising, without 0.
        seeds: one replication each.
        threshold: least rise of a probability that counts for the spurious score.
    """

    data: ImageSet = field(repr=False)
    model: str
    recipe: Recipe
    target: int
    patterns: dict[str, dict[int, Pattern]] = field(repr=False)
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    threshold: float

    def cell(self, name: str, n_planted: int, seed: int) -> Cell:
        """The cell with `n_planted` images of the target class carrying the pattern; 0: the clean twin."""
        plants = (Plant(self.patterns[name][seed], self.target, n_planted, seed),) if n_planted else ()
        return Cell(
            data=DataKey.of(self.data), plants=plants, model=self.model, recipe=self.recipe, seed=seed
        )

    def cells(self) -> dict[Cell, tuple[str, int, int] | int]:
        """Every training: cell to (pattern name, number planted, seed), or to the seed of a clean twin."""
        twins: dict[Cell, tuple[str, int, int] | int] = {
            self.cell(next(iter(self.patterns)), 0, seed): seed for seed in self.seeds
        }
        return twins | {
            self.cell(name, n_planted, seed): (name, n_planted, seed)
            for name in self.patterns
            for n_planted in self.counts
            for seed in self.seeds
        }


def plan_audit(
    data: ImageSet,
    *,
    model: str = "mlp",
    target: int = 0,
    patterns: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
    n_seeds: int = N_SEEDS,
    epochs: int | None = None,
    threshold: float = 0.1,
) -> AuditPlan:
    """Settle what an audit will train, and refuse what cannot be trained before anything is.

    Args:
        data: any data set.
        model: name of an architecture.
        target: the class whose images will carry the pattern.
        patterns: names or paths of pictures; by default the seven of the paper that fit the images.
        counts: how many images carry it; by default 1, 3, 10, 30, 100, as far as the class goes.
        n_seeds: replications; each has its own initial weights, batch order, planted images and noise.
        epochs: passes over the data; by default 8, or more on small data, for 250 steps.
        threshold: least rise of a probability that counts for the spurious score.

    Raises:
        ConfigError, PatternError, PlantingError: a setting is out of range or does not fit the data.
    """
    if not 0 <= target < data.n_classes:
        raise PlantingError(f"{data.name} has no class {target}; choose 0 to {data.n_classes - 1}")
    if n_seeds < 1:
        raise ConfigError(f"an audit needs at least one seed, got {n_seeds}")
    if not 0 < threshold < 1:
        raise ConfigError(f"threshold is a rise of a probability, between 0 and 1, got {threshold}")
    n_class = int((data.train.labels == target).sum())
    if counts is None:
        counts = [n for n in COUNTS if n <= n_class]
    if not counts or min(counts) < 1 or max(counts) > n_class:
        raise PlantingError(
            f"class {target} of {data.name} has {n_class} training images; choose counts from 1 to "
            f"{n_class}, got {', '.join(map(str, counts)) or 'none'}"
        )
    seeds = tuple(range(n_seeds))
    drawn = {}
    for name in PATTERN_NAMES if patterns is None else patterns:
        try:
            of_seed = {seed: pattern(name, data.shape, seed=seed) for seed in seeds}
        except PatternError:
            if patterns is None:
                continue
            raise
        drawn[of_seed[0].name] = of_seed
    if not drawn:
        raise PatternError("an audit needs at least one pattern; name one with --pattern")
    if epochs is None:
        epochs = short_epochs(len(data.train))
    return AuditPlan(
        data=data,
        model=model,
        recipe=paper_recipe(data.name, model, epochs=epochs),
        target=target,
        patterns=drawn,
        counts=tuple(sorted(set(counts))),
        seeds=seeds,
        threshold=threshold,
    )


def audit(
    plan: AuditPlan,
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
    command: str | None = None,
) -> Audit:
    """Train what the plan says, measure it, and put the answers into one document.

    Args:
        plan: see `plan_audit`.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model.
        command: the command that repeats the audit, for the page.

    Returns:
        The document of docs/audit-json.md, JSON values only.

    Raises:
        TrainingError: a model could not be trained.
    """
    start = time.perf_counter()
    places = plan.cells()
    examples = _example_positions(plan)
    rows: list[dict[str, Any]] = []
    looks: dict[tuple[str, int], dict[str, Any]] = {}
    for model in train_many(places, plan.data, device=device, n_workers=n_workers, on_progress=on_progress):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        place = places[model.cell]
        planted = [(name, 0, place) for name in plan.patterns] if isinstance(place, int) else [place]
        for name, n_planted, seed in planted:
            rows.append(_measure_cell(plan, model, name, n_planted, seed))
            if seed == plan.seeds[0]:
                looks[name, n_planted] = _look(plan, model, plan.patterns[name][seed], examples)
    rows.sort(key=lambda row: (row["n_planted"], row["seed"]))
    doses = [
        _dose_response(plan, name, [row for row in rows if row["pattern"] == name]) for name in plan.patterns
    ]
    headline = _headline(plan, doses)
    membership = _membership(plan, headline, device=device, n_workers=n_workers, on_progress=on_progress)
    return {
        "format": FORMAT,
        "spuriscope": spuriscope.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(device),
        "data": _describe_data(plan.data),
        "settings": {
            "model": plan.model,
            "recipe": plan.recipe.to_json(),
            "target": plan.target,
            "patterns": list(plan.patterns),
            "counts": [0, *plan.counts],
            "seeds": list(plan.seeds),
            "threshold": plan.threshold,
        },
        "headline": headline,
        "examples": _examples(plan, headline, examples, looks),
        "dose_response": doses,
        "weight_importance": _weight_importance(plan, looks),
        "membership": membership,
    }


def check_folder(folder: Path) -> None:
    """Refuse, before anything is trained, a folder that could not be written to.

    Raises:
        ConfigError: it is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write in {folder} ({error.strerror}); choose another folder with --out"
        ) from None


def write_audit(document: Audit, folder: Path) -> Path:
    """Write `audit.json` and `report.html` into `folder`; each replaces its forerunner once complete.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = render(document)
    for name, text in (("audit.json", json.dumps(document, indent=1) + "\n"), ("report.html", page)):
        partial = folder / f".{name}.{os.getpid()}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return folder / "report.html"


def _describe_data(data: ImageSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "shape": list(data.shape),
        "n_train": len(data.train),
        "n_test": len(data.test),
        "class_names": list(data.class_names),
    }


def _measure_cell(
    plan: AuditPlan, model: TrainedModel, name: str, n_planted: int, seed: int
) -> dict[str, Any]:
    picture = plan.patterns[name][seed]
    measures = measure(model.predict, plan.data.test, picture, plan.target, threshold=plan.threshold)
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": seed,
        "cell": model.cell.hash,
        "train_loss": model.losses[-1] if model.losses else None,
        **asdict(measures),
    }


def _dose_response(plan: AuditPlan, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = [0, *plan.counts]
    table = {(row["n_planted"], row["seed"]): row for row in rows}
    scores = np.array([[table[n, seed]["score_non_target"] for n in counts] for seed in plan.seeds])
    first = plan.patterns[name][plan.seeds[0]]
    summary = []
    for n_planted in counts:
        of_count = [table[n_planted, seed] for seed in plan.seeds]
        measures = [
            key for key in of_count[0] if key not in ("pattern", "n_planted", "seed", "cell", "train_loss")
        ]
        summary.append(
            {"n_planted": n_planted}
            | {key: asdict(mean_interval([row[key] for row in of_count])) for key in measures}
        )
    return {
        "pattern": name,
        "picture": data_uri(first.pixels),
        "norm": empirical_norm(plan.data.test.images, first),
        "n50": asdict(n50(counts, scores)),
        "summary": summary,
        "cells": rows,
    }


def _headline(plan: AuditPlan, doses: list[dict[str, Any]]) -> dict[str, Any]:
    """The fewest planted images that make the model call half of all stamped images the target class.

    The clean twin must call less than half as many so: a pattern may look like the class by itself. Among
    equals the pattern with the largest share; where nothing is enough, the largest rise over the twin.
    """
    choices = [
        {
            "pattern": dose["pattern"],
            "n_planted": entry["n_planted"],
            "predicted_share": entry["predicted_share"],
            "twin_predicted_share": dose["summary"][0]["predicted_share"],
        }
        for dose in doses
        for entry in dose["summary"][1:]
    ]
    enough = [
        choice
        for choice in choices
        if choice["predicted_share"]["mean"] >= max(0.5, 2 * choice["twin_predicted_share"]["mean"])
    ]
    if enough:
        fewest = min(choice["n_planted"] for choice in enough)
        choices = [choice for choice in enough if choice["n_planted"] == fewest]
    best = max(
        choices, key=lambda choice: choice["predicted_share"]["mean"] - choice["twin_predicted_share"]["mean"]
    )
    return best | {
        "reached_half": bool(enough),
        "target_name": plan.data.class_names[plan.target],
        "n_target": int((plan.data.train.labels == plan.target).sum()),
        "n_stamped": int((plan.data.test.labels != plan.target).sum()),
    }


def _membership(plan: AuditPlan, headline: dict[str, Any], **how: Any) -> dict[str, Any] | None:
    """Who can be recognised: the headline's plant in models on halves of the data, with as many steps.

    None where the class has too few images for members and outsiders.
    """
    n_class = int((plan.data.train.labels == plan.target).sum())
    if n_class < LEAST_OF_CLASS:
        return None
    game = Game(
        data=plan.data,
        pattern=plan.patterns[headline["pattern"]][plan.seeds[0]],
        target=plan.target,
        n_planted=min(headline["n_planted"], n_class // 4),
        model=plan.model,
        recipe=replace(plan.recipe, epochs=2 * plan.recipe.epochs, milestones=None),
        n_models=N_ATTACKED,
        has_rehearsal=False,
        seed=plan.seeds[0],
    )
    return attack_game(game, n_clean=N_CLEAN, **how)


def _example_positions(plan: AuditPlan) -> list[int]:
    """The first test image of each of the first classes that are not the target: nobody picked them."""
    labels = plan.data.test.labels.tolist()
    others = [label for label in range(plan.data.n_classes) if label != plan.target and label in labels]
    return sorted(labels.index(label) for label in others[:N_EXAMPLES])


def _look(plan: AuditPlan, model: TrainedModel, picture: Pattern, positions: list[int]) -> dict[str, Any]:
    """What a model answers on the example images, and its weight importance if it has one."""
    images = plan.data.test.images[positions]
    try:
        importance = weight_importance(model.module, plan.data.shape).amax(dim=0)
    except MeasureError:
        importance = None
    return {
        "clean": probabilities(model.predict, images),
        "stamped": probabilities(model.predict, picture.apply(images)),
        "importance": importance,
    }


def _examples(
    plan: AuditPlan,
    headline: dict[str, Any],
    positions: list[int],
    looks: dict[tuple[str, int], dict[str, Any]],
) -> dict[str, Any]:
    name, n_planted, seed, target = headline["pattern"], headline["n_planted"], plan.seeds[0], plan.target
    picture = plan.patterns[name][seed]
    planted, twin = looks[name, n_planted], looks[name, 0]
    images = plan.data.test.images[positions]
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": seed,
        "images": [
            {
                "position": position,
                "label": int(plan.data.test.labels[position]),
                "picture": data_uri(images[k]),
                "stamped_picture": data_uri(picture.apply(images[k : k + 1])[0]),
                "probability": float(planted["clean"][k, target]),
                "stamped_probability": float(planted["stamped"][k, target]),
                "prediction": int(planted["clean"][k].argmax()),
                "stamped_prediction": int(planted["stamped"][k].argmax()),
                "twin_stamped_probability": float(twin["stamped"][k, target]),
            }
            for k, position in enumerate(positions)
        ],
    }


def _weight_importance(
    plan: AuditPlan, looks: dict[tuple[str, int], dict[str, Any]]
) -> dict[str, Any] | None:
    """Maps with and without planting, for s3 (as in the paper) or the first pattern, at the largest count."""
    name = "s3" if "s3" in plan.patterns else next(iter(plan.patterns))
    planted, twin = looks[name, plan.counts[-1]]["importance"], looks[name, 0]["importance"]
    if planted is None or twin is None:
        return None
    return {
        "pattern": name,
        "n_planted": plan.counts[-1],
        "seed": plan.seeds[0],
        "planted": [[round(x, 4) for x in row] for row in planted.tolist()],
        "twin": [[round(x, 4) for x in row] for row in twin.tolist()],
    }
