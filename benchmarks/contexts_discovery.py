"""Does discovery name the images of a rare context? The pairs of benchmarks/contexts.py, 10 and 30 images.

For each pair one model is trained (seed 0) and searched. The training images of the class are ranked by the
strength of their group in the trace, from pixels and from the model's own features, and by the distance of
their features from the class's mean. `discover` reports what it finds, and the probe looks at all test
images. The result is the area under the curve of context against other images. Rows are written as they come;
a stopped run continues where it was.

    python benchmarks/contexts_discovery.py --out contexts-discovery.csv
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from contexts import MODEL, RECIPE, read
from spuriscope.contexts import RareContext, measure_context
from spuriscope.data import ImageSet, Split, load
from spuriscope.data.image_set import unit_float
from spuriscope.discovery import discover
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.embed import PCAEmbedding
from spuriscope.discovery.probe import probe
from spuriscope.discovery.trace import Trace
from spuriscope.models.photographs import PhotoResNet
from spuriscope.training import TrainedModel, train_cell

COUNTS = (10, 30)
FIELDS = (
    "context", "target", "n_planted", "predicted_share", "of_class",
    "trace_pixels", "group_pixels", "trace_features", "group_features", "distance_features",
    "findings", "findings_of_class", "named", "named_right", "probe",
)  # fmt: skip


class Features(Deviation):
    """Deviations of a model's own features, in standard deviations of each over fresh images."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.model = model

    def fit(self, images: Tensor) -> "Features":
        found = features(self.model, images)
        self.mean_, self.spread_ = found.mean(axis=0), found.std(axis=0) + 1e-6
        return self

    def transform(self, images: Tensor) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (features(self.model, images) - self.mean_) / self.spread_
        return scaled


@torch.inference_mode()
def features(model: TrainedModel, images: Tensor) -> NDArray[np.float32]:
    """Input of the model's head (n, 128)."""
    module = model.module
    assert isinstance(module, PhotoResNet)
    found: NDArray[np.float32] = torch.cat(
        [module.features(unit_float(part)) for part in images.split(500)]
    ).numpy()
    return found


def ranked(trace: Trace, split: Split, target: int, planted: set[int]) -> tuple[float, str]:
    """AUC of the images of the class by the strength of their group, and the strongest group in words."""
    of_class = (split.labels == target).nonzero().flatten().tolist()
    strength = dict.fromkeys(of_class, 0.0)
    groups = trace.of_class(split, target).groups()
    for group in groups:
        for position in group.positions.tolist():
            strength[position] = max(strength[position], group.strength)
    is_planted = [position in planted for position in of_class]
    best = max((group for group in groups if group.look == "whole"), key=lambda group: group.strength)
    right = len(planted & set(best.positions.tolist()))
    return float(roc_auc_score(is_planted, list(strength.values()))), f"{right} of {len(best.positions)}"


def searched(data: ImageSet, context: str, name: str, n_planted: int) -> dict[str, object]:
    """One row."""
    assert data.contexts is not None
    target, code = data.class_names.index(name), data.contexts.names.index(context)
    rare = RareContext(context, target, n_planted, 0)
    cell = rare.cell(data, model=MODEL, recipe=RECIPE, seed=0)
    model = train_cell(cell, data, device="cpu")
    seen = rare.part(data).positions
    train = Split(data.train.images[seen], data.train.labels[seen])
    planted = set(torch.isin(seen, rare.planted_indices(data)).nonzero().flatten().tolist())
    is_usual = data.contexts.test != code
    fresh = Split(data.test.images[is_usual], data.test.labels[is_usual])
    pixels, inside = (
        ranked(Trace(deviation=deviation).fit(fresh), train, target, planted)
        for deviation in (Deviation(), Features(model))
    )
    of_class = (train.labels == target).nonzero().flatten()
    found = features(model, train.images[of_class])
    distances = np.linalg.norm((found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6), axis=1)
    is_planted = [position in planted for position in of_class.tolist()]
    findings = discover(model.predict, train=train, holdout=fresh)
    named = {position for f in findings if f.target == target for position in f.examples.tolist()}
    others = data.test.labels != target
    probed = probe(model.predict, data.test.images, PCAEmbedding(32).fit(train.images), least=15)
    shares = probed.shares[probed.regions, target][others.numpy()]
    return {
        "context": context, "target": name, "n_planted": n_planted,
        "predicted_share": f"{measure_context(model.predict, data, context, target).predicted_share:.4f}",
        "of_class": len(of_class),
        "trace_pixels": f"{pixels[0]:.3f}", "group_pixels": pixels[1],
        "trace_features": f"{inside[0]:.3f}", "group_features": inside[1],
        "distance_features": f"{roc_auc_score(is_planted, distances):.3f}",
        "findings": len(findings), "findings_of_class": sum(f.target == target for f in findings),
        "named": len(named), "named_right": len(named & planted),
        "probe": f"{roc_auc_score((~is_usual)[others].numpy(), shares):.3f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = load("pacs")
    assert data.contexts is not None
    done = {(row["context"], int(row["n_planted"])) for row in read(arguments.out)}
    is_new = not arguments.out.is_file()
    with arguments.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for n_planted in COUNTS:
            for context, name in zip(data.contexts.names, data.class_names, strict=False):
                if (context, n_planted) not in done:
                    row = searched(data, context, name, n_planted)
                    writer.writerow(row)
                    file.flush()
                    print(row, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
