"""The questions of a study to one of its models, in a form that is sent to where the model is trained.

The model is run on the test images once without a pattern, and once more under each pattern; then again after
each deletion. All values are those of `measure` and `measure_context`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
import torch

from spuriscope.contexts import Context, measure_contexts
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import delete, planted_indices_of
from spuriscope.errors import DeletionError, DivergenceError
from spuriscope.measures import Predict, measure_each
from spuriscope.patterns import AnyPattern, Anywhere, from_arrays
from spuriscope.studies.deletions import after
from spuriscope.studies.study import Entry
from spuriscope.training import TrainedModel

__all__ = ["Answers", "Questions"]

Values = dict[str, float]
Answers = tuple[Values, ...]  # the measures of each row, by name


@dataclass(frozen=True, eq=False)
class _Cue:
    """A pattern or a context and its target, as plain values and arrays.

    Attributes:
        name: of the pattern or the context.
        target: the class it might lead to.
        kind: of the pattern; None for a context.
        arrays: what the pattern consists of.
        shape: of the images it fits.
        places: the seed of its places where it stands anywhere.
    """

    name: str
    target: int
    kind: str | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    shape: tuple[int, int, int] | None = None
    places: int | None = None

    @classmethod
    def of(cls, entry: Entry) -> "_Cue":
        pattern, target = entry.pattern, entry.target
        if isinstance(pattern, Context):
            return cls(pattern.name, target)
        kind, places = (pattern.pattern, pattern.seed) if isinstance(pattern, Anywhere) else (pattern, None)
        arrays = {name: array.numpy() for name, array in kind.arrays.items()}
        return cls(kind.name, target, kind.kind, arrays, kind.shape, places)

    def unpacked(self) -> AnyPattern | Context:
        """The pattern or the context."""
        if self.kind is None or self.arrays is None or self.shape is None:
            return Context(self.name)
        arrays = {name: torch.tensor(array) for name, array in self.arrays.items()}
        pattern = from_arrays(self.kind, self.name, arrays, self.shape)
        return pattern if self.places is None else Anywhere(pattern, self.places)


@dataclass(frozen=True, eq=False)
class Questions:
    """The questions to the model of one cell. Make one with `Questions.of`.

    Attributes:
        cues: one per row of the cell.
        deletions: methods that make the model forget its planted images.
    """

    cues: tuple[_Cue, ...]
    deletions: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Sequence[Entry], deletions: Sequence[str] = ()) -> "Questions":
        """The questions of some rows of one cell."""
        return cls(tuple(map(_Cue.of, entries)), tuple(deletions))

    def __call__(self, model: TrainedModel, data: ImageSet) -> Answers:
        """The measures of each row by name, in order. A deletion that fails has none.

        Raises:
            MeasureError: the model does not return probabilities, or there is nothing to measure on.
        """
        cues = [cue.unpacked() for cue in self.cues]
        rows = self._rows(model.predict, data, cues)
        if model.epsilon is not None:
            rows = [row | {"epsilon": model.epsilon} for row in rows]
        for method in self.deletions:
            with suppress(DeletionError, DivergenceError):
                deleted = delete(model, data, planted_indices_of(model, data), method)
                left = self._rows(deleted.predict, data, cues, contexts=False)
                for row, values in zip(rows, left, strict=True):
                    if values:
                        values["seconds"] = deleted.n_seconds
                    row |= {after(method, name): value for name, value in values.items()}
        return tuple(rows)

    def _rows(
        self, predict: Predict, data: ImageSet, cues: Sequence[AnyPattern | Context], *, contexts: bool = True
    ) -> list[Values]:
        """The measures of each row; those of contexts are left empty where they are not asked for."""
        targets = [cue.target for cue in self.cues]
        found: list[Values] = [{} for _ in cues]
        pictures = [(place, cue) for place, cue in enumerate(cues) if not isinstance(cue, Context)]
        if pictures:
            stamped = [(cue, targets[place]) for place, cue in pictures]
            measured = measure_each(predict, data.test, stamped)
            for (place, _), values in zip(pictures, measured, strict=True):
                found[place] = asdict(values)
        scenes = [(place, cue.name) for place, cue in enumerate(cues) if isinstance(cue, Context)]
        if scenes and contexts:
            wanted = [(name, targets[place]) for place, name in scenes]
            for (place, _), there in zip(scenes, measure_contexts(predict, data, wanted), strict=True):
                found[place] = asdict(there)
        return found
