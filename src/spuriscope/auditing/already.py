"""Is there a cue in my data already? Several models of the unchanged data, searched.

A finding counts where most of the models make it, because a single training, and its search, may go astray.
Then each finding is tested: models of the same seeds are trained again without its images. If the effect
goes,
these images caused it. Nothing was planted here, so no finding is called false.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.adequacy import Adequacy, adequacy
from spuriscope.answers import AlreadyThere, FoundCue, Proven, Quality, RecurringCue
from spuriscope.auditing.searched import (
    N_CONTROLS,
    N_FRESH,
    SEARCH_LEVEL,
    ShownFinding,
    can_be_searched,
    explained,
    search,
)
from spuriscope.blind_spots import blind_spots
from spuriscope.data.image_set import ImageSet
from spuriscope.discovery import Finding
from spuriscope.discovery.exhibit import all_carriers
from spuriscope.discovery.trace import LEAST_OF_CLASS
from spuriscope.measures import Predict, spurious_score
from spuriscope.statistics import mean_interval
from spuriscope.training import Cell, Part, Trains, train_all

__all__ = ["Again", "already", "quality_of", "taken_out", "trained_again"]

Again = Callable[[Sequence[NDArray[np.int64]]], list[list[Predict]]]

ALIKE = 0.5  # share of the smaller finding's images that two findings must share to be one
GONE = 0.5  # share of an effect that must go for the finding to be proven
MOST_PROVED = 4  # findings; each takes one training per searched model
MOST_TAKEN = 0.5  # most of a class that may be taken out, so that the rest is still a class


def quality_of(predicts: Sequence[Predict], data: ImageSet) -> tuple[Quality, Adequacy]:
    """How good models of the unchanged data are: all of them, and the first in words."""
    found = [
        adequacy(predict, data.train, data.test, class_names=data.class_names, looks_for_mend=False)
        for predict in predicts
    ]
    n_near = sum(each.is_near_chance for each in found)
    quality = Quality(
        train_accuracy=mean_interval([each.train_accuracy for each in found]),
        test_accuracy=mean_interval([each.fresh_accuracy for each in found]),
        chance=found[0].chance,
        n_test=found[0].n_fresh,
        is_near_chance=2 * n_near >= len(found),
    )
    return quality, found[0]


def already(
    data: ImageSet,
    predicts: Mapping[int, Predict],
    sure: Adequacy,
    *,
    threshold: float,
    again: Again | None,
    on_search: Callable[[], None] = lambda: None,
) -> AlreadyThere | None:
    """Search models of the unchanged data, and test what recurs. None where no class can be searched.

    Args:
        data: what they were trained on; the test images are fresh.
        predicts: the models, by seed.
        sure: how good the first model is, which limits what could have been seen.
        threshold: least rise of a probability that counts.
        again: trains without the images of findings; None where that is impossible.
        on_search: called after each search.
    """
    if not can_be_searched(data):
        return None
    searched = search(
        list(predicts.values()), data.train, data.test, threshold=threshold, on_search=on_search
    )
    found = dict(zip(predicts, searched, strict=True))
    groups = _recurring(found)
    lasting = [group for group in groups if 2 * len(group.seeds) > len(found)]
    tried = [all_carriers(group.first, data.train, data.test) for group in lasting[:MOST_PROVED]]
    proofs = again(tried) if again is not None and tried else []

    def looked_at(finding: Finding, seed: int) -> ShownFinding:
        return ShownFinding.of(finding, predicts[seed], data.train, data.test, threshold)

    once = [
        looked_at(finding, seed)
        for group in groups
        if group not in lasting
        for seed, finding in group.findings.items()
    ]
    shown = [looked_at(group.first, group.seeds[0]) for group in lasting]
    explainer = explained(data, [*shown, *once])
    cues = [
        _cue(
            data,
            group,
            suspect.answer(explainer),
            list(predicts.values()),
            None if k >= len(proofs) else (tried[k], proofs[k]),
            threshold=threshold,
        )
        for k, (group, suspect) in enumerate(zip(lasting, shown, strict=True))
    ]
    order: tuple[Proven, ...] = ("proven", "seeds disagree", "not tried", "not proven")
    return AlreadyThere(
        seeds=tuple(found),
        cues=tuple(sorted(cues, key=lambda cue: (order.index(cue.is_proven), -cue.score.mean))),
        once=tuple(suspect.answer(explainer) for suspect in once),
        n_train=len(data.train),
        n_fresh=min(N_FRESH, len(data.test)),
        n_controls=N_CONTROLS,
        level=SEARCH_LEVEL,
        blind_spots=tuple(blind_spots(data, sure)),
        taken_out=taken_out(data, [finding.examples for each in found.values() for finding in each] + tried),
        embedding=None if explainer is None else explainer.explanation(),
    )


def trained_again(cells: Sequence[Cell], data: ImageSet, trainer: Trains[Any]) -> Again:
    """Make the function that trains some cells again without the images of each finding."""

    def again(findings: Sequence[NDArray[np.int64]]) -> list[list[Predict]]:
        n = len(data.train)
        without = [
            [replace(cell, part=Part.without(torch.from_numpy(examples), n)) for cell in cells]
            for examples in findings
        ]
        models = train_all((cell for of_finding in without for cell in of_finding), data, trainer)
        return [[models[cell].predict for cell in of_finding] for of_finding in without]

    return again


@dataclass(frozen=True, eq=False)
class _Group:
    """Findings of several models that name the same images for the same class; at most one per model."""

    findings: dict[int, Finding]  # by seed

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.findings)

    @property
    def first(self) -> Finding:
        """The first model's finding, with the images that most of the models name."""
        finding = next(iter(self.findings.values()))
        named, counts = np.unique(
            np.concatenate([each.examples for each in self.findings.values()]), return_counts=True
        )
        kept = named[2 * counts > len(self.findings)]
        examples = kept if len(kept) else finding.examples
        names = {
            position: name
            for each in self.findings.values()
            for position, name in zip(each.examples.tolist(), each.names or (), strict=bool(each.names))
        }
        return replace(
            finding,
            examples=examples,
            names=tuple(names[position] for position in examples.tolist()) if names else None,
        )

    def has(self, finding: Finding) -> bool:
        """Whether a finding belongs to this group."""
        return any(_is_alike(finding, each) for each in self.findings.values())


