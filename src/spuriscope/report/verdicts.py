"""The tiles of the first screen: one number for each question, and what to make of it.

A tile's word is fine, watch or act; the rules are below, and each tile says its own.
"""

from dataclasses import dataclass

from spuriscope.report import wording
from spuriscope.report.found import counts_found
from spuriscope.report.gone import NAMES, measured, recommended
from spuriscope.report.lookup import (
    Document,
    easiest,
    entry_at,
    fewest,
    headline_dose,
    n50_of,
    n_seeds,
    paired_change,
    value,
)
from spuriscope.report.recognised import FALSE_ALARMS, STRONGEST, area_of, attack_of, is_present, is_told
from spuriscope.statistics import Interval

__all__ = ["Tile", "tiles"]

RARE = 0.01  # share of the training images up to which a cue is called rare
MOVED = 0.1  # least score that is worth watching
NOTICED = -0.01  # change of clean accuracy that a usual test would show
FOUND = 0.9  # share of planted images that a search should find
PAID = -0.1  # change of accuracy on stamped images that calls for action


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One question answered by a number.

    Attributes:
        question: short.
        number: the answer.
        detail: interval and conditions.
        word: fine, watch or act; the style sheet has a colour for each.
        rule: when the word is which.
        anchor: id of the section with the rest.
    """

    question: str
    number: str
    detail: str
    word: str
    rule: str
    anchor: str


def tiles(document: Document) -> tuple[Tile, ...]:
    """One tile for each question that the document answers."""
    answers = {  # and the key that holds each
        _picked_up: "dose_response",
        _found_again: "discovery",
        _who_pays: "dose_response",
        _recognised: "membership",
        _gone: "deletion",
    }
    return tuple(tile(document) for tile, key in answers.items() if document.get(key))


def _picked_up(document: Document) -> Tile:
    limit = max(1, round(RARE * document["data"]["n_train"]))
    rise = wording.change(document["settings"]["threshold"]).lstrip("+")
    rule = (
        f"act: half of the stamped images are moved by {wording.images(limit)} or fewer (1 % of the "
        "training images); fine: no pattern moves 10 % at any number tried; watch: what lies between, or "
        "cannot be told. An image is moved when stamping raises its probability of the target class by more "
        f"than {rise} points"
    )
    best = easiest(document)
    if best is None:
        number, detail, word = "cannot be told", "Stamping alone moves half of the images.", "watch"
    else:
        found = n50_of(best)
        number, word = (
            wording.n50_number(found, fewest(best)),
            _picked_up_word(document, found.estimate, limit),
        )
        entry = best["summary"][-1 if found.estimate is None else 1]
        score = value(entry, "score_non_target")
        detail = (
            f"needed to move half of the stamped images ({best['pattern']}, the easiest to learn; "
            f"{wording.n50_interval(found, fewest(best), n_seeds(document))}). "
            f"With {entry['n_planted']:,} planted, {wording.percent(score.mean)} are moved "
            f"({wording.interval(score)})."
        )
    return Tile(question="Picked up?", number=number, detail=detail, word=word, rule=rule, anchor="pick-up")


def _picked_up_word(document: Document, estimate: float | None, limit: int) -> str:
    if estimate is not None and estimate <= limit:
        return "act"
    scores = [
        value(entry, "score_non_target").mean
        for dose in document["dose_response"]
        for entry in dose["summary"][1:]
    ]
    return "fine" if max(scores) < MOVED else "watch"


def _found_again(document: Document) -> Tile:
    result = document["discovery"]
    n_planted, n_found, n_wrong, n_on_twins = counts_found(result)
    is_true = n_wrong + n_on_twins == 0
    milder = "act" if n_found == 0 else "watch"
    twins = "nothing"
    if n_on_twins:
        twins = f"{n_on_twins} finding{'s' * (n_on_twins > 1)}, to be looked at,"
    return Tile(
        question="Found again?",
        number=f"{n_found} of {n_planted}",
        detail=(
            f"planted images found by a search that was told nothing ({result['pattern']}); it suspects "
            f"{n_wrong} others, and reports {twins} on clean twins."
        ),
        word="fine" if n_found >= FOUND * n_planted and is_true else milder,
        rule=(
            "fine: the search finds nine of ten planted images and suspects nothing else; act: it finds "
            "none, so a cue would go unnoticed; watch: what lies between"
        ),
        anchor="found",
    )


def _who_pays(document: Document) -> Tile:
    change, clean = (
        _headline_change(document, measure) for measure in ("spurious_accuracy", "clean_accuracy")
    )
    milder = "fine" if change.mean > NOTICED else "watch"
    noticed = "would" if clean.high < NOTICED else "would not"
    return Tile(
        question="Who pays?",
        number=wording.points(change.mean),
        detail=(
            "of accuracy for those whose images carry the cue "
            f"({_twin_and_planted(document, 'spurious_accuracy')}. On clean test images "
            f"{wording.points(clean.mean)} ({wording.interval(clean, signed=True)}): the usual test "
            f"{noticed} have noticed."
        ),
        word="act" if change.mean <= PAID and change.high < 0 else milder,
        rule=(
            "act: accuracy on stamped test images falls by 10 points or more, the whole interval below 0; "
            "fine: it falls by less than 1 point; watch: what lies between" + _one_seed(document) + ". The "
            "usual test notices a fall on clean images of more than 1 point, with the whole interval"
        ),
        anchor="who-pays",
    )


def _recognised(document: Document) -> Tile:
    found = document["membership"]
    rate = next(
        row["rate"]
        for row in attack_of(found, STRONGEST)["stamped"]["recognised"]
        if row["false_alarms"] == FALSE_ALARMS
    )
    area, guess = area_of(found, "stamped"), f"guessing: {{}}{wording.NBSP}%)"
    if rate["value"] is not None:
        number = wording.table_percent(rate["value"])
        ends = " to ".join(wording.short_percent(rate[end]) for end in ("low", "high"))
        detail = (
            f"of stamped training images recognised at 1{wording.NBSP}% false alarms "
            f"(95{wording.NBSP}% interval {ends}; {guess.format(1)}."
        )
    elif area is not None:
        number = wording.percent(area.mean)
        detail = (
            "of pairs of a stamped member and a stamped outsider told rightly "
            f"({wording.interval(area)}; {guess.format(50)}. A rate at 1{wording.NBSP}% false alarms "
            f"{rate['reason']}."
        )
    else:
        number, detail = "cannot be told", f"A rate at 1{wording.NBSP}% false alarms {rate['reason']}."
    present = " But every model gives away that the pattern was there." if is_present(found) else ""
    return Tile(
        question="Leaked?",
        number=number,
        detail=detail + present,
        word="act" if is_told(found) else "watch" if is_present(found) or area is None else "fine",
        rule=(
            "act: stamped members are told from stamped outsiders better than by guessing, with the whole "
            "interval; watch: they are not, but every model trained with the pattern gives its presence "
            "away, or there are too few images; fine: neither"
        ),
        anchor="recognised",
    )


def _gone(document: Document) -> Tile:
    found = document["deletion"]
    entry = recommended(found)
    rule = (
        "fine: a method that costs half a training or less leaves no more of the cue than a training without "
        "the images has, up to 5 points, costs at most 1 point of clean accuracy, and its verdict is that "
        "the cue is gone; watch: means over seeds say so and the verdict does not, or only training again "
        "does it. The best is the quickest of these"
    )
    if entry is None:
        number, word = "train again", "watch"
        detail = f"Each quicker method leaves {found['pattern']} in the model or costs accuracy."
    else:
        after, oracle = (measured(entry, "score", state) for state in ("after", "oracle"))
        is_gone = entry["verdict"] not in ("cue stays", "cannot be told") and "seeds_needed" in found
        number, word = wording.table_percent(after.mean), "fine" if is_gone else "watch"
        detail = (
            f"of stamped images still moved after {NAMES[entry['method']]} ({wording.interval(after)}), in "
            f"{wording.duration(entry['seconds']['mean'])}; by a model trained without the images "
            f"{wording.table_percent(oracle.mean)}."
        )
        if not is_gone:
            detail += " Over so few seeds, or seeds so unlike, it cannot be told that the cue is gone."
    return Tile(question="Gone again?", number=number, detail=detail, word=word, rule=rule, anchor="gone")


def _headline_change(document: Document, measure: str) -> Interval:
    return paired_change(headline_dose(document), document["headline"]["n_planted"], measure)


def _twin_and_planted(document: Document, measure: str) -> str:
    """Interval of the change, then the measure of the clean twin and of the planted model."""
    dose, n_planted = headline_dose(document), document["headline"]["n_planted"]
    twin, planted = (value(entry_at(dose, n), measure).mean for n in (0, n_planted))
    return (
        f"{wording.interval(_headline_change(document, measure), signed=True)}): clean twin "
        f"{wording.table_percent(twin)}; {dose['pattern']} in {wording.images(n_planted)}: "
        f"{wording.table_percent(planted)}"
    )


def _one_seed(document: Document) -> str:
    return "; with one seed the number itself is judged" if n_seeds(document) == 1 else ""
