"""A user's own model, as `predict` or as `fit`: torch modules, scikit-learn classifiers, files of models.

Everything that measures or searches a model asks it through `predict`, images (n, channels, height, width)
in [0, 1] to class probabilities (n, n_classes); an audit trains through `fit(images, labels, seed)`, which
gives such a `predict`. Both are plain functions: whoever has one needs nothing from here. What form a model
may have, and what of it executes code: docs/models.md.
"""

from spuriscope.adapters.classifier import Fit, sklearn_fit, sklearn_predict
from spuriscope.adapters.consistency import check_answers
from spuriscope.adapters.form import FormSettings, ModelForm
from spuriscope.adapters.onnx_file import load_onnx
from spuriscope.adapters.opened import open_model
from spuriscope.adapters.torch_module import module_predict

__all__ = [
    "Fit",
    "FormSettings",
    "ModelForm",
    "check_answers",
    "load_onnx",
    "module_predict",
    "open_model",
    "sklearn_fit",
    "sklearn_predict",
]
