"""Who can be recognised? What an attacker learns from the model about its training images."""

from functools import partial
from typing import TYPE_CHECKING, Any

from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, small_figure
from spuriscope.report.lookup import Document, dose_of
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.section import Panel, Section, Table
from spuriscope.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["area_of", "attack_of", "is_present", "is_told", "recognised"]

FALSE_ALARMS = 0.01
STRONGEST, SIMPLEST = "lira-online", "loss"  # chosen beforehand, not for what they find
CHANCE = 0.5
GROUPS = {"stamped": "stamped images", "unstamped": "others of the class"}


def recognised(document: Document) -> Section:
    """The section on what an attacker learns, about whom."""
    found = document["membership"]
    return Section(
        anchor="recognised",
        question="Who can be recognised?",
        claim=_claim(found),
        panels=(*(_roc_panel(document, k) for k in range(len(GROUPS))), _presence_panel(document)),
        caption=(
            "Left and middle: share of members recognised (upwards) for each share of outsiders wrongly "
            "accused (to the right), on logarithmic axes; the grey line is guessing. Blue: LiRA, which "
            f"compares with {found['n_shadows']} models of the attacker's; orange: the loss alone. Right: "
            "the share of test images that stamping moves; one dot is one model, with the pattern or without."
        ),
        sure=_sure(found) + (f" {_epsilon(document['canaries'])}" if document.get("canaries") else ""),
        advice=_advice(found),
        tables=(_area_table(found), _cell_table(found)),
    )


def attack_of(found: Document, name: str) -> Document:
    """An attack of `membership` by its name."""
    entry: Document = next(attack for attack in found["attacks"] if attack["name"] == name)
    return entry


def area_of(found: Document, group: str) -> Interval | None:
    """In how many pairs the strongest attack picks the member, None where there are too few images."""
    area = attack_of(found, STRONGEST)[group]["auc"]
    return None if area is None else Interval(**area)


def _row(attack: Document) -> Document:
    row: Document = next(row for row in attack["cells"] if row["false_alarms"] == FALSE_ALARMS)
    return row


def is_told(found: Document) -> bool:
    """Whether stamped members are told from stamped outsiders better than by guessing."""
    area = area_of(found, "stamped")
    return area is not None and area.low > CHANCE


def is_present(found: Document) -> bool:
    """Whether every model with the pattern scores above every model without."""
    score = found["presence"][0]
    return bool(min(score["with_pattern"]) > max(score["without"]))


def _claim(found: Document) -> str:
    images = wording.images(found["n_planted"])
    holder = f"Whoever holds {found['pattern']}"
    presence = (
        f"{holder} can tell that it was in the training images, even in {images}"
        if is_present(found)
        else f"{holder} cannot tell for sure that it was in {images} of the training set"
    )
    who = (
        "and which of the images that carry it were trained on can partly be told"
        if is_told(found)
        else "but no attack was seen to tell which of the images that carry it were trained on"
        if is_present(found)
        else "nor was an attack seen to tell which of the images that carry it were trained on"
    )
    return f"{presence}; {who}."


def _roc_panel(document: Document, k: int) -> Panel:
    found, group = document["membership"], list(GROUPS)[k]
    area = area_of(found, group)
    note = (
        "too few images"
        if area is None
        else f"right about a pair: {wording.short_percent(area.mean)}; chance 50{wording.NBSP}%"
    )
    alt = f"Members recognised against outsiders accused, {GROUPS[group]}: " + (
        "too few images." if area is None else f"LiRA is right about {wording.percent(area.mean)} of pairs."
    )
    figure = small_figure(f"recognised-{k}", alt, partial(_draw_roc, found=found, group=group))
    picture = pattern_picture(dose_of(document, found["pattern"]))
    return Panel(title=GROUPS[group], note=note, picture=picture, figure=figure)


def _draw_roc(axes: "Axes", *, found: Document, group: str) -> None:
    lowest = 0.5 / max(attack_of(found, STRONGEST)[group]["n_outsiders"], 10)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(lowest, 1.1)
    axes.set_ylim(lowest, 1.1)
    axes.minorticks_off()
    ticks = [tick for tick in (0.001, 0.01, 0.1, 1) if tick >= lowest]
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(ticks, [*labels[:-1], "100 %"])
    axes.set_yticks(ticks, [*labels[:-1], "100 %"])
    axes.grid(visible=True)
    axes.plot([lowest, 1], [lowest, 1], color=PALETTE["twin"], lw=1.2, ls=(0, (4, 3)))
    for name, colour in ((SIMPLEST, "warning"), (STRONGEST, "target")):
        points = [(x, y) for x, y in attack_of(found, name)[group]["roc"] if x > 0 and y > 0]
        if points:
            axes.plot(*zip(*points, strict=True), color=PALETTE[colour], lw=1.6)
    below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    axes.annotate("outsiders accused", (1, 0), (0, -19), ha="right", color=PALETTE["muted"], **below)


