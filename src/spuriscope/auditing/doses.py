"""Would my training pick up a rare cue? Planted models beside their clean twins, and what is seen in them.

Each pattern is planted in growing numbers of images of one class, and a model is trained on each.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from spuriscope.adequacy import sample_of
from spuriscope.auditing.plan import AuditPlan
from spuriscope.auditing.trained import Asked, asked_models
from spuriscope.errors import MeasureError
from spuriscope.measures import accuracy, empirical_norm, measure, probabilities, weight_importance
from spuriscope.patterns import AnyPattern, put_on
from spuriscope.report.pictures import data_uri
from spuriscope.statistics import mean_interval, n50
from spuriscope.training import OnProgress

__all__ = ["Doses", "train_doses"]

N_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Doses:
    """What came of the plan's trainings; JSON values, see docs/audit-json.md.

    Attributes:
        headline: the fewest planted images that make the model call half of all stamped images the target.
        examples: a few test images before and after stamping, asked of the headline's model.
        dose_response: for each pattern, every model's measures, and their means over seeds.
        weight_importance: maps with and without planting, None where the model has none.
    """

    headline: dict[str, Any]
    examples: dict[str, Any]
    dose_response: list[dict[str, Any]]
    weight_importance: dict[str, Any] | None


def train_doses(
    plan: AuditPlan,
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Doses:
    """Train every model of the plan and measure it.

    Raises:
        TrainingError: a model could not be trained.
        ConfigError, MeasureError: the user's function did not return one that gives probabilities.
    """
    examples = _example_positions(plan)
    rows: list[dict[str, Any]] = []
    looks: dict[tuple[str, int], dict[str, Any]] = {}
    known = sample_of(plan.data.train)
    for model in asked_models(plan, device=device, n_workers=n_workers, on_progress=on_progress):
        right = accuracy(model.predict, known.images, known.labels)
        for name, n_planted, seed in model.places:
            rows.append(_measure_model(plan, model, name, n_planted, seed) | {"train_accuracy": right})
            if seed == plan.seeds[0]:
                looks[name, n_planted] = _look(plan, model, plan.placed(name, seed), examples)
    rows.sort(key=lambda row: (row["n_planted"], row["seed"]))
    doses = [
        _dose_response(plan, name, [row for row in rows if row["pattern"] == name]) for name in plan.patterns
    ]
    headline = _headline(plan, doses)
    return Doses(
        headline=headline,
        examples=_examples(plan, headline, examples, looks),
        dose_response=doses,
        weight_importance=_weight_importance(plan, looks),
    )


def _measure_model(plan: AuditPlan, model: Asked, name: str, n_planted: int, seed: int) -> dict[str, Any]:
    picture = plan.placed(name, seed)
    measures = measure(model.predict, plan.data.test, picture, plan.target, threshold=plan.threshold)
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": seed,
        "cell": model.cell,
        "train_loss": model.train_loss,
        **asdict(measures),
    }


def _dose_response(plan: AuditPlan, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = [0, *plan.counts]
    table = {(row["n_planted"], row["seed"]): row for row in rows}
    scores = np.array([[table[n, seed]["score_non_target"] for n in counts] for seed in plan.seeds])
    first = plan.placed(name, plan.seeds[0])
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
        "kind": first.kind,
        "picture": data_uri(first.picture),
        "n_touched": int(first.touched.sum()),
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
        "n_candidates": plan.n_candidates,
        "n_stamped": int((plan.data.test.labels != plan.target).sum()),
    }


def _example_positions(plan: AuditPlan) -> list[int]:
    """The first test image of each of the first classes that are not the target: nobody picked them."""
    labels = plan.data.test.labels.tolist()
    others = [label for label in range(plan.data.n_classes) if label != plan.target and label in labels]
    return sorted(labels.index(label) for label in others[:N_EXAMPLES])


def _look(plan: AuditPlan, model: Asked, picture: AnyPattern, positions: list[int]) -> dict[str, Any]:
    """What a model answers on the example images, and its weight importance if it has one."""
    images = plan.data.test.images[positions]
    importance = None
    if model.module is not None:
        with suppress(MeasureError):
            importance = weight_importance(model.module, plan.data.shape).amax(dim=0)
    return {
        "clean": probabilities(model.predict, images),
        "stamped": probabilities(model.predict, put_on(picture, images, torch.tensor(positions))),
        "importance": importance,
    }


def _examples(
    plan: AuditPlan,
    headline: dict[str, Any],
    positions: list[int],
    looks: dict[tuple[str, int], dict[str, Any]],
) -> dict[str, Any]:
    name, n_planted, seed, target = headline["pattern"], headline["n_planted"], plan.seeds[0], plan.target
    picture = plan.placed(name, seed)
    planted, twin = looks[name, n_planted], looks[name, 0]
    images = plan.data.test.images[positions]
    stamped = put_on(picture, images, torch.tensor(positions))
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": seed,
        "images": [
            {
                "position": position,
                "name": plan.data.test.called(position),
                "label": int(plan.data.test.labels[position]),
                "picture": data_uri(images[k]),
                "stamped_picture": data_uri(stamped[k]),
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
