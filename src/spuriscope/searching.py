"""The search for a cue in a model that was trained here: hand over what it saw, and how to train it again.

Discovery is told no more than that: which images were stamped, and with what, stays behind.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.deletion.retraining import Retrain
from spuriscope.discovery import Finding, discover
from spuriscope.measures import Predict
from spuriscope.planting import draw_planted
from spuriscope.training import Cell, TrainedModel

__all__ = ["images_seen", "search_model"]


def images_seen(cell: Cell, data: ImageSet) -> Split:
    """The images a cell is trained on, stamped, in 8 bits; without what is drawn anew for each batch.

    Args:
        cell: a training on `data`, or on a part of it.
        data: what it was made for.
    """
    images = data.train.images
    if cell.plants:
        images = images.clone()
        for plant, drawn in zip(cell.plants, draw_planted(cell.plants, data.train.labels), strict=True):
            images[drawn] = (255 * plant.pattern.apply(images[drawn])).round().to(torch.uint8)
    rows = slice(None) if cell.part is None else cell.part.positions
    return Split(images[rows], data.train.labels[rows])


def search_model(
    model: TrainedModel, data: ImageSet, *, prove: bool = False, **settings: Any
) -> list[Finding]:
    """Cues that a model has picked up, found without being told; see `spuriscope.discover`.

    Args:
        model: trained on `data`, or on a part of it.
        data: the training images are searched, the test images are fresh.
        prove: train it again without the images of each finding, and say what is left.
        settings: other arguments of `discover`.

    Returns:
        Findings whose `examples` are positions in `data.train`.
    """
    part = model.cell.part

    def in_data(examples: NDArray[np.int64]) -> NDArray[np.int64]:
        return examples if part is None else part.positions.numpy()[examples]

    def retrain(examples: NDArray[np.int64]) -> Predict:
        return Retrain()(model, data, torch.from_numpy(in_data(examples))).predict

    findings = discover(
        model.predict,
        train=images_seen(model.cell, data),
        holdout=data.test,
        retrain=retrain if prove else None,
        **settings,
    )
    return [replace(finding, examples=in_data(finding.examples)) for finding in findings]
