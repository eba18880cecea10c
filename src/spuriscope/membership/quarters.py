"""The four disjoint parts of a membership game.

The target model is trained on one quarter and tested on that and a second; the attacker's shadow model
likewise on the other two (Yang et al., 2022, Section 4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spuriscope.data.image_set import ImageSet
from spuriscope.errors import MembershipError, PlantingError

__all__ = ["Quarters", "check_disjoint", "equal_parts", "quarters"]


@dataclass(frozen=True, eq=False)
class Quarters:
    """Positions among the training images of a data set.

    Attributes:
        target_train: images that the target model is trained on: the members.
        target_test: the outsiders.
        shadow_train: images that the attacker's own model is trained on.
        shadow_test: images that it is compared with.

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


def quarters(data: ImageSet, seed: int, stamped: Tensor | None = None) -> Quarters:
    """Four equal parts of the training images, drawn at random; up to three images are left over.

    Args:
        data: its training images are divided.
        seed: draws the parts.
        stamped: positions (2 n,): the first n go into `target_train`, the others into `target_test`.

    Raises:
        MembershipError: there are fewer than four images.
        PlantingError: a part has no room for its stamped images.
    """
    if len(data.train) < 4:
        raise MembershipError(
            f"four parts need at least four training images, {data.name} has {len(data.train)}"
        )
    return Quarters(*equal_parts(len(data.train), 4, seed, stamped))


def equal_parts(n_train: int, n_parts: int, seed: int, stamped: Tensor | None = None) -> tuple[Tensor, ...]:
    """Positions of equal parts of `n_train` images, each sorted. The first two get half of `stamped` each.

    Raises:
        PlantingError: a part has no room for its stamped images.
    """
    order = torch.randperm(n_train, generator=torch.Generator().manual_seed(seed))
    n = n_train // n_parts
    fixed = [torch.empty(0).long()] * n_parts
    if stamped is not None and len(stamped):
        half = len(stamped) // 2
        if half > n:
            raise PlantingError(f"{half} stamped images do not fit into a part of {n}; plant 0 to {n}")
        fixed[:2] = [stamped[:half], stamped[half:]]
        order = order[~torch.isin(order, stamped)]
    free = order[: n_parts * n - sum(map(len, fixed))].split([n - len(part) for part in fixed])
    return tuple(torch.cat(pair).sort().values for pair in zip(fixed, free, strict=True))
