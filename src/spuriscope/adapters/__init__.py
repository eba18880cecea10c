"""A user's own model, as `predict` or as `fit`: torch modules, scikit-learn classifiers, files of models.

Everything that measures or searches a model calls its `predict`, from images (n, channels, height, width) in
[0, 1] to class probabilities (n, n_classes). An audit trains with `fit(images, labels, seed)`, which returns
such a `predict`. Both are plain functions: whoever has them needs nothing from here. For the accepted forms
of models, and which of them execute code, see docs/models.md.
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
