"""Found again: what an audit plants it hides, and the search has to find it without being told."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from spuriscope.auditing.explained import Explainer, explain
from spuriscope.auditing.plan import N_SEARCHED, AuditPlan
from spuriscope.discovery import Finding
from spuriscope.discovery.trace import LEAST_OF_CLASS
from spuriscope.errors import TrainingError
from spuriscope.planting import draw_planted
from spuriscope.report.pictures import data_uri
from spuriscope.searching import images_seen, search_model
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, train_many

__all__ = ["discovery"]

LEAST_PLANTED = 3  # images that share something are surer evidence than one
N_FRESH, N_CONTROLS = 200, 200
LEVEL = 0.05  # false discovery rate
N_SHOWN = 6


def discovery(plan: AuditPlan, headline: dict[str, Any], **how: Any) -> dict[str, Any] | None:
    """The headline's pattern in some models, and their clean twins, all searched in the same way.

    None where the class is too small to be searched.
    """
    n_class = int((plan.data.train.labels == plan.target).sum())
    if n_class < LEAST_OF_CLASS or int((plan.data.test.labels != plan.target).sum()) == 0:
        return None
    n_planted = max(LEAST_PLANTED, min(headline["n_planted"], plan.n_candidates // 4))
    seeds = plan.seeds[:N_SEARCHED]
    planted = {plan.cell(headline["pattern"], n_planted, seed): seed for seed in seeds}
    cells: dict[Cell, int] = planted | {cell.clean_twin: seed for cell, seed in planted.items()}
    searches: list[dict[str, Any]] = []
    for model in train_many(cells, plan.data, **how):
        if isinstance(model, FailedCell):
            raise TrainingError(f"seed {model.cell.seed}: {model.reason}")
        searches.append({"seed": cells[model.cell], **_search(plan, model)})
    searches.sort(key=lambda search: (not search["is_planted"], search["seed"]))
    suspects = [suspect for search in searches for suspect in search["findings"]]
    explainer = _explainer(plan, suspects, on_progress=how.get("on_progress"))
    return {
        "pattern": headline["pattern"],
        "target": plan.target,
        "n_planted": n_planted,
        "n_train": len(plan.data.train),
        "n_fresh": min(N_FRESH, len(plan.data.test)),
        "n_controls": N_CONTROLS,
        "level": LEVEL,
        "embedding": explainer.to_json() if explainer is not None else None,
        "searches": [
            search | {"findings": [suspect.to_json(explainer) for suspect in search["findings"]]}
            for search in searches
        ],
    }


@dataclass(frozen=True, eq=False)
class _Suspect:
    """A finding, and its first images (n, channels, height, width) as the model saw them."""

    finding: Finding
    images: torch.Tensor

    def to_json(self, explainer: Explainer | None) -> dict[str, Any]:
        """JSON values; where there is an explainer, with what it explains of the images and what is left."""
        more = [{}] * len(self.images) if explainer is None else explainer.pictures(self.images)
        return self.finding.to_json() | {
            "picture": data_uri(self.finding.pattern.picture),
            "null": [round(score, 4) for score in self.finding.null],
            "images": [
                {"position": int(position), "name": name, "picture": data_uri(image), **explained}
                for position, name, image, explained in zip(
                    self.finding.examples[:N_SHOWN],
                    self.finding.shown[:N_SHOWN],
                    self.images,
                    more,
                    strict=True,
                )
            ],
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
        "findings": [_Suspect(finding, seen[finding.examples[:N_SHOWN]]) for finding in findings],
    }


def _explainer(
    plan: AuditPlan, suspects: list[_Suspect], *, on_progress: OnProgress | None
) -> Explainer | None:
    """One for all models; compares with the first finding's class. None where nothing was found."""
    if not suspects:
        return None
    shown = torch.cat([suspect.images for suspect in suspects])
    return explain(plan.data.test, shown, suspects[0].finding.target, on_progress=on_progress)
