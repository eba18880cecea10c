"""A group: images of one class that may share a cue, with nothing known about them yet.

Both routes of discovery return groups; the intervention decides what they are.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spuriscope.errors import DiscoveryError

__all__ = ["Group", "Look"]

Look = Literal["whole", "windows", "single", "cover", "detail", "tone", "stray", "transplant"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Images that look alike in something that the rest of their class lacks.

    Attributes:
        target: the class: their label (trace), or what the model predicts for them (probe).
        positions: (n,) int64, ascending, their positions in what was searched.
        strength: how much they stand out, larger is more; it ranks groups of one source and look.
        source: the route that found them, "trace", "probe" or "marks".
        look: what was compared: "whole" images, the same "windows" of images, or a "single" image with the
            rest; for marks a place that they "cover", fine "detail", the "tone" of all pixels, a "stray" that
            stands anywhere, or what a "transplant" takes.

    Raises:
        DiscoveryError: there are no positions, or one is repeated.
    """

    target: int
    positions: NDArray[np.int64]
    strength: float
    source: str
    look: Look = "whole"

    def __post_init__(self) -> None:
        positions = np.unique(np.asarray(self.positions, dtype=np.int64))
        if len(positions) == 0 or len(positions) != len(self.positions):
            raise DiscoveryError(
                f"a group holds different positions, at least one; got {list(self.positions)[:10]}"
            )
        object.__setattr__(self, "positions", positions)

    def __len__(self) -> int:
        return len(self.positions)
