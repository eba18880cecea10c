"""A slice of the fuzzer, and that the fuzzer itself sees what is answered badly."""

import shutil
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import fuzz
from fuzz import Kind, every_kind, run_case
from spuriscope.errors import DataError

KINDS = {kind.name: kind for kind in every_kind()}
FEW = settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good inputs of every kind."""
    folder = tmp_path_factory.mktemp("good")
    for name, kind in KINDS.items():
        (folder / name).mkdir()
        kind.prepare(folder / name)
    return folder


@pytest.mark.filterwarnings("ignore")  # of libraries, about the damage
@pytest.mark.parametrize("name", KINDS)
@FEW
@given(number=st.integers(0, 10**6))
def test_a_broken_input_is_read_or_refused_in_one_line(name: str, good: Path, number: int) -> None:
    out = good / "case"
    shutil.rmtree(out, ignore_errors=True)
    case = run_case(KINDS[name], number, 0, good / name, out)
    assert case.answer != "bad", case


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"options", "onnx", "cifar"}))
def test_a_good_input_is_read(name: str, good: Path) -> None:
    KINDS[name].read(good / name)


def _nothing(draw: Random, good: Path, out: Path) -> bool:
    return False


def _raise(folder: Path) -> object:
    raise ValueError("of a library")


def _say_too_much(folder: Path) -> object:
    raise DataError("")


def _wait(folder: Path) -> object:
    time.sleep(5)
    return None


def _work(folder: Path) -> object:
    while True:
        pass


def _fill(folder: Path) -> object:
    kept = [np.ones(2**18) for _ in range(100)]
    time.sleep(1)
    return len(kept)


@pytest.mark.parametrize(
    ("read", "seconds", "why"),
    [
        (_raise, 9, "ValueError: of a library"),
        (_say_too_much, 9, "the message is no line"),
        (_wait, 0.3, "more than 0.3 s on the clock"),
        (_work, 0.3, "more than 0.3 s of the processor"),
        (_fill, 60, "more than 1 GB beside its size"),
    ],
)
def test_the_fuzzer_sees_what_is_answered_badly(
    read: object, seconds: float, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "MOST_SECONDS", seconds)
    monkeypatch.setattr(fuzz, "MOST_WAIT", 60 if read is _work else seconds)
    monkeypatch.setattr(fuzz, "MOST_BYTES", 1 << 26)
    kind = Kind("one", lambda folder: None, _nothing, read)  # type: ignore[arg-type]
    case = run_case(kind, 0, 0, tmp_path, tmp_path / "case")
    assert (case.answer, why in case.why) == ("bad", True), case


def test_the_fuzzer_sees_a_change_that_was_believed_and_repeats_a_case(tmp_path: Path) -> None:
    def make(draw: Random, good: Path, out: Path) -> bool:
        (out / "x").write_bytes(draw.randbytes(8))
        return True

    (tmp_path / "x").write_bytes(b"good")
    kind = Kind("one", lambda folder: None, make, lambda folder: (folder / "x").read_bytes())
    cases = [run_case(kind, 7, 3, tmp_path, tmp_path / name) for name in ("a", "b")]
    assert [case.why for case in cases] == ["a change was believed"] * 2
    assert (tmp_path / "a" / "x").read_bytes() == (tmp_path / "b" / "x").read_bytes()


def test_the_fuzzer_keeps_what_was_answered_badly(tmp_path: Path) -> None:
    kind = Kind("one", lambda folder: None, _nothing, _raise)
    (case,) = fuzz.run([kind], [4], 2, keep=tmp_path)
    assert (case.number, case.answer) == (4, "bad")
    assert "of a library" in (tmp_path / "one-2-4" / "why.json").read_text(encoding="utf-8")
