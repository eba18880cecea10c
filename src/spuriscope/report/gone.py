"""How do I get rid of it? What deletion methods leave of the cue, beside models that never saw it."""

from functools import partial
from typing import TYPE_CHECKING, Any

from spuriscope.answers import Deletion
from spuriscope.deletion.check import Comparison, DeletionCheck
from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, small_figure
from spuriscope.report.pictures import Shown
from spuriscope.report.section import QUESTIONS, Panel, Section, Table
from spuriscope.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NAMES", "gone", "measured", "recommended"]

LEAST_TO_BE_LEARNT = 5  # seeds: fewer cannot show it in any test

NAMES = {
    "repair": "repair",
    "influence-path": "influence along the path",
    "incremental": "further training without them",
    "ascent": "gradient ascent",
    "influence": "influence at the end",
}
ABOUT = {
    "repair": "the cue, reconstructed from the images, on a fifth of the others with their true labels",
    "influence-path": "what the images added to the first steps of the training is taken back",
    "incremental": "as many epochs again, at the initial rate",
    "ascent": "the loss on the images is raised while that on the others is lowered",
    "influence": "one step from the gradient of the images at the end of the training",
}


def gone(found: Deletion, picture: Shown) -> Section:
    """The section on deletion methods.

    Args:
        found: the answer.
        picture: of the planted pattern.
    """
    return Section(
        anchor="gone",
        question=QUESTIONS["gone"],
        claim=_claim(found),
        panels=tuple(_panel(found, entry, picture) for entry in found.methods),
        caption=(
            "Share of test images that stamping moves: before (orange), after (blue), and in models trained "
            "from the start without the images (grey, with a band for their 95 % interval). A dot is a seed, "
            "a stroke the mean."
            if found.methods
            else "With your own training, only training again without the images can be tried."
        ),
        sure=_sure(found),
        advice=_advice(found),
        tables=(_table(found), *([_state_table(found)] if found.methods else [])),
    )


def recommended(found: Deletion) -> DeletionCheck | None:
    """The method to take; None where only training again removes the cue, or there was none to remove."""
    if not found.was_learnt:
        return None
    entries = (entry for entry in found.methods if entry.method == found.recommended)
    return next(entries, None)


def measured(entry: DeletionCheck, name: str, state: str) -> Interval:
    """A measure of a method over seeds: `before`, `after`, of the `oracle`, or the `difference`."""
    found: Interval = getattr(entry[name], state)
    return found


def _name(entry: DeletionCheck) -> str:
    return NAMES[entry.method]


def _claim(found: Deletion) -> str:
    entry = recommended(found)
    images = wording.images(found.n_planted)
    oracle = wording.percent(found.oracle.score.mean)
    if not found.was_learnt:
        return (
            f"That cannot be told: over {wording.seeds(len(found.seeds))} it was not shown that "
            f"{found.pattern} in {images} was learnt, nor therefore that it can be removed."
        )
    if not found.methods:
        return f"Train again without the {images}: then stamping moves {oracle} of the test images."
    if entry is None:
        return (
            f"Each quicker method leaves {found.pattern} in the model or costs accuracy; training again "
            f"without the {images} does neither: stamping then moves {oracle} of the test images."
        )
    after = measured(entry, "score", "after").mean
    return (
        f"{_name(entry).capitalize()} takes {found.pattern} out of the model in "
        f"{wording.duration(entry.seconds.mean)}, {wording.percent(entry.share_of_training)} of a training: "
        f"stamping then moves {wording.percent(after)} of the test images, and {oracle} in a model trained "
        f"without the {images}."
    )


def _panel(found: Deletion, entry: DeletionCheck, picture: Shown) -> Panel:
    after, oracle = (measured(entry, "score", state) for state in ("after", "oracle"))
    mark = " (recommended)" if entry is recommended(found) else ""
    alt = (
        f"{_name(entry)}: {wording.percent(after.mean)} moved after, {wording.percent(oracle.mean)} in "
        "models without the images."
    )
    return Panel(
        title=_name(entry) + mark,
        note=(
            f"{entry.verdict}; {wording.duration(entry.seconds.mean)}, clean accuracy "
            f"{wording.points(measured(entry, 'clean_accuracy', 'difference').mean)}"
        ),
        picture=picture,
        figure=small_figure(f"gone-{entry.method}", alt, partial(_draw, entry=entry)),
    )


def _draw(axes: "Axes", *, entry: DeletionCheck) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_xlim(-0.5, 2.5)
    axes.set_xticks([0, 1, 2], ["before", "after", "without"])
    axes.grid(visible=True, axis="y")
    oracle = measured(entry, "score", "oracle")
    axes.fill_between([-0.5, 2.5], oracle.low, oracle.high, color=PALETTE["twin"], alpha=0.18, lw=0)
    for x, (state, colour) in enumerate((("before", "warning"), ("after", "target"), ("oracle", "twin"))):
        values = [row[state]["score"] for row in entry.rows]
        places = [x + 0.3 * (k / max(1, len(values) - 1) - 0.5) for k in range(len(values))]
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.2, "mew": 0, "alpha": 0.75}
        axes.plot(places, values, color=PALETTE[colour], clip_on=False, zorder=3, **dots)
        mean = sum(values) / len(values)
        axes.plot([x - 0.2, x + 0.2], [mean, mean], color=PALETTE[colour], lw=1.6, zorder=2.5)


