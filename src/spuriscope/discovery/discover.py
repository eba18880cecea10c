"""Has this model picked up a cue? The search, from training images to findings.

A finding makes two claims. Some training images of one class stand out from it together (`trace`, or the
`probe`, where unrelated images are given), further than the crowd behind them leads one to expect: a mark.
And the pattern reconstructed from them pulls fresh images of other classes into that class (`confirm`), more
than patterns of control groups do, look-alikes that nature made. Both have to hold; `evidence` says how the
level is held over all suspects of all classes. The search is told nothing but the model's answers and the
images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from spuriscope.adapters.consistency import check_answers
from spuriscope.argument_types import checked
from spuriscope.checks import check_number, check_seed, check_share, check_whole
from spuriscope.data.given import Given, as_splits
from spuriscope.data.image_set import Split
from spuriscope.discovery.confirm import ClassPatterns, Intervention
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.evidence import judge
from spuriscope.discovery.finding import Finding, Proof
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.proposals import propose
from spuriscope.discovery.trace import ClassTrace, Side, Trace
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import Pattern
from spuriscope.statistics import Tail

__all__ = ["OnClass", "Retrain", "discover"]

Retrain = Callable[[NDArray[np.int64]], Predict]
OnClass = Callable[[int, int], None]  # classes searched, classes in all

LARGE = 0.1  # a group that stands out no further is not tried on the model
N_SUSPECTS = 3  # strongest groups of a class and look that may be marks; those behind them are the crowd


@checked(DiscoveryError)
def discover(
    predict: Predict,
    *,
    train: Given,
    holdout: Given,
    unrelated: Tensor | None = None,
    trace: Trace | None = None,
    retrain: Retrain | None = None,
    level: float = 0.05,
    least_images: int = 1,
    least_score: float = 0.02,
    threshold: float = 0.1,
    n_fresh: int = 200,
    n_controls: int = 200,
    seed: int = 0,
    on_class: OnClass | None = None,
) -> list[Finding]:
    """Cues that a model has picked up from a few training images of one class, without being told.

    Args:
        predict: maps images (n, channels, height, width) in [0, 1] to probabilities (n, n_classes).
        train: the images it was trained on, as it saw them, with labels: a `Split`, a pair of arrays, ...
        holdout: fresh images with labels; what is usual is learnt from them, and patterns are tried on them.
        unrelated: (n, channels, height, width) images of anything, uint8 or in [0, 1], for the probe:
            clusters of them that the model calls alike propose what to look for among the training images.
        trace: how groups are found; its `fit` is called on the fresh images.
        retrain: trains the model again without the images at the positions it is given, and returns its
            `predict`. Each finding then has a `proof`.
        level: that is held, see `evidence`, as far as the p-values hold: that a group stands out by chance
            comes from the fitted tail of a crowd.
        least_images: groups of fewer images are not reported.
        least_score: a pattern that moves a smaller share of fresh images is no candidate.
        threshold: least rise of a probability that counts for a score.
        n_fresh: fresh images of other classes that each pattern is stamped on.
        n_controls: control groups of a class whose patterns are tried, at most.
        seed: draws fresh images and controls.
        on_class: called after each class.

    Returns:
        Findings, smallest p-value first; empty where there is nothing to report.

    Raises:
        ConfigError: a number is out of range.
        DataError, DiscoveryError: images or labels do not fit together, or are too few.
        MeasureError: `predict` does not return probabilities, or its answer for an image depends on the
            images beside it, or on nothing.
    """
    settings = _Settings(
        level=level,
        least_images=least_images,
        least_score=least_score,
        threshold=threshold,
        n_fresh=n_fresh,
        n_controls=n_controls,
        seed=seed,
    )
    (searched, fresh), _ = as_splits({"training": train, "holdout": holdout}, renumbers=False)
    _check(predict, searched, fresh)
    search = _Search(predict, searched, fresh, trace or Trace(), settings)
    # the products are many and small: threads would wait for each other
    with threadpool_limits(limits=1, user_api="blas"):
        findings = search.findings(unrelated, on_class)
    return findings if retrain is None else [search.prove(finding, retrain) for finding in findings]


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What a search is asked for; see `discover`."""

    level: float
    least_images: int
    least_score: float
    threshold: float
    n_fresh: int
    n_controls: int
    seed: int

    def __post_init__(self) -> None:
        for name, value in (("level", self.level), ("least_score", self.least_score)):
            check_number(name, value, above=0, below=1)
        check_share("threshold", self.threshold)
        check_whole("least_images", self.least_images)
        check_seed("seed", self.seed)
        if self.n_fresh < 1 or self.n_controls < 19:
            raise ConfigError(
                f"give n_fresh of 1 or more and n_controls of 19 or more, got {self.n_fresh}, "
                f"{self.n_controls}"
            )


