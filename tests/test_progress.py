"""What is said of trainings that go on: how long all will take, once, and what is left of these."""

from collections.abc import Callable

import pytest

from spuriscope.progress import Estimate, training_progress
from spuriscope.training.many import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time in seconds."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr("spuriscope.progress.time.monotonic", lambda: seconds)

    set_to(0)
    return set_to


def test_the_time_of_all_trainings_is_told_once_the_first_is_done(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Progress] = []
    estimate = Estimate(59, told.append, more="searches besides")
    clock(20)
    estimate(Progress(0, 21, 14, 315, 500.0))
    assert capsys.readouterr().err == ""
    clock(30)
    estimate(Progress(1, 21, 30, 315, 500.0))  # 30 of 15 epochs each: two trainings in 30 s
    said = capsys.readouterr().err
    assert said == (
        "time: about 59 trainings, one every 15.0 s as measured so far: about 15 min in all, and searches "
        "besides\n"
    )
    clock(60)
    estimate(Progress(2, 21, 60, 315, 500.0))
    assert capsys.readouterr().err == ""
    assert len(told) == 3


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
