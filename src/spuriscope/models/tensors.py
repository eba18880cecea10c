"""Weights from a file: safetensors, or a state dict written by `torch.save`. Nothing else is unpickled."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spuriscope.errors import ModelError
from spuriscope.limits import is_packed_too_well

__all__ = ["archive_names", "read_tensors"]

INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights")  # where trainers keep the state dict
BEFORE = (
    "_orig_mod.",
    "module.",
    "model.",
    "net.",
)  # prefixes of torch.compile, parallel training and trainers
OF_RUN = "weights."  # in our own files, where patterns stand beside the weights, see `training.trained`


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    From a checkpoint that holds a state dict among other things, and from the file of a run, only the weights
    are taken. A prefix that all names share, such as "module." of parallel training, is removed.

    Args:
        path: a .safetensors file, or a .pt or .pth file, which is read with `weights_only=True`: it may hold
            tensors and plain values, never objects.

    Raises:
        ModelError: there is no such file, it is in neither format, or it holds objects.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", error)
        raise ModelError(f"cannot read the weights {path} ({reason}); check the path") from None
    is_safetensors = path.suffix.lower() == ".safetensors" or head[8:9] == b"{"
    return _without_prefix(_safetensors(path) if is_safetensors else _saved_by_torch(path))


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}); save it again") from None
    of_run = {name.removeprefix(OF_RUN): value for name, value in tensors.items() if name.startswith(OF_RUN)}
    return of_run or tensors


def archive_names(path: Path) -> list[str]:
    """The names in a file that is an archive, as torch writes one; empty for any other file.

    Raises:
        ModelError: the archive is damaged, or unpacks to far more than a model needs.
    """
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is not a whole archive ({error}); save or export it again") from None
    n_bytes = sum(member.file_size for member in members)
    if is_packed_too_well(path.stat().st_size, n_bytes):
        raise ModelError(f"{path} unpacks to {n_bytes / 1e6:,.0f} MB, too much for a model; save it again")
    return [member.filename for member in members]


def _saved_by_torch(path: Path) -> dict[str, Tensor]:
    archive_names(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip()
        found = " ".join(reason[reason.find("WeightsUnpickler error") :].split())[:160]
        raise ModelError(
            f"{path} holds more than tensors ({found}), and unpickling objects would execute code; save "
            "model.state_dict() instead, or export the model: torch.export.save, torch.onnx.export"
        ) from None
    except Exception as error:  # torch's errors about damaged files have no narrower common class
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{path} is not a file of weights ({reason}); give .safetensors, .pt or .pth"
        ) from None
    for name in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors: dict[str, Any] = dict(content) if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path} holds no state dict; save model.state_dict(), tensors by name")
    return tensors


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in BEFORE:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefix({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors
