"""Would my training pick up a rare cue? The dose-response of every pattern."""

from functools import partial
from typing import TYPE_CHECKING

from spuriscope.answers import Audit, DoseResponse, DoseSummary, PickedUp
from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, dose_axes, draw_series, of_seeds, place, small_figure
from spuriscope.report.lookup import easiest, fewest, moved_already, n50_of, value
from spuriscope.report.pictures import Shown, icon, pixels
from spuriscope.report.section import QUESTIONS, Panel, Section, Table
from spuriscope.report.weight_maps import weight_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["extent", "pattern_picture", "pick_up"]


def pick_up(audit: Audit, found: PickedUp) -> Section:
    """The section on how many images suffice to learn a pattern."""
    target = wording.quoted(audit.conditions.target_name)
    rise = wording.change(audit.conditions.settings.threshold).lstrip("+")
    seeds = wording.seeds(audit.n_seeds)
    return Section(
        anchor="pick-up",
        question=QUESTIONS["pick-up"],
        claim=_claim(audit, found),
        panels=tuple(_panel(audit, found, k) for k in range(len(found.dose_response))),
        caption=(
            f"Share of the test images of other classes that stamping moves towards {target}: their "
            f"probability of it rises by more than {rise} points. A dot is a training ({seeds}); the line is "
            "the mean, the band its 95 % interval. Grey, at 0: the clean twins. Diamond: n50, the number at "
            "which the mean reaches half, in brackets its 95 % interval. Noise patterns are drawn anew for "
            "each seed; the picture shows the first."
        ),
        sure=_sure(audit, found),
        advice=_advice(audit, found),
        tables=(_n50_table(audit, found), _table(audit, found)),
        maps=weight_maps(found),
    )


def pattern_picture(dose: DoseResponse) -> Shown:
    """The pattern as a small picture."""
    return icon(dose.picture, f"The pattern {dose.pattern}: {extent(dose)}.")


def extent(dose: DoseResponse) -> str:
    """How much of an image the pattern touches: 25 of 784 pixels."""
    seen = pixels(dose.picture) > 0
    if dose.n_touched >= 0.98 * seen.size:  # noise may be zero here and there
        return f"all {wording.count(seen.size)} pixels"
    return f"{wording.count(dose.n_touched)} of {wording.count(seen.size)} pixels"


def _claim(audit: Audit, found: PickedUp) -> str:
    doses = found.dose_response
    reached = [dose.pattern for dose in doses if _is_reached(dose)]
    already = [dose.pattern for dose in doses if moved_already(dose)]
    n_max = wording.images(audit.conditions.settings.counts[-1])
    best = easiest(found)
    if best is None:
        return (
            f"Stamping {wording.listed(already)} moves half of the images even where nothing was planted, "
            "so this audit cannot tell what was learnt from planting."
        )
    most = value(best.summary[-1], "score_non_target").mean
    if not reached:
        subject = f"None of the {len(doses)} patterns" if len(doses) > 1 else f"The pattern {best.pattern}"
        verb = "moved" if len(doses) > 1 else "did not move"
        name = f"{best.pattern}, the strongest, " if len(doses) > 1 else "it "
        return (
            f"{subject} {verb} half of the stamped images, with up to {n_max} planted: {name}moved "
            f"{wording.percent(most)} of them."
        )
    needed = wording.n50_number(n50_of(best), fewest(best))
    if len(doses) == 1:
        return f"Planting {best.pattern} in {needed} moved half of the stamped images."
    return (
        f"{len(reached)} of {len(doses)} patterns moved half of the stamped images with at most {n_max} "
        f"planted; the easiest to learn, {best.pattern}, needed {needed}."
    )


def _is_reached(dose: DoseResponse) -> bool:
    return n50_of(dose).estimate is not None and not moved_already(dose)


def _panel(audit: Audit, found: PickedUp, k: int) -> Panel:
    dose = found.dose_response[k]
    note = _note(audit, found, dose)
    last = dose.summary[-1]
    alt = (
        f"Dose-response of {dose.pattern}: with {last.n_planted} planted, stamping moves "
        f"{wording.percent(value(last, 'score_non_target').mean)} of the images. {note}"
    )
    figure = small_figure(f"moved-{k}", alt, partial(_draw, dose=dose))
    return Panel(title=dose.pattern, note=note, picture=pattern_picture(dose), figure=figure)


def _note(audit: Audit, found: PickedUp, dose: DoseResponse) -> str:
    if moved_already(dose):
        return "Stamping moves half of the images even with nothing planted: n50 cannot be told."
    half = n50_of(dose)
    if half.estimate is None and half.low is None:
        return f"n50: {wording.n50_number(half, fewest(dose))}"
    ends = "one seed" if audit.n_seeds == 1 else wording.n50_ends(half, fewest(dose))
    return f"n50: {wording.n50_number(half, fewest(dose))} ({ends})"


