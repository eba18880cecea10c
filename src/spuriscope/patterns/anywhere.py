"""A pattern that stands in another place on each image.

The place is drawn from a seed and the position of the image, so an image gets the same place in every epoch,
in every process and on every machine.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import PatternError
from spuriscope.patterns.kinds import Kind
from spuriscope.patterns.transplanted import Transplanted

__all__ = ["Anywhere", "put_on"]

STREAM = 1  # stream of the seed for places; RandomState(seed) itself chooses the planted images


@checked(PatternError)
@dataclass(frozen=True)
class Anywhere:
    """A pattern at a place of its own on each image, always whole.

    Attributes:
        pattern: what is stamped.
        seed: draws the places.

    Raises:
        PatternError: the pattern fills the image, so it has only one place.
    """

    pattern: Kind
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed("seed", self.seed, error=PatternError)
        if self.pattern.n_places == (1, 1):
            raise PatternError(
                f"pattern {self.pattern.name} fills the image, so it can stand in only one place; leave it "
                "fixed, or take a smaller one"
            )

    @property
    def name(self) -> str:
        """Name of the pattern."""
        return self.pattern.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the images it fits."""
        return self.pattern.shape

    @property
    def kind(self) -> str:
        """Kind of the pattern."""
        return self.pattern.kind

    @property
    def touched(self) -> Tensor:
        """Which pixels it may change at its original place, a mask (height, width)."""
        return self.pattern.touched

    @property
    def picture(self) -> Tensor:
        """Its picture for a page: the pattern at its original place."""
        return self.pattern.picture

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pattern's fingerprint and the seed."""
        return hashlib.sha256(f"anywhere {self.seed} {self.pattern.fingerprint}".encode()).hexdigest()

    def places(self, positions: Tensor) -> Tensor:
        """Shifts (n, 2) of rows and columns for the images at these positions (n,) of their data set.

        They are uniform over the places where the whole pattern lies in the image: that of position p is row
        p of `RandomState(MT19937(SeedSequence([seed, 1]))).rand(..., 2)`, times the number of places, rounded
        down.
        """
        positions = positions.cpu()
        n = int(positions.max()) + 1 if len(positions) else 0
        draws = torch.from_numpy(_draws(self.seed, 1 << max(10, (n - 1).bit_length())))[positions]
        box = self.pattern.box
        found = (draws * torch.tensor(self.pattern.n_places)).floor().long()
        return found - torch.tensor([box.top, box.left])

    def apply(self, images: Images, positions: Tensor | None = None) -> Tensor:
        """Stamped copies of `images`, as `Pattern.apply`.

        Args:
            images: as in `Pattern.apply`.
            positions: (n,) positions of the images in their data set, from which their places are drawn; by
                default the first n.

        Raises:
            PatternError: the images are of another shape.
        """
        images = as_asked(images, shape=self.shape, error=PatternError)
        positions = torch.arange(len(images)) if positions is None else positions
        return self.pattern.apply(images, self.places(positions))


def put_on(pattern: Kind | Anywhere | Transplanted, images: Images, positions: Tensor) -> Tensor:
    """Stamped copies of `images`; a pattern that stands anywhere is placed by the image's position (n,)."""
    return pattern.apply(images, positions) if isinstance(pattern, Anywhere) else pattern.apply(images)


@lru_cache(maxsize=16)
def _draws(seed: int, n: int) -> NDArray[np.float64]:
    """Uniform draws (n, 2) of a seed; a larger n begins with the same draws."""
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, STREAM])))
    return state.rand(n, 2)
