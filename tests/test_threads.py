"""Threads: the order of the answers, their bits, and the setting that is left behind."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from spuriscope.threads import in_threads


@pytest.fixture(params=[1, 3])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_answers_keep_their_order_and_bits(n_threads: int) -> None:
    products = [torch.randn(60, 60, generator=torch.Generator().manual_seed(k)) for k in range(20)]

    def slow_first(k: int) -> torch.Tensor:
        time.sleep(0.02 if k == 0 else 0)
        return products[k] @ products[k].T

    torch.set_num_threads(1)
    expected = [slow_first(k) for k in range(20)]
    torch.set_num_threads(n_threads)
    found = in_threads(slow_first, range(20))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.get_num_threads() == n_threads


def test_as_many_work_as_torch_is_set_to(n_threads: int) -> None:
    gate = threading.Barrier(n_threads, timeout=120)
    in_threads(lambda _: gate.wait(), range(2 * n_threads))


def test_an_error_comes_through_and_leaves_the_setting(n_threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda k: 1 // k, [1, 0, 2])
    assert torch.get_num_threads() == n_threads
