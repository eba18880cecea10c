"""Would I have noticed? The audit hides a cue, and the search must find it without being told.

It is planted in data without the images of earlier findings, so nothing else that is named was known before.
The smallest number that is found again shows what could have been seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuriscope.answers import FoundAgain, FoundAt, Headline, Search
from spuriscope.auditing.explained import Explainer
from spuriscope.auditing.plan import AuditPlan
from spuriscope.auditing.searched import N_CONTROLS, N_FRESH, SEARCH_LEVEL, ShownFinding, explained, search
from spuriscope.discovery.trace import LEAST_OF_CLASS
from spuriscope.measures import spurious_score
from spuriscope.planting import draw_planted
from spuriscope.searching import images_seen
from spuriscope.statistics import mean_interval
from spuriscope.training import AnyModel, Trains, train_all

__all__ = ["doses_searched", "found_again"]

LEAST_PLANTED = 3  # images that share something are better evidence than one
FOUND = 0.5  # share of the planted images that must be named
MOST_TRIED = 2  # numbers planted


def doses_searched(plan: AuditPlan, headline: Headline) -> tuple[int, ...]:
    """The numbers to plant and search for, ascending; none where the class is too small.

    The first is three, or the headline's if larger: a cue that was not picked up cannot be found.
    """
    labels = plan.data.train.labels
    if int((labels == plan.target).sum()) < LEAST_OF_CLASS:
        return ()
    most = max(LEAST_PLANTED, plan.n_candidates // 4)
    first = min(most, max(LEAST_PLANTED, headline.n_planted))
    more = [n for n in plan.counts if first < n <= most]
    return (first, *more)[:MOST_TRIED]


def found_again(
    plan: AuditPlan,
    headline: Headline,
    trainer: Trains[Any],
    *,
    on_search: Callable[[], None] = lambda: None,
    in_data: Callable[[NDArray[np.int64]], NDArray[np.int64]] = lambda examples: examples,
) -> FoundAgain | None:
    """Plant the headline's pattern in some models and search them; plant more until each search finds it.

    None where the class is too small to be searched.

    Args:
        plan: of the data without earlier findings.
        headline: what is planted.
        trainer: trains the models.
        on_search: called after each search.
        in_data: maps positions in the plan's data to those in the user's.
    """
    counts = doses_searched(plan, headline)
    if not counts:
        return None
    tried: list[_Tried] = []
    for n_planted in counts:
        tried.append(_try(plan, headline.pattern, n_planted, trainer, on_search))
        if tried[-1].is_found:
            break
    suspects = [suspect for each in tried for one in each.searched for suspect in one.suspects]
    explainer = explained(plan.data, suspects)
    return FoundAgain(
        pattern=headline.pattern,
        target=plan.target,
        n_train=len(plan.data.train),
        n_fresh=min(N_FRESH, len(plan.data.test)),
        n_controls=N_CONTROLS,
        level=SEARCH_LEVEL,
        doses=tuple(each.answer(explainer, in_data) for each in tried),
        embedding=None if explainer is None else explainer.explanation(),
    )


@dataclass(frozen=True, eq=False)
class _Searched:
    """One planted model searched."""

    seed: int
    planted: NDArray[np.int64]
    score: float
    suspects: tuple[ShownFinding, ...]

    @property
    def named(self) -> NDArray[np.int64]:
        """Positions of the images that its findings name."""
        return np.unique(
            np.concatenate([each.finding.examples for each in self.suspects] or [self.planted[:0]])
        )

    @property
    def n_found(self) -> int:
        return len(np.intersect1d(self.planted, self.named))

    @property
    def is_found(self) -> bool:
        return self.n_found >= FOUND * len(self.planted)


@dataclass(frozen=True, eq=False)
class _Tried:
    """All models with one number planted."""

    n_planted: int
    searched: Sequence[_Searched]

    @property
    def is_found(self) -> bool:
        return all(each.is_found for each in self.searched)

    def answer(
        self, explainer: Explainer | None, in_data: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    ) -> FoundAt:
        return FoundAt(
            n_planted=self.n_planted,
            score=mean_interval([each.score for each in self.searched]),
            searches=tuple(
                Search(
                    seed=each.seed,
                    planted=tuple(in_data(each.planted).tolist()),
                    n_found=each.n_found,
                    n_others=len(np.setdiff1d(each.named, each.planted)),
                    findings=tuple(suspect.answer(explainer, in_data) for suspect in each.suspects),
                )
                for each in self.searched
            ),
            is_found=self.is_found,
        )


def _try(
    plan: AuditPlan, pattern: str, n_planted: int, trainer: Trains[Any], on_search: Callable[[], None]
) -> _Tried:
    cells = {seed: plan.cell(pattern, n_planted, seed) for seed in plan.searched_seeds}
    models = train_all(cells.values(), plan.data, trainer)
    searched = []
    for seed, cell in cells.items():
        searched.append(_search(plan, models[cell], pattern, seed))
        on_search()
    return _Tried(n_planted, searched)


def _search(plan: AuditPlan, model: AnyModel, pattern: str, seed: int) -> _Searched:
    """Search one model, then record what was planted, to judge the search."""
    seen = images_seen(replace(model.cell, part=None), plan.data)
    (found,) = search([model.predict], seen, plan.data.test, threshold=plan.threshold)
    (planted,) = draw_planted(model.cell.plants, plan.data.train.labels)
    test = plan.data.test
    others = test.images[test.labels != plan.target]
    score = spurious_score(
        model.predict, others, plan.placed(pattern, seed), plan.target, threshold=plan.threshold
    )
    return _Searched(
        seed,
        planted.sort().values.numpy(),
        score,
        tuple(
            ShownFinding.of(finding, model.predict, seen, plan.data.test, plan.threshold) for finding in found
        ),
    )
