"""Where things are in the audit's document (docs/audit-json.md), and what follows from them."""

from typing import Any

from spuriscope.statistics import N50, Interval, mean_interval

__all__ = [
    "Document",
    "dose_of",
    "easiest",
    "entry_at",
    "fewest",
    "headline_dose",
    "image_name",
    "moved_already",
    "n50_of",
    "n_seeds",
    "paired_change",
    "value",
]

Document = dict[str, Any]


def n_seeds(document: Document) -> int:
    """How many replications the audit has."""
    return len(document["settings"]["seeds"])


def dose_of(document: Document, pattern: str) -> Document:
    """The dose-response of the pattern called so."""
    found: Document = next(dose for dose in document["dose_response"] if dose["pattern"] == pattern)
    return found


def headline_dose(document: Document) -> Document:
    """The dose-response of the pattern in the headline."""
    return dose_of(document, document["headline"]["pattern"])


def image_name(image: Document) -> str:
    """What an image is called: its file, or its position where it has none, as in older documents."""
    return str(image.get("name", image["position"]))


def entry_at(dose: Document, n_planted: int) -> Document:
    """The summary over seeds at one number of planted images; 0 gives the clean twins."""
    found: Document = next(entry for entry in dose["summary"] if entry["n_planted"] == n_planted)
    return found


def value(entry: Document, measure: str) -> Interval:
    """A measure's mean over seeds with its interval."""
    return Interval(**entry[measure])


def fewest(dose: Document) -> int:
    """The smallest number that was planted."""
    return int(dose["summary"][1]["n_planted"])


def n50_of(dose: Document) -> N50:
    """How many planted images move half of the stamped images; no number below the fewest that was tried."""
    least, found = float(fewest(dose)), dose["n50"]
    ends = {
        key: None if found[key] is None else max(least, found[key]) for key in ("estimate", "low", "high")
    }
    return N50(**ends, n_max=found["n_max"])


def paired_change(dose: Document, n_planted: int, measure: str) -> Interval:
    """Planted model minus its clean twin, paired by seed: mean and 95 % interval, a difference of shares."""
    of_count: dict[int, dict[int, float]] = {0: {}, n_planted: {}}
    for row in dose["cells"]:
        if row["n_planted"] in of_count:
            of_count[row["n_planted"]][row["seed"]] = row[measure]
    twins, planted = of_count[0], of_count[n_planted]
    return mean_interval([planted[seed] - twins[seed] for seed in sorted(planted)], low=-1.0, high=1.0)


def moved_already(dose: Document) -> bool:
    """Whether stamping moves half of the images of the clean twins, so that no n50 can be told."""
    return value(dose["summary"][0], "score_non_target").mean >= 0.5


def easiest(document: Document) -> Document | None:
    """The pattern that is learnt from the fewest images.

    Among equals, and where none moves half, the one that moves more with the fewest, then with the most
    planted. None where stamping alone moves half of the images, whatever the pattern.
    """
    candidates = [dose for dose in document["dose_response"] if not moved_already(dose)]

    def ease(dose: Document) -> tuple[float, float, float]:
        estimate = n50_of(dose).estimate
        first, last = (value(dose["summary"][k], "score_non_target").mean for k in (1, -1))
        if estimate is None:
            return float("inf"), -last, -first
        return estimate, -first, -last

    return min(candidates, key=ease, default=None)
