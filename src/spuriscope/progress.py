"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from spuriscope.training.many import OnProgress, Progress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from spuriscope.auditing.course import AuditProgress, OnAudit

__all__ = ["audit_progress", "class_progress", "rough_duration", "training_progress"]

SECONDS_BETWEEN_LINES = 10.0
LEAST_BAR = 6
CLOCK_WIDTH = 23  # " 12:34:56 left 12:34:56"
OF_AUDIT_WIDTH = 35  # " 100 % 12:34:56 about 120 min left"


class Show(Protocol):
    """Shows how far something is, with counts as far as there is room, and what a column says is left."""

    def __call__(self, done: float, total: float, counts: Sequence[str], left: str = "") -> None: ...


@contextmanager
def training_progress() -> Iterator[OnProgress]:
    """Show how far trainings are. Use: `with training_progress() as on_progress: train_many(...)`."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _line("training", _clock(), CLOCK_WIDTH) as show:
        yield lambda progress: show(progress.epochs_done, progress.n_epochs, _counts(progress))


@contextmanager
def class_progress() -> Iterator[Callable[[int, int], None]]:
    """Show how many classes have been searched. Use: `with class_progress() as on_class: discover(...)`."""
    if not sys.stderr.isatty():
        start = last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                last = now
                left = (now - start) * (total / done - 1)
                text = f"searching: {done} of {total} classes, about {left:,.0f} s left"
                print(text, file=sys.stderr, flush=True)

        yield line
        return
    with _line("searching", _clock(), CLOCK_WIDTH) as show:
        yield lambda done, total: show(done, total, [f"{done} of {total} classes"])


@contextmanager
def _line(what: str, times: "list[ProgressColumn]", times_width: int) -> Iterator["Show"]:
    """A line on the terminal: what is done, a bar, counts, and times. The times always stand there.

    Counts are shown as far as there is room beside them, and the bar takes what is left.

    Args:
        what: is done; it may change with each call.
        times: columns that are never cut.
        times_width: what they take together, with a space before each.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn
    from rich.table import Column

    def text(field: str) -> TextColumn:
        return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=Column(no_wrap=True))

    console = Console(stderr=True)
    bar = Bar(text("text"), BarColumn(None), *times, console=console, transient=True, expand=True)
    with bar:
        task = bar.add_task(what, total=None, text=what, left="")

        def show(done: float, total: float, counts: Sequence[str], left: str = "") -> None:
            room = console.width - LEAST_BAR - times_width
            bar.update(task, completed=done, total=total, text=fitting([what, *counts], room), left=left)

        yield show


def _clock() -> "list[ProgressColumn]":
    """Columns with the time that has gone and the time left, as rich reckons it."""
    from rich.progress import TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]


def fitting(parts: Sequence[str], room: int) -> str:
    """As many of some parts, from the first, as fit into so many columns, with commas; none if none fits."""
    for n in range(len(parts), 0, -1):
        if len(text := ", ".join(parts[:n])) <= room:
            return text
    return ""


def describe(progress: Progress) -> str:
    """The counts in words: "12 of 180 models, 320 of 4,500 epochs, 41,000 images/s"."""
    return ", ".join(_counts(progress))


def _counts(progress: Progress) -> list[str]:
    return [
        f"{progress.models_done:,} of {progress.n_models:,} models",
        f"{progress.epochs_done:,} of {progress.n_epochs:,} epochs",
        f"{progress.images_per_second:,.0f} images/s",
    ]


@contextmanager
def audit_progress() -> Iterator["OnAudit"]:
    """Show how far an audit is. Use: `with audit_progress() as on_progress: audit(..., on_progress=...)`."""
    if not sys.stderr.isatty():
        yield _AuditLines()
        return
    from rich.progress import TextColumn, TimeElapsedColumn

    times = [TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(), TextColumn("{task.fields[left]}")]
    with _line("audit", times, OF_AUDIT_WIDTH) as show:

        def show_audit(progress: "AuditProgress") -> None:
            place = f"{progress.stage} of {progress.n_stages}"
            show(progress.share, 1.0, [place, progress.title], _left(progress))

        yield show_audit


def _stage(progress: "AuditProgress") -> str:
    return f"{progress.stage} of {progress.n_stages}: {progress.title}"


def _left(progress: "AuditProgress") -> str:
    return "" if progress.seconds_left is None else f"about {rough_duration(progress.seconds_left)} left"


class _AuditLines:
    """A line every few seconds, and at each new question, for logs and notebooks."""

    def __init__(self) -> None:
        self.last, self.stage = -SECONDS_BETWEEN_LINES, 0

    def __call__(self, progress: "AuditProgress") -> None:
        now = time.monotonic()
        if progress.stage == self.stage and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last, self.stage = now, progress.stage
        parts = [_stage(progress), progress.detail, f"{100 * progress.share:.0f} % of all", _left(progress)]
        print("audit, " + "; ".join(filter(None, parts)), file=sys.stderr, flush=True)


def rough_duration(seconds: float) -> str:
    """A guessed time in words: 40 s, 11 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


class _Lines:
    """A line every few seconds, for logs."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.epochs_done = 0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.epochs_done < self.epochs_done:  # a new set of trainings
            self.start = now
        self.epochs_done = progress.epochs_done
        if now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        if now == self.start:
            return
        left = (now - self.start) * (progress.n_epochs / max(progress.epochs_done, 1) - 1)
        print(f"training: {describe(progress)}, about {left:,.0f} s left", file=sys.stderr, flush=True)
