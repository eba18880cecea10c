"""A group of images: what it holds, and what it refuses."""

import numpy as np
import pytest

from spuriscope.discovery import Group
from spuriscope.errors import DiscoveryError


def test_positions_are_brought_in_order() -> None:
    group = Group(target=3, positions=np.array([9, 2, 5]), strength=1.0, source="trace")
    assert group.positions.tolist() == [2, 5, 9]
    assert group.positions.dtype == np.int64
    assert len(group) == 3


@pytest.mark.parametrize("positions", [[], [4, 4]], ids=["none", "twice"])
def test_a_group_without_different_positions_is_refused(positions: list[int]) -> None:
    with pytest.raises(DiscoveryError, match="different positions, at least one"):
        Group(target=0, positions=np.array(positions, dtype=np.int64), strength=1.0, source="probe")
