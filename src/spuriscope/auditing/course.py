"""Progress of an audit: its stages, known from the start, the time left, and the time limit.

Everything an audit does is a training, a search or a deletion. The number of each in a stage is known
beforehand; the duration of one is measured as they finish.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from spuriscope.training import Progress

__all__ = ["AuditProgress", "Course", "OnAudit", "OutOfTime", "Stage", "WorkKind", "time_limit"]

WorkKind = Literal["training", "search", "deletion"]
FIRST_GUESS: Mapping[WorkKind, float] = {"training": 1.0, "search": 8.0, "deletion": 0.3}  # in trainings
PLURAL = {"training": "trainings", "search": "searches", "deletion": "deletions"}


@dataclass(frozen=True)
class Stage:
    """One question of an audit.

    Attributes:
        key: the field of the `Audit` that holds its answer.
        title: the question in a few words.
        work: number of trainings, searches and deletions, as far as known beforehand.
    """

    key: str
    title: str
    work: Mapping[WorkKind, int]


@dataclass(frozen=True)
class AuditProgress:
    """Progress of an audit.

    Attributes:
        stage: number of the current question, from 1.
        n_stages: number of questions.
        title: the question in a few words.
        detail: the current work on it, in words.
        share: of the whole audit that is done, in [0, 1]; never decreases.
        seconds_left: of the whole audit; None before anything was measured.
    """

    stage: int
    n_stages: int
    title: str
    detail: str
    share: float
    seconds_left: float | None


OnAudit = Callable[[AuditProgress], None]


class OutOfTime(BaseException):
    """The time limit of an audit is reached; not an Exception, so that users' code cannot catch it."""


@dataclass(eq=False)
class Course:
    """Counts what an audit does, the only thing that changes while it runs.

    Args:
        stages: all of them, in order.
        on_step: called after each step.
    """

    stages: Sequence[Stage]
    on_step: OnAudit | None = None
    _at: int = -1
    _done: dict[WorkKind, float] = field(default_factory=dict)  # in this stage, without the current call
    _call: float = 0.0  # trainings of the current call
    _last: Progress | None = None
    _all: dict[WorkKind, float] = field(default_factory=dict)  # in all stages
    _seconds: dict[WorkKind, float] = field(default_factory=dict)  # except for the start
    _timed: dict[WorkKind, float] = field(default_factory=dict)  # work done in these seconds
    _clock: float = field(default_factory=time.monotonic)
    _share: float = 0.0

    def begin(self, key: str) -> None:
        """Begin a stage."""
        self._close_call()
        self._at = next(number for number, stage in enumerate(self.stages) if stage.key == key)
        self._done = {}
        self._clock = time.monotonic()
        self._tell()

    def trained(self, progress: Progress) -> None:
        """Record the progress of the trainings of one call."""
        last = self._last
        if last is not None and (
            progress.epochs_done < last.epochs_done or progress.n_models != last.n_models
        ):
            self._close_call()
        done = progress.n_models * progress.epochs_done / progress.n_epochs if progress.n_epochs else 0.0
        done = max(done, float(progress.models_done))
        self._count("training", done - self._call, keeps_call=True)
        self._call, self._last = done, progress
        self._tell()

    def did(self, kind: WorkKind) -> None:
        """Record one finished search or deletion."""
        self._close_call()
        self._count(kind, 1.0)
        self._done[kind] = self._done.get(kind, 0.0) + 1
        self._tell()

    def _close_call(self) -> None:
        self._done["training"] = self._done.get("training", 0.0) + self._call
        self._call, self._last = 0.0, None

    def _count(self, kind: WorkKind, n: float, *, keeps_call: bool = False) -> None:
        now = time.monotonic()
        is_start = kind == "training" and self._all.get("training", 0.0) < 1  # then processes import torch
        if not is_start:
            self._seconds[kind] = self._seconds.get(kind, 0.0) + now - self._clock
            self._timed[kind] = self._timed.get(kind, 0.0) + n
        self._all[kind] = self._all.get(kind, 0.0) + n
        self._clock = now

    def each(self, kind: WorkKind) -> float | None:
        """Measured seconds of one, else guessed from a training; None before anything was measured."""
        if self._timed.get(kind):
            return self._seconds[kind] / self._timed[kind]
        if kind == "training" or not self._timed.get("training"):
            return None
        return FIRST_GUESS[kind] * self._seconds["training"] / self._timed["training"]

    def _left(self) -> dict[WorkKind, float]:
        """The remaining work, in all stages."""
        left: dict[WorkKind, float] = dict.fromkeys(FIRST_GUESS, 0.0)
        for number, stage in enumerate(self.stages):
            for kind, n in stage.work.items():
                if number > self._at:
                    left[kind] += n
                elif number == self._at:
                    done = self._done.get(kind, 0.0) + (self._call if kind == "training" else 0.0)
                    left[kind] += max(0.0, n - done)
        return left

    def _tell(self) -> None:
        if self.on_step is None or self._at < 0:
            return
        left = self._left()
        seconds = [n * each for kind, n in left.items() if n and (each := self.each(kind)) is not None]
        known = self.each("training") is not None
        cost = sum(n * (self.each(kind) or FIRST_GUESS[kind]) for kind, n in left.items())
        spent = sum(n * (self.each(kind) or FIRST_GUESS[kind]) for kind, n in self._all.items())
        self._share = max(self._share, spent / (spent + cost) if spent else 0.0)
        stage = self.stages[self._at]
        self.on_step(
            AuditProgress(
                stage=self._at + 1,
                n_stages=len(self.stages),
                title=stage.title,
                detail=self._detail(stage),
                share=self._share,
                seconds_left=sum(seconds) if known else None,
            )
        )

    def _detail(self, stage: Stage) -> str:
        parts = []
        for kind, n in stage.work.items():
            done = self._done.get(kind, 0.0) + (self._call if kind == "training" else 0.0)
            if n:
                parts.append(f"{int(done):,} of {max(n, int(done)):,} {PLURAL[kind]}")
        return ", ".join(parts)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """End what runs inside with `OutOfTime` after so many seconds, whatever it is doing.

    It uses the alarm of the operating system, where there is one and this is the main thread; elsewhere
    nothing is ended.
    """
    can_ring = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not can_ring:
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
