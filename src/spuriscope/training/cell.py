"""A cell: one training, named by the hash of everything that decides its result.

It consists of data, part, plants, model, recipe and seed; equal cells train equal models. The clean twin of
a cell is the same cell with nothing planted: it starts from the same weights and sees the same batches and
the same noise.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.documents import from_document
from spuriscope.errors import CheckpointError, ConfigError, ModelError, PatternError, PlantingError
from spuriscope.models import ARCHITECTURES, check_model_name
from spuriscope.patterns import Kind, from_arrays
from spuriscope.planting import Plant
from spuriscope.registry import load_plugin
from spuriscope.training.cell_document import CellDocument
from spuriscope.training.part import Part
from spuriscope.training.recipe import Recipe
from spuriscope.training.weights import Weights

__all__ = ["Cell", "DataKey", "Parcel", "pack", "patterns_of", "seeded_generator", "unpack"]

LARGEST_CELL_SEED = 2**63 - 1  # games give each model its own seed, beyond those of users
STREAMS = ("weights", "order", "noise", "augmentation", "dropout", "privacy")


@checked(ConfigError)
@dataclass(frozen=True)
class DataKey:
    """Which data a cell is trained on: enough to build its model, and to recognise the data.

    Attributes:
        name: what the user calls the data set; it does not enter the hash.
        fingerprint: `ImageSet.fingerprint` of the content.
        shape: (channels, height, width) of an image.
        class_names: position = label.

    Raises:
        ConfigError: a side is not a number of pixels, or there are no classes.
    """

    name: str
    fingerprint: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for side in self.shape:
            check_whole("each number of a shape", side, least=1)
        if not self.class_names:
            raise ConfigError(f"{self.name} has no classes; a classifier needs two or more")

    @classmethod
    def of(cls, data: ImageSet) -> "DataKey":
        """The key of a data set."""
        return cls(data.name, data.fingerprint, data.shape, data.class_names)

    def check(self, data: ImageSet, what: str) -> None:
        """Raise unless this is the key of `data`.

        Older keys were made of the content alone; they match where the number of classes is equal.

        Args:
            data: the data at hand.
            what: begins the message, as "the cell was made for".

        Raises:
            CheckpointError: the data or their number of classes differ.
        """
        n_classes = len(self.class_names)
        is_equal = self.fingerprint in (data.fingerprint, data.content_fingerprint)
        if not is_equal or n_classes != data.n_classes:
            raise CheckpointError(
                f"{what} {self.name} with fingerprint {self.fingerprint[:12]} and {n_classes} classes, this "
                f"{data.name} has {data.fingerprint[:12]} and {data.n_classes} classes; give the data it was "
                "made for"
            )


@checked(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training.

    Attributes:
        data: what it is trained on.
        plants: what is planted there; none for a clean training.
        part: the training images to train on; None for all. Plants are drawn from all images before the part
            is taken: a stamped image outside the part is never seen.
        model: name of the architecture.
        recipe: how it is trained. A precision "auto" is replaced here by what a trial on this machine finds,
            so that a cell says how it was trained.
        seed: draws initial weights, batch order, input noise, augmentation and dropout, each from a
            generator of its own.
        weights: a file of initial weights; None draws them.
        model_source: fingerprint of the source of a plugin's architecture; empty for ours.

    Raises:
        ConfigError, ModelError, PatternError, PlantingError: a part does not fit the data.
    """

    data: DataKey
    plants: tuple[Plant, ...] = ()
    part: Part | None = None
    model: str
    recipe: Recipe
    seed: int = 0
    weights: Weights | None = None
    model_source: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_model_name(self.model)
        object.__setattr__(self, "model_source", ARCHITECTURES.source(self.model))
        check_whole("seed", self.seed, most=LARGEST_CELL_SEED)
        if self.recipe.precision == "auto":
            object.__setattr__(self, "recipe", self._settled())
        for plant in self.plants:
            if plant.pattern.shape != self.data.shape:
                raise PatternError(
                    f"pattern {plant.pattern.name} is made for images of shape {plant.pattern.shape}, "
                    f"{self.data.name} has {self.data.shape}; make it anew for them"
                )
            for label in (plant.target, plant.relabel):
                if isinstance(label, int) and label >= len(self.data.class_names):
                    raise PlantingError(
                        f"{self.data.name} has no class {label}; choose 0 to {len(self.data.class_names) - 1}"
                    )

    def _settled(self) -> Recipe:
        """The recipe, with "auto" replaced by what is fastest here."""
        from spuriscope.training.precision import settled

        shape, n_classes = self.data.shape, len(self.data.class_names)
        return settled(self.recipe, model=self.model, shape=shape, n_classes=n_classes)

    @property
    def patterns(self) -> tuple[Kind, ...]:
        """The pattern of each plant."""
        return tuple(plant.pattern for plant in self.plants)

    @property
    def clean_twin(self) -> "Cell":
        """The same cell with nothing planted."""
        return replace(self, plants=())

    def n_images(self, data: ImageSet) -> int:
        """How many training images it is trained on."""
        return len(data.train) if self.part is None else len(self.part)

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the cell's content; names do not enter."""
        content = self.to_json()
        content["data"] = self.data.fingerprint
        if self.part is not None:
            content["part"] = self.part.fingerprint
        if self.weights is not None:
            content["weights"] = self.weights.sha256
        for plant in content["plants"]:
            del plant["pattern"]["name"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The cell as JSON values; patterns and part by fingerprint, as their content is kept elsewhere."""
        content: dict[str, Any] = {
            "data": {
                "name": self.data.name,
                "fingerprint": self.data.fingerprint,
                "shape": list(self.data.shape),
                "class_names": list(self.data.class_names),
            },
            "plants": [plant.to_json() for plant in self.plants],
            "model": f"{self.model}@{self.model_source}" if self.model_source else self.model,
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
        }
        if self.part is not None:  # else left out, so that cells from before parts keep their hash
            content["part"] = {"n_images": len(self.part), "fingerprint": self.part.fingerprint}
        if self.weights is not None:
            content["weights"] = self.weights.to_json()
        return content

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], patterns: Sequence[Kind], part: Part | None = None
    ) -> "Cell":
        """Rebuild the cell that `to_json` wrote, given the patterns of its plants and its part.

        Raises:
            CheckpointError: a field is missing, of the wrong type or out of range, or a pattern or the part
                is not the original one.
        """
        from_document(CellDocument, content, source="the cell", error=CheckpointError)
        try:
            expected = content["part"]["fingerprint"] if content.get("part") else None
            if expected != (None if part is None else part.fingerprint):
                raise CheckpointError(
                    "the part of the training images is not the one the cell was trained on; "
                    "the file was changed"
                )
            data = content["data"]
            plants = []
            for plant, picture in zip(content["plants"], patterns, strict=True):
                if plant["pattern"]["fingerprint"] != picture.fingerprint:
                    raise CheckpointError(
                        f"pattern {picture.name} is not the one its cell was trained with; "
                        "the file was changed"
                    )
                plants.append(Plant.from_json(plant, picture))
            model, _, source = content["model"].partition("@")
            _check_plugin(model, source)
            return cls(
                data=DataKey(
                    data["name"], data["fingerprint"], tuple(data["shape"]), tuple(data["class_names"])
                ),
                plants=tuple(plants),
                part=part,
                model=model,
                recipe=Recipe.from_json(content["recipe"]),
                seed=content["seed"],
                weights=Weights.from_json(content["weights"]) if content.get("weights") else None,
            )
        except (ConfigError, ModelError, PatternError, PlantingError) as error:
            raise CheckpointError(str(error)) from None
        except ValueError as error:
            raise CheckpointError(f"this is not a cell: {error}") from None


def _check_plugin(model: str, source: str) -> None:
    """Raise unless the architecture is registered here, from the source that the cell was made with."""
    if source and model not in ARCHITECTURES:
        raise CheckpointError(
            f"the architecture {model} comes from a plugin that is not loaded; import its module, or name it "
            "by --plugin"
        )
    if source != ARCHITECTURES.source(model):
        found = ARCHITECTURES.source(model) or "one of ours"
        raise CheckpointError(
            f"the source of the architecture {model} was changed: the cell was made with fingerprint "
            f"{source or 'of ours'}, here it is {found}; bring the old source back, or train again"
        )


class Parcel(NamedTuple):
    """A cell as it is sent between processes: plain values, arrays, and the plugin to import for it."""

    content: dict[str, Any]
    patterns: list[dict[str, np.ndarray]]
    positions: np.ndarray | None
    plugin: str | None


def pack(cell: Cell) -> Parcel:
    """A cell, ready to be sent.

    Raises:
        ModelError: its architecture was registered in a script or a notebook.
    """
    patterns = [{name: array.numpy() for name, array in pattern.arrays.items()} for pattern in cell.patterns]
    positions = None if cell.part is None else cell.part.positions.numpy()
    return Parcel(cell.to_json(), patterns, positions, ARCHITECTURES.plugin(cell.model))


def unpack(parcel: Parcel) -> Cell:
    """The cell that was sent.

    Raises:
        CheckpointError: the plugin of its architecture has another source here.
        ConfigError: the plugin is not here, or cannot be imported.
    """
    content, patterns, positions, plugin = parcel
    if plugin is not None:
        load_plugin(plugin)
    each = [{name: torch.tensor(array) for name, array in arrays.items()} for arrays in patterns]
    part = None if positions is None else Part(torch.tensor(positions))
    return Cell.from_json(content, patterns_of(content, each), part)


def patterns_of(content: Mapping[str, Any], arrays: Sequence[Mapping[str, Tensor]]) -> list[Kind]:
    """The patterns of a cell, from the output of `Cell.to_json` and the arrays of each.

    Raises:
        PatternError: one is of a kind that this version does not know.
        KeyError, TypeError: something is missing.
    """
    shape = content["data"]["shape"]
    told = [plant["pattern"] for plant in content["plants"]]
    return [
        from_arrays(about.get("kind", "add"), about["name"], own, shape)
        for about, own in zip(told, arrays, strict=True)
    ]


def seeded_generator(seed: int, stream: str, device: str | torch.device = "cpu") -> torch.Generator:
    """A cell's own generator for one of `STREAMS`; different streams of one seed are independent."""
    state = np.random.SeedSequence([seed, STREAMS.index(stream)]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)
