"""A user's own model, as `predict` or as `fit`: torch modules, scikit-learn classifiers, ONNX files.

Everything that measures or searches a model asks it through `predict`, images (n, channels, height, width) in
[0, 1] to class probabilities (n, n_classes); an audit trains through `fit(images, labels, seed)`, which gives
such a `predict`. Both are plain functions: whoever has one needs nothing from here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spuriscope.checked import checked
from spuriscope.errors import ConfigError, MeasureError, ModelError
from spuriscope.measures import Predict

__all__ = ["Fit", "load_onnx", "module_predict", "sklearn_fit", "sklearn_predict"]

Fit = Callable[[Tensor, Tensor, int], Predict]

BATCH = 500


@checked(ConfigError)
def module_predict(module: nn.Module) -> Predict:
    """The answers of a torch module that returns logits (n, n_classes): their softmax.

    The module is asked in evaluation mode, on the device where its parameters lie, 500 images at a time.
    """

    @torch.inference_mode()
    def predict(images: Tensor) -> Tensor:
        module.eval()
        device = next((parameter.device for parameter in module.parameters()), images.device)
        parts = [module(part.to(device)).softmax(dim=1).cpu() for part in images.split(BATCH)]
        return torch.cat(parts)

    return predict


@checked(ConfigError)
def sklearn_predict(classifier: Any, n_classes: int) -> Predict:
    """The answers of a fitted scikit-learn classifier with `predict_proba`, on flattened images.

    Args:
        classifier: fitted on images flattened to (n, channels * height * width), in [0, 1].
        n_classes: columns of the answers; a class that it never saw has probability 0.

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
    """A training function for `audit(fit=...)` from a scikit-learn classifier, or from a pipeline.

    Each training has a copy of it, on flattened images; every `random_state` in it is set to the seed.

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


@checked(ConfigError)
def load_onnx(path: str | Path, *, logits: bool = False) -> Predict:
    """The model in an ONNX file, asked by onnxruntime on the CPU (extra `onnx`).

    It has one input: images in [0, 1], (n, channels, height, width) or with the channels last. Of its outputs
    the first that is a table of floating-point numbers is taken.

    Args:
        path: of the file.
        logits: whether that output holds logits, to which a softmax is applied.

    Raises:
        ModelError: onnxruntime is not installed, there is no such file, or it is not a model of images.
        MeasureError: when asked: the images do not fit, or the answers are not probabilities.
    """
    path = Path(path)
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("reading ONNX files needs onnxruntime; pip install 'spuriscope[onnx]'") from None
    if not path.is_file():
        raise ModelError(f"there is no file {path}; check the path")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise ModelError(f"{path} is not an ONNX model that onnxruntime reads ({_short(error)})") from None
    inputs = session.get_inputs()
    outputs = [
        output for output in session.get_outputs() if "float" in output.type or "double" in output.type
    ]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or not outputs:
        shapes = ", ".join(f"{found.name} {found.shape}" for found in inputs)
        raise ModelError(
            f"{path} does not map images to probabilities: its inputs are {shapes}; export a model with one "
            "input (n, channels, height, width) and an output (n, classes)"
        )
    (taken,) = inputs
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(taken.type, np.float32)

    def predict(images: Tensor) -> Tensor:
        channels = images.shape[1]
        is_last = taken.shape[3] == channels != taken.shape[1]
        pixels = (images.permute(0, 2, 3, 1) if is_last else images).contiguous().numpy().astype(dtype)
        size = taken.shape[0] if isinstance(taken.shape[0], int) else BATCH
        answers = []
        try:
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                n = len(part)
                if isinstance(taken.shape[0], int):  # a batch of one size: fill up the last
                    part = np.concatenate([part, np.repeat(part[:1], size - n, axis=0)])
                answers.append(session.run([outputs[0].name], {taken.name: part})[0][:n])
        except Exception as error:
            raise MeasureError(
                f"{path} takes images {taken.shape}, these are {tuple(images.shape)} ({_short(error)}); give "
                "the data it was made for"
            ) from None
        found = torch.from_numpy(np.concatenate(answers)).float()
        if logits:
            return found.softmax(dim=1)
        if found.ndim == 2 and float((found.sum(dim=1) - 1).abs().max()) > 1e-3:
            raise MeasureError(
                f"the output {outputs[0].name} of {path} is not a table of probabilities; if it holds "
                "logits, say so: logits=True, or --logits"
            )
        return found

    return predict


def _check_probabilities(classifier: Any) -> None:
    if not hasattr(classifier, "predict_proba"):
        raise ConfigError(
            f"{type(classifier).__name__} has no predict_proba; choose a classifier that has, or set "
            "probability=True, or wrap it in CalibratedClassifierCV"
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
