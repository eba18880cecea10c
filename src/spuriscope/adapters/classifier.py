"""A scikit-learn classifier as `predict`, and as `fit`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.errors import ConfigError
from spuriscope.measures import Predict

__all__ = ["Fit", "sklearn_fit", "sklearn_predict"]

Fit = Callable[[Tensor, Tensor, int], Predict]


@checked(ConfigError)
def sklearn_predict(classifier: Any, n_classes: int) -> Predict:
    """Make `predict` from a fitted scikit-learn classifier with `predict_proba`, on flattened images.

    Args:
        classifier: fitted on images flattened to (n, channels * height * width), in [0, 1].
        n_classes: columns of the answers; a class that the classifier never saw has probability 0.

    Raises:
        ConfigError: it has no `predict_proba`.
    """
    _check_probabilities(classifier)
    columns = torch.as_tensor(np.asarray(classifier.classes_)).long()

    def predict(images: Tensor) -> Tensor:
        found = torch.from_numpy(np.asarray(classifier.predict_proba(images.flatten(1).numpy())))
        return torch.zeros(len(images), n_classes, dtype=found.dtype).index_copy_(1, columns, found)

    return predict


@checked(ConfigError)
def sklearn_fit(classifier: Any) -> Fit:
    """Make a training function for `audit(fit=...)` from a scikit-learn classifier or pipeline.

    Each training uses a copy of it, on flattened images; every `random_state` in it is set to the seed.

    Raises:
        ConfigError: the classifier has no `predict_proba`.
    """
    from sklearn.base import clone

    _check_probabilities(classifier)

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        own = clone(classifier)
        own.set_params(**{name: seed for name in own.get_params() if name.endswith("random_state")})
        own.fit(images.flatten(1).numpy(), labels.numpy())
        return sklearn_predict(own, n_classes=int(labels.max()) + 1)

    fit.__name__ = type(classifier).__name__
    return fit


def _check_probabilities(classifier: Any) -> None:
    if not hasattr(classifier, "predict_proba"):
        raise ConfigError(
            f"{type(classifier).__name__} has no predict_proba; choose a classifier with one, set "
            "probability=True, or wrap it in CalibratedClassifierCV"
        )