def _draw(axes: "Axes", *, dose: DoseResponse) -> None:
    dose_axes(axes, [entry.n_planted for entry in dose.summary])
    draw_series(axes, of_seeds(dose, "score_non_target"), colour="target")
    estimate = n50_of(dose).estimate
    if estimate is None or moved_already(dose):
        return
    x, ink = place(estimate), PALETTE["ink"]
    axes.plot([x, x], [-0.03, 0.5], color=ink, lw=1, ls=(0, (1, 2)), zorder=3.5)
    axes.plot([x], [0.5], color=ink, marker="D", ms=5, mew=0, zorder=4)
    axes.annotate("n50", (x, 0.5), (-7, 3), textcoords="offset points", ha="right", color=ink)


def _sure(audit: Audit, found: PickedUp) -> str:
    n, doses = audit.n_seeds, found.dose_response
    twins = max(value(dose.summary[0], "score_non_target").mean for dose in doses)
    alone = "" if len(doses) == 1 else ", whichever the pattern"
    most = "at most " if len(doses) > 1 and twins >= 0.005 else ""
    is_ours = audit.conditions.settings.recipe is not None
    shared = "initial weights and batch order" if is_ours else "seed"
    twin = (
        f"Each training stands beside its clean twin, which has the same {shared} "
        f"and nothing planted: stamping moves {most}{wording.percent(twins)} of its images{alone}."
    )
    if n == 1:
        return f"Only one seed, so there is no interval, and another seed may answer otherwise. {twin}"
    own = (
        "its own initial weights, batch order, " if is_ours else "the seed passed to your function, its own "
    )
    return (
        f"{wording.seeds(n)}, each with {own}planted images and noise. "
        f"Intervals of means are Student’s t over seeds, those of n50 a bootstrap over seeds. {twin}"
        f"{_chosen(audit, found)}"
    )


def _chosen(audit: Audit, found: PickedUp) -> str:
    n_choices = len(found.dose_response) * (len(audit.conditions.settings.counts) - 1)
    if n_choices == 1:
        return ""
    return (
        f" The headline takes the strongest of {wording.count(n_choices)} pairs of pattern and number; "
        "its interval does not allow for that choice."
    )


def _advice(audit: Audit, found: PickedUp) -> str:
    target = wording.quoted(audit.conditions.target_name)
    best = easiest(found)
    if best is None:
        return "Choose patterns that change less of an image, and run the audit again."
    half = n50_of(best)
    if half.estimate is None:
        return (
            "That holds for these patterns and numbers, not for every cue: run the audit again with "
            "pictures that your own data may carry, such as a logo or a time stamp."
        )
    return (
        f"Look through the training images of {target}, and of every other class, for marks that some of "
        "them share: stickers, stamps, borders, traces of a scanner or camera. A mark need not be common: "
        f"here {best.pattern} in {wording.n50_number(half, fewest(best))} was enough to move half of the "
        "images stamped with it. Remove such a mark, or see that it stands in images of all classes, and "
        "run the audit again."
    )


def _n50_table(audit: Audit, found: PickedUp) -> Table:
    return Table(
        caption="How many planted images move half of the stamped ones (n50). The norm is the mean L2 "
        "distance between a test image and its stamped copy, pixels in [0, 1].",
        header=("pattern", "touches", "norm", "n50", "95 % interval"),
        rows=tuple(_n50_row(audit, found, dose) for dose in found.dose_response),
    )


def _n50_row(audit: Audit, found: PickedUp, dose: DoseResponse) -> tuple[str, ...]:
    half = n50_of(dose)
    number = wording.n50_number(half, fewest(dose))
    ends = wording.n50_ends(half, fewest(dose)) if audit.n_seeds > 1 else "one seed"
    if moved_already(dose):
        number, ends = "cannot be told", "none"
    return dose.pattern, extent(dose), f"{dose.norm:.2f}", number, ends


def _table(audit: Audit, found: PickedUp) -> Table:
    return Table(
        caption="Shares of test images, mean over seeds with the 95 % interval in brackets. Moved: "
        "spurious score, over images of other classes, over all images, and with the rise divided by the "
        "largest possible rise (normalised). Called: share of the stamped images of other classes that the "
        "model assigns to the target class.",
        header=("pattern", "planted", "moved", "moved, all", "normalised", "called", "moved, each seed"),
        rows=tuple(_row(dose, entry) for dose in found.dose_response for entry in dose.summary),
    )


def _row(dose: DoseResponse, entry: DoseSummary) -> tuple[str, ...]:
    measures = ("score_non_target", "score_all", "normalised_score", "predicted_share")
    rows = [row for row in dose.cells if row.n_planted == entry.n_planted]
    each = " ".join(wording.bare_percent(row.score_non_target) for row in rows)
    return (
        dose.pattern,
        wording.count(entry.n_planted),
        *(wording.cell(value(entry, measure)) for measure in measures),
        each,
    )
