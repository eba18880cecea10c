"""Has this model picked up a cue? The search, from training images to findings.

A finding makes two claims. First, some training images of one class stand out from it together, further than
the crowd behind them leads one to expect: a mark. They share what others do not have (`trace`, or the
`probe`, if unrelated images are given), or agree to the last grey value (`marks`) and are missing among the
fresh images. Second, the pattern reconstructed from them pulls fresh images of other classes into that class
(`confirm`), more than patterns of control groups, which are natural look-alikes, or than what natural images
of the class have in the same place. Both must hold; `evidence` keeps the level over all suspects of all
classes. The search knows only the model's answers and the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from spuriscope.adapters.consistency import check_answers
from spuriscope.argument_types import checked
from spuriscope.checks import check_number, check_seed, check_share, check_whole
from spuriscope.data.given import Given, as_splits
from spuriscope.data.image_set import Split
from spuriscope.discovery.classes import OnClass, search_classes
from spuriscope.discovery.confirm import Intervention
from spuriscope.discovery.controls import (
    ClassControls,
    ask_controls,
    compared_effect,
    natural_in_place,
    p_of_effect,
)
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.embed import Embedding
from spuriscope.discovery.embeddings import chosen_embedding
from spuriscope.discovery.evidence import MARKED, judge_suspects
from spuriscope.discovery.finding import Finding, Proof, names_of
from spuriscope.discovery.group import Group
from spuriscope.discovery.proposals import propose
from spuriscope.discovery.suspects import (
    Suspect,
    suspected_groups,
    weigh_agreement,
)
from spuriscope.discovery.trace import Trace
from spuriscope.discovery.transplants import TRANSPLANTS
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import AnyPattern, Pattern

__all__ = ["OnClass", "TrainWithout", "discover", "discover_each"]

TrainWithout = Callable[[NDArray[np.int64]], Predict]

LEAST_SCORE = 0.02
N_ASKED_ABOUT_MARK = 100  # most fresh images on which marks and their controls are stamped


@checked(DiscoveryError)
def discover(
    predict: Predict,
    *,
    train: Given,
    holdout: Given,
    unrelated: Tensor | None = None,
    embedding: str | Embedding | None = None,
    transplants: Sequence[str] = (),
    trace: Trace | None = None,
    retrain: TrainWithout | None = None,
    level: float = 0.05,
    least_images: int = 1,
    least_score: float = LEAST_SCORE,
    threshold: float = 0.1,
    n_fresh: int = 200,
    n_controls: int = 400,
    seed: int = 0,
    on_class: OnClass | None = None,
) -> list[Finding]:
    """Find cues that a model has picked up from a few training images of one class, without being told.

    Args:
        predict: maps images (n, channels, height, width) in [0, 1] to probabilities (n, n_classes).
        train: the images it was trained on, as it saw them, with labels: a `Split`, a pair of arrays, ...
        holdout: fresh images with labels, from which the usual is learnt, and on which patterns are tried.
        unrelated: (n, channels, height, width) images of anything, uint8 or in [0, 1], for the probe:
            clusters of them that the model calls the same propose what to seek among the training images.
        embedding: the embedding for the search: "pca", the default, "vae", the name of a plugin, see
            `register_embedding`, or an object.
        transplants: names of plugins, see `register_transplant`, that seek marks beside ours.
        trace: how groups are found, its embedding included; its `fit` is called on the fresh images.
        retrain: trains the model again without the images at the given positions, and returns its `predict`.
            Each finding then has a `proof`.
        level: significance level, see `evidence`. It is only as good as the p-values: that a group stands out
            by chance comes from the fitted tail of a crowd.
        least_images: smaller groups are not reported.
        least_score: a pattern that moves a smaller share of fresh images is no candidate.
        threshold: least rise of a probability that counts for a score.
        n_fresh: fresh images of other classes that each pattern is stamped on.
        n_controls: largest number of control groups of a class whose patterns are tried.
        seed: draws fresh images and controls.
        on_class: called after each class.

    Returns:
        Findings, smallest p-value first; empty where there is nothing to report.

    Raises:
        ConfigError: a number is out of range; or both `trace` and `embedding` are given.
        DataError, DiscoveryError: images or labels do not fit together, or are too few; an embedding or a
            transplant is unknown, or failed.
        PatternError: a transplant failed, or returned something other than hybrids.
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
        transplants=tuple(TRANSPLANTS.ours_and(transplants)),
    )
    if trace is not None and embedding is not None:
        raise ConfigError("give trace or embedding: a trace has an embedding of its own")
    trace = trace or Trace(Deviation(chosen_embedding(embedding)))
    (searched, fresh), _ = as_splits({"training": train, "holdout": holdout}, renumbers=False)
    _check(predict, searched, fresh)
    search = _Search(searched, fresh, trace, settings)
    with _one_thread():
        (findings,) = search.each([predict], unrelated, on_class)
    return findings if retrain is None else [search.prove(finding, retrain) for finding in findings]