def _sure(found: Deletion) -> str:
    score, n_seeds = found.oracle.score, len(found.seeds)
    parts = [
        f"{wording.seeds(n_seeds).capitalize()}: for each, a model trained with {found.pattern} in "
        f"{wording.images(found.n_planted)}, and two trained from the start without them. Those two "
        f"differ from each other on {wording.percent(found.disagreement.mean)} of the test images, and their "
        f"own score is {wording.percent(score.mean)} ({wording.interval(score)}).",
        *([_verdicts(found)] if found.methods else []),
    ]
    if not found.was_learnt:
        why = "there may be nothing to remove" if n_seeds >= LEAST_TO_BE_LEARNT else "that takes 5 seeds"
        parts.append(f"It was not shown that the cue was learnt in the first place: {why}.")
    parts += [f"{NAMES[failure.method].capitalize()} failed: {failure.reason}." for failure in found.failed]
    parts += [
        f"{NAMES[method].capitalize()} was left out: with a network like this it takes longer than training "
        "again. With --seeds 5 it is checked too."
        for method in found.left_out
    ]
    return " ".join(parts)


def _verdicts(found: Deletion) -> str:
    """What a verdict claims, and how many seeds it needs."""
    needed, n_seeds = found.seeds_needed, len(found.seeds)
    stays, gone = needed["stays"], needed["gone"]
    text = (
        f"A verdict speaks of trainings and is wrong in at most 5{wording.NBSP}% of checks, by exact tests. "
        f"“Cue stays”, in more than half of trainings, needs {wording.seeds(stays)} or more; “as if never "
        f"seen” and “cue gone”, in more than 4 of 5 trainings, need {wording.seeds(gone)} that all agree."
    )
    more = f"audit with --seeds 5 for a check on {wording.seeds(gone)}"
    if n_seeds < stays:
        return f"{text} With {wording.seeds(n_seeds)} there is no verdict; {more}."
    if n_seeds < gone:
        seeds = wording.seeds(n_seeds)
        return f"{text} With {seeds} it can be shown that a cue stays, not that it is gone; {more}."
    return text


def _advice(found: Deletion) -> str:
    entry = recommended(found)
    if not found.was_learnt:
        return "Nothing follows for this cue. If one is found: look at its images, then train without them."
    if entry is None:
        return "Train again without the images; until then do not rely on the model where the cue can occur."
    why = (
        "It is the quickest of the methods whose score exceeds that of a training without the images by at "
        "most 5 points, and whose accuracies are at most 5 points (stamped) and 1 point (clean) below."
    )
    if entry.method == "repair":
        why += (
            " A repaired model resists the cue, which is more than never having seen it: where it must be as "
            "if the images had never been there, train again."
        )
    return f"Take {_name(entry)}: {ABOUT[entry.method]}. {why}"


def _table(found: Deletion) -> Table:
    shown = ("score", "spurious_accuracy", "clean_accuracy")

    def row(entry: DeletionCheck, label: str, state: str, *cost: str) -> tuple[str, ...]:
        return (label, *(wording.cell(measured(entry, name, state)) for name in shown), *cost)

    rows = [
        row(
            entry,
            _name(entry),
            "after",
            wording.duration(entry.seconds.mean),
            wording.table_percent(entry.share_of_training),
            entry.verdict,
        )
        for entry in found.methods
    ]
    training = wording.duration(found.training_seconds)
    for label, left, *cost in (
        ("before", found.before, "", "", ""),
        ("training again without them", found.oracle, training, wording.percent(1), ""),
    ):
        rows.append((label, *(wording.cell(getattr(left, name)) for name in shown), *cost))
    return Table(
        caption="What is left, mean over seeds with the 95 % interval in brackets, and what it costs. Moved: "
        "share of the test images of other classes whose probability of the target class rises by more than "
        "10 points when they are stamped.",
        header=(
            "method",
            "moved",
            "accuracy, stamped",
            "accuracy, clean",
            "time",
            "of a training",
            "verdict",
        ),
        rows=tuple(rows),
    )


def _state_table(found: Deletion) -> Table:
    names = {
        "score": "moved",
        "spurious_accuracy": "right, stamped",
        "clean_accuracy": "right, clean",
        "disagreement": "other answers",
        "membership": "deleted images recognised",
    }
    margins = {each.name: each.margin for each in found.methods[0].comparisons}
    return Table(
        caption="Difference from training again without the images, in points, with the 95 % interval in "
        "brackets, and how many trainings lie beyond the margin. "
        "Alike: shown to lie, in more than 4 of 5 trainings, within "
        + wording.listed([f"{100 * margins[name]:g} ({label})" for name, label in names.items()])
        + " points. Other answers: share of the test images that the model classifies differently from that "
        "training, minus the share for another such training. Recognised: how often a deleted image has a "
        "smaller loss than a stamped test image of its class.",
        header=("method", *names.values()),
        rows=tuple(
            (
                _name(entry),
                *(
                    f"{wording.change_cell(measured(entry, each.name, 'difference'))}"
                    f"{_beyond(each)}, {each.state}"
                    for each in entry.comparisons
                ),
            )
            for entry in found.methods
        ),
    )


def _beyond(comparison: Comparison) -> str:
    """How many trainings lie beyond the margin."""
    n_below = 0 if comparison.name == "disagreement" else comparison.n_below
    return f", {comparison.n_above + n_below} of {comparison.difference.n}"
