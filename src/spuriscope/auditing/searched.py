"""How an audit searches a model, and how it shows the findings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.answers import FoundCue, ShownImage, TriedImage
from spuriscope.auditing.explained import Explainer, explain
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.discovery import Finding, discover_each
from spuriscope.discovery.exhibit import Exhibit, exhibit
from spuriscope.discovery.trace import LEAST_OF_CLASS
from spuriscope.measures import Predict
from spuriscope.patterns import Anywhere
from spuriscope.report.pictures import data_uri
from spuriscope.training import OnProgress

__all__ = [
    "N_CONTROLS",
    "N_FRESH",
    "N_SHOWN",
    "SEARCH_LEVEL",
    "ShownFinding",
    "can_be_searched",
    "explained",
    "search",
]

N_FRESH, N_CONTROLS = 200, 200
SEARCH_LEVEL = 0.05  # held over all suspects of a search
N_SHOWN = 6


def can_be_searched(data: ImageSet) -> bool:
    """Whether a class is large enough, and there are fresh images of at least two classes."""
    has_crowd = int(data.train.labels.bincount().max()) >= LEAST_OF_CLASS
    return has_crowd and len(data.test.labels.unique()) > 1


def search(
    predicts: Sequence[Predict],
    seen: Split,
    fresh: Split,
    *,
    threshold: float,
    on_search: Callable[[], None] = lambda: None,
) -> list[list[Finding]]:
    """Search each of some models that were trained on the images `seen`."""
    return discover_each(
        predicts,
        train=seen,
        holdout=fresh,
        threshold=threshold,
        level=SEARCH_LEVEL,
        n_fresh=N_FRESH,
        n_controls=N_CONTROLS,
        on_model=on_search,
    )


@dataclass(frozen=True, eq=False)
class ShownFinding:
    """A finding as a person looks at it, and its first images (n, channels, height, width)."""

    exhibit: Exhibit
    images: Tensor
    fresh: Split

    @classmethod
    def of(
        cls, finding: Finding, predict: Predict, seen: Split, fresh: Split, threshold: float
    ) -> "ShownFinding":
        """Look at a finding of a model that was trained on the images `seen`."""
        found = exhibit(finding, predict, seen, fresh, threshold=threshold)
        return cls(found, seen.images[torch.from_numpy(found.examples[:N_SHOWN])], fresh)

    @property
    def finding(self) -> Finding:
        """The finding that is shown."""
        return self.exhibit.finding

    def answer(
        self,
        explainer: Explainer | None,
        in_data: Callable[[NDArray[np.int64]], NDArray[np.int64]] = lambda examples: examples,
    ) -> FoundCue:
        """The finding for the page, with what an explainer, if any, explains and leaves over.

        Args:
            explainer: of the data.
            in_data: maps positions among the images searched to those in the user's data.
        """
        finding = self.finding
        names = dict(zip(finding.examples.tolist(), finding.names or (), strict=bool(finding.names)))
        first = self.exhibit.examples[:N_SHOWN]
        positions = in_data(first).tolist()
        called = [
            names.get(own, str(position)) for own, position in zip(first.tolist(), positions, strict=True)
        ]
        if explainer is None:
            images = [
                ShownImage(position=position, name=name, picture=data_uri(image))
                for position, name, image in zip(positions, called, self.images, strict=True)
            ]
        else:
            images = explainer.pictures(self.images, positions, called)
        boxes = self.exhibit.boxes[: len(images)]
        return FoundCue(
            target=finding.target,
            examples=tuple(in_data(finding.examples).tolist()),
            names=finding.names,
            score=finding.score,
            null=tuple(round(score, 4) for score in finding.null),
            p_value=finding.p_value,
            p_group=finding.p_group,
            p_effect=finding.p_effect,
            source=finding.source,
            kind=finding.pattern.kind,
            placement="anywhere" if isinstance(finding.pattern, Anywhere) else "fixed",
            carriers=finding.carriers,
            proof=finding.proof,
            picture=data_uri(finding.pattern.picture),
            images=tuple(replace(image, box=box) for image, box in zip(images, boxes, strict=True)),
            tried=tuple(
                TriedImage(
                    position=each.position,
                    name=self.fresh.called(each.position),
                    label=each.label,
                    picture=data_uri(each.images[0]),
                    stamped_picture=data_uri(each.images[1]),
                    probability=each.probabilities[0],
                    stamped_probability=each.probabilities[1],
                    box=each.box,
                )
                for each in self.exhibit.tried
            ),
        )


def explained(
    data: ImageSet, suspects: Sequence[ShownFinding], on_progress: OnProgress | None = None
) -> Explainer | None:
    """Fit one autoencoder for all; compare with the first finding's class. None where nothing was found."""
    if not suspects:
        return None
    shown = torch.cat([suspect.images for suspect in suspects])
    return explain(data.test, shown, suspects[0].finding.target, on_progress=on_progress)
