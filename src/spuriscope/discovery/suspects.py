"""Who may carry a cue: the strongest groups and marks of each class, judged against the crowd behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spuriscope.discovery.covers import find_covers
from spuriscope.discovery.details import find_details
from spuriscope.discovery.evidence import stands_out_and_is_absent
from spuriscope.discovery.finding import Carriers
from spuriscope.discovery.group import Group, Look
from spuriscope.discovery.marks import Mark, Pool
from spuriscope.discovery.tones import find_tones
from spuriscope.statistics import Tail

__all__ = ["Place", "Suspect", "suspected_groups", "suspected_marks"]

LOOKS_OF_TRACE: tuple[Look, ...] = ("whole", "windows", "single")
N_SUSPECTS = 3  # strongest groups of a class and look that may be marks; those behind them are the crowd
NATURAL: Mapping[Look, float] = {"cover": 12.0, "detail": 12.0, "tone": 1.0}  # see `marks`
N_MARKS = 20  # of each class and look: three suspects, and a crowd behind them


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
            for group in [*ranked[:N_SUSPECTS], *proposed]:
                p_group = 1.0 if natural is None else natural.p_value(group.strength)
                suspects.append(Suspect(group, p_group))
    return suspects, crowds


def suspected_marks(pool: Pool) -> list[Suspect]:
    """The strongest marks of a class that training images carry, with their p-values.

    A mark of fresh images alone has taught the model nothing, and is no suspect.
    """
    suspects = []
    for find in (find_covers, find_details, find_tones):
        found = find(pool, N_MARKS)
        natural = Tail.of([NATURAL[mark.look] + mark.strength for mark in found], n_suspects=N_SUSPECTS)
        for mark in found[:N_SUSPECTS]:
            positions = pool.of_training(mark.rows)
            if not len(positions):
                continue
            p_stands_out = 1.0 if natural is None else natural.p_value(NATURAL[mark.look] + mark.strength)
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
