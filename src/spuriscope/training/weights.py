"""Initial weights from a file instead of drawn ones: fine-tuning.

The file is safetensors, such as the `model.safetensors` of timm/resnet18.a1_in1k or timm/resnet50.a1_in1k on
the Hugging Face hub, which name weights as torchvision does; or a state dict that torch saved, read without
unpickling objects; or "imagenet", the file of efficientnet-lite0 from the extra `pretrained`. The size of
the head depends on the number of classes, so it stays drawn unless the file's head fits.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from spuriscope.errors import ModelError
from spuriscope.models.pretrained import IMAGENET, imagenet_weights
from spuriscope.models.tensors import read_tensors

__all__ = ["Weights"]

HEADS = ("fc.", "_fc.")


@dataclass(frozen=True)
class Weights:
    """A file of weights. Two are equal when their contents are, wherever they lie.

    Attributes:
        sha256: of the file.
        path: where it is.
    """

    sha256: str
    path: Path = field(compare=False)

    @classmethod
    def of(cls, path: str | Path) -> "Weights":
        """The weights in a file, or those called "imagenet"; write "./imagenet" for a file of that name.

        Raises:
            ModelError: there is no such file, or the extra `pretrained` is not installed.
        """
        if str(path) == IMAGENET:
            path = imagenet_weights()
        try:
            with Path(path).open("rb") as file:
                return cls(hashlib.file_digest(file, "sha256").hexdigest(), Path(path).resolve())
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name
            reason = getattr(error, "strerror", error)
            raise ModelError(
                f"cannot read the weights {path} ({reason}); give a .safetensors or .pth file"
            ) from None

    def put_into(self, module: nn.Module) -> None:
        """Load them into a model; its head stays as drawn where the file's has another size.

        Raises:
            ModelError: the file is gone, was changed, holds more than tensors, or has another architecture.
        """
        if Weights.of(self.path) != self:
            raise ModelError(f"{self.path} was changed since the cell was made; give the original file")
        found = read_tensors(self.path)
        own = module.state_dict()
        kept = {
            name: value
            for name, value in found.items()
            if not (name.startswith(HEADS) and name in own and own[name].shape != value.shape)
        }
        missing = [name for name in own if name not in found and not _is_optional(name)]
        unknown = [name for name in found if name not in own]
        misshapen = [name for name in kept if name in own and own[name].shape != kept[name].shape]
        if missing or unknown or misshapen:
            example = (missing + unknown + misshapen)[0]
            raise ModelError(
                f"{self.path} does not fit this model: {len(missing)} weights are missing, {len(unknown)} "
                f"are unknown, {len(misshapen)} have another shape, such as {example}; name the architecture "
                "it is of"
            )
        module.load_state_dict(kept, strict=False)

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return {"sha256": self.sha256, "path": str(self.path)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Weights":
        """What `to_json` wrote; raises KeyError where something is missing."""
        return cls(content["sha256"], Path(content["path"]))


def _is_optional(name: str) -> bool:
    """Whether a file may lack this weight: heads, and counters that no computation uses."""
    return name.startswith(HEADS) or name.endswith("num_batches_tracked")
