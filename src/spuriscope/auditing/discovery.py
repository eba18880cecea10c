"""Found again: what an audit plants it hides, and the search has to find it without being told."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from spuriscope.auditing.plan import AuditPlan
from spuriscope.discovery import Finding
from spuriscope.discovery.trace import LEAST_OF_CLASS
from spuriscope.errors import TrainingError
from spuriscope.planting import draw_planted
from spuriscope.report.pictures import data_uri
from spuriscope.searching import images_seen, search_model
from spuriscope.training import Cell, FailedCell, TrainedModel, train_many

__all__ = ["discovery"]

N_SEEDS = 3
LEAST_PLANTED = 3  # images that share something: one alone has nothing to agree with
N_FRESH, N_CONTROLS = 200, 199
LEVEL = 0.01  # false discovery rate
N_SHOWN = 6


def discovery(plan: AuditPlan, headline: dict[str, Any], **how: Any) -> dict[str, Any] | None:
    """The headline's pattern in some models, and their clean twins, all searched in the same way.

    None where the class is too small to be searched.
    """
    n_class = int((plan.data.train.labels == plan.target).sum())
    if n_class < LEAST_OF_CLASS or int((plan.data.test.labels != plan.target).sum()) == 0:
        return None
    n_planted = max(LEAST_PLANTED, min(headline["n_planted"], n_class // 4))
    seeds = plan.seeds[:N_SEEDS]
    planted = {plan.cell(headline["pattern"], n_planted, seed): seed for seed in seeds}
    cells: dict[Cell, int] = planted | {cell.clean_twin: seed for cell, seed in planted.items()}
    searches = []
    for model in train_many(cells, plan.data, **how):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        searches.append({"seed": cells[model.cell], **_search(plan, model)})
    searches.sort(key=lambda search: (not search["is_planted"], search["seed"]))
    return {
        "pattern": headline["pattern"],
        "target": plan.target,
        "n_planted": n_planted,
        "n_train": len(plan.data.train),
        "n_fresh": min(N_FRESH, len(plan.data.test)),
        "n_controls": N_CONTROLS,
        "level": LEVEL,
        "searches": searches,
    }


def _search(plan: AuditPlan, model: TrainedModel) -> dict[str, Any]:
    """What the search says of one model, and then, to judge it, what was planted."""
    findings = search_model(
        model, plan.data, threshold=plan.threshold, level=LEVEL, n_fresh=N_FRESH, n_controls=N_CONTROLS
    )
    drawn = draw_planted(model.cell.plants, plan.data.train.labels)
    planted = drawn[0].sort().values.numpy() if drawn else np.empty(0, dtype=np.int64)
    suspected = np.unique(np.concatenate([finding.examples for finding in findings] or [planted[:0]]))
    seen = images_seen(replace(model.cell, part=None), plan.data).images
    return {
        "is_planted": bool(model.cell.plants),
        "planted": planted.tolist(),
        "n_found": len(np.intersect1d(planted, suspected)),
        "n_wrong": len(np.setdiff1d(suspected, planted)),
        "findings": [_finding(finding, seen) for finding in findings],
    }


def _finding(finding: Finding, seen: torch.Tensor) -> dict[str, Any]:
    return finding.to_json() | {
        "picture": data_uri(finding.pattern.pixels),
        "null": [round(score, 4) for score in finding.null],
        "images": [
            {"position": int(position), "picture": data_uri(seen[int(position)])}
            for position in finding.examples[:N_SHOWN]
        ],
    }
