"""Has this model picked up a cue? The search, from training images to findings.

Two lines of evidence have to agree. Some training images of one class must stand out from it together
(`trace`), and the pattern reconstructed from them must pull fresh images of other classes into that class
(`confirm`). Both p-values are joined by Fisher's method, and the false discovery rate is held over all
candidates of all classes. The search is told nothing but the model's answers and the images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from spuriscope.data.given import Given, as_split
from spuriscope.data.image_set import Split
from spuriscope.discovery.confirm import ClassPatterns, Intervention
from spuriscope.discovery.finding import Finding, Proof
from spuriscope.discovery.group import Group
from spuriscope.discovery.trace import Trace
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import Pattern
from spuriscope.statistics import exceedance_test

__all__ = ["OnClass", "Retrain", "discover"]

Retrain = Callable[[NDArray[np.int64]], Predict]
OnClass = Callable[[int, int], None]  # classes searched, classes in all

LARGE = 0.05  # a line of evidence above it is none, however strong the other


@dataclass(frozen=True)
class _Candidate:
    group: Group
    p_group: float


def discover(
    predict: Predict,
    *,
    train: Given,
    holdout: Given,
    trace: Trace | None = None,
    retrain: Retrain | None = None,
    level: float = 0.01,
    least_images: int = 2,
    least_score: float = 0.05,
    threshold: float = 0.1,
    n_fresh: int = 200,
    n_controls: int = 999,
    seed: int = 0,
    on_class: OnClass | None = None,
) -> list[Finding]:
    """Cues that a model has picked up from a few training images of one class, without being told.

    Args:
        predict: maps images (n, channels, height, width) in [0, 1] to probabilities (n, n_classes).
        train: the images it was trained on, as it saw them, with labels: a `Split`, a pair of arrays, ...
        holdout: fresh images with labels; what is usual is learnt from them, and patterns are tried on them.
        trace: how groups are found; its `fit` is called on the fresh images.
        retrain: trains the model again without the images at the positions it is given, and returns its
            `predict`. Each finding then has a `proof`.
        level: false discovery rate, as far as the p-values hold: they come from the fitted tail of a crowd.
        least_images: groups of fewer images are not reported. With 1 single images are candidates too: they
            have nothing to agree with, and odd ones that mean nothing are common in small data.
        least_score: a pattern that moves a smaller share of fresh images is not reported.
        threshold: least rise of a probability that counts for a score.
        n_fresh: fresh images of other classes that each pattern is stamped on.
        n_controls: random sets of images that a group is compared with; the smallest p is 1 / (1 + this).
        seed: draws fresh images and controls.
        on_class: called after each class.

    Returns:
        Findings, smallest p-value first; empty where there is nothing to report.

    Raises:
        ConfigError: a number is out of range.
        DataError, DiscoveryError: images or labels do not fit together, or are too few.
        MeasureError: `predict` does not return probabilities.
    """
    for name, value, high in (("level", level, 1.0), ("least_score", least_score, 1.0)):
        if not 0 < value < high:
            raise ConfigError(f"{name} must lie between 0 and {high:g}, got {value}")
    if n_fresh < 1 or n_controls < 19:
        raise ConfigError(
            f"give n_fresh of 1 or more and n_controls of 19 or more, got {n_fresh}, {n_controls}"
        )
    searched, fresh = as_split(train, "training"), as_split(holdout, "holdout")
    _check(predict, searched, fresh)
    trace = (trace or Trace()).fit(fresh.images)
    classes = trace.classes(searched)
    candidates: list[_Candidate] = []
    for done, target in enumerate(classes, start=1):
        candidates += _candidates(trace.search_class(searched, target), least_images)
        if on_class is not None:
            on_class(done, len(classes))
    tried: list[Finding] = []
    for target, of_class in groupby(candidates, key=lambda candidate: candidate.group.target):
        promising = [candidate for candidate in of_class if candidate.p_group <= LARGE]
        if promising:
            asked = Intervention.on(
                predict, fresh, target, n_fresh=n_fresh, threshold=threshold, seed=seed + target
            )
            patterns = ClassPatterns(trace.deviation, searched, target)
            tried += _try(
                asked,
                patterns,
                promising,
                least_score=least_score,
                n_controls=n_controls,
                seed=seed + target,
            )
    findings = _without_repeats(_within_rate(tried, len(candidates), level))
    if retrain is None:
        return findings
    return [
        _prove(finding, retrain, fresh, n_fresh=n_fresh, threshold=threshold, seed=seed)
        for finding in findings
    ]


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


def _candidates(groups: list[Group], least_images: int) -> list[_Candidate]:
    """The strongest groups and the strongest single images of a class, each judged against its crowd."""
    found = []
    for kind in ([g for g in groups if len(g) > 1], [g for g in groups if len(g) == 1]):
        p_values = exceedance_test([group.strength for group in kind])
        judged = zip(kind, p_values, strict=True)
        found += [_Candidate(group, p) for group, p in judged if p < 1 and len(group) >= least_images]
    return found


def _try(
    asked: Intervention,
    patterns: ClassPatterns,
    candidates: list[_Candidate],
    *,
    least_score: float,
    n_controls: int,
    seed: int,
) -> list[Finding]:
    """Intervene with each candidate of one class; those that move too few images are dropped."""
    from scipy import stats

    suspects = np.unique(np.concatenate([candidate.group.positions for candidate in candidates]))
    pixels = patterns.of([candidate.group.positions for candidate in candidates])
    nulls: dict[int, NDArray[np.float64]] = {}
    findings = []
    for candidate, picture, score in zip(candidates, pixels, asked.scores(pixels), strict=True):
        if score < least_score:
            continue
        size = len(candidate.group)
        if size not in nulls:
            nulls[size] = asked.scores(patterns.of(patterns.controls(size, n_controls, suspects, seed)))
        p_effect = float((1 + (nulls[size] >= score).sum()) / (1 + n_controls))
        both = (candidate.p_group, p_effect)
        joined = float(stats.combine_pvalues(both, method="fisher").pvalue)
        findings.append(
            Finding(
                target=asked.target,
                pattern=Pattern(f"found-{asked.target}", picture),
                examples=candidate.group.positions,
                score=float(score),
                null=tuple(nulls[size].tolist()),
                p_value=joined if max(both) <= LARGE else max(both),
                p_group=candidate.p_group,
                p_effect=p_effect,
                source=candidate.group.source,
            )
        )
    return findings


def _within_rate(tried: list[Finding], n_candidates: int, level: float) -> list[Finding]:
    """Those whose adjusted p-value is at most `level`, best first; candidates not tried have p = 1."""
    from scipy.stats import false_discovery_control

    p_values = [finding.p_value for finding in tried] + [1.0] * (n_candidates - len(tried))
    if not p_values:
        return []
    adjusted = false_discovery_control(p_values)[: len(tried)]
    kept = [
        replace(finding, p_value=float(p)) for finding, p in zip(tried, adjusted, strict=True) if p <= level
    ]
    return sorted(kept, key=lambda finding: (finding.p_value, -finding.score))


def _without_repeats(findings: list[Finding]) -> list[Finding]:
    """Of findings that share images only the largest stays: one cue is reported once."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: -len(finding.examples)):
        if not any(
            other.target == finding.target and np.intersect1d(other.examples, finding.examples).size
            for other in kept
        ):
            kept.append(finding)
    return sorted(kept, key=lambda finding: (finding.p_value, -finding.score))


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
