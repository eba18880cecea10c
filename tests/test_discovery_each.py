"""Several models of the same data are searched as each of them alone."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from spuriscope.data.image_set import Split
from spuriscope.discovery import discover, discover_each
from test_discovery_marks import N_FRESH, N_TRAIN, SIDE, SQUARE, as_split, photographs

LABELS, FRESH_LABELS = (torch.arange(2).repeat_interleave(n) for n in (N_TRAIN, N_FRESH))


def marked() -> tuple[Split, Split]:
    """Two classes; a bright square on 13 of class 0."""
    train = photographs(2 * N_TRAIN, 0)
    train[np.arange(5, 120, 9), :, *SQUARE] = 0.8
    return as_split(train, LABELS), as_split(photographs(2 * N_FRESH, 1000), FRESH_LABELS)


def heeds(weight: float) -> Callable[[Tensor], Tensor]:
    """A model that looks at where the square stands, and at the whole a little."""

    def predict(images: Tensor) -> Tensor:
        bright = images[:, 0, *SQUARE].amin(dim=(1, 2))
        logit = weight * (bright > 0.7).float() + images.mean(dim=(1, 2, 3)) * SIDE / 8 - 2
        return torch.stack([logit.sigmoid(), 1 - logit.sigmoid()], dim=1)

    return predict


def test_each_is_answered_as_it_is_alone() -> None:
    train, fresh = marked()
    predicts = [heeds(8.0), heeds(0.0)]
    told: list[int] = []
    each = discover_each(
        predicts, train=train, holdout=fresh, threshold=0.1, n_controls=100, on_model=lambda: told.append(1)
    )
    assert len(told) == len(predicts)
    assert [len(found) > 0 for found in each] == [True, False]
    for predict, found in zip(predicts, each, strict=True):
        alone = discover(predict, train=train, holdout=fresh, threshold=0.1, n_controls=100)
        assert [finding.to_json() for finding in alone] == [finding.to_json() for finding in found]
