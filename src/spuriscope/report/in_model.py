"""Who can be recognised in a finished model? What attacks with shadow models learn of its training images."""

from functools import partial
from typing import Literal

from spuriscope.answers import Recognition
from spuriscope.membership.evaluation import Rate
from spuriscope.membership.one_model import AttackOnModel, SingledOut
from spuriscope.report import wording
from spuriscope.report.cards import p_text
from spuriscope.report.drawing import small_figure
from spuriscope.report.pictures import icon, reduced
from spuriscope.report.recognised import draw_roc
from spuriscope.report.section import QUESTIONS, Captioned, Gallery, Panel, Section, Table

__all__ = ["RecognitionOutcome", "area_ends", "attack_on", "named", "outcome", "pairs", "recognised_in"]

RecognitionOutcome = Literal["named", "pairs", "nobody", "not known"]

LEVEL = 0.01  # probability of naming an image where none can be recognised, over all attacks
TWICE = 2.0  # recognising this many times as many as by guessing is the least that counts
FALSE_ALARMS = 0.01
COMPARING, SIMPLEST = "lira-offline", "loss"  # chosen beforehand, not by their results
CHANCE, GUESSED = 0.5, 0.6  # of pairs ranked right; below the second, nobody is recognised
CALLED = {"lira-offline": "LiRA", "rmia": "RMIA", "loss": "the loss alone"}


def attack_on(found: Recognition, name: str) -> AttackOnModel:
    """An attack by its name."""
    return next(attack for attack in found.attacks if attack.name == name)


def outcome(found: Recognition) -> RecognitionOutcome:
    """What is known.

    "named": many more images stand out than by chance; "pairs": a training image is told from a fresh one
    better than by guessing, but hardly more stand out; "nobody": that is shown; "not known": nothing is.
    """
    if named(found) is not None:
        return "named"
    areas = [attack_on(found, name) for name in {COMPARING, found.strongest}]
    if attack_on(found, COMPARING).auc_low > CHANCE or _surely_more(found):
        return "pairs"
    is_asked = _at(attack_on(found, COMPARING)).rate.value is not None
    return "nobody" if is_asked and all(area.auc_high < GUESSED for area in areas) else "not known"


def named(found: Recognition) -> SingledOut | None:
    """The largest share of training images shown to stand out, at the largest rate of false alarms."""
    enough = [each for each in _surely_more(found) if (each.rate.value or 0.0) >= TWICE * each.false_alarms]
    return max(enough, key=lambda each: (each.false_alarms, each.rate.value or 0.0), default=None)


def _surely_more(found: Recognition) -> list[SingledOut]:
    """Where more training images stand out than by chance, over all attacks (Bonferroni)."""
    tested = [each for attack in found.attacks for each in attack.recognised if each.p_value is not None]
    return [each for each in tested if each.p_value is not None and each.p_value < LEVEL / len(tested)]


def _at(attack: AttackOnModel) -> SingledOut:
    return next(each for each in attack.recognised if each.false_alarms == FALSE_ALARMS)


def pairs(attack: AttackOnModel) -> str:
    """How often an attack picks the training image of a pair: 56 % of pairs (95 % interval ...)."""
    return f"{wording.percent(attack.auc)} of pairs ({area_ends(attack)})"


def area_ends(attack: AttackOnModel) -> str:
    """The interval of `pairs`, beside guessing."""
    ends = " to ".join(wording.short_percent(end) for end in (attack.auc_low, attack.auc_high))
    return f"95{wording.NBSP}% interval {ends}; guessing: 50{wording.NBSP}%"


def recognised_in(found: Recognition) -> Section:
    """The section on what an attacker learns from the finished model about its training images."""
    result = outcome(found)
    return Section(
        anchor="recognised",
        question=QUESTIONS["recognised"],
        claim=_claim(found, result),
        panels=(_panel(found),),
        caption=(
            "Share of the training images recognised (upwards) for each share of fresh images wrongly "
            "accused (to the right), on logarithmic axes; the grey line is guessing. Blue: "
            f"{CALLED[found.strongest]}, which recognises most; orange: {CALLED[SIMPLEST]}."
        ),
        sure=_sure(found),
        advice=ADVICE[result],
        tables=(_table(found),),
        gallery=_gallery(found) if result in ("named", "pairs") else None,
    )


ADVICE: dict[RecognitionOutcome, str] = {
    "named": (
        "Treat the model as a record of the people whose images it was trained on: do not publish it, nor "
        "its probabilities for images that others choose. Training for a shorter time, on more images, or "
        "with differential privacy makes it reveal less; then attack it again."
    ),
    "pairs": (
        "Attack it with more shadow models before you release it, and give away classes rather than "
        "probabilities: a little for one image may be much for many of one person."
    ),
    "nobody": ("Repeat it with more shadow models before relying on it: a failed attack is not a proof."),
    "not known": "Give more test images, and more shadow models: with so few nothing can be told.",
}