def _check(predict: Predict, train: Split, holdout: Split) -> None:
    if train.images.shape[1:] != holdout.images.shape[1:]:
        raise DiscoveryError(
            f"training images are {tuple(train.images.shape[1:])} and fresh images "
            f"{tuple(holdout.images.shape[1:])} (channels, height, width); bring them to one size"
        )
    n_classes = probabilities(predict, holdout.images[:2]).shape[1]
    highest = int(train.labels.max())
    if int(train.labels.min()) == highest and bool((holdout.labels == highest).all()):
        raise DiscoveryError(
            f"all images are of class {highest}; a cue pulls images of other classes, so give some of those"
        )
    if highest >= n_classes:
        raise DiscoveryError(
            f"a training label is {highest}, but predict knows {n_classes} classes (0 to {n_classes - 1}); "
            "give the labels that the model was trained with"
        )
    check_answers(predict, holdout.images)


@dataclass(frozen=True, eq=False)
class _Suspect:
    """A group that may be a mark, with the p-value that it stands out so far by chance."""

    group: Group
    p_group: float


class _Search:
    """One search: groups of all classes first, then the effects of those that stand out."""

    def __init__(
        self, predict: Predict, searched: Split, fresh: Split, trace: Trace, settings: _Settings
    ) -> None:
        self.predict, self.searched, self.fresh = predict, searched, fresh
        self.trace, self.settings = trace, settings

    def findings(self, unrelated: Tensor | None, on_class: OnClass | None) -> list[Finding]:
        """Cues that are marks and move others, the surest first."""
        suspects, crowds = _suspects(self._groups(unrelated, on_class))
        suspects = [each for each in suspects if len(each.group) >= self.settings.least_images]
        tried: dict[int, Finding] = {}
        asked = [place for place, suspect in enumerate(suspects) if suspect.p_group <= LARGE]
        for target in sorted({suspects[place].group.target for place in asked}):
            of_class = [place for place in asked if suspects[place].group.target == target]
            effects = self._effects([suspects[place] for place in of_class], crowds[target])
            tried.update(zip(of_class, effects, strict=True))
        found = judge(
            [suspect.p_group for suspect in suspects],
            [tried[place].p_effect if place in tried else 1.0 for place in range(len(suspects))],
            self.settings.level,
            lambda place: (suspects[place].group.target, suspects[place].group.positions),
        )
        findings = [replace(tried[place], p_value=p) for place, p in found.items()]
        return sorted(findings, key=lambda finding: (finding.p_value, -finding.score))

    def prove(self, finding: Finding, retrain: Retrain) -> Finding:
        """The finding with what is left of it in a model that never saw its images."""
        again = self._intervention(retrain(finding.examples), finding.target)
        score = float(again.scores(finding.pattern.pixels[None])[0])
        return replace(finding, proof=Proof(score=score, n_left_out=len(finding.examples)))

    def _groups(self, unrelated: Tensor | None, on_class: OnClass | None) -> dict[int, list[Group]]:
        trace, searched = self.trace.fit(self.fresh), self.searched
        classes = trace.classes(searched)
        proposed = (
            {}
            if unrelated is None
            else propose(self.predict, unrelated, searched, trace.deviation, self.settings.seed)
        )
        groups = {}
        for done, target in enumerate(classes, start=1):
            groups[target] = trace.of_class(searched, target).groups(proposed.get(target, ()))
            if on_class is not None:
                on_class(done, len(classes))
        return groups

    def _intervention(self, predict: Predict, target: int) -> Intervention:
        return Intervention.on(
            predict,
            self.fresh,
            target,
            n_fresh=self.settings.n_fresh,
            threshold=self.settings.threshold,
            seed=self.settings.seed + target,
        )

    def _effects(self, suspects: Sequence[_Suspect], crowd: Sequence[Group]) -> list[Finding]:
        """What the patterns of suspects of one class do, beside what those of control groups do."""
        target = suspects[0].group.target
        asked = self._intervention(self.predict, target)
        controls = _Controls(self.trace.deviation, self.trace.of_class(self.searched, target), asked, crowd)
        pixels = controls.patterns([suspect.group for suspect in suspects], controls.seen.train)
        nulls: dict[bool, NDArray[np.float64]] = {}
        findings = []
        for suspect, picture, score in zip(suspects, pixels, asked.scores(pixels), strict=True):
            is_single = suspect.group.look == "single"
            if is_single not in nulls:
                nulls[is_single] = controls.scores(
                    is_single, self.settings.n_controls, self.settings.seed + target
                )
            null = nulls[is_single]
            is_candidate = score >= self.settings.least_score
            findings.append(
                Finding(
                    target=target,
                    pattern=Pattern(f"found-{target}", picture),
                    examples=suspect.group.positions,
                    score=float(score),
                    null=tuple(null.tolist()),
                    p_value=1.0,
                    p_group=suspect.p_group,
                    p_effect=float((1 + (null >= score).sum()) / (1 + len(null))) if is_candidate else 1.0,
                    source=suspect.group.source,
                    names=_names(self.searched, suspect.group.positions),
                )
            )
        return findings


