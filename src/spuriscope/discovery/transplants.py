"""Marks that a plugin can recognise: images of a class from which a transplant takes the same.

A transplant is a function of a training image and of other images that puts something of the first on the
others: its palette, its grain, its spectrum. The search need not know what. Each image of a class, training
and fresh ones as one crowd, is the donor for the same few images; two images agree if they make the same
hybrids. From there on they are treated like any mark (`marks`): by the gap behind those that agree, by the
number of fresh ones among them, and by whether their hybrids move the model more than those of natural images
of their class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.data.image_set import unit_float
from spuriscope.discovery.marks import Mark, Pool, Rows, groups_in_turn, take_apart
from spuriscope.errors import DiscoveryError
from spuriscope.patterns.transplanted import Transplant, Transplanted
from spuriscope.registry import Registry

__all__ = ["TRANSPLANTS", "find_transplants", "how_much_carried", "register_transplant"]

AnyTransplant = TypeVar("AnyTransplant", bound=Transplant)

N_GROUND = 8  # images on which all donors are put
N_COMPARED = 2048  # pixels compared over all hybrids of a donor, drawn: distances need no more
N_GROUPS = 12
N_USUAL = 40  # fresh donors that show how far apart unrelated hybrids are

TRANSPLANTS: Registry[Transplant] = Registry("transplant", {}, DiscoveryError)


@checked(DiscoveryError)
def register_transplant(name: str) -> Callable[[AnyTransplant], AnyTransplant]:
    """Register a transplant of your own under a name, for `discover` and the command line.

    Decorate a function of a training image (channels, height, width) and of other images (n, channels,
    height, width), all in [0, 1]. It returns hybrids: the other images with something of the first. The same
    arguments must give the same hybrids.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        DiscoveryError: the name is taken by another module, or the decorated object is not a function.
    """
    return TRANSPLANTS.registering(name)


def find_transplants(name: str, pool: Pool, n_marks: int) -> list[Mark]:
    """Marks of images from which a transplant takes the same, strongest first, at most `n_marks`.

    Raises:
        DiscoveryError: the transplant gives other hybrids when it is called again.
        PatternError: it failed, or returned something other than hybrids.
    """
    if not len(pool.others):
        return []
    maker = _Maker(pool, name)
    ground = unit_float(pool.others[_spread(len(pool.others), N_GROUND)]).float()
    own, others = (_compared(name, images, ground) for images in (pool.images, pool.others))
    groups = groups_in_turn(own, others, n_groups=N_GROUPS, noise=pool.noise)
    found = [Mark(rows, strength, "transplant", maker) for strength, rows in groups]
    return take_apart(found, n_marks)


def how_much_carried(pattern: Transplanted, own: Tensor, usual: Tensor) -> Tensor:
    """How strongly each image (n, channels, height, width) carries what the donor of a pattern gives.

    1 if it makes the same hybrids; 0 if they are as far from them as those of an image of `usual`, by the
    median.
    """
    ground = usual[_spread(len(usual), N_GROUND)]
    wanted = _compared_with(pattern, ground)

    def squares(images: Tensor) -> Tensor:
        away = [_compared_with(_with_donor(pattern.name, image), ground) - wanted for image in images]
        return torch.stack([each.square().mean() for each in away])

    chance = squares(usual[_spread(len(usual), N_USUAL)]).median()
    return 1 - squares(own) / chance.clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes from rows the hybrids of the first, the most typical: an average of several is not an image."""

    pool: Pool
    name: str

    def __call__(self, rows: Rows) -> Transplanted:
        return _with_donor(self.name, self.pool.images[int(rows[0])])


def _with_donor(name: str, image: Tensor) -> Transplanted:
    return Transplanted(name, unit_float(image).float(), TRANSPLANTS[name], TRANSPLANTS.source(name))


def _spread(n: int, n_chosen: int) -> Tensor:
    """Positions of at most `n_chosen` of n, evenly spaced."""
    return torch.from_numpy(np.unique(np.linspace(0, n - 1, min(n, n_chosen)).round().astype(np.int64)))


def _compared(name: str, donors: Tensor, ground: Tensor) -> Tensor:
    """The values to compare (n, d) of the hybrids of each donor."""
    rows = [_compared_with(_with_donor(name, donor), ground) for donor in donors]
    if rows and not torch.equal(rows[0], _compared_with(_with_donor(name, donors[0]), ground)):
        raise DiscoveryError(
            f"transplant {name} gives other hybrids of the same images when it is called again; draw from a "
            "generator that it seeds itself"
        )
    return torch.stack(rows)


def _compared_with(pattern: Transplanted, ground: Tensor) -> Tensor:
    pixels = pattern.apply(ground).flatten()
    if len(pixels) <= N_COMPARED:
        return pixels
    drawn = np.random.default_rng(0).choice(len(pixels), N_COMPARED, replace=False)
    return pixels[torch.from_numpy(np.sort(drawn))]
