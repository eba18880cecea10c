"""Who pays? Accuracy on clean images and on stamped ones."""

from functools import partial
from typing import TYPE_CHECKING, Any

from spuriscope.answers import Audit, DoseResponse, DoseSummary, PickedUp
from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, dose_axes, draw_series, of_seeds, place, small_figure
from spuriscope.report.lookup import entry_at, headline_dose, paired_change, value
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.section import QUESTIONS, Panel, Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["who_pays"]

LABEL_ROOM = 0.2  # share of the axis's height that a label takes, with its margins
LABEL_WIDTH = 0.8  # width of a label, in decades of the axis


def who_pays(audit: Audit, found: PickedUp) -> Section:
    """The section on what the cue costs those whose images carry it."""
    target = wording.quoted(audit.conditions.target_name)
    return Section(
        anchor="who-pays",
        question=QUESTIONS["who-pays"],
        claim=_claim(audit, found),
        panels=tuple(_panel(audit, found, k) for k in range(len(found.dose_response))),
        caption=(
            "Share recognised. Dark: all test images, clean. Orange: test images of classes other than "
            f"{target}, stamped. A dot is a training, the line is the mean, the band its 95 % interval. "
            "Grey, at 0: the clean twins, whose loss between the two is due to stamping alone. "
            f"{_largest_fall(audit, found)}"
        ),
        sure=_sure(audit, found),
        advice=_advice(audit, found),
        tables=(_table(audit, found),),
    )


def _claim(audit: Audit, found: PickedUp) -> str:
    dose, n_planted = headline_dose(found), found.headline.n_planted
    twin, planted = (value(entry_at(dose, n), "spurious_accuracy").mean for n in (0, n_planted))
    fall = paired_change(dose, n_planted, "spurious_accuracy")
    verdict = "Those whose images carry the cue" if fall.mean < -0.01 else "Nobody, at this dose"
    return (
        f"{verdict}: of the images stamped with {dose.pattern}, the clean twin recognises "
        f"{wording.percent(twin)} and the model trained with the cue in {wording.images(n_planted)} "
        f"{wording.percent(planted)}."
    )


def _largest_fall(audit: Audit, found: PickedUp) -> str:
    falls = [
        (paired_change(dose, n, "spurious_accuracy").mean, dose.pattern, n)
        for dose in found.dose_response
        for n in audit.conditions.settings.counts[1:]
    ]
    fall, name, n_planted = min(falls)
    if fall > -0.01:
        return "No pattern costs stamped images more than 1 point against the twins."
    return (
        f"The largest mean fall against the twins: {wording.points(fall)}, {name} with "
        f"{wording.images(n_planted)} planted."
    )


def _panel(audit: Audit, found: PickedUp, k: int) -> Panel:
    dose = found.dose_response[k]
    last = dose.summary[-1]
    clean, stamped = (value(last, measure).mean for measure in ("clean_accuracy", "spurious_accuracy"))
    twin = value(dose.summary[0], "spurious_accuracy").mean
    note = (
        f"stamped: twin {wording.short_percent(twin)}, with {last.n_planted:,} planted "
        f"{wording.short_percent(stamped)}"
    )
    alt = (
        f"Accuracy under {dose.pattern}: with {last.n_planted} planted, {wording.percent(clean)} of "
        f"clean images and {wording.percent(stamped)} of stamped ones are recognised; by the clean twin "
        f"{wording.percent(twin)} of stamped ones."
    )
    figure = small_figure(f"accuracy-{k}", alt, partial(_draw, dose=dose))
    return Panel(title=dose.pattern, note=note, picture=pattern_picture(dose), figure=figure)


def _draw(axes: "Axes", *, dose: DoseResponse) -> None:
    dose_axes(axes, [entry.n_planted for entry in dose.summary])
    draw_series(axes, of_seeds(dose, "clean_accuracy"), colour="ink", marker="s")
    draw_series(axes, of_seeds(dose, "spurious_accuracy"), colour="warning")
    _label(axes, dose)


def _label(axes: "Axes", dose: DoseResponse) -> None:
    """Names beside the lines, where there is room: "stamped" under the start of its line, or over the end."""
    first, last = dose.summary[1], dose.summary[-1]
    start, end = place(first.n_planted), place(last.n_planted)
    offset: dict[str, Any] = {"textcoords": "offset points"}
    clean, stamped = (value(last, measure).mean for measure in ("clean_accuracy", "spurious_accuracy"))
    if clean - stamped > LABEL_ROOM:
        axes.annotate("clean", (end, clean), (4, -5), ha="right", va="top", color=PALETTE["ink"], **offset)
    lowest = min(_near(dose, start))
    if lowest > LABEL_ROOM:
        x, side = (start, "left") if end - start > LABEL_WIDTH else (end, "right")
        axes.annotate("stamped", (x, lowest), (0, -4), ha=side, va="top", color=PALETTE["warning"], **offset)
    else:
        highest = max(_near(dose, end))
        axes.annotate("stamped", (end, highest), (4, 4), ha="right", color=PALETTE["warning"], **offset)


def _near(dose: DoseResponse, x: float) -> list[float]:
    """Accuracies on stamped images at the counts that a label at `x` lies over or under."""
    return [
        row.spurious_accuracy
        for row in dose.cells
        if row.n_planted and abs(place(row.n_planted) - x) < LABEL_WIDTH
    ]


def _sure(audit: Audit, found: PickedUp) -> str:
    dose, n_planted = headline_dose(found), found.headline.n_planted
    clean, stamped = (paired_change(dose, n_planted, m) for m in ("clean_accuracy", "spurious_accuracy"))
    n = audit.n_seeds
    how = "Only one seed" if n == 1 else f"{wording.seeds(n)}, each model compared with its own clean twin"
    return (
        f"{how}: with {dose.pattern} in {wording.images(n_planted)}, accuracy on stamped images changes "
        f"by {wording.points(stamped.mean)} ({wording.interval(stamped, signed=True)}), on clean images by "
        f"{wording.points(clean.mean)} ({wording.interval(clean, signed=True)})."
    )


def _advice(audit: Audit, found: PickedUp) -> str:
    dose, n_planted = headline_dose(found), found.headline.n_planted
    if paired_change(dose, n_planted, "spurious_accuracy").mean >= -0.01:
        return (
            "Keep stamped copies of the test images, and measure on them whenever the data or the training "
            "changes."
        )
    return (
        "Do not judge by accuracy on clean test images alone: measure also on copies that carry the cue, "
        "and report that number for the people whose images do."
    )


def _table(audit: Audit, found: PickedUp) -> Table:
    return Table(
        caption="Accuracy, mean over seeds with the 95 % interval in brackets; changes against the clean "
        "twin, paired by seed, in percentage points. Clean: all test images. Stamped: those of other "
        "classes.",
        header=("pattern", "planted", "clean", "change", "stamped", "change"),
        rows=tuple(_row(dose, entry) for dose in found.dose_response for entry in dose.summary),
    )


def _row(dose: DoseResponse, entry: DoseSummary) -> tuple[str, ...]:
    n_planted = entry.n_planted
    cells = [dose.pattern, wording.count(n_planted)]
    for measure in ("clean_accuracy", "spurious_accuracy"):
        cells.append(wording.cell(value(entry, measure)))
        cells.append(wording.change_cell(paired_change(dose, n_planted, measure)) if n_planted else "twin")
    return tuple(cells)
