"""Has this model picked up a cue? The search, from training images to findings.

Two lines of evidence are joined. Some training images of one class stand out from it together (`trace`, or
the `probe`, where unrelated images are given), further than the crowd behind them leads one to expect. And
the pattern reconstructed from them pulls fresh images of other classes into that class (`confirm`), more than
patterns of control groups do, look-alikes that nature made. Fisher's method joins both p-values, and the
false discovery rate is held over all suspects of all classes. The search is told nothing but the model's
answers and the images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from spuriscope.checks import check_number, check_seed, check_share, check_whole
from spuriscope.data.given import Given, as_split
from spuriscope.data.image_set import Split
from spuriscope.discovery.confirm import ClassPatterns, Intervention
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.finding import Finding, Proof
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.proposals import propose
from spuriscope.discovery.trace import ClassTrace, Side, Trace
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import Pattern
from spuriscope.statistics import exceedance_test

__all__ = ["OnClass", "Retrain", "discover"]

Retrain = Callable[[NDArray[np.int64]], Predict]
OnClass = Callable[[int, int], None]  # classes searched, classes in all

LARGE = 0.1  # a group that stands out no further is not compared with control groups
LEAST_P = 1e-12  # what the tail of a crowd says beyond it is not believed


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
        level: false discovery rate, as far as the p-values hold: they come from the fitted tail of a crowd.
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
        MeasureError: `predict` does not return probabilities.
    """
    for name, value in (("level", level), ("least_score", least_score)):
        check_number(name, value, above=0, below=1)
    check_share("threshold", threshold)
    check_whole("least_images", least_images)
    check_seed("seed", seed)
    if n_fresh < 1 or n_controls < 19:
        raise ConfigError(
            f"give n_fresh of 1 or more and n_controls of 19 or more, got {n_fresh}, {n_controls}"
        )
    searched, fresh = as_split(train, "training"), as_split(holdout, "holdout")
    _check(predict, searched, fresh)
    # the products are many and small: threads would wait for each other
    with threadpool_limits(limits=1, user_api="blas"):
        findings = _search(
            predict,
            searched,
            fresh,
            trace or Trace(),
            unrelated=unrelated,
            level=level,
            least_images=least_images,
            least_score=least_score,
            threshold=threshold,
            n_fresh=n_fresh,
            n_controls=n_controls,
            seed=seed,
            on_class=on_class,
        )
    if retrain is None:
        return findings
    return [
        _prove(finding, retrain, fresh, n_fresh=n_fresh, threshold=threshold, seed=seed)
        for finding in findings
    ]


