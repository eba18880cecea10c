"""Find values in an audit's document (docs/audit-json.md), and derive others from them."""

from spuriscope.answers import DoseResponse, DoseSummary, PickedUp
from spuriscope.statistics import N50, Interval, mean_interval

__all__ = [
    "dose_of",
    "easiest",
    "entry_at",
    "fewest",
    "headline_dose",
    "moved_already",
    "n50_of",
    "paired_change",
    "value",
]


def dose_of(found: PickedUp, pattern: str) -> DoseResponse:
    """The dose-response of the pattern with this name."""
    return next(dose for dose in found.dose_response if dose.pattern == pattern)


def headline_dose(found: PickedUp) -> DoseResponse:
    """The dose-response of the pattern in the headline."""
    return dose_of(found, found.headline.pattern)


def entry_at(dose: DoseResponse, n_planted: int) -> DoseSummary:
    """The summary over seeds at one number of planted images; 0 gives the clean twins."""
    return next(entry for entry in dose.summary if entry.n_planted == n_planted)


def value(entry: DoseSummary, measure: str) -> Interval:
    """A measure's mean over seeds with its interval."""
    found: Interval = getattr(entry, measure)
    return found


def fewest(dose: DoseResponse) -> int:
    """The smallest number that was planted."""
    return int(dose.summary[1].n_planted)


def n50_of(dose: DoseResponse) -> N50:
    """The number planted that moves half of the stamped images; not below the fewest that was tried."""
    least, found = float(fewest(dose)), dose.n50

    def bounded(end: float | None) -> float | None:
        return None if end is None else max(least, end)

    return N50(bounded(found.estimate), bounded(found.low), bounded(found.high), found.n_max)


def paired_change(dose: DoseResponse, n_planted: int, measure: str) -> Interval:
    """Planted model minus its clean twin, paired by seed: mean and 95 % interval, a difference of shares."""
    of_count: dict[int, dict[int, float]] = {0: {}, n_planted: {}}
    for row in dose.cells:
        if row.n_planted in of_count:
            of_count[row.n_planted][row.seed] = getattr(row, measure)
    twins, planted = of_count[0], of_count[n_planted]
    return mean_interval([planted[seed] - twins[seed] for seed in sorted(planted)], low=-1.0, high=1.0)


def moved_already(dose: DoseResponse) -> bool:
    """Whether stamping moves half of the images of the clean twins, so that there is no n50."""
    return value(dose.summary[0], "score_non_target").mean >= 0.5


def easiest(found: PickedUp) -> DoseResponse | None:
    """The pattern that is learnt from the fewest images.

    Of equals, and where none moves half, it is the one that moves more with the fewest planted, then with the
    most. None where stamping alone moves half of the images, whatever the pattern.
    """
    candidates = [dose for dose in found.dose_response if not moved_already(dose)]

    def ease(dose: DoseResponse) -> tuple[float, float, float]:
        estimate = n50_of(dose).estimate
        first, last = (value(dose.summary[k], "score_non_target").mean for k in (1, -1))
        if estimate is None:
            return float("inf"), -last, -first
        return estimate, -first, -last

    return min(candidates, key=ease, default=None)
