"""Controls: the effects of natural patterns, measured one after the other until the answer is clear.

A suspect's pattern is compared with patterns made in the same way from control groups, and a mark with what
natural images of its class have in its place. Most suspects do no better than nature, and that shows after a
few controls: once ten controls have done as well, the p-value is ten divided by their number, and no more are
tried. It is valid whatever that number (Besag and Clifford, 1991, "Sequential Monte Carlo p-values").

A p-value by counting cannot fall below one divided by the number of controls plus one, whether a pattern
moves a little more than every control or twenty times as much. If it moves more than twice as much, the tail
of the controls continues the count: what stands out is naturally a little stronger than what does not, but of
343 natural marks of eleven clean models none moved 1.4 times as much as the strongest of its controls. The
tail lowers a p-value only down to a limit (`BELIEVED`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.discovery.confirm import ClassPatterns, Intervention
from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.group import Group
from spuriscope.discovery.suspects import Place
from spuriscope.discovery.trace import ClassTrace, Side
from spuriscope.statistics import ENOUGH_ABOVE, Tail, sequential_p_value

__all__ = ["ClassControls", "ask_controls", "compared_effect", "natural_in_place", "p_of_effect"]

STEP = 10  # controls tried at once
BEYOND = 2.0  # times the strongest control, from where the tail counts
LEAST_SCORE = 0.02  # controls with a lower score count as having this one
N_SPACINGS, SPACING = 8, 0.25  # number and mean of assumed spacings, counted with those of the controls
ENOUGH = 19  # controls: fewer have no tail
MARGIN = 1.4  # of 343 natural marks of eleven clean models none moved so many times the strongest control
N_CARRIERS = 9  # carriers whose single effects are measured
BELIEVED = 0.05  # the tail lowers a p-value at most to this share of the counted one


def ask_controls(batches: Iterator[NDArray[np.float64]], scores: Sequence[float]) -> NDArray[np.float64]:
    """Scores (k,) of as many controls as are needed to answer for all suspects, in order.

    Args:
        batches: scores of controls in a random order, computed when taken.
        scores: of the suspects.
    """
    null = np.empty(0)
    for batch in batches:
        null = np.concatenate([null, batch])
        if all((null >= score).sum() >= ENOUGH_ABOVE for score in scores):
            break
    return null


def p_of_effect(null: NDArray[np.float64], score: float) -> float:
    """The p-value of a score among those of controls, in the order they were tried.

    It is counted, and beyond twice the strongest control continued by their tail.
    """
    counted = sequential_p_value(null, score)
    natural = np.maximum(null, LEAST_SCORE)
    if len(null) < ENOUGH or score <= BEYOND * natural.max():
        return counted
    tail = Tail.known(natural, n_suspects=0, least=LEAST_SCORE, n=N_SPACINGS, mean=SPACING)
    return counted * max(BELIEVED, tail.p_value(score / BEYOND))


def natural_in_place(
    asking: Intervention, place: Place, n_controls: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Scores of what images of the pool without a mark have in its place, in batches."""
    rng = np.random.default_rng(seed)
    natural = rng.permutation(np.setdiff1d(np.arange(len(place.pool)), place.mark.rows))[:n_controls]
    for first in range(0, len(natural), STEP):
        yield asking.scores_of([place.mark.pattern(rows[None]) for rows in natural[first : first + STEP]])


def compared_effect(asking: Intervention, place: Place, score: float) -> float:
    """The part of a mark's score that is compared with controls: that of one carrier, where it is less.

    Controls are single images. The mean of many natural look-alikes is more typical of the class than each of
    them and moves more for that, whereas each carrier of a machine's mark has all of it: so the median of
    nine single carriers is taken. What fresh images carry about as often may be nature's most typical images:
    it has to move 1.4 times as many as controls do.

    Args:
        asking: tries patterns on the model.
        place: the mark, and the crowd it was found in.
        score: of the mark's pattern.
    """
    mark = place.mark
    rows = mark.rows[np.linspace(0, len(mark.rows) - 1, min(N_CARRIERS, len(mark.rows))).round().astype(int)]
    alone = float(np.median(asking.scores_of([mark.pattern(row[None]) for row in rows])))
    return min(score, alone) / (MARGIN if place.carriers.are_fresh_too else 1.0)


class ClassControls:
    """Control groups of one class: found by the same search among fresh images, or behind the suspects."""

    def __init__(
        self, deviation: Deviation, seen: ClassTrace, asking: Intervention, crowd: Sequence[Group]
    ) -> None:
        self.seen = seen
        self._deviation, self._asking, self._crowd = deviation, asking, crowd
        self._natural = seen.controls()
        self._makers: dict[Side, ClassPatterns] = {}

    def patterns(self, groups: Sequence[Group], side: Side) -> Tensor:
        """Pixels (k, channels, height, width) of the patterns of groups of one side."""
        if side not in self._makers:
            self._makers[side] = ClassPatterns(self._deviation, side.images, side.deviations)
        return self._makers[side].of([np.searchsorted(side.positions, group.positions) for group in groups])

    def scores(self, is_single: bool, n_controls: int, seed: int) -> Iterator[NDArray[np.float64]]:
        """Scores of patterns of control groups, in batches: at most `n_controls`, half from each side."""
        rng = np.random.default_rng(seed)
        drawn = [
            (side, groups[k])
            for side, groups in (
                (side, [group for group in found if (group.look == "single") == is_single])
                for side, found in ((self.seen.fresh, self._natural), (self.seen.train, self._crowd))
            )
            for k in rng.permutation(len(groups))[: n_controls // 2]
        ]
        order = rng.permutation(len(drawn))
        for first in range(0, len(drawn), STEP):
            batch = [drawn[k] for k in order[first : first + STEP]]
            scores = np.empty(len(batch))  # in the order drawn, which the p-value needs
            for side in (self.seen.fresh, self.seen.train):
                places = [place for place, (of, _) in enumerate(batch) if of is side]
                if places:
                    groups = [batch[place][1] for place in places]
                    scores[places] = self._asking.scores(self.patterns(groups, side))
            yield scores
