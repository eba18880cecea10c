"""The tiles of the first screen: one number for each question, and what is known about it.

A tile's word is fine, watch, act, or not known; the rules are below, and each tile states its own.
"""

from dataclasses import dataclass

from spuriscope.answers import AlreadyThere, Audit, Deletion, FoundAgain, PickedUp, Recognition
from spuriscope.membership.attacked import Membership
from spuriscope.membership.canaries import Canaries
from spuriscope.report import wording
from spuriscope.report.gone import NAMES, measured, recommended
from spuriscope.report.in_model import (
    COMPARING,
    RecognitionOutcome,
    area_ends,
    attack_on,
    named,
    outcome,
    pairs,
)
from spuriscope.report.lookup import entry_at, headline_dose, moved_already, paired_change, value
from spuriscope.report.recognised import FALSE_ALARMS, STRONGEST, area_of, attack_of, is_present, is_told
from spuriscope.report.section import QUESTIONS
from spuriscope.statistics import Interval

__all__ = ["ACT", "FINE", "NOT_KNOWN", "WATCH", "Tile", "is_rare", "tiles"]

FINE, WATCH, ACT, NOT_KNOWN = "fine", "watch", "act", "not known"
RARE = 0.01  # largest share of the training images of a rare cue
MOVED = 0.1  # least score worth watching
NOTICED = -0.01  # change of clean accuracy that a usual test would show
PAID = -0.1  # change of accuracy on stamped images that calls for action
GUESSED = 0.6  # of pairs ranked right: an interval below it shows that nobody is recognised
GONE = 0.05  # largest score of a model without the images at which the cue is called gone


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One question answered by a number.

    Attributes:
        question: the title of the section with the details.
        number: the answer.
        detail: interval and conditions.
        word: fine, watch, act or not known; the style sheet has a look for each.
        rule: which word applies when.
        anchor: id of the section.
    """

    question: str
    number: str
    detail: str
    word: str
    rule: str
    anchor: str

    @property
    def look(self) -> str:
        """The word as a class of the style sheet."""
        return self.word.replace(" ", "-")


def tiles(audit: Audit) -> tuple[Tile, ...]:
    """One tile for each question that was answered."""
    found = []
    if audit.already is not None:
        found.append(_already(audit, audit.already))
    if audit.picked_up is not None:
        found.append(_picked_up(audit, audit.picked_up))
    if audit.found_again is not None:
        found.append(_noticed(audit, audit.found_again))
    if audit.picked_up is not None:
        found.append(_who_pays(audit.picked_up))
    if audit.membership is not None:
        found.append(_recognised(audit.membership, audit.canaries))
    if audit.recognition is not None:
        found.append(_recognised_in(audit.recognition))
    if audit.deletion is not None:
        found.append(_gone(audit.deletion))
    return tuple(found)


def _tile(anchor: str, number: str, detail: str, word: str, rule: str) -> Tile:
    return Tile(question=QUESTIONS[anchor], number=number, detail=detail, word=word, rule=rule, anchor=anchor)


def is_rare(audit: Audit, n_planted: int) -> bool:
    """Whether so many images are at most one in a hundred of the training images."""
    return n_planted <= max(1, round(RARE * audit.conditions.data.n_train))


def _already(audit: Audit, found: AlreadyThere) -> Tile:
    rule = (
        "act: a cue is in most of the searched models, and gone in models trained without its images; watch: "
        "it is in most, but not proved, or it is in fewer; fine: nothing was found, and a cue in 1 % of the "
        "training images would have been; not known: whether it would have been"
    )
    n_models = len(found.seeds)
    models = "one model" if n_models == 1 else f"{n_models} models"
    if found.cues:
        cue = found.cues[0]
        without = cue.score_without
        proof = "" if without is None else f"; trained again without them {wording.percent(without.mean)}"
        more = f" {len(found.cues) - 1} more below." if len(found.cues) > 1 else ""
        detail = (
            f"share a cue that pulls {wording.percent(cue.score.mean)} of other test images towards "
            f"{_class(audit, cue.cue.target)}, in {len(cue.seeds)} of {models}{proof}.{more}"
        )
        word = ACT if cue.is_proven == "proven" else WATCH
        return _tile("already", wording.images(len(cue.cue.examples)), detail, word, rule)
    again = audit.found_again
    if found.once:
        images = wording.images(sum(len(each.examples) for each in found.once))
        detail = f"named in one model only of {n_models}: look at them below."
        return _tile("already", images, detail, WATCH, rule)
    if again is None or again.fewest is None:
        known = "was not asked" if again is None else "was not found again"
        detail = f"in {models}. But a planted cue {known}, so little follows from it."
        return _tile("already", "nothing found", detail, NOT_KNOWN, rule)
    detail = (
        f"in {models}; {again.pattern} planted in {wording.images(again.fewest)} of "
        f"{_class(audit, again.target)} was found."
    )
    word = FINE if is_rare(audit, again.fewest) else NOT_KNOWN
    return _tile("already", "nothing found", detail, word, rule)


def _class(audit: Audit, label: int) -> str:
    return wording.quoted(audit.conditions.data.class_names[label])


def _picked_up(audit: Audit, found: PickedUp) -> Tile:
    line, dose = found.headline, headline_dose(found)
    rise = wording.change(audit.conditions.settings.threshold).lstrip("+")
    rule = (
        "act: 1 % of the training images or fewer are enough to move half of the stamped test images; fine: "
        "no pattern moves 10 % of them at any number tried; watch: anything in between; not known: stamping "
        "moves them without any planting. An image is moved when stamping raises its probability of the "
        f"target class by more than {rise} points"
    )
    score = f"{wording.percent(line.score.mean)} ({wording.interval(line.score)})"
    n_max = max(audit.conditions.settings.counts)
    only = f"Planted in {wording.quoted(audit.conditions.target_name)} only."
    if all(moved_already(each) for each in found.dose_response):
        return _tile("pick-up", "cannot be told", "Stamping alone moves half of them.", NOT_KNOWN, rule)
    if line.reached_half:
        word = ACT if is_rare(audit, line.n_planted) else WATCH
        detail = f"with {dose.pattern} are enough to move {score} of the stamped test images. {only}"
        return _tile("pick-up", wording.images(line.n_planted), detail, word, rule)
    word = FINE if line.score.mean < MOVED else WATCH
    if line.score.mean - line.twin_score.mean < MOVED and line.score.mean >= MOVED:
        word = NOT_KNOWN
    detail = (
        f"of the stamped test images are moved at most ({dose.pattern} in {wording.images(line.n_planted)}, "
        f"{wording.interval(line.score)}), with up to {wording.count(n_max)} planted. {only}"
    )
    return _tile("pick-up", wording.percent(line.score.mean), detail, word, rule)


def _noticed(audit: Audit, found: FoundAgain) -> Tile:
    rule = (
        "fine: a cue in 1 % of the training images or fewer is found again in every model, and no other "
        "image is named; watch: only a cue in more images is, or others are named; act: it was picked up but "
        "not found; not known: it was not picked up, so there was nothing to find"
    )
    last = found.doses[-1]
    n_models = len(last.searches)
    models = "one model" if n_models == 1 else f"{n_models} models"
    n_others = len(found.others)
    others = f" It also named {wording.images(n_others)}: see below." if n_others else ""
    if found.fewest is not None:
        word = FINE if is_rare(audit, found.fewest) and not n_others else WATCH
        n_found, n_planted = (
            sum(counts) for counts in zip(*((s.n_found, len(s.planted)) for s in last.searches), strict=True)
        )
        detail = (
            f"planted with {found.pattern} were found again, {n_found} of {n_planted} in {models}, by a "
            f"search that was told nothing.{others}"
        )
        return _tile("noticed", wording.images(found.fewest), detail, word, rule)
    was_learnt = last.score.mean >= MOVED
    why = "" if was_learnt else " But the models hardly picked it up, so there was little to find."
    detail = (
        f"with {found.pattern} in {wording.images(last.n_planted)} of {_class(audit, found.target)}, in "
        f"{models}.{why}{others}"
    )
    return _tile("noticed", "not found", detail, ACT if was_learnt else NOT_KNOWN, rule)


def _who_pays(found: PickedUp) -> Tile:
    change, clean = (_headline_change(found, name) for name in ("spurious_accuracy", "clean_accuracy"))
    rule = (
        "act: accuracy on stamped test images falls by 10 points or more, the whole interval below 0; fine: "
        "the whole interval lies above a fall of 10 points, and the mean falls by less than 1; watch: it "
        "falls by 1 point or more; not known: the interval allows for anything, or there is one seed. The "
        "usual test notices a fall on clean images of more than 1 point, with the whole interval"
    )
    if change.n == 1 or (change.low < PAID and change.high > 0):
        word = NOT_KNOWN
    elif change.mean <= PAID and change.high < 0:
        word = ACT
    elif change.mean > NOTICED:
        word = FINE
    else:
        word = WATCH
    noticed = "would" if clean.high < NOTICED else "would not"
    test = (
        f"On clean test images {wording.points(clean.mean)}: the usual test {noticed} have noticed."
        if clean.n > 1
        else ""
    )
    detail = (
        f"of accuracy for those whose images carry the cue ({_twin_and_planted(found, 'spurious_accuracy')}. "
        f"{test}"
    )
    return _tile("who-pays", wording.points(change.mean), detail, word, rule)


def _recognised(found: Membership, leaked: Canaries | None) -> Tile:
    rule = (
        "act: stamped images that were trained on are told from others better than by guessing, with the "
        "whole interval; watch: they are not, but every model trained with the pattern reveals its presence; "
        "fine: neither, and at most 60 % of pairs are ranked right, with the whole interval; not known: none "
        "of these is shown"
    )
    area = area_of(found, "stamped")
    recognised = attack_of(found, STRONGEST).stamped.recognised
    rate = next((row.rate for row in recognised if row.false_alarms == FALSE_ALARMS), None)
    pairs = (
        "Too few images to tell whose they were."
        if area is None
        else "Of a stamped image that was trained on and one that was not, an attacker picks the right one "
        f"in {wording.percent(area.mean)} of pairs (guessing: 50{wording.NBSP}%; {wording.interval(area)})."
    )
    more = "" if leaked is None or leaked.epsilon <= 0 else f" {_meaning(leaked)}"
    if is_told(found) and area is not None:
        if rate is not None and rate.value is not None:
            number = wording.table_percent(rate.value)
            text = (
                f"of stamped training images are recognised at 1{wording.NBSP}% false alarms "
                f"(95{wording.NBSP}% interval {wording.rate_ends(rate)}; guessing: 1{wording.NBSP}%)."
            )
        else:
            number, text = wording.percent(area.mean), pairs
        return _tile("recognised", number, text + more, ACT, rule)
    if is_present(found):
        text = f"Whoever holds {found.pattern} can tell that it was in the training images. {pairs}"
        return _tile("recognised", "the cue, not who", text + more, WATCH, rule)
    is_shown = area is not None and area.n > 1 and area.high < GUESSED
    word = FINE if is_shown else NOT_KNOWN
    return _tile("recognised", "nobody, as far as seen", pairs + more, word, rule)


def _recognised_in(found: Recognition) -> Tile:
    """The tile of a finished model with shadow models."""
    rule = (
        "act: an attack recognises at least twice as many training images as guessing would, at 1 % or "
        "0.1 % false alarms, more than chance (1 % over all attacks); watch: hardly more are, or a training "
        "image is told from a fresh one better than by guessing, with the whole interval; fine: neither, and "
        "at most 60 % of pairs are ranked right, with the whole interval; not known: none of these is shown"
    )
    words: dict[RecognitionOutcome, str] = {
        "named": ACT,
        "pairs": WATCH,
        "nobody": FINE,
        "not known": NOT_KNOWN,
    }
    result, best = outcome(found), named(found)
    comparing = attack_on(found, COMPARING)
    told = f"Of a training image and a fresh one, an attacker picks the right one in {pairs(comparing)}."
    if best is not None and best.rate.value is not None:
        chance = f"{100 * best.false_alarms:g}{wording.NBSP}%"
        number = wording.table_percent(best.rate.value)
        text = (
            f"of its training images are recognised at {chance} false alarms (95{wording.NBSP}% interval "
            f"{wording.rate_ends(best.rate)}; guessing: {chance})."
        )
    elif result == "pairs":
        number = wording.percent(comparing.auc)
        text = (
            "is how often an attacker picks the right one of a training image and a fresh one "
            f"({area_ends(comparing)}). No single image could be named with certainty."
        )
    else:
        number, text = ("nobody, as far as seen" if result == "nobody" else "cannot be told"), told
    return _tile("recognised", number, f"{text} {found.n_shadows} shadow models.", words[result], rule)


def _meaning(leaked: Canaries) -> str:
    """What the bound on epsilon means for a person."""
    odds = wording.odds(leaked.epsilon)
    return (
        f"Epsilon, the usual measure of privacy lost, is at least {leaked.epsilon:.1f}: the model can make "
        f"it {odds} times as likely as before that a given image was trained on."
    )


def _gone(found: Deletion) -> Tile:
    entry = recommended(found)
    rule = (
        "fine: a method that costs half a training or less leaves no more of the cue than a training without "
        "the images has, up to 5 points, costs at most 1 point of clean accuracy, and its verdict is that "
        "the cue is gone; watch: only training again does it; not known: the means over seeds say so but the "
        "verdict does not, or no cue was shown to be learnt. The number is that of the quickest such method"
    )
    if not found.was_learnt:
        seeds = wording.seeds(len(found.seeds))
        detail = (
            f"Over {seeds} (trainings that differ only by chance) it was not shown that {found.pattern} was "
            "learnt, nor therefore that it can be removed."
        )
        return _tile("gone", "cannot be told", detail, NOT_KNOWN, rule)
    if not found.methods or entry is None:
        is_clean = found.oracle.score.high <= GONE
        quicker = (
            "Quicker methods need a torch model: ss.repair."
            if not found.methods
            else f"Each quicker method leaves {found.pattern} in the model or costs accuracy."
        )
        detail = (
            f"without the images: {wording.percent(found.oracle.score.mean)} of stamped test images are "
            f"still moved ({wording.interval(found.oracle.score)}). {quicker}"
        )
        return _tile("gone", "train again", detail, WATCH if is_clean else NOT_KNOWN, rule)
    after, oracle = (measured(entry, "score", state) for state in ("after", "oracle"))
    is_gone = entry.verdict not in ("cue stays", "cannot be told")
    detail = (
        f"of stamped images are still moved after {NAMES[entry.method]} ({wording.interval(after)}), in "
        f"{wording.duration(entry.seconds.mean)}; by a model trained without the images "
        f"{wording.table_percent(oracle.mean)}."
    )
    if not is_gone:
        detail += " With so few seeds, or seeds that differ so much, it cannot be told that the cue is gone."
    return _tile("gone", wording.table_percent(after.mean), detail, FINE if is_gone else NOT_KNOWN, rule)


def _headline_change(found: PickedUp, measure: str) -> Interval:
    return paired_change(headline_dose(found), found.headline.n_planted, measure)


def _twin_and_planted(found: PickedUp, measure: str) -> str:
    """Interval of the change, then the measure of the clean twin and of the planted model."""
    dose, n_planted = headline_dose(found), found.headline.n_planted
    twin, planted = (value(entry_at(dose, n), measure).mean for n in (0, n_planted))
    return (
        f"{wording.interval(_headline_change(found, measure), signed=True)}): without planting "
        f"{wording.table_percent(twin)}, with {dose.pattern} in {wording.images(n_planted)} "
        f"{wording.table_percent(planted)}"
    )
