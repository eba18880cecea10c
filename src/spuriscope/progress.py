"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spuriscope.training.many import OnProgress, Progress

if TYPE_CHECKING:
    from spuriscope.auditing.course import AuditProgress, OnAudit

__all__ = ["audit_progress", "class_progress", "rough_duration", "training_progress"]

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def training_progress() -> Iterator[OnProgress]:
    """Show how far trainings are. Use: `with training_progress() as on_progress: train_many(...)`."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None, text="starting")

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.epochs_done, total=progress.n_epochs, text=describe(progress))

        yield show


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeElapsedColumn

    columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TextColumn("classes"))
    with Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def describe(progress: Progress) -> str:
    """The counts in words: "12 of 180 models, 320 of 4,500 epochs, 41,000 images/s"."""
    return (
        f"{progress.models_done:,} of {progress.n_models:,} models, {progress.epochs_done:,} of "
        f"{progress.n_epochs:,} epochs, {progress.images_per_second:,.0f} images/s"
    )


@contextmanager
def audit_progress() -> Iterator["OnAudit"]:
    """Show how far an audit is. Use: `with audit_progress() as on_progress: audit(..., on_progress=...)`."""
    if not sys.stderr.isatty():
        yield _AuditLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn

    columns = (
        TextColumn("{task.fields[stage]}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("audit", total=1.0, stage="starting", left="")

        def show(progress: "AuditProgress") -> None:
            bar.update(task, completed=progress.share, stage=_stage(progress), left=_left(progress))

        yield show


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