class _Controls:
    """Control groups of one class: found by the same search among fresh images, or behind the suspects."""

    def __init__(
        self, deviation: Deviation, seen: ClassTrace, asked: Intervention, crowd: Sequence[Group]
    ) -> None:
        self.seen = seen
        self._deviation, self._asked, self._crowd = deviation, asked, crowd
        self._natural = seen.controls()
        self._makers: dict[Side, ClassPatterns] = {}

    def patterns(self, groups: Sequence[Group], side: Side) -> Tensor:
        """Pixels (k, channels, height, width) of the patterns of groups of one side."""
        if side not in self._makers:
            self._makers[side] = ClassPatterns(self._deviation, side.images, side.deviations)
        return self._makers[side].of([np.searchsorted(side.positions, group.positions) for group in groups])

    def scores(self, is_single: bool, n_controls: int, seed: int) -> NDArray[np.float64]:
        """What patterns of at most so many control groups score, half of them of each side."""
        of_look = [
            [group for group in groups if (group.look == "single") == is_single]
            for groups in (self._natural, self._crowd)
        ]
        rng = np.random.default_rng(seed)
        scores = [
            self._asked.scores(self.patterns(_draw(groups, n_controls // 2, rng), side))
            for groups, side in zip(of_look, (self.seen.fresh, self.seen.train), strict=True)
            if groups
        ]
        return np.concatenate(scores) if scores else np.empty(0)


def _suspects(groups: Mapping[int, Sequence[Group]]) -> tuple[list[_Suspect], dict[int, list[Group]]]:
    """The strongest groups of each class and look with their p-values, and the crowds behind them.

    What the probe proposes is judged against the crowd of whole images.
    """
    suspects: list[_Suspect] = []
    crowds: dict[int, list[Group]] = {target: [] for target in groups}
    for look in get_args(Look):
        of_look = {
            target: [group for group in found if group.look == look and group.source == "trace"]
            for target, found in groups.items()
        }
        for target, found in of_look.items():
            ranked = sorted(found, key=lambda group: -group.strength)
            natural = Tail.of([group.strength for group in ranked], n_suspects=N_SUSPECTS)
            crowds[target] += ranked[N_SUSPECTS:]
            proposed = [group for group in groups[target] if look == "whole" and group.source == "probe"]
            for group in [*ranked[:N_SUSPECTS], *proposed]:
                p_group = 1.0 if natural is None else natural.p_value(group.strength)
                suspects.append(_Suspect(group, p_group))
    return suspects, crowds


def _names(split: Split, positions: NDArray[np.int64]) -> tuple[str, ...] | None:
    return None if split.names is None else tuple(split.names[place] for place in positions)


def _draw(groups: list[Group], n: int, rng: np.random.Generator) -> list[Group]:
    return [groups[k] for k in np.sort(rng.choice(len(groups), min(n, len(groups)), replace=False))]
