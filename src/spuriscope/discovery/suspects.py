"""Who may carry a cue: the strongest groups and marks of each class, judged against the crowd behind them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from spuriscope.discovery.covers import find_covers
from spuriscope.discovery.details import find_details
from spuriscope.discovery.evidence import stands_out_and_is_absent
from spuriscope.discovery.finding import Carriers
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.marks import LEAST_CARRIERS, Mark, Pool
from spuriscope.discovery.strays import find_strays
from spuriscope.discovery.tones import find_tones
from spuriscope.discovery.transplants import find_transplants
from spuriscope.statistics import Tail

__all__ = ["Place", "Suspect", "suspected_groups", "suspected_marks", "weigh_agreement"]

FindMarks = Callable[[Pool, int], list[Mark]]

LOOKS_OF_TRACE: tuple[Look, ...] = ("whole", "windows", "single")
WEIGHTS = (2.25, 0.5, 0.25)  # of the suspects of a class and look, strongest first; see `evidence`
ALONE = (
    4.0  # factor on p-values of single images: odd ones are frequent in small sets, and none confirms another
)
AGREED, SAME_GROUP = (
    8.0,
    0.8,
)  # factor on the weight of a suspect that both searches name, and the least share in common
N_SUSPECTS = len(WEIGHTS)  # those behind them are the crowd
N_MARKS = 20  # per class and look: the suspects, and a crowd behind them


@dataclass(frozen=True)
class _Natural:
    """How far natural marks of a look stand out in photographs in general; see `marks`.

    Small classes have few marks, so some spacings of other data are counted with those of the class.

    Attributes:
        scale: added to a strength before its logarithm is taken.
        n_spacings: number of these spacings.
        spacing: their mean.
    """

    scale: float
    n_spacings: int
    spacing: float


NATURAL: Mapping[Look, _Natural] = {
    "cover": _Natural(12, 4, 0.08),
    "detail": _Natural(12, 4, 0.08),
    "tone": _Natural(1, 4, 0.5),
    "stray": _Natural(1, 8, 0.25),
    "transplant": _Natural(1, 4, 0.5),  # as of tones: of what a plugin takes nobody knows more
}


@dataclass(frozen=True, eq=False)
class Suspect:
    """A group that may be a mark.

    Attributes:
        group: its images.
        p_group: probability that it stands out so far by chance.
        weight: how much is expected of it beforehand, 1 on average.
        place: for a mark, where it stands.
    """

    group: Group
    p_group: float
    weight: float = 1.0
    place: "Place | None" = None


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a group that agrees: the mark, and the crowd in which it was found."""

    mark: Mark
    pool: Pool

    @property
    def carriers(self) -> Carriers:
        """Number of images that carry it."""
        return self.pool.carriers(self.mark.rows)


def suspected_groups(groups: Mapping[int, Sequence[Group]]) -> tuple[list[Suspect], dict[int, list[Group]]]:
    """The strongest groups of each class and look with their p-values, and the crowds behind them.

    Proposals of the probe are judged against the crowd of whole images.
    """
    suspects: list[Suspect] = []
    crowds: dict[int, list[Group]] = {target: [] for target in groups}
    for look in LOOKS_OF_TRACE:
        of_look = {
            target: [group for group in found if group.look == look and group.source == "trace"]
            for target, found in groups.items()
        }
        for target, found in of_look.items():
            ranked = sorted(found, key=lambda group: -group.strength)
            natural = Tail.of([group.strength for group in ranked], n_suspects=N_SUSPECTS)
            crowds[target] += ranked[N_SUSPECTS:]
            proposed = [group for group in groups[target] if look == "whole" and group.source == "probe"]
            weighed = [*zip(ranked, WEIGHTS, strict=False), *((group, 1.0) for group in proposed)]
            for group, weight in weighed:
                p_group = 1.0 if natural is None else natural.p_value(group.strength)
                p_group = min(1.0, ALONE * p_group) if look == "single" else p_group
                suspects.append(Suspect(group, p_group, weight))
    return suspects, crowds


def suspected_marks(pool: Pool, transplants: Sequence[str] = ()) -> list[Suspect]:
    """The strongest marks of a class that training images carry, with their p-values.

    A mark of fresh images alone cannot have taught the model anything, so it is not a suspect.

    Args:
        pool: the class.
        transplants: names of plugins that look as well.
    """
    suspects = []
    looks: list[FindMarks] = [find_covers, find_details, find_tones, find_strays]
    looks += [partial(find_transplants, name) for name in transplants]
    for find in looks:
        found = find(pool, N_MARKS)
        for mark, p_stands_out, weight in _stand_out(found):
            positions = pool.of_training(mark.rows)
            if not len(positions):
                continue
            group = Group(
                target=pool.target,
                positions=positions,
                strength=mark.strength,
                source="marks",
                look=mark.look,
            )
            p_mark = stands_out_and_is_absent(p_stands_out, pool.p_absent(mark.rows))
            suspects.append(Suspect(group, p_mark, weight, Place(mark, pool)))
    return suspects


def _stand_out(found: Sequence[Mark]) -> list[tuple[Mark, float, float]]:
    """The strongest marks of one look, with p-values that natural ones stand out so far, and weights.

    Natural strays are so few that even a single one is a suspect.
    """
    if not found:
        return []
    look, weights = found[0].look, (1.0,) if found[0].look == "stray" else WEIGHTS
    of = NATURAL[look]
    strengths = [of.scale + mark.strength for mark in found]
    natural = Tail.known(strengths, n_suspects=len(weights), least=of.scale, n=of.n_spacings, mean=of.spacing)
    return [
        (mark, natural.p_value(strength), weight)
        for mark, strength, weight in zip(found, strengths, weights, strict=False)
    ]


def weigh_agreement(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Give more weight to suspects that both the trace and the marks name.

    The trace compares whole images and whitened windows, marks compare pixels place by place. Natural groups
    look alike to only one of them: of 1,273 natural suspects of eleven clean models at most one was named by
    both. So agreement is a reason to expect more of a suspect, independently of its p-values.
    """
    of_class: dict[int, list[Suspect]] = {}
    for suspect in suspects:
        of_class.setdefault(suspect.group.target, []).append(suspect)
    return [
        replace(suspect, weight=AGREED * suspect.weight)
        if any(_agree(suspect, other) for other in of_class[suspect.group.target])
        else suspect
        for suspect in suspects
    ]


def _agree(one: Suspect, other: Suspect) -> bool:
    """Whether one suspect is of the trace and the other of the marks, and both are the same group."""
    if (one.place is None) == (other.place is None) or min(len(one.group), len(other.group)) < LEAST_CARRIERS:
        return False
    n_shared = len(np.intersect1d(one.group.positions, other.group.positions))
    return n_shared >= SAME_GROUP * (len(one.group) + len(other.group) - n_shared)
