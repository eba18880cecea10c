"""The deletions of a study: what each method leaves of a planted model, kept beside the model's own measures.

A deletion is not a cell: its measures stand beside those of the original model, with names that begin with
`after_METHOD_`. So a model that is already in the store is not trained again, and no deletion is repeated.
"""

from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict

from spuriscope.contexts import Context
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import METHODS, delete, planted_indices_of
from spuriscope.errors import ConfigError, DeletionError, DivergenceError, SpuriscopeError
from spuriscope.measures import measure
from spuriscope.registry import told_failure
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Study
from spuriscope.training import Cell, TrainedModel

__all__ = ["Deletions", "after"]


def after(method: str, measure_name: str) -> str:
    """Name of a measure after a deletion; a method of a plugin is NAME@FINGERPRINT."""
    return f"after_{METHODS.key(method)}_{measure_name}"


class Deletions:
    """The deletions of a study that are not yet in the store.

    Args:
        study: the study to run.
        data: what its cells were made for.
        store: holds the measures.
    """

    def __init__(self, study: Study, data: ImageSet, store: Store) -> None:
        self.data = data
        done = defaultdict(set)
        for row in store.query("SELECT cell, name FROM measures WHERE name LIKE 'after%seconds'"):
            done[row["cell"]].add(row["name"])
        self.left: dict[Cell, tuple[str, ...]] = {}
        for cell in study.cells() if study.deletions else ():
            missing = (name for name in study.deletions if after(name, "seconds") not in done[cell.hash])
            if cell.plants:
                self.left[cell] = tuple(missing)

    def lost(self) -> list[Cell]:
        """Cells with a deletion still to do."""
        return [cell for cell, methods in self.left.items() if methods]

    def asked_there(self, cell: Cell) -> tuple[str, ...]:
        """Methods run by the process that trains the cell's model: ours, which it can import."""
        return tuple(method for method in self.left.get(cell, ()) if not METHODS.source(method))

    def measured(self, model: TrainedModel, entry: Entry) -> dict[str, float]:
        """The measures of a row after each remaining deletion of a plugin; one that fails has none."""
        found: dict[str, float] = {}
        if isinstance(entry.pattern, Context):
            return found
        for method in filter(METHODS.source, self.left.get(model.cell, ())):
            with suppress(DeletionError, DivergenceError):
                deleted = self._deleted(model, method)
                measures = asdict(measure(deleted.predict, self.data.test, entry.pattern, entry.target))
                measures["seconds"] = deleted.n_seconds
                found |= {after(method, name): value for name, value in measures.items()}
        return found

    def _deleted(self, model: TrainedModel, method: str) -> TrainedModel:
        try:
            return delete(model, self.data, planted_indices_of(model, self.data), method)
        except SpuriscopeError:
            raise
        except Exception as error:
            if not METHODS.source(method):
                raise
            raise ConfigError(
                f"the deletion method {method} failed: {told_failure(error)}; correct it, and run the study "
                "again: finished work is kept"
            ) from error
