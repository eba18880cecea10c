"""A cell as its document holds it, in checkpoints, runs and stores: what is of which type there."""

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
    """Which pattern; what it consists of stands beside the document."""

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
    """Which part; its positions stand beside the document."""

    n_images: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class WeightsDocument:
    """Which file a training started from, see `Weights`."""

    sha256: str
    path: str


@dataclass(frozen=True, kw_only=True)
class CellDocument:
    """One training, see `Cell`. The recipe has a converter of its own, which knows older ones."""

    data: DataDocument
    plants: tuple[PlantDocument, ...]
    model: str
    recipe: dict[str, Any]
    seed: int
    part: PartDocument | None = None
    weights: WeightsDocument | None = None


@dataclass(frozen=True, kw_only=True)
class DeletionDocument:
    """What was done to a model since it was trained."""

    method: str
    settings: str
    images: list[int]
