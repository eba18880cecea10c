"""Kill work again and again, and check that its result equals that of undisturbed work.

Each kind of work runs in processes forked from this one. They are killed right after one of their writes
(each kind of call is equally likely) or, one in three, at a random time, and restarted until the work
finishes. Finished parts must survive every kill. The final result must equal the undisturbed one, to the bit,
with no hidden files left. `full` gives the same work a disk that is too small, then room.

    python benchmarks/kills.py run --kind study --kills 600 --out kills.jsonl
    python benchmarks/kills.py full --out full.jsonl            # needs root, for a small disk
    python benchmarks/kills.py show --out kills.jsonl

A line is written for each kill; a stopped run continues where it was.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from killed_work import KINDS, Work
from killing import End, Ended, run_child

N_SMALL = 64  # sizes tried, for each kind, of a disk that is too small
PAGE, LARGE = 4096, 1 << 28  # bytes


def kill(kind: str, n_kills: int, out: Path, seed: int) -> None:
    """Kill a kind of work until a file has `n_kills` lines about it."""
    before = [row for row in rows_of(out) if row["kind"] == kind]
    n_done = sum(bool(row["is_killed"]) for row in before)
    chance = random.Random(f"{kind} {seed} {len(before)}")
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        work = KINDS[kind](Path(folder))
        whole = run_child(work.run, End())
        assert not whole.error, whole.error
        expected = work.result()
        while n_done < n_kills:
            work.reset()
            n_done += _one_life(work, expected, whole, chance, out)


def _one_life(work: Work, expected: object, whole: Ended, chance: random.Random, out: Path) -> int:
    """Restart a piece of work until it finishes; returns how often it was killed."""
    n_kills = 0
    while True:
        at_once = chance.random() < 2 / 3
        end = (
            End(after_write=_after(whole.writes, chance))
            if at_once
            else End(after_seconds=chance.uniform(0, whole.seconds))
        )
        ended = run_child(work.run, end)
        n_kills += ended.is_killed
        wrong = [f"ended with {ended.error}"] if ended.error else work.wrong_after_kill()
        if not ended.is_killed and not ended.error:
            found = work.result()
            wrong += [] if found == expected else [f"another result: {_difference(found, expected)}"]
            wrong += [f"left behind: {name}" for name in work.left_behind()]
        row = {"kind": work.kind, "is_killed": ended.is_killed, "after": ended.after, "wrong": wrong}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if wrong:
            print(f"{work.kind}: {wrong}", flush=True)
        if not ended.is_killed:
            return n_kills


def _after(writes: Sequence[str], chance: random.Random) -> int:
    """The number of a write, from 1: each kind of call is equally likely."""
    called = chance.choice(sorted(set(writes)))
    return chance.choice([number for number, name in enumerate(writes, start=1) if name == called])


def fill(kind: str, out: Path) -> None:
    """Give a kind of work a disk that is too small, in `N_SMALL` sizes, and then room."""
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        plain = KINDS[kind](Path(folder))
        plain.run()
        expected = plain.result()
        n_used = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    for number in range(N_SMALL):
        n_bytes = PAGE * (2 + number * (2 * n_used // PAGE + 16) // N_SMALL)
        with disk_in_memory() as disk:
            work = KINDS[kind](disk)
            resize(disk, shutil.disk_usage(disk).used + n_bytes)
            first = run_child(work.run, End())
            is_told = first.error.split(":")[0] in ("StoreError", "ConfigError", "DataError", "TrainingError")
            wrong = [] if not first.error or (is_told and "\n" not in first.error) else [first.error[-600:]]
            wrong += work.wrong_after_kill()
            resize(disk, LARGE)
            again = run_child(work.run, End())
            if again.error:
                wrong.append(f"with room: {again.error[-600:]}")
            elif work.result() != expected:
                wrong.append(f"another result: {_difference(work.result(), expected)}")
            wrong += [f"left behind: {name}" for name in work.left_behind()]
        row = {"kind": kind, "bytes": n_bytes, "is_full": bool(first.error), "wrong": wrong}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if wrong:
            print(f"{kind}, {n_bytes} bytes: {wrong}", flush=True)


@contextmanager
def disk_in_memory() -> Iterator[Path]:
    """A disk that can be resized."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def resize(disk: Path, n_bytes: int) -> None:
    """Make a disk smaller or larger."""
    subprocess.run(["mount", "-o", f"remount,size={n_bytes}", str(disk)], check=True)


def rows_of(out: Path) -> list[dict[str, object]]:
    """The lines of a file, if it exists."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
    return [json.loads(line) for line in lines]


def show(out: Path) -> None:
    """Print how often each kind was killed, after what, and what was wrong."""
    rows = rows_of(out)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        wrong = [row for row in own if row["wrong"]]
        if "bytes" in own[0]:
            n_full = sum(bool(row["is_full"]) for row in own)
            print(f"{kind}: {len(own)} disks, {n_full} full, {len(wrong)} wrong")
            continue
        killed = [row for row in own if row["is_killed"]]
        after = Counter(row["after"] for row in killed).most_common()
        print(f"{kind}: {len(killed)} kills, {len(own) - len(killed)} ends, {len(wrong)} wrong")
        print("  after " + ", ".join(f"{name} {n}" for name, n in after))


def _difference(found: object, expected: object) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = [key for key in expected.keys() | found.keys() if found.get(key) != expected.get(key)]
        return ", ".join(map(str, keys))[:300]
    return f"{found!r:.150} and not {expected!r:.150}"


def main() -> None:
    """Take the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "full", "show"])
    parser.add_argument(
        "--kind", choices=list(KINDS), action="append", help="may be repeated; all by default"
    )
    parser.add_argument("--kills", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for kind in arguments.kind or list(KINDS) if arguments.action != "show" else ():
        if arguments.action == "run":
            kill(kind, arguments.kills, arguments.out, arguments.seed)
        elif shutil.which("mount"):
            fill(kind, arguments.out)
    show(arguments.out)


if __name__ == "__main__":
    main()
