"""A part of the training images: what a cell is trained on where that is not all of them.

Shadow models, oracles (trained without some images) and the halves of a membership game are cells with
parts of one shared data set. A part is a list of positions, so images are never copied.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.errors import ConfigError

__all__ = ["Part"]


@checked(ConfigError)
@dataclass(frozen=True, eq=False)
class Part:
    """Positions among the training images, made by `Part.of` or `Part.without`.

    Two parts are equal when their positions are.

    Attributes:
        positions: (n,), int64, ascending.

    Raises:
        ConfigError: there are no positions, or they are negative, repeated or out of order.
    """

    positions: Tensor

    def __post_init__(self) -> None:
        positions = self.positions
        if positions.dtype != torch.int64 or positions.ndim != 1:
            raise ConfigError(
                f"a part is a list of positions, got {positions.dtype} of shape {tuple(positions.shape)}; "
                "turn a mask into positions with mask.nonzero().flatten()"
            )
        if len(positions) == 0:
            raise ConfigError("a part needs at least one training image, got none")
        if int(positions.min()) < 0:
            raise ConfigError(
                f"positions of a part count from 0, got {int(positions.min())}; turn a mask into positions "
                "with mask.nonzero().flatten()"
            )
        steps = positions.diff()
        if (steps == 0).any():
            twice = int(positions[1:][steps == 0][0])
            raise ConfigError(f"position {twice} is in the part twice; give each image once")
        if (steps < 0).any():
            raise ConfigError("the positions of a part must ascend; Part.of sorts them")

    @classmethod
    def of(cls, positions: Tensor | Sequence[int]) -> "Part":
        """The images at these positions, in any order.

        Raises:
            ConfigError: there are none, or one is negative or repeated.
        """
        found = torch.as_tensor(positions)
        if found.numel() == 0:
            found = found.long()
        return cls(found.cpu().sort().values if found.dtype == torch.int64 else found)

    @classmethod
    def without(cls, positions: Tensor | Sequence[int], n_train: int) -> "Part":
        """All of `n_train` training images except those at these positions.

        Raises:
            ConfigError: a position is out of range or repeated, or nothing is left.
        """
        is_kept = torch.ones(n_train, dtype=torch.bool)
        if len(positions):
            left_out = cls.of(positions)
            left_out.check(n_train)
            is_kept[left_out.positions] = False
        return cls(is_kept.nonzero().flatten())

    def check(self, n_train: int) -> None:
        """Raise ConfigError unless all positions lie among `n_train` training images."""
        last = int(self.positions[-1])
        if last >= n_train:
            raise ConfigError(
                f"the part has position {last}, but there are {n_train} training images; "
                f"choose positions from 0 to {n_train - 1}"
            )

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the positions."""
        return hashlib.sha256(self.positions.contiguous().numpy().astype("<i8").tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Part({len(self):,} images)"
