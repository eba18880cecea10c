"""The input of a figure of a study: its rows, the models whose weights were kept, and their data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spuriscope.data import ImageSet
from spuriscope.studies.results import Result, images_of
from spuriscope.studies.source import Source
from spuriscope.training import TrainedModel

__all__ = ["Drawn"]


@dataclass(frozen=True)
class Drawn:
    """The input of a figure.

    Attributes:
        title: its headline.
        found: its rows.
        source: has the checkpoints, if they were kept.
        root: folder with the files of its data set.
    """

    title: str
    found: Sequence[Result]
    source: Source
    root: Path | None

    def models(self, **wanted: Any) -> Iterator[tuple[Result, TrainedModel]]:
        """Each row with these labels and its model, if the weights were kept."""
        for result in self.found:
            model = self.source.load_hash(result.cell) if result.is_at(wanted) else None
            if model is not None:
                yield result, model

    def images(self) -> ImageSet:
        """The data set the models were trained on; raises as `images_of`."""
        return images_of(self.source, self.found, self.root)