def _claim(found: Recognition, result: RecognitionOutcome) -> str:
    best = named(found)
    if best is not None and best.rate.value is not None:
        return (
            "Whoever has the model and an image can tell for some that they were trained on: at one false "
            f"alarm in {wording.count(round(1 / best.false_alarms))}, {wording.percent(best.rate.value)} of "
            "the training images are recognised."
        )
    if result == "pairs":
        return (
            "The model reveals something: of a training image and a fresh one an attacker picks the right "
            f"one in {pairs(attack_on(found, COMPARING))}. But no single image could be named with certainty."
        )
    if result == "nobody":
        return "No attack was shown to tell its training images from images that it never saw."
    return "Whether its training images can be told from others cannot be said."


def _panel(found: Recognition) -> Panel:
    strongest = attack_on(found, found.strongest)
    curves = [(attack_on(found, SIMPLEST).roc, "warning"), (strongest.roc, "target")]
    alt = (
        f"Training images recognised against fresh images accused: {CALLED[found.strongest]} is right about "
        f"{wording.percent(strongest.auc)} of pairs."
    )
    draw = partial(draw_roc, curves=curves, n_outsiders=found.n_outsiders)
    return Panel(
        title="training images",
        note=f"right about a pair: {wording.short_percent(strongest.auc)}; chance 50{wording.NBSP}%",
        picture=icon(found.images[0].picture, "The training image that stands out most."),
        figure=small_figure("recognised-in-model", alt, draw),
    )


def _sure(found: Recognition) -> str:
    parts = [
        f"{found.n_shadows} shadow models, trained as this one was, each on half of its "
        f"{wording.count(found.n_members)} training images and {wording.count(found.n_outsiders)} test "
        f"images together, {wording.count(found.n_train)}. Half of them never saw a given image, and show "
        "what is usual for it. It is recognised where this model knows it better than they do."
    ]
    if found.n_copies:
        parts.append(f"Test images that are copies of others were left out: {found.n_copies:,}.")
    best = max((_at(attack) for attack in found.attacks), key=lambda each: each.rate.value or 0.0)
    if best.rate.value is None or best.p_value is None:
        parts.append(f"How many are recognised at one false alarm in 100 is not known: {best.rate.reason}.")
    else:
        parts.append(
            f"At one false alarm in 100 fresh images, the best of {len(found.attacks)} attacks recognises "
            f"{_share(best.rate)} of the training images; that chance alone gives as many to one attack has "
            f"p{wording.NBSP}{p_text(best.p_value)}."
        )
    comparing = attack_on(found, COMPARING)
    parts.append(
        f"Of a training image and a fresh one, {CALLED[COMPARING]} picks the right one in "
        f"{pairs(comparing)}. All of this holds for this one model; more shadow models see more."
    )
    return " ".join(parts)


def _share(rate: Rate) -> str:
    assert rate.value is not None  # called only where there is one
    return f"{wording.table_percent(rate.value)} (95{wording.NBSP}% interval {wording.rate_ends(rate)})"


def _gallery(found: Recognition) -> Gallery:
    expected = round(FALSE_ALARMS * found.n_members)
    return Gallery(
        title="The training images that stand out most",
        pictures=tuple(
            Captioned(reduced(image.picture, f"Training image {image.name}."), image.name)
            for image in found.images
        ),
        caption=(
            f"By {CALLED[found.strongest]}, by file or position, those first that stand out most. At one "
            f"false alarm in 100, about {wording.images(max(1, expected))} would be recognised by chance "
            "alone: a single one is no proof."
        ),
    )


def _table(found: Recognition) -> Table:
    rates = [each.false_alarms for each in found.attacks[0].recognised]
    return Table(
        caption="How often an attack picks the training image of a pair, and the share of training images "
        "recognised at each rate of false alarms among fresh ones; 95 % intervals in brackets.",
        header=("attack", "of pairs", *(f"at {100 * rate:g} %" for rate in rates)),
        rows=tuple((attack.name, _area(attack), *map(_cell, attack.recognised)) for attack in found.attacks),
    )


def _area(attack: AttackOnModel) -> str:
    ends = " to ".join(wording.bare_percent(end) for end in (attack.auc_low, attack.auc_high))
    return f"{wording.table_percent(attack.auc)} ({ends})"


def _cell(found: SingledOut) -> str:
    if found.rate.value is None:
        return found.rate.reason
    return f"{wording.table_percent(found.rate.value)} ({wording.rate_ends(found.rate)})"