def _search(
    predict: Predict,
    searched: Split,
    fresh: Split,
    trace: Trace,
    *,
    unrelated: Tensor | None,
    level: float,
    least_images: int,
    least_score: float,
    threshold: float,
    n_fresh: int,
    n_controls: int,
    seed: int,
    on_class: OnClass | None,
) -> list[Finding]:
    trace.fit(fresh)
    classes = trace.classes(searched)
    proposed = propose(predict, unrelated, searched, trace.deviation, seed) if unrelated is not None else {}
    tried: list[Finding] = []
    n_suspects = 0
    for done, target in enumerate(classes, start=1):
        asked = Intervention.on(
            predict, fresh, target, n_fresh=n_fresh, threshold=threshold, seed=seed + target
        )
        seen = trace.of_class(searched, target)
        search = _ClassSearch(trace.deviation, seen, asked, proposed.get(target, ()), least_images)
        candidates = search.candidates(least_score)
        n_suspects += len(search.suspects)
        tried += _findings(search, candidates, n_controls=n_controls, seed=seed + target)
        if on_class is not None:
            on_class(done, len(classes))
    return _within_rate(_without_repeats(tried), n_suspects, level)


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


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A group that may stand out, and what its pattern does."""

    group: Group
    p_group: float
    pattern: Tensor
    score: float

    @property
    def is_single(self) -> bool:
        return self.group.look == "single"


class _ClassSearch:
    """The search in one class: its suspects, and the control groups they are compared with."""

    def __init__(
        self,
        deviation: Deviation,
        seen: ClassTrace,
        asked: Intervention,
        directions: Sequence[NDArray[np.float32]],
        least_images: int,
    ) -> None:
        self.deviation, self.seen, self.asked = deviation, seen, asked
        self._makers: dict[Side, ClassPatterns] = {}
        suspects, self.crowd = _judge(seen.groups(directions))
        self.suspects = [suspect for suspect in suspects if len(suspect[0]) >= least_images]

    def candidates(self, least_score: float) -> list[_Candidate]:
        """Suspects whose pattern moves at least so many fresh images."""
        if not self.suspects:
            return []
        pixels = self._patterns([group for group, _ in self.suspects], self.seen.train)
        tried = zip(self.suspects, pixels, self.asked.scores(pixels), strict=True)
        return [
            _Candidate(group, p_group, picture, float(score))
            for (group, p_group), picture, score in tried
            if score >= least_score
        ]

    @cached_property
    def natural(self) -> list[Group]:
        """What the same search finds among fresh images."""
        return self.seen.controls()

    def null(self, is_single: bool, n_controls: int, seed: int) -> NDArray[np.float64]:
        """Scores of control groups: those found among fresh images, and the crowd behind the suspects."""
        of_look = [
            [group for group in groups if (group.look == "single") == is_single]
            for groups in (self.natural, self.crowd)
        ]
        rng = np.random.default_rng(seed)
        scores = [
            self.asked.scores(self._patterns(_draw(groups, n_controls // 2, rng), side))
            for groups, side in zip(of_look, (self.seen.fresh, self.seen.train), strict=True)
            if groups
        ]
        return np.concatenate(scores) if scores else np.empty(0)

    def _patterns(self, groups: Sequence[Group], side: Side) -> Tensor:
        """Pixels (k, channels, height, width) of the patterns of groups of one side."""
        if side not in self._makers:
            self._makers[side] = ClassPatterns(self.deviation, side.images, side.deviations)
        return self._makers[side].of([np.searchsorted(side.positions, group.positions) for group in groups])


def _judge(groups: Sequence[Group]) -> tuple[list[tuple[Group, float]], list[Group]]:
    """The strongest groups of each look with their p-values, and the crowd behind them.

    What the probe proposes is judged alone against the crowd of whole images.
    """
    suspects, crowd = [], []
    for look in get_args(Look):
        of_look = [group for group in groups if group.look == look and group.source == "trace"]
        strengths = [group.strength for group in of_look]
        for group, p in zip(of_look, exceedance_test(strengths), strict=True):
            if p < 1:
                suspects.append((group, p))
            else:
                crowd.append(group)
        if look == "whole":
            proposed = [group for group in groups if group.source == "probe"]
            suspects += [(group, exceedance_test([*strengths, group.strength])[-1]) for group in proposed]
    return suspects, crowd


def _draw(groups: list[Group], n: int, rng: np.random.Generator) -> list[Group]:
    return [groups[k] for k in np.sort(rng.choice(len(groups), min(n, len(groups)), replace=False))]


def _findings(
    search: _ClassSearch, candidates: Sequence[_Candidate], *, n_controls: int, seed: int
) -> list[Finding]:
    """Candidates of one class with both lines of evidence."""
    from scipy import stats

    nulls: dict[bool, NDArray[np.float64]] = {}
    findings = []
    for candidate in candidates:
        if candidate.p_group > LARGE:
            continue
        if candidate.is_single not in nulls:
            nulls[candidate.is_single] = search.null(candidate.is_single, n_controls, seed)
        null = nulls[candidate.is_single]
        p_effect = float((1 + (null >= candidate.score).sum()) / (1 + len(null)))
        p_group = max(candidate.p_group, LEAST_P)
        findings.append(
            Finding(
                target=search.asked.target,
                pattern=Pattern(f"found-{search.asked.target}", candidate.pattern),
                examples=candidate.group.positions,
                score=candidate.score,
                null=tuple(null.tolist()),
                p_value=float(stats.combine_pvalues((p_group, p_effect), method="fisher").pvalue),
                p_group=candidate.p_group,
                p_effect=p_effect,
                source=candidate.group.source,
            )
        )
    return findings


def _within_rate(tried: list[Finding], n_suspects: int, level: float) -> list[Finding]:
    """Those whose adjusted p-value is at most `level`, best first; suspects not tried have p = 1."""
    from scipy.stats import false_discovery_control

    p_values = [finding.p_value for finding in tried] + [1.0] * (n_suspects - len(tried))
    if not p_values:
        return []
    adjusted = false_discovery_control(p_values)[: len(tried)]
    ranked = sorted(zip(tried, adjusted, strict=True), key=lambda one: (one[0].p_value, -one[0].score))
    return [replace(finding, p_value=float(p)) for finding, p in ranked if p <= level]


def _without_repeats(tried: list[Finding]) -> list[Finding]:
    """Of those that share images only the first stays, groups before single images, the surer before others.

    One cue is reported once, and counts once among the discoveries that the rate is a share of.
    """
    kept: list[Finding] = []
    for finding in sorted(tried, key=lambda one: (len(one.examples) == 1, one.p_value, -one.score)):
        if not any(
            other.target == finding.target and np.intersect1d(other.examples, finding.examples).size
            for other in kept
        ):
            kept.append(finding)
    return kept


def _prove(
    finding: Finding, retrain: Retrain, holdout: Split, *, n_fresh: int, threshold: float, seed: int
) -> Finding:
    again = Intervention.on(
        retrain(finding.examples),
        holdout,
        finding.target,
        n_fresh=n_fresh,
        threshold=threshold,
        seed=seed + finding.target,
    )
    score = float(again.scores(finding.pattern.pixels[None])[0])
    return replace(finding, proof=Proof(score=score, n_left_out=len(finding.examples)))
