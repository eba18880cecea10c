"""The four parts of a membership game, and that nobody is in two of them.

The target model is trained on one quarter and asked about that one and a second; the attacker's shadow model
likewise on the other two (Yang et al., 2022, Section 4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import MembershipError

__all__ = ["Quarters", "check_disjoint", "quarters"]


@dataclass(frozen=True, eq=False)
class Quarters:
    """Positions among the training images of a data set.

    Attributes:
        target_train: what the target model is trained on: the members.
        target_test: the outsiders.
        shadow_train: what the attacker trains her own model on.
        shadow_test: what she compares it with.

    Raises:
        MembershipError: an image is in two parts.
    """

    target_train: Tensor
    target_test: Tensor
    shadow_train: Tensor
    shadow_test: Tensor

    def __post_init__(self) -> None:
        check_disjoint(self.target_train, self.target_test, self.shadow_train, self.shadow_test)


def check_disjoint(*parts: Tensor) -> None:
    """Raise MembershipError if a position is in two parts, or twice in one."""
    positions = torch.cat(parts)
    values, counts = positions.unique(return_counts=True)
    if len(values) < len(positions):
        twice = values[counts > 1]
        raise MembershipError(
            f"{len(twice)} images are in two parts (the first at position {int(twice[0])}); "
            "members and outsiders must be different images, or no attack can be judged"
        )


def quarters(data: ImageSet, seed: int) -> Quarters:
    """Four equal parts of the training images, drawn at random; up to three images are left over.

    Raises:
        MembershipError: there are fewer than four images.
    """
    n = len(data.train) // 4
    if n < 1:
        raise MembershipError(
            f"four parts need at least four training images, {data.name} has {len(data.train)}"
        )
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    return Quarters(*(part.sort().values for part in order[: 4 * n].split(n)))
