"""What is said of an audit and of trainings that go on: where they are, and what is left."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest

from spuriscope.auditing.course import AuditProgress, Course, Stage
from spuriscope.progress import audit_progress, fitting, training_progress
from spuriscope.training.many import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time in seconds."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr("spuriscope.progress.time.monotonic", lambda: seconds)

    set_to(0)
    return set_to


def test_a_log_names_every_question_with_the_time_left(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with audit_progress() as on_progress:
        on_progress(AuditProgress(1, 6, "is there one already", "0 of 3 trainings", 0.0, None))
        on_progress(AuditProgress(1, 6, "is there one already", "1 of 3 trainings", 0.01, 200.0))
        clock(20)
        on_progress(AuditProgress(1, 6, "is there one already", "2 of 3 trainings", 0.04, 190.0))
        on_progress(AuditProgress(2, 6, "would one be picked up", "0 of 40 trainings", 0.04, 190.0))
    assert capsys.readouterr().err.splitlines() == [
        "audit, 1 of 6: is there one already; 0 of 3 trainings; 0 % of all",
        "audit, 1 of 6: is there one already; 2 of 3 trainings; 4 % of all; about 3 min left",
        "audit, 2 of 6: would one be picked up; 0 of 40 trainings; 4 % of all; about 3 min left",
    ]


STAGES = (
    Stage("already", "is there one", {"training": 2, "search": 2}),
    Stage("picked_up", "would one be", {"training": 6}),
)


def test_one_share_and_one_time_left_for_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training takes 10 s and each search 30: after the first of both the time left is exact."""
    now = 0.0
    monkeypatch.setattr("spuriscope.auditing.course.time.monotonic", lambda: now)
    told: list[AuditProgress] = []
    course = Course(STAGES, told.append)
    course.begin("already")
    assert (told[-1].stage, told[-1].n_stages, told[-1].seconds_left) == (1, 2, None)
    for done in (1, 2):
        now += 10
        course.trained(Progress(done, 2, done, 2, 1.0))
    for _ in range(2):
        now += 30
        course.did("search")
    assert told[-1].seconds_left == pytest.approx(60)
    assert told[-1].share == pytest.approx(80 / 140)
    assert told[-1].detail == "2 of 2 trainings, 2 of 2 searches"
    course.begin("picked_up")
    for done in range(1, 7):  # half an epoch at a time, in two calls
        now += 10
        course.trained(Progress((done - 1) % 3 + 1, 3, (done - 1) % 3 + 1, 3, 1.0))
        assert told[-1].seconds_left == pytest.approx(60 - 10 * done)
    assert told[-1].share == pytest.approx(1)
    shares = [each.share for each in told]
    assert shares == sorted(shares)


def test_what_is_left_is_reckoned_from_the_start_of_these_trainings(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with training_progress() as on_progress:
        clock(100)
        on_progress(Progress(1, 2, 10, 20, 1.0))
        assert "about 100 s left" in capsys.readouterr().err
        clock(200)
        on_progress(Progress(0, 1, 1, 10, 1.0))  # others: nothing of the 200 s is theirs
        clock(220)
        on_progress(Progress(0, 1, 5, 10, 1.0))
    assert "about 20 s left" in capsys.readouterr().err


def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    parts = ["training", "12 of 180 models", "9 epochs"]
    assert [fitting(parts, room) for room in (100, 36, 35, 25, 8, 7)] == [
        *("training, 12 of 180 models, 9 epochs", "training, 12 of 180 models, 9 epochs"),
        *("training, 12 of 180 models", "training", "training", ""),
    ]


SHOWN = """
import time
from spuriscope.auditing.course import AuditProgress
from spuriscope.progress import audit_progress, class_progress, training_progress
from spuriscope.training.many import Progress
with training_progress() as on_progress:
    for done in (1_000, 2_000):
        on_progress(Progress(123, 1_200, done, 140_000, 41_000.0))
        time.sleep(0.4)
with class_progress() as on_class:
    for done in (1, 2):
        on_class(done, 10)
        time.sleep(0.4)
with audit_progress() as on_audit:
    for seconds in (47.0, 7_000.0):
        on_audit(AuditProgress(5, 6, "how much privacy is lost", "1 of 4", 0.999, seconds))
        time.sleep(0.4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 120])
def test_times_are_to_be_seen_on_a_terminal_of_any_width(width: int) -> None:
    """In a terminal that is one: what has gone, and what is left, uncut, in one line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", SHOWN], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert max(map(len, lines)) <= width
    of = {
        what: [line for line in lines if line.startswith(what)] for what in ("training", "searching", "audit")
    }
    assert re.search(r"[━╸] 0:00:0\d left 0:\d\d:\d\d$", of["training"][-1])
    assert re.search(r"[━╸] 0:00:0\d left 0:\d\d:\d\d$", of["searching"][-1])
    assert re.search(r"[━╸] 100 % 0:00:0\d about 117 min left$", of["audit"][-1])
    assert any(re.search(r"[━╸] 100 % 0:00:0\d about 47 s left$", line) for line in of["audit"])
    assert "…" not in text
    assert "training, 123 of 1,200 models" in of["training"][-1]
    assert "searching, 2 of 10 classes" in of["searching"][-1]
    assert "audit, 5 of 6" in of["audit"][-1]
    assert ("images/s" in of["training"][-1]) == (width >= 120)
    assert ("how much privacy is lost" in of["audit"][-1]) == (width >= 80)
