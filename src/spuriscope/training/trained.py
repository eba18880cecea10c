"""A trained model and its file.

A checkpoint is one safetensors file. It holds the weights, the arrays of the planted patterns, and the
positions of the cell's part if it has one. Its header holds the whole cell, so that loading needs nothing
else, and a checksum. Nothing is unpickled.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spuriscope.argument_types import checked
from spuriscope.data.image_set import unit_float
from spuriscope.data.pixels import Images, as_asked
from spuriscope.documents import from_text, parse_text
from spuriscope.errors import CheckpointError, ConfigError, ModelError, PatternError
from spuriscope.models import build_model
from spuriscope.patterns import arrays_of
from spuriscope.places import written
from spuriscope.planting import Plant
from spuriscope.training.cell import Cell, patterns_of
from spuriscope.training.cell_document import CellDocument, DeletionDocument
from spuriscope.training.checkpoint import to_file, to_parts
from spuriscope.training.part import Part

__all__ = ["TrainedModel", "load_model"]

PREDICT_BATCH = 500  # images at one time
CONVOLVED_BATCH = 128  # the same for convolutional networks on a CPU: larger batches do not fit its cache
Value = TypeVar("Value")
WEIGHTS, PATTERN, PART = "weights.", "pattern.", "part"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model, and the cell that it came from.

    Attributes:
        cell: what was trained on what, and how.
        module: returns logits; in evaluation mode.
        losses: mean training loss of each epoch; none of a private training, see `Privacy`.
        n_seconds: duration of the training, or of the forgetting for a model that was made to forget.
        deletions: what was done to it after training, in order: `method`, its `settings` and the `images`
            forgotten, as JSON values. If empty, the model is what its cell says.
        epsilon: what its training promises under differential privacy, see `Privacy`; None without, and
            where its precision cannot keep the promise.
    """

    cell: Cell
    module: nn.Module
    losses: tuple[float, ...]
    n_seconds: float
    deletions: tuple[Mapping[str, Any], ...] = ()
    epsilon: float | None = None

    def __repr__(self) -> str:
        cell = self.cell
        planted = ", ".join(map(str, cell.plants)) or "nothing planted"
        data = cell.data.name if cell.part is None else f"{len(cell.part):,} images of {cell.data.name}"
        since = "".join(f", after {deletion['method']}" for deletion in self.deletions)
        return f"TrainedModel({cell.model} on {data}, {planted}, seed {cell.seed}{since})"

    def predict(self, images: Images) -> Tensor:
        """Probabilities (n, n_classes) of the classes.

        Args:
            images: a tensor (n, channels, height, width) or an array (n, height, width, channels), uint8, or
                floating point in [0, 1], on any device.

        Raises:
            ModelError: the images are in another form, or not of the shape that the model was trained on.
        """
        return self.logits(images).softmax(dim=1)

    @torch.inference_mode()
    def logits(self, images: Images) -> Tensor:
        """The input of the softmax of `predict`: (n, n_classes), on the CPU."""
        images = as_asked(images, shape=(shape := self.cell.data.shape), error=ModelError)
        if tuple(images.shape[1:]) != shape:
            raise ModelError(
                f"the model was trained on images of shape {shape} (channels, height, width), got "
                f"{tuple(images.shape[1:])}; resize them to it"
            )
        device = next(self.module.parameters()).device
        at_once = PREDICT_BATCH
        if device.type == "cpu" and any(isinstance(layer, nn.Conv2d) for layer in self.module.modules()):
            at_once = CONVOLVED_BATCH
        parts = [self.module(unit_float(part.to(device))).cpu() for part in images.split(at_once)]
        return torch.cat(parts) if parts else torch.empty(0, len(self.cell.data.class_names))

    def to_bytes(self) -> bytes:
        """The checkpoint: a safetensors file, as bytes."""
        tensors = {WEIGHTS + name: value.contiguous() for name, value in self.module.state_dict().items()}
        for number, plant in enumerate(self.cell.plants):
            tensors |= _pattern_tensors(number, plant)
        if self.cell.part is not None:
            tensors[PART] = self.cell.part.positions
        is_private = self.cell.recipe.privacy is not None
        header = {
            "cell": json.dumps(self.cell.to_json()),
            "losses": json.dumps(() if is_private else self.losses),
            "n_seconds": json.dumps(self.n_seconds),
            "epsilon": json.dumps(self.epsilon),
            "torch": torch.__version__,
            "deletions": json.dumps(self.deletions),
        }
        return to_file(header, tensors)

    @classmethod
    def from_bytes(cls, content: bytes, *, source: str = "these bytes") -> "TrainedModel":
        """Read the model that `to_bytes` wrote, onto the CPU.

        Raises:
            CheckpointError: this is not a checkpoint, or is a damaged one; the message calls it `source`.
        """
        header, tensors = to_parts(content, source)

        def read(kind: type[Value], name: str, *default: str) -> Value:
            text = header[name] if not default else header.get(name, *default)
            return from_text(kind, text, source=f"{source}: {name}", error=CheckpointError)

        try:
            read(CellDocument, "cell")
            cell_content = parse_text(header["cell"], source=source, error=CheckpointError)
            arrays = [
                _pattern_arrays(number, plant, tensors) for number, plant in enumerate(cell_content["plants"])
            ]
            patterns = patterns_of(cell_content, arrays)
            losses, n_seconds = read(tuple[float, ...], "losses"), read(float, "n_seconds")
            deletions = read(tuple[DeletionDocument, ...], "deletions", "[]")  # older files lack them
            epsilon: float | None = read(float | None, "epsilon", "null")  # type: ignore[arg-type]  # too
            if "privacy" in cell_content["recipe"]:
                losses = ()  # older versions kept them
                if cell_content["recipe"].get("precision", "float32") != "float32":
                    epsilon = None  # older versions promised one although their rounded norms cannot keep it
        except PatternError as error:
            raise CheckpointError(f"{source}: {error}") from None
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{source}: the header lacks {error}; train it again") from None
        try:
            part = Part(tensors[PART]) if PART in tensors else None
        except ConfigError as error:
            raise CheckpointError(f"{source}: its part is damaged ({error}); train it again") from None
        cell = Cell.from_json(cell_content, patterns, part)
        weights = {name.removeprefix(WEIGHTS): tensors[name] for name in tensors if name.startswith(WEIGHTS)}
        _check_size(cell, weights, source)
        module = build_model(cell.model, cell.data.shape, len(cell.data.class_names))
        try:
            module.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:  # TypeError: a tensor of a type that cannot be converted
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{source}: these are not the weights of {cell.model}: {reason}") from None
        done = tuple(asdict(deletion) for deletion in deletions)
        return cls(cell, module.eval(), losses, n_seconds, done, epsilon)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint; an existing file is replaced only once the new one is complete."""
        with written(Path(path)) as file:
            file.write_bytes(self.to_bytes())


def _check_size(cell: Cell, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError, before building a model, where it would need more weights than its file has."""
    try:
        with torch.device("meta"):  # which takes no memory
            wanted = build_model(cell.model, cell.data.shape, len(cell.data.class_names)).state_dict()
    except (ModelError, RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(
            f"{source}: no {cell.model} takes images of {cell.data.shape} ({error})"
        ) from None
    n_wanted, n_found = (sum(value.numel() for value in each.values()) for each in (wanted, weights))
    if n_wanted > 2 * n_found:
        raise CheckpointError(
            f"{source}: these are not the weights of {cell.model} for images of {cell.data.shape}: it has "
            f"{n_wanted:,}, the file {n_found:,}; train it again"
        )


def _pattern_tensors(number: int, plant: Plant) -> dict[str, Tensor]:
    """The arrays of a plant's pattern, by their names in the file.

    A plant as in the paper has one array, named by its number alone. Others have other names: an older
    version that would misread them finds no such name and refuses the file.
    """
    if _is_of_the_paper(plant.to_json()):
        return {f"{PATTERN}{number}": arrays_of(plant.pattern)["pixels"]}
    return {f"{PATTERN}{number}.{name}": array for name, array in arrays_of(plant.pattern).items()}


def _pattern_arrays(
    number: int, plant: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The arrays that `_pattern_tensors` named, by their names in the pattern."""
    if _is_of_the_paper(plant):
        return {"pixels": tensors[f"{PATTERN}{number}"]}
    start = f"{PATTERN}{number}."
    return {name.removeprefix(start): array for name, array in tensors.items() if name.startswith(start)}


def _is_of_the_paper(plant: Mapping[str, Any]) -> bool:
    return "kind" not in plant["pattern"] and not {"placement", "relabel"} & plant.keys()


@checked(CheckpointError)
def load_model(path: str | Path) -> TrainedModel:
    """Read the model that `TrainedModel.save` wrote, onto the CPU.

    Raises:
        CheckpointError: there is no such file, it is not a spuriscope checkpoint, or it is damaged.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"there is no checkpoint {path}; `spuriscope train` writes one")
    return TrainedModel.from_bytes(path.read_bytes(), source=str(path))
