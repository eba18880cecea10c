"""Who can be recognised? What an attacker learns from the model about its training images."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from spuriscope.membership.attacked import Membership, Presence
from spuriscope.membership.canaries import Canaries
from spuriscope.membership.evaluation import AlarmRow, Evaluation, Rate, Separation
from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, small_figure
from spuriscope.report.pictures import Shown
from spuriscope.report.section import QUESTIONS, Panel, Section, Table
from spuriscope.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["area_of", "attack_of", "draw_roc", "is_present", "is_told", "recognised", "separation"]

Curve = Sequence[tuple[float, float]]

FALSE_ALARMS = 0.01
STRONGEST, SIMPLEST = "lira-online", "loss"  # chosen beforehand, not by their results
COLOURS = {SIMPLEST: "warning", STRONGEST: "target"}  # of the palette; drawn in this order
CHANCE = 0.5
GROUPS = {"stamped": "stamped images", "unstamped": "others of the class"}


def recognised(found: Membership, leaked: Canaries | None, picture: Shown) -> Section:
    """The section on what an attacker learns, and about whom.

    Args:
        found: the answer.
        leaked: what canaries gave away, where they were planted.
        picture: of the planted pattern.
    """
    return Section(
        anchor="recognised",
        question=QUESTIONS["recognised"],
        claim=_claim(found),
        panels=(
            *(_roc_panel(found, k, picture) for k in range(len(GROUPS))),
            _presence_panel(found, picture),
        ),
        caption=(
            "Left and middle: share of members recognised (upwards) for each share of outsiders wrongly "
            "accused (to the right), on logarithmic axes; the grey line is guessing. Blue: LiRA, which "
            f"compares with {found.n_shadows} models of the attacker's; orange: the loss alone. Right: "
            "the share of test images that stamping moves; a dot is a model, with the pattern or without."
        ),
        sure=_sure(found) + (f" {_epsilon(leaked)}" if leaked else ""),
        advice=_advice(found),
        tables=(_area_table(found), _cell_table(found)),
    )


def attack_of(found: Membership, name: str) -> Evaluation:
    """An attack of `membership` by its name."""
    return next(attack for attack in found.attacks if attack.name == name)


def separation(attack: Evaluation, group: str) -> Separation:
    """How well an attack tells members within a group of images."""
    found: Separation = getattr(attack, group)
    return found


def area_of(found: Membership, group: str) -> Interval | None:
    """Share of pairs in which the strongest attack picks the member; None where there are too few images."""
    return separation(attack_of(found, STRONGEST), group).auc


def _row(attack: Evaluation) -> AlarmRow:
    return next(row for row in attack.cells if row.false_alarms == FALSE_ALARMS)


def is_told(found: Membership) -> bool:
    """Whether stamped members are told from stamped outsiders better than by guessing."""
    area = area_of(found, "stamped")
    return area is not None and area.low > CHANCE


def is_present(found: Membership) -> bool:
    """Whether every model with the pattern scores above every model without."""
    score = found.presence[0]
    return bool(min(score.with_pattern) > max(score.without))


def _claim(found: Membership) -> str:
    images = wording.images(found.n_planted)
    holder = f"Whoever holds {found.pattern}"
    presence = (
        f"{holder} can tell that it was in the training images, even in {images}"
        if is_present(found)
        else f"{holder} cannot tell for sure that it was in {images} of the training set"
    )
    who = (
        "and which of the images that carry it were trained on can partly be told"
        if is_told(found)
        else "but no attack was shown to tell which of the images that carry it were trained on"
        if is_present(found)
        else "nor was an attack shown to tell which of the images that carry it were trained on"
    )
    return f"{presence}; {who}."


def _roc_panel(found: Membership, k: int, picture: Shown) -> Panel:
    group = list(GROUPS)[k]
    area = area_of(found, group)
    note = (
        "too few images"
        if area is None
        else f"right about a pair: {wording.short_percent(area.mean)}; chance 50{wording.NBSP}%"
    )
    alt = f"Members recognised against outsiders accused, {GROUPS[group]}: " + (
        "too few images." if area is None else f"LiRA is right about {wording.percent(area.mean)} of pairs."
    )
    curves = [(separation(attack_of(found, name), group).roc, colour) for name, colour in COLOURS.items()]
    n_outsiders = separation(attack_of(found, STRONGEST), group).n_outsiders
    figure = small_figure(f"recognised-{k}", alt, partial(draw_roc, curves=curves, n_outsiders=n_outsiders))
    return Panel(title=GROUPS[group], note=note, picture=picture, figure=figure)


def draw_roc(axes: "Axes", *, curves: Sequence[tuple[Curve, str]], n_outsiders: int) -> None:
    """Members recognised against outsiders accused, on logarithmic axes, beside guessing.

    Args:
        axes: where to draw.
        curves: false-positive and true-positive rates, each with its colour of the palette.
        n_outsiders: number of outsiders; the axes begin where half of one would be.
    """
    lowest = 0.5 / max(n_outsiders, 10)
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
    for curve, colour in curves:
        points = [(max(x, lowest), max(y, lowest)) for x, y in curve]
        if points:
            axes.plot(*zip(*points, strict=True), color=PALETTE[colour], lw=1.6)
    below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    axes.annotate("outsiders accused", (1, 0), (0, -19), ha="right", color=PALETTE["muted"], **below)


def _presence_panel(found: Membership, picture: Shown) -> Panel:
    score = found.presence[0]
    note = f"{found.n_models} models with it, {found.n_null} without"
    alt = (
        f"Images moved by {found.pattern}: {wording.percent(min(score.with_pattern))} to "
        f"{wording.percent(max(score.with_pattern))} in models trained with it, at most "
        f"{wording.percent(max(score.without))} in models trained without."
    )
    figure = small_figure("recognised-presence", alt, partial(_draw_presence, score=score))
    return Panel(title="was it there at all?", note=note, picture=picture, figure=figure)


def _draw_presence(axes: "Axes", *, score: Presence) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_xlim(-0.5, 1.5)
    axes.set_xticks([0, 1], ["without", "with"])
    axes.grid(visible=True, axis="y")
    for x, key, colour in ((0, "without", "twin"), (1, "with_pattern", "warning")):
        values = getattr(score, key)
        places = [x + 0.3 * (k / max(1, len(values) - 1) - 0.5) for k in range(len(values))]
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.2, "mew": 0, "alpha": 0.75}
        axes.plot(places, values, color=PALETTE[colour], clip_on=False, zorder=3, **dots)


def _sure(found: Membership) -> str:
    simplest, area = _row(attack_of(found, SIMPLEST)), area_of(found, "stamped")
    images = wording.images(found.n_planted)
    parts = [
        f"{found.n_models} models, each trained on half of the images, "
        f"{wording.count(found.n_train)}, with {images} stamped, and asked about both halves, which have "
        "equally many stamped images."
    ]
    if simplest.stamped_members.value is not None:
        members, outsiders = (getattr(simplest, f"stamped_{side}") for side in ("members", "outsiders"))
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


def _epsilon(found: Canaries) -> str:
    """What the canaries show, for readers who do not know epsilon."""
    epsilon = found.epsilon
    shown = f"{epsilon:.1f}" if epsilon >= 0.05 else f"{epsilon:.1g}"  # never 0.0 unless it is 0
    held = (
        "so its epsilon, the usual measure of privacy lost (0: none), is at least "
        f"{shown}, with {100 * found.confidence:.0f}{wording.NBSP}% confidence: what the model reveals "
        f"can make it {wording.odds(epsilon)} times as likely as before that a given image was trained on."
        if epsilon > 0
        else "which may be chance: it shows no loss of privacy."
    )
    return (
        f"In one more training, {wording.count(found.n_canaries)} images were each stamped, or not, with "
        "their own noise, by the toss of a coin; the model's answers gave away "
        f"{found.n_right} of the {found.n_guesses} tosses that were guessed, {held}"
    )


def _share(rate: Rate) -> str:
    assert rate.value is not None  # called only where there is one
    return f"{wording.percent(rate.value)} (95{wording.NBSP}% interval {wording.rate_ends(rate)})"


def _advice(found: Membership) -> str:
    if is_told(found):
        return (
            "Treat the model as a record of the people whose images carry the cue: do not publish it without "
            "removing the cue, or training with differential privacy."
        )
    if is_present(found):
        return (
            "If it is a secret that some image carried the cue, do not publish the model, nor its answers to "
            "images that others choose."
        )
    return "Repeat it with more models before relying on it: a failed attack is not a proof."


def _area_table(found: Membership) -> Table:
    return Table(
        caption="How often an attack picks the member of a pair, mean over models with the 95 % interval in "
        "brackets; 50 % is guessing. Unstamped: of the same class.",
        header=("attack", "stamped", "unstamped", "all images"),
        rows=tuple(
            (
                attack.name,
                *(_area_cell(separation(attack, group)) for group in ("stamped", "unstamped", "all")),
            )
            for attack in found.attacks
        ),
    )


def _area_cell(group: Separation) -> str:
    return "none" if group.auc is None else wording.cell(group.auc)


def _cell_table(found: Membership) -> Table:
    sides = [(group, side) for group in ("stamped", "unstamped") for side in ("members", "outsiders")]
    return Table(
        caption="Share called members where 1 % of a model's outsiders are accused, with the 95 % interval "
        "in brackets.",
        header=("attack", *(f"{group} {side}" for group, side in sides)),
        rows=tuple(
            (attack.name, *(_rate_cell(getattr(_row(attack), f"{group}_{side}")) for group, side in sides))
            for attack in found.attacks
        ),
    )


def _rate_cell(rate: Rate) -> str:
    if rate.value is None:
        return rate.reason
    return f"{wording.table_percent(rate.value)} ({wording.rate_ends(rate)})"
