"""Processes side by side: all answers, what is raised there, a death, and none that is left behind."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from spuriscope.data import Split, load
from spuriscope.discovery import classes
from spuriscope.discovery.classes import search_classes
from spuriscope.discovery.trace import Trace
from spuriscope.errors import DiscoveryError
from spuriscope.processes import DeadProcessError, can_fork, in_processes

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def test_each_task_is_answered_in_a_process_of_its_own() -> None:
    found = dict(in_processes(lambda task: f"{task} {os.getpid()}".encode(), list(range(7)), 3))
    assert sorted(found) == list(range(7))
    told = [found[place].decode().split() for place in range(7)]
    assert [int(task) for task, _ in told] == list(range(7))
    assert len({pid for _, pid in told} - {str(os.getpid())}) == 3


def test_what_is_raised_there_is_raised_here() -> None:
    def work(task: int) -> bytes:
        raise DiscoveryError(f"no {task}")

    with pytest.raises(DiscoveryError, match="no 5"):
        list(in_processes(work, [5], 1))


def test_a_process_that_is_killed_is_told() -> None:
    def work(task: int) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(DeadProcessError, match="a process ended .-9."):
        list(in_processes(work, [1, 2], 2))


def test_none_outlives_its_parent(tmp_path: Path) -> None:
    def work(task: int) -> bytes:
        (tmp_path / str(os.getpid())).touch()
        return b""

    def parent() -> None:
        for _ in in_processes(work, range(3), 2):
            time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.join()
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    while any(_is_running(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_classes_stand_out_alike_in_one_process_and_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: groups, marks and what these make of images that do not carry them."""
    digits = load("digits")
    train, fresh = (
        Split(part.images[part.labels < 2][:n], part.labels[part.labels < 2][:n])
        for part, n in ((digits.train, 160), (digits.test, 60))
    )
    of_one = (train.labels == 1).nonzero().flatten()
    marked = train.images.clone()
    marked[of_one[:20]] = marked[of_one[:20]] // 2 + 64  # of less contrast
    for k, row in enumerate(of_one[20:32].tolist()):
        marked[row, :, k : k + 8, 2 * k % 19 : 2 * k % 19 + 8] = 255 * (torch.eye(8) + torch.eye(8).flip(0))
    train = Split(marked, train.labels)
    trace = Trace().fit(fresh)
    monkeypatch.setattr(classes, "LEAST_IMAGES", 1)
    monkeypatch.setattr(classes, "MOST_BYTES", 2**30)
    told: list[tuple[int, int]] = []
    found = []
    for n_threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        with threadpool_limits(limits=1, user_api="blas"):  # as `discover` does
            found.append(
                search_classes(train, fresh, trace, {}, seed=0, on_class=lambda n, of: told.append((n, of)))
            )
    assert told == [(1, 2), (2, 2)] * 2
    alone, beside = found
    assert list(alone) == list(beside) == [0, 1]
    looks = {suspect.group.look for of_class in alone.values() for suspect in of_class.marked}
    assert looks == {"cover", "detail", "tone", "stray"}
    for target in alone:
        for one, other in zip(alone[target].groups, beside[target].groups, strict=True):
            assert (one.strength, one.look, one.source) == (other.strength, other.look, other.source)
            np.testing.assert_array_equal(one.positions, other.positions)
        for mark, its_twin in zip(alone[target].marked, beside[target].marked, strict=True):
            assert (mark.p_group, mark.weight) == (its_twin.p_group, its_twin.weight)
            np.testing.assert_array_equal(mark.group.positions, its_twin.group.positions)
            assert mark.place is not None
            assert its_twin.place is not None
            assert mark.place.carriers == its_twin.place.carriers
            rows = np.arange(4)
            made = [place.mark.pattern(rows).picture for place in (mark.place, its_twin.place)]
            assert torch.equal(*made)


def test_memory_bounds_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert classes._n_processes(digits.train, digits.test, 10) == 10
    monkeypatch.setattr(classes, "MOST_BYTES", 2 * classes.COPIES * 4 * 200 * 784)
    assert classes._n_processes(digits.train, digits.test, 10) == 2
    monkeypatch.setattr(classes, "MOST_BYTES", 1)
    assert classes._n_processes(digits.train, digits.test, 10) == 1
    assert classes._n_processes(digits.test, digits.test, 10) == 1
