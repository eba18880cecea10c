"""Commands that are stopped: one quiet line, what a shell reports of the signal, and nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path
from types import FrameType

import pytest

from spuriscope.cli import main
from spuriscope.cli.stopping import quiet_until_ready, stoppable
from spuriscope.places import hold
from spuriscope.scratch import _delete_left, scratch_folder
from spuriscope.training.workers import _server_shielded


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """As a program has them that was started in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize("in_a_class", [False, True])
def test_a_signal_becomes_one_line(
    number: int, code: int, line: str, in_a_class: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the exception becomes another on its way, as in the creation of a class."""

    class Named:
        def __set_name__(self, owner: type, name: str) -> None:
            os.kill(os.getpid(), number)

    left = []

    def work() -> None:
        try:
            if in_a_class:
                type("Owner", (), {"name": Named()})
            os.kill(os.getpid(), number)
        finally:
            left.append("tidied up")

    with pytest.raises(SystemExit) as ended, stoppable():
        work()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"spuriscope: {line}\n"
    assert left == ["tidied up"]


def test_a_second_signal_ends_at_once() -> None:
    found: list[object] = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            found.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))

    with pytest.raises(SystemExit), stoppable():
        work()
    assert found == [signal.SIG_DFL, signal.SIG_DFL]


def test_signals_of_a_program_around_are_its_own() -> None:
    def own(_: int, __: FrameType | None) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    with quiet_until_ready():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # ends without a trace
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    with quiet_until_ready(), stoppable():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("line", [["models"], ["models", "--json"], ["--help"], ["study", "--help"]])
def test_a_reader_who_has_gone_is_no_error(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "argv", ["spuriscope", *line])
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 141
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_ctrl_c_does_not_reach_what_is_started_shielded() -> None:
    with _server_shielded():
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)
    blocked = next(line for line in status.stdout.splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_folders_of_killed_processes_go_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, held, full = (tmp_path / f"spuriscope-data-12-{name}" for name in ("left", "held", "full"))
    for folder in (left, held, full):
        (folder / "prepared").mkdir(parents=True)
    for folder in (left, full):
        (folder / "lock").touch()
    (full / "thesis.tex").write_text("mine")
    lock = hold(held / "lock")
    with scratch_folder("data", ["prepared"]) as own, scratch_folder("data", ["prepared"]) as other:
        assert set(tmp_path.iterdir()) == {held, full, own, other}
    os.close(lock)
    assert set(tmp_path.iterdir()) == {held, full}


def test_the_folder_of_a_server_is_known_when_it_was_killed(tmp_path: Path) -> None:
    with _server_shielded():  # marks that of this process
        assert (Path(get_temp_dir()) / "spuriscope.lock").is_file()
    ours, foreign = tmp_path / "pymp-ours", tmp_path / "pymp-foreign"
    for folder in (ours, foreign):
        folder.mkdir()
        (folder / "listener-x").touch()
    (ours / "spuriscope.lock").touch()
    for folder in (ours, foreign, Path(get_temp_dir())):
        _delete_left(folder, "spuriscope.lock", {"spuriscope.lock"})
    assert list(tmp_path.iterdir()) == [foreign]
    assert (Path(get_temp_dir()) / "spuriscope.lock").is_file()
