"""Who may carry a cue: the strongest groups and marks of each class, judged against the crowd behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spuriscope.discovery.covers import find_covers
from spuriscope.discovery.details import find_details
from spuriscope.discovery.evidence import stands_out_and_is_absent
from spuriscope.discovery.finding import Carriers
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.marks import Mark, Pool
from spuriscope.discovery.strays import find_strays
from spuriscope.discovery.tones import find_tones
from spuriscope.statistics import Tail

__all__ = ["Place", "Suspect", "suspected_groups", "suspected_marks"]

LOOKS_OF_TRACE: tuple[Look, ...] = ("whole", "windows", "single")
N_SUSPECTS = 3  # strongest groups of a class and look that may be marks; those behind them are the crowd
N_TRIED = 2  # of these; each that is tried makes all others less sure
NATURAL: Mapping[Look, float] = {"cover": 12.0, "detail": 12.0, "tone": 1.0, "stray": 1.0}  # see `marks`
N_MARKS = 20  # of each class and look: the suspects, and a crowd behind them
N_SPACINGS, SPACING = 8, 0.25  # of natural strays, which are few: how many spacings are taken as known


@dataclass(frozen=True, eq=False)
class Suspect:
    """A group that may be a mark, with the p-value that it stands out so far by chance."""

    group: Group
    p_group: float
    place: "Place | None" = None


@dataclass(frozen=True, eq=False)
class Place:
    """Where a group that agrees stands: the mark, and the crowd that it was found in."""

    mark: Mark
    pool: Pool

    @property
    def carriers(self) -> Carriers:
        """How many images carry it."""
        is_fresh, rows = self.pool.is_fresh, self.mark.rows
        n_fresh = int(is_fresh[rows].sum())
        of_fresh = int(is_fresh.sum())
        return Carriers(
            n_train=len(rows) - n_fresh,
            of_train=len(is_fresh) - of_fresh,
            n_fresh=n_fresh,
            of_fresh=of_fresh,
        )


def suspected_groups(groups: Mapping[int, Sequence[Group]]) -> tuple[list[Suspect], dict[int, list[Group]]]:
    """The strongest groups of each class and look with their p-values, and the crowds behind them.

    What the probe proposes is judged against the crowd of whole images.
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
            for group in [*ranked[:N_TRIED], *proposed]:
                p_group = 1.0 if natural is None else natural.p_value(group.strength)
                suspects.append(Suspect(group, p_group))
    return suspects, crowds


def suspected_marks(pool: Pool) -> list[Suspect]:
    """The strongest marks of a class that training images carry, with their p-values.

    A mark of fresh images alone has taught the model nothing, and is no suspect.
    """
    suspects = []
    for find in (find_covers, find_details, find_tones, find_strays):
        found = find(pool, N_MARKS)
        for mark, p_stands_out in _stand_out(found):
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
            suspects.append(Suspect(group, p_mark, Place(mark, pool)))
    return suspects


def _stand_out(found: Sequence[Mark]) -> list[tuple[Mark, float]]:
    """The strongest of the marks of one look, with the p-values that natural ones stand out so far.

    Natural strays are so few that one alone is a suspect, and that other data say what is usual.
    """
    if not found:
        return []
    strengths = [NATURAL[mark.look] + mark.strength for mark in found]
    natural: Tail | None
    if found[0].look == "stray":
        n_tried, least = 1, NATURAL["stray"]
        natural = Tail.known(strengths, n_suspects=1, least=least, n=N_SPACINGS, mean=SPACING)
    else:
        n_tried, natural = N_TRIED, Tail.of(strengths, n_suspects=N_SUSPECTS)
    return [
        (mark, 1.0 if natural is None else natural.p_value(strength))
        for mark, strength in zip(found[:n_tried], strengths, strict=False)
    ]
