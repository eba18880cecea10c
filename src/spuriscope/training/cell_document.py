"""A cell as documents hold it, in checkpoints, runs and stores: fields and their types."""

from dataclasses import dataclass
from typing import Any

__all__ = ["CellDocument", "DeletionDocument"]


@dataclass(frozen=True, kw_only=True)
class DataDocument:
    """Which data, see `DataKey`."""

    name: str
    fingerprint: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PatternDocument:
    """Which pattern; its arrays are stored beside the document."""

    name: str
    fingerprint: str
    kind: str = "add"


@dataclass(frozen=True, kw_only=True)
class PlantDocument:
    """What is planted, see `Plant`."""

    pattern: PatternDocument
    target: int
    n_planted: int
    seed: int
    placement: str = "fixed"
    relabel: int | str | None = None


@dataclass(frozen=True, kw_only=True)
class PartDocument:
    """Which part; its positions are stored beside the document."""

    n_images: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class WeightsDocument:
    """Which file the training started from, see `Weights`."""

    sha256: str
    path: str


@dataclass(frozen=True, kw_only=True)
class CellDocument:
    """One training, see `Cell`. The recipe has its own converter, which also reads older recipes."""

    data: DataDocument
    plants: tuple[PlantDocument, ...]
    model: str
    recipe: dict[str, Any]
    seed: int
    part: PartDocument | None = None
    weights: WeightsDocument | None = None


@dataclass(frozen=True, kw_only=True)
class DeletionDocument:
    """What was done to a model after its training."""

    method: str
    settings: str
    images: list[int]
