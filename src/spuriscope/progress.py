"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spuriscope.training.many import OnProgress, Progress

__all__ = ["Estimate", "class_progress", "training_progress"]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_START = 5.0  # workers import torch first, which says nothing of what follows


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


class Estimate:
    """Says once on stderr, after the first training, how long all of them will take.

    Args:
        n_trainings: trainings in all, in whatever calls of `train_many`, each about as long as the first.
        then: is told of all progress too.
        more: what takes time besides.
    """

    def __init__(self, n_trainings: int, then: OnProgress, *, more: str) -> None:
        self.n_trainings, self.then, self.more = n_trainings, then, more
        self.start, self.is_said = time.monotonic(), False

    def __call__(self, progress: Progress) -> None:
        """Hand on how far trainings are, and say what follows from it."""
        self.then(progress)
        seconds = time.monotonic() - self.start
        if self.is_said or not progress.models_done or seconds < SECONDS_OF_START:
            return
        self.is_said = True
        n_done = progress.epochs_done * progress.n_models / max(progress.n_epochs, 1)
        each = seconds / max(n_done, 1)
        print(
            f"time: about {self.n_trainings:,} trainings, one every {each:.1f} s as measured so far: about "
            f"{_minutes(each * self.n_trainings)} in all, and {self.more}",
            file=sys.stderr,
            flush=True,
        )


def _minutes(seconds: float) -> str:
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
        if progress.epochs_done < self.epochs_done:  # other trainings than before
            self.start = now
        self.epochs_done = progress.epochs_done
        if now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        if now == self.start:
            return
        left = (now - self.start) * (progress.n_epochs / max(progress.epochs_done, 1) - 1)
        print(f"training: {describe(progress)}, about {left:,.0f} s left", file=sys.stderr, flush=True)