def _is_alike(one: Finding, other: Finding) -> bool:
    n_common = len(np.intersect1d(one.examples, other.examples))
    return one.target == other.target and n_common >= ALIKE * min(len(one.examples), len(other.examples))


def _recurring(found: Mapping[int, Sequence[Finding]]) -> list[_Group]:
    """Findings grouped by the images they name, those of most models first."""
    groups: list[_Group] = []
    for seed, findings in found.items():
        for finding in findings:
            group = next((group for group in groups if group.has(finding)), None)
            if group is None:
                groups.append(_Group({seed: finding}))
            else:
                group.findings.setdefault(seed, finding)
    return sorted(groups, key=lambda group: -len(group.seeds))


def _cue(
    data: ImageSet,
    group: _Group,
    cue: FoundCue,
    predicts: Sequence[Predict],
    again: tuple[NDArray[np.int64], Sequence[Predict]] | None,
    *,
    threshold: float,
) -> RecurringCue:
    """A finding with its strength in the models, and in models that never saw its images."""
    finding, test = group.first, data.test
    others = test.images[test.labels != finding.target]

    def scores(models: Sequence[Predict]) -> list[float]:
        return [
            spurious_score(predict, others, finding.pattern, finding.target, threshold=threshold)
            for predict in models
        ]

    before = scores(predicts)
    after = None if again is None else scores(again[1])
    return RecurringCue(
        cue=cue,
        seeds=group.seeds,
        score=mean_interval(before),
        score_without=None if after is None else mean_interval(after),
        n_left_out=0 if again is None else len(again[0]),
        is_proven=_proven(before, after),
    )


def _proven(before: Sequence[float], after: Sequence[float] | None) -> Proven:
    """Whether the effect goes with the images: in every model that shows it, in none, or in some."""
    if after is None:
        return "not tried"
    shown = [(old, new) for old, new in zip(before, after, strict=True) if old > 0]
    n_gone = sum(new <= (1 - GONE) * old for old, new in shown)
    if shown and n_gone == len(shown):
        return "proven"
    return "not proven" if n_gone == 0 else "seeds disagree"


def taken_out(data: ImageSet, findings: Sequence[NDArray[np.int64]]) -> tuple[int, ...]:
    """Positions of the images of findings, as long as enough of their classes remains."""
    labels = data.train.labels
    named: NDArray[np.int64] = np.unique(np.concatenate([*findings, np.empty(0, dtype=np.int64)]))
    positions = torch.from_numpy(named)
    kept = []
    for label in labels[positions].unique().tolist():
        of_class = positions[labels[positions] == label]
        n_class = int((labels == label).sum())
        if len(of_class) <= MOST_TAKEN * n_class and n_class - len(of_class) >= min(LEAST_OF_CLASS, n_class):
            kept += of_class.tolist()
    return tuple(sorted(kept))
