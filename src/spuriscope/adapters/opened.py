"""A model file of any form as `predict`; its content tells the form, not its name."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from spuriscope.adapters.exported import exported_predict, is_exported
from spuriscope.adapters.form import FormSettings, ModelForm
from spuriscope.adapters.onnx_file import load_onnx
from spuriscope.adapters.stored import is_torchscript, state_dict_module, torchscript_predict
from spuriscope.adapters.torch_module import module_predict
from spuriscope.argument_types import checked
from spuriscope.errors import ConfigError, ModelError
from spuriscope.measures import Predict

__all__ = ["class_positions", "open_model"]


@checked(ModelError)
def open_model(
    path: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    n_classes: int | None = None,
    architecture: str | None = None,
    factory: str | None = None,
    **form: Unpack[FormSettings],
) -> Predict:
    """Make `predict` from the model in a file; it runs on the CPU.

    The file is ONNX, a `.pt2` of torch.export, TorchScript, or a state dict (.safetensors, .pt, .pth) for an
    architecture. Only TorchScript, which executes code of the file, and your own factory execute code.

    Args:
        path: of the file.
        shape: (channels, height, width) of the data's images, for a state dict.
        n_classes: of the data.
        architecture: for a state dict, by name.
        factory: for a state dict, "package.module:function"; see `state_dict_module`.
        form: how the model wants its images and gives its answers, see `ModelForm`.

    Raises:
        ModelError: there is no such file, it has none of these forms, or it does not fit the data.
        ConfigError: a setting is out of range.
        MeasureError: when `predict` is called: the images do not fit, or the answers are not probabilities.
    """
    path, settings = Path(path), ModelForm(**form)
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {path}; check the path")
    if factory is None and architecture is None:
        if is_torchscript(path):
            return torchscript_predict(path, settings)
        if is_exported(path):
            return exported_predict(path, settings)
    if path.suffix.lower() == ".onnx":
        return load_onnx(path, n_classes=n_classes, **form)
    if settings.channels is not None and shape is not None:
        shape = (settings.channels, *shape[1:])
    if settings.image_size is not None and shape is not None:
        shape = (shape[0], settings.image_size, settings.image_size)
    module = state_dict_module(
        path, architecture=architecture, factory=factory, shape=shape, n_classes=n_classes
    )
    return module_predict(module, **form)


def class_positions(names: Sequence[str], class_names: Sequence[str]) -> tuple[int, ...]:
    """The label of each column of a model's answers, given the order of its classes.

    Args:
        names: classes of the data in the order of the answers, by name or by number.
        class_names: of the data, position = label.

    Raises:
        ConfigError: a class is unknown, named twice or missing.
    """
    of_name = {str(position): position for position in range(len(class_names))}
    of_name |= {name: position for position, name in enumerate(class_names)}
    unknown = [name for name in names if name not in of_name]
    found = tuple(of_name[name] for name in names if name in of_name)
    if unknown or sorted(found) != list(range(len(class_names))):
        wrong = (
            f"{unknown[0]!r} is none of them"
            if unknown
            else f"{len(set(found))} of {len(class_names)} are named"
        )
        raise ConfigError(
            f"name every class once, in the order of the model's answers; {wrong}: {', '.join(class_names)}"
        )
    return found
