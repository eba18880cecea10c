"""Measures of plugins in a study: taken for each row, kept beside ours, named NAME@FINGERPRINT.

A measure whose source was changed has another name, so it is taken again, from the kept weights if there are
any.
"""

from spuriscope.added_measures import MEASURES, measure_added
from spuriscope.contexts import Context
from spuriscope.data.image_set import ImageSet
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Study
from spuriscope.training import Cell, TrainedModel

__all__ = ["AddedMeasures"]


class AddedMeasures:
    """The measures of plugins that a study asks for and that are not yet in the store.

    Args:
        study: the study to run.
        data: what its cells were made for.
        store: holds the measures.
    """

    def __init__(self, study: Study, data: ImageSet, store: Store) -> None:
        self.data = data
        self.names = study.measures
        done = {
            (row["cell"], row["pattern"], row["target"], row["name"])
            for row in store.query("SELECT cell, pattern, target, name FROM measures WHERE name LIKE '%@%'")
        }
        self.left: dict[Cell, None] = {}
        for entry in study.entries if self.names else ():
            place = (entry.cell.hash, entry.pattern.fingerprint, entry.target)
            if not isinstance(entry.pattern, Context) and any(
                (*place, MEASURES.key(name)) not in done for name in self.names
            ):
                self.left[entry.cell] = None

    def lost(self) -> list[Cell]:
        """Cells with a measure still to take."""
        return list(self.left)

    def measured(self, model: TrainedModel, entry: Entry) -> dict[str, float]:
        """The measures of a row; a context has none.

        Raises:
            MeasureError: a measure failed.
        """
        if isinstance(entry.pattern, Context):
            return {}
        return measure_added(self.names, model.predict, self.data.test, entry.pattern, entry.target)