def discover_each(
    predicts: Sequence[Predict],
    *,
    train: Split,
    holdout: Split,
    threshold: float,
    level: float = 0.05,
    n_fresh: int = 200,
    n_controls: int = 400,
    on_model: Callable[[], None] = lambda: None,
) -> list[list[Finding]]:
    """Run `discover` on each of several models of the same data.

    What stands out does not depend on the models, and takes most of the time to find; it is searched once.

    Args:
        predicts: of the models.
        train: see `discover`, as for all that follow.
        holdout: fresh images.
        threshold: least rise of a probability that counts.
        level: significance level.
        n_fresh: fresh images that each pattern is stamped on.
        n_controls: largest number of control groups.
        on_model: called after each model.

    Raises:
        DiscoveryError, MeasureError: as for `discover`.
    """
    settings = _Settings(
        level=level,
        least_images=1,
        least_score=LEAST_SCORE,
        threshold=threshold,
        n_fresh=n_fresh,
        n_controls=n_controls,
        seed=0,
    )
    for predict in predicts:
        _check(predict, train, holdout)
    with _one_thread():
        return _Search(train, holdout, Trace(), settings).each(predicts, on_model=on_model)


def _one_thread() -> threadpool_limits:
    """For many small products, in which threads would wait for each other."""
    return threadpool_limits(limits=1, user_api="blas")


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The settings of a search; see `discover`."""

    level: float
    least_images: int
    least_score: float
    threshold: float
    n_fresh: int
    n_controls: int
    seed: int
    transplants: tuple[str, ...] = ()

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
class _Search:
    """One search: groups of all classes first, then the effects of those that stand out."""

    searched: Split
    fresh: Split
    trace: Trace
    settings: _Settings

    def each(
        self,
        predicts: Sequence[Predict],
        unrelated: Tensor | None = None,
        on_class: OnClass | None = None,
        on_model: Callable[[], None] = lambda: None,
    ) -> list[list[Finding]]:
        """Findings of each model; each proposes its own groups of unrelated images."""
        trace = self.trace.fit(self.fresh)
        found, suspected = [], None
        for predict in predicts:
            if unrelated is not None:
                proposed = propose(predict, unrelated, self.searched, trace.deviation, self.settings.seed)
                suspected = self._suspected(proposed, on_class)
            elif suspected is None:
                suspected = self._suspected({}, on_class)
            found.append(self._findings(predict, *suspected))
            on_model()
        return found

    def prove(self, finding: Finding, retrain: TrainWithout) -> Finding:
        """The finding, with what is left of it in a model that never saw its images."""
        n_fresh = self.settings.n_fresh if finding.carriers is None else N_ASKED_ABOUT_MARK
        again = self._intervention(retrain(finding.examples), finding.target, n_fresh=n_fresh)
        score = float(again.scores_of([finding.pattern])[0])
        return replace(finding, proof=Proof(score=score, n_left_out=len(finding.examples)))

    def _suspected(
        self, proposed: Mapping[int, Sequence[NDArray[np.float32]]], on_class: OnClass | None
    ) -> tuple[list[Suspect], dict[int, list[Group]]]:
        """Groups and marks of all classes that may be suspected, and the crowds of groups behind them."""
        found = search_classes(
            self.searched,
            self.fresh,
            self.trace,
            proposed,
            seed=self.settings.seed,
            transplants=self.settings.transplants,
            on_class=on_class,
        )
        marked = [suspect for of_class in found.values() for suspect in of_class.marked]
        suspects, crowds = suspected_groups({target: of_class.groups for target, of_class in found.items()})
        large = [each for each in suspects + marked if len(each.group) >= self.settings.least_images]
        return weigh_agreement(large), crowds

    def _findings(
        self, predict: Predict, suspects: Sequence[Suspect], crowds: Mapping[int, Sequence[Group]]
    ) -> list[Finding]:
        """Cues that are marks and move others, the most certain first."""
        tried: dict[int, Finding] = {}
        marked = [place for place, suspect in enumerate(suspects) if suspect.p_group <= MARKED]
        for target in sorted({suspects[place].group.target for place in marked}):
            of_class = [place for place in marked if suspects[place].group.target == target]
            in_crowd = [place for place in of_class if suspects[place].place is None]
            if in_crowd:
                effects = self._effects(predict, [suspects[place] for place in in_crowd], crowds[target])
                tried.update(zip(in_crowd, effects, strict=True))
            marked_places = [number for number in of_class if suspects[number].place is not None]
            if marked_places:
                asking = self._intervention(predict, target, n_fresh=N_ASKED_ABOUT_MARK)
                for number in marked_places:
                    tried[number] = self._effect_of_mark(suspects[number], asking)
        found = judge_suspects(
            [suspect.p_group for suspect in suspects],
            [tried[place].p_effect if place in tried else 1.0 for place in range(len(suspects))],
            self.settings.level,
            lambda place: (suspects[place].group.target, suspects[place].group.positions),
            [suspect.weight for suspect in suspects],
        )
        findings = [replace(tried[place], p_value=p) for place, p in found.items()]
        return sorted(findings, key=lambda finding: (finding.p_value, -finding.score))

    def _intervention(self, predict: Predict, target: int, *, n_fresh: int) -> Intervention:
        return Intervention.on(
            predict,
            self.fresh,
            target,
            n_fresh=min(n_fresh, self.settings.n_fresh),
            threshold=self.settings.threshold,
            seed=self.settings.seed + target,
        )

    def _effects(
        self, predict: Predict, suspects: Sequence[Suspect], crowd: Sequence[Group]
    ) -> list[Finding]:
        """The effects of the patterns of suspects of one class, beside those of control groups."""
        target = suspects[0].group.target
        asking = self._intervention(predict, target, n_fresh=self.settings.n_fresh)
        seen = self.trace.of_class(self.searched, target)
        controls = ClassControls(self.trace.deviation, seen, asking, crowd)
        pixels = controls.patterns([suspect.group for suspect in suspects], controls.seen.train)
        scores = asking.scores(pixels)
        findings: list[Finding] = []
        nulls = {
            is_single: ask_controls(
                controls.scores(is_single, self.settings.n_controls, self.settings.seed + target),
                [
                    score
                    for suspect, score in zip(suspects, scores, strict=True)
                    if (suspect.group.look == "single") == is_single and score >= self.settings.least_score
                ],
            )
            for is_single in sorted({suspect.group.look == "single" for suspect in suspects})
        }
        for suspect, picture, score in zip(suspects, pixels, scores, strict=True):
            null = nulls[suspect.group.look == "single"]
            pattern = Pattern(f"found-{target}", picture)
            findings.append(self._tried(suspect, pattern, float(score), null))
        return findings

    def _effect_of_mark(self, suspect: Suspect, asking: Intervention) -> Finding:
        """The effect of a mark, beside that of what natural images of its class have in its place."""
        place = suspect.place
        assert place is not None
        mark = place.mark
        pattern = mark.pattern(mark.rows)
        score = float(asking.scores_of([pattern])[0])
        natural = natural_in_place(
            asking, place, self.settings.n_controls, self.settings.seed + suspect.group.target
        )
        compared = compared_effect(asking, place, score) if score >= self.settings.least_score else score
        null = ask_controls(natural, [compared] if compared >= self.settings.least_score else [])
        return self._tried(suspect, pattern, score, null, compared)

    def _tried(
        self,
        suspect: Suspect,
        pattern: AnyPattern,
        score: float,
        null: NDArray[np.float64],
        compared: float | None = None,
    ) -> Finding:
        """A suspect after its pattern was tried; whether it is a finding is decided later.

        Args:
            suspect: the suspect.
            pattern: the pattern tried.
            score: of the pattern.
            null: scores of controls.
            compared: the value to compare with them; by default the score.
        """
        compared = score if compared is None else compared
        is_candidate = compared >= self.settings.least_score
        return Finding(
            target=suspect.group.target,
            pattern=pattern,
            examples=suspect.group.positions,
            score=score,
            null=tuple(null.tolist()),
            p_value=1.0,
            p_group=suspect.p_group,
            p_effect=p_of_effect(null, compared) if is_candidate else 1.0,
            source=suspect.group.source,
            names=names_of(self.searched, suspect.group.positions),
            carriers=None if suspect.place is None else suspect.place.carriers,
        )
