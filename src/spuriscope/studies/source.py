"""Where the rows of studies come from: a store, or a folder of exported files. Either is judged and drawn."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias

from spuriscope.training import TrainedModel

__all__ = ["Source", "StudyRow", "StudyRows"]

StudyRow: TypeAlias = dict[str, Any]  # labels and values by name
StudyRows: TypeAlias = list[StudyRow]


class Source(Protocol):
    """Has the rows from which claims are judged and figures drawn."""

    @property
    def folder(self) -> Path:
        """The folder of the store or the files."""

    def studies(self) -> StudyRows:
        """At least name, title and figure of each study."""

    def rows(self, study: str) -> StudyRows:
        """One row per cell and measure of a study."""

    def content(self, hash_: str) -> str | None:
        """The document of a cell, which names its data set; None where it is not kept."""

    def load_hash(self, hash_: str) -> TrainedModel | None:
        """The model of a cell; None where its weights are not kept."""
