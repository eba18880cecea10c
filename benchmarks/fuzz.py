"""Broken inputs of every kind, in process: each must be read, or refused in one line that says what to do.

A case is drawn from the seed, its kind and its number, so each can be repeated alone. A bad answer is
anything but an error of ours, a message that is not one line, more than ten seconds of processor time, more
than a gigabyte beside the input's own size, or accepting a change that a checksum must detect.

    python benchmarks/fuzz.py --cases 2600 --seed 0 --keep fuzz-failing
    python benchmarks/fuzz.py --kinds npz --number 123 --seed 0     # repeat one of them
"""

import argparse
import faulthandler
import json
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from types import FrameType
from typing import Literal

from spuriscope.errors import SpuriscopeError

MOST_SECONDS = 10  # of the processor, because a busy machine is not a hang
MOST_WAIT = 60  # seconds on the clock, because waiting for nothing is not an answer
MOST_BYTES = 1 << 30  # beside the size of the input
LONGEST_LINE = 2000  # characters of a message
STUCK = 120  # seconds after which only ending the process helps

Answer = Literal["read", "refused", "bad"]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: of the kind.
        prepare: writes good inputs into a folder.
        make: (draw, good, out) writes a broken one into `out`; returns whether a check must detect any change
            of its content, because a checksum of ours covers it.
        read: reads what `make` wrote, as the program does; returns the content.
    """

    name: str
    prepare: Callable[[Path], None]
    make: Callable[[Random, Path, Path], bool]
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """The outcome of a case: its kind and number, the answer, and for a bad one the reason."""

    kind: str
    number: int
    seed: int
    answer: Answer
    why: str
    seconds: float


class Stopped(BaseException):
    """A case takes too much time or memory."""


def run_case(kind: Kind, number: int, seed: int, good: Path, out: Path) -> Case:
    """Make one case in the folder `out`, which must not exist, and read it.

    Args:
        kind: of input.
        number: of the case.
        seed: of the run.
        good: where `kind.prepare` wrote.
        out: where the input is left.
    """
    out.mkdir(parents=True)
    is_sealed = kind.make(Random(f"{seed} {kind.name} {number}"), good, out)
    n_bytes = sum(path.lstat().st_size for path in out.rglob("*") if not path.is_symlink())
    start, before = time.monotonic(), _resident()
    answer: Answer = "bad"
    try:
        with watched(before + MOST_BYTES + n_bytes):
            found = kind.read(out)
        is_believed = is_sealed and found != kind.read(good)
        answer, why = ("bad", "a change was believed") if is_believed else ("read", "")
    except SpuriscopeError as error:
        why = _fault_of(error)
        answer = "bad" if why else "refused"
    except Stopped as stopped:
        why = str(stopped)
    except Exception as error:  # any other error is not ours
        why = f"{_place(error)} {type(error).__name__}: {error}"
    return Case(kind.name, number, seed, answer, why[:500], time.monotonic() - start)


def _fault_of(error: SpuriscopeError) -> str:
    """What is wrong with the message of an error; "" if nothing is."""
    told = str(error)
    if not told or not told.isprintable():
        return f"{_place(error)}: the message is no line: {told!r}"
    return "" if len(told) <= LONGEST_LINE else f"{_place(error)}: the message has {len(told):,} characters"


def _place(error: BaseException) -> str:
    """The type of an error, with the last file of ours in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}spuriscope{os.sep}" in frame.filename]
    last = (ours or list(frames))[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


@contextmanager
def watched(most_bytes: int) -> Iterator[None]:
    """Raise Stopped inside once it takes too long, or the process has more than `most_bytes` bytes."""
    start, worked = time.monotonic(), time.process_time()

    def look(signal_number: int, frame: FrameType | None) -> None:
        if time.process_time() - worked > MOST_SECONDS:
            raise Stopped(f"more than {MOST_SECONDS} s of the processor")
        if time.monotonic() - start > MOST_WAIT:
            raise Stopped(f"more than {MOST_WAIT} s on the clock")
        if _resident() > most_bytes:
            raise Stopped("more than 1 GB beside its size")

    was = signal.signal(signal.SIGALRM, look)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    faulthandler.dump_traceback_later(STUCK, exit=True)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    with suppress(ValueError, OSError):  # a single request of that size is a MemoryError at once
        resource.setrlimit(resource.RLIMIT_AS, (_reserved() + 4 * MOST_BYTES, limits[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _resident() -> int:
    """Bytes that this process holds in memory."""
    return _pages(1)


def _reserved() -> int:
    """Bytes of its address space."""
    return _pages(0)


def _pages(column: int) -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(statm.read_text(encoding="ascii").split()[column]) * resource.getpagesize()


def run(
    kinds: Sequence[Kind], numbers: Sequence[int], seed: int, *, keep: Path | None = None
) -> Iterator[Case]:
    """Answer the cases with these numbers of every kind, in turn.

    Args:
        kinds: of input.
        numbers: of the cases.
        seed: of the run.
        keep: a folder for badly answered inputs, each with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="spuriscope-fuzz-") as scratch:
        os.environ["SPURISCOPE_CACHE"] = str(Path(scratch) / "cache")
        for kind in kinds:
            good = Path(scratch) / "good" / kind.name
            good.mkdir(parents=True)
            kind.prepare(good)
            for number in numbers:
                out = Path(scratch) / "case"
                case = run_case(kind, number, seed, good, out)
                if case.answer == "bad" and keep is not None:
                    kept = keep / f"{kind.name}-{seed}-{number}"
                    shutil.copytree(out, kept, symlinks=True, dirs_exist_ok=True)
                    (kept / "why.json").write_text(json.dumps(asdict(case)), encoding="utf-8")
                shutil.rmtree(out, ignore_errors=True)
                shutil.rmtree(Path(scratch) / "cache", ignore_errors=True)
                yield case


def every_kind() -> list[Kind]:
    """Every kind of input: data, and everything else that is read."""
    names = ("fuzz_data", "fuzz_prepared", "fuzz_models", "fuzz_options")  # which import this module
    modules = map(import_module, names)
    return [kind for module in modules for kind in module.KINDS]


def main() -> None:
    """Run, print the counts by kind, and exit with 1 if a case was answered badly."""
    known = {kind.name: kind for kind in every_kind()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=2600, help="in all, the same number of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each kind")
    parser.add_argument("--number", type=int, help="only this case of each kind")
    parser.add_argument("--kinds", default=",".join(known), help="with commas between")
    parser.add_argument("--keep", type=Path, help="folder for inputs that are answered badly")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    kinds = [known[name] for name in arguments.kinds.split(",")]
    start = arguments.first
    numbers = range(start, start + -(-arguments.cases // len(kinds)))
    if arguments.number is not None:
        numbers = range(arguments.number, arguments.number + 1)
    counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    for case in run(kinds, numbers, arguments.seed, keep=arguments.keep):
        counts[case.kind][case.answer] += 1
        counts[case.kind]["ms"] += round(1000 * case.seconds)
        if case.answer == "bad":
            print(f"BAD {case.kind} --number {case.number} --seed {case.seed}: {case.why}", flush=True)
    n_bad = _print(counts, f"seed {arguments.seed}, numbers {numbers.start} to {numbers.stop - 1}")
    sys.exit(1 if n_bad else 0)


def _print(counts: dict[str, "Counter[str]"], which: str) -> int:
    """Print the counts by kind; returns the number of badly answered cases."""
    print(f"\n{'kind':<12}{'read':>8}{'refused':>9}{'badly':>7}{'seconds':>9}")
    total: Counter[str] = Counter()
    for name, of_kind in counts.items():
        total += of_kind
        print(_line(name, of_kind))
    print(_line("all", total))
    print(f"{which}; Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    return total["bad"]


def _line(name: str, found: "Counter[str]") -> str:
    return f"{name:<12}{found['read']:>8}{found['refused']:>9}{found['bad']:>7}{found['ms'] / 1000:>9.1f}"


if __name__ == "__main__":
    main()
