"""A torch file as `predict`: a state dict loaded into an architecture, or TorchScript."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spuriscope.adapters.form import ModelForm
from spuriscope.adapters.imported import current_folder, import_function
from spuriscope.adapters.torch_module import ask_module
from spuriscope.errors import ModelError
from spuriscope.measures import Predict
from spuriscope.models import ARCHITECTURES, build_model, check_model_name
from spuriscope.models.tensors import archive_names, read_tensors
from spuriscope.places import written

__all__ = [
    "is_torchscript",
    "is_whole_model",
    "save_weights",
    "state_dict_module",
    "torchscript_predict",
]


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, that is, contains code."""
    return any(name.split("/")[1:2] == ["code"] for name in archive_names(path))


def torchscript_predict(path: Path, form: ModelForm) -> Predict:
    """Make `predict` from a TorchScript file, on the CPU in evaluation mode. It executes code of the file.

    Raises:
        ModelError: it cannot be read.
        MeasureError: when `predict` is called: the images do not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch recommends torch.export instead
            module: Any = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{path} is not TorchScript that this torch can read ({reason}); save it again"
        ) from None
    module.eval()
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return lambda images: ask_module(module, images, form, like=like, source=str(path))


def state_dict_module(
    path: Path,
    *,
    architecture: str | None = None,
    factory: str | None = None,
    shape: tuple[int, int, int] | None = None,
    n_classes: int | None = None,
) -> nn.Module:
    """Build the module that a state dict belongs to, with its weights, in evaluation mode.

    Args:
        path: .safetensors, .pt or .pth; see `read_tensors`.
        architecture: name of one of ours; without it and without a factory the only one that fits is taken.
        factory: "package.module:function", which takes no arguments and returns the module. It is imported
            from the current folder or the installed packages, and executed.
        shape: (channels, height, width) of the images, for an architecture of ours.
        n_classes: of the data, for an architecture of ours.

    Raises:
        ModelError: the file cannot be read, no architecture or several fit it, or the factory is not there.
    """
    if architecture is not None and factory is not None:
        raise ModelError("name an architecture of ours, or a factory of yours, not both")
    tensors = read_tensors(path)
    if factory is not None:
        module = _made_by(factory)
        _fill(module, tensors, f"{path} does not fit what {factory} returns")
        return module.eval()
    if shape is None or n_classes is None:
        raise ModelError(f"{path} is a state dict; give the shape and the number of classes of the data")
    if architecture is not None:
        check_model_name(architecture)
    else:
        fitting = [name for name in ARCHITECTURES if _fits(name, shape, n_classes, tensors)]
        if len(fitting) != 1:
            found = (
                f"{' and '.join(fitting)} fit"
                if fitting
                else f"none of ours fits {n_classes} classes of {shape}"
            )
            raise ModelError(
                f"{path} holds weights but no architecture, and {found}; name it with --model, or name your "
                "function that builds it with --factory package.module:function"
            )
        (architecture,) = fitting
    module = build_model(architecture, shape, n_classes)
    _fill(module, tensors, f"{path} does not fit {architecture} for {n_classes} classes of {shape}")
    return module.eval()


def _fits(name: str, shape: tuple[int, int, int], n_classes: int, tensors: dict[str, Tensor]) -> bool:
    """Whether an architecture has weights of exactly these names and shapes."""
    try:
        with torch.device("meta"):
            own = ARCHITECTURES[name].build(shape, n_classes).state_dict()
    except ModelError:  # the images are too small for it
        return False
    return {name: value.shape for name, value in own.items()} == {
        name: value.shape for name, value in tensors.items()
    }


def _fill(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).partition(":")[2].split())[:200]
        raise ModelError(f"{what} ({reason}); name the architecture it is of") from None


def is_whole_model(path: Path) -> bool:
    """Whether a file holds a program besides its weights, as TorchScript and torch.export write."""
    from spuriscope.adapters.exported import is_exported

    return is_torchscript(path) or is_exported(path)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's state dict, as .safetensors or as torch does; the file appears only once complete."""
    weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with written(path) as file:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import save

            file.write_bytes(save(weights))
        else:
            with file.open("wb") as stream:
                torch.save(weights, stream)


def _made_by(factory: str) -> nn.Module:
    """Call a user's function, which executes it and its module, and return the module it builds."""
    function = import_function(factory, "factory", ModelError)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ModelError(f"the factory {factory} must take no arguments ({error}); wrap it") from None
    with current_folder():
        module = function()
    if not isinstance(module, nn.Module):
        raise ModelError(f"the factory {factory} returned {type(module).__name__}, not a torch module")
    return module