def _presence_panel(document: Document) -> Panel:
    found = document["membership"]
    score = found["presence"][0]
    note = f"{found['n_models']} models with it, {found['n_null']} without"
    alt = (
        f"Images moved by {found['pattern']}: {wording.percent(min(score['with_pattern']))} to "
        f"{wording.percent(max(score['with_pattern']))} in models trained with it, at most "
        f"{wording.percent(max(score['without']))} in models trained without."
    )
    figure = small_figure("recognised-presence", alt, partial(_draw_presence, score=score))
    picture = pattern_picture(dose_of(document, found["pattern"]))
    return Panel(title="was it there at all?", note=note, picture=picture, figure=figure)


def _draw_presence(axes: "Axes", *, score: Document) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_xlim(-0.5, 1.5)
    axes.set_xticks([0, 1], ["without", "with"])
    axes.grid(visible=True, axis="y")
    for x, key, colour in ((0, "without", "twin"), (1, "with_pattern", "warning")):
        values = score[key]
        places = [x + 0.3 * (k / max(1, len(values) - 1) - 0.5) for k in range(len(values))]
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.2, "mew": 0, "alpha": 0.75}
        axes.plot(places, values, color=PALETTE[colour], clip_on=False, zorder=3, **dots)


def _sure(found: Document) -> str:
    simplest, area = _row(attack_of(found, SIMPLEST)), area_of(found, "stamped")
    images = wording.images(found["n_planted"])
    parts = [
        f"{found['n_models']} models, each trained on half of the images, "
        f"{wording.count(found['n_train'])}, with {images} stamped, and asked about both halves, in each of "
        "which as many are stamped."
    ]
    if simplest["stamped_members"]["value"] is not None:
        members, outsiders = (simplest[f"stamped_{side}"] for side in ("members", "outsiders"))
        parts.append(
            "Members are images that were trained on, outsiders those that were not. Where the loss accuses "
            f"1{wording.NBSP}% of all outsiders, it takes for members {_share(members)} of the stamped "
            f"members and {_share(outsiders)} of the stamped outsiders: the first number "
            "alone proves no recognition."
        )
    if area is not None:
        parts.append(
            f"Of a stamped member and a stamped outsider, LiRA picks the member in "
            f"{wording.percent(area.mean)} of pairs ({wording.interval(area)} over models that share images; "
            f"guessing: 50{wording.NBSP}%)."
        )
    return " ".join(parts)


def _epsilon(found: Document) -> str:
    """What the canaries say, to somebody who has not heard of epsilon."""
    epsilon = found["epsilon"]
    shown = f"{epsilon:.1f}" if epsilon >= 0.05 else f"{epsilon:.1g}"  # what is not 0 is not called 0.0
    held = (
        "so its epsilon, the usual measure of privacy lost (0: none), is at least "
        f"{shown}, with {100 * found['confidence']:.0f}{wording.NBSP}% confidence."
        if epsilon > 0
        else "which may be chance: no loss of privacy is shown by it."
    )
    return (
        f"In one more training, {wording.count(found['n_canaries'])} images were each stamped with a noise "
        "of their own, or not, by the toss of a coin; the model's answers gave away "
        f"{found['n_right']} of the {found['n_guesses']} tosses that were guessed, {held}"
    )


def _share(rate: Document) -> str:
    return (
        f"{wording.percent(rate['value'])} (95{wording.NBSP}% interval "
        f"{wording.short_percent(rate['low'])} to {wording.short_percent(rate['high'])})"
    )


def _advice(found: Document) -> str:
    if is_told(found):
        return (
            "Treat the model as a record of the people whose images carry the cue: do not publish it without "
            "removing the cue, or training with differential privacy."
        )
    if is_present(found):
        return (
            "If it is a secret that some image carried the cue, do not publish the model, nor its answers to "
            "images of others' choosing."
        )
    return (
        "Repeat it with more models before relying on it: an attack that was not seen to work is not a proof."
    )


def _area_table(found: Document) -> Table:
    return Table(
        caption="How often an attack picks the member of a pair, mean over models with the 95 % interval in "
        "brackets; 50 % is guessing. Unstamped: of the same class.",
        header=("attack", "stamped", "unstamped", "all images"),
        rows=tuple(
            (attack["name"], *(_area_cell(attack[group]) for group in ("stamped", "unstamped", "all")))
            for attack in found["attacks"]
        ),
    )


def _area_cell(group: Document) -> str:
    return "none" if group["auc"] is None else wording.cell(Interval(**group["auc"]))


def _cell_table(found: Document) -> Table:
    sides = [(group, side) for group in ("stamped", "unstamped") for side in ("members", "outsiders")]
    return Table(
        caption="Share called members where 1 % of a model's outsiders are accused, with the 95 % interval "
        "in brackets.",
        header=("attack", *(f"{group} {side}" for group, side in sides)),
        rows=tuple(
            (attack["name"], *(_rate_cell(_row(attack)[f"{group}_{side}"]) for group, side in sides))
            for attack in found["attacks"]
        ),
    )


def _rate_cell(rate: Document) -> str:
    if rate["value"] is None:
        return str(rate["reason"])
    return (
        f"{wording.table_percent(rate['value'])} ({wording.bare_percent(rate['low'])} to "
        f"{wording.bare_percent(rate['high'])})"
    )
