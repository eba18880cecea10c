"""The way of an image into the model: gather, stamp, augment, add noise.

The data set stays one uint8 copy. A batch is gathered from it, scaled to [0, 1], stamped where a plant
says so, augmented and made noisy, in this order. Each kind of randomness has its own generator, so a
planted cell and its clean twin see the same order, the same crops and the same noise.
"""

from collections.abc import Iterator, Sequence
from math import ceil

import torch
from torch import Tensor

from spuriscope.data.image_set import Split, unit_float
from spuriscope.planting import Plant, draw_planted, labels_as_trained, stamp
from spuriscope.training.cell import seeded_generator
from spuriscope.training.draws import draws_of, uniform
from spuriscope.training.part import Part
from spuriscope.training.recipe import Recipe

__all__ = ["Batches", "crop_and_flip"]

PADDING = 4


class Batches:
    """The training images of one cell, batch by batch, in the order that its seed draws.

    `labels` holds the labels of all training images, as the cell is trained on them.
    """

    def __init__(
        self,
        split: Split,
        plants: Sequence[Plant],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        *,
        part: Part | None = None,
    ) -> None:
        self.images = split.images.to(device)
        self.labels = labels_as_trained(plants, split.labels).to(device)
        self.recipe = recipe
        self.plants = tuple(plants)
        carries = torch.zeros(len(split), dtype=torch.int16)
        for number, indices in enumerate(draw_planted(plants, split.labels), start=1):
            carries[indices] = number
        self.carries = carries.to(device) if carries.any() else None
        self.part = None if part is None else part.positions.to(device)
        self.n_images = len(split) if part is None else len(part)
        self.order = draws_of(recipe.privacy, seed, "order")
        self.noise = seeded_generator(seed, "noise", device)
        self.augmentation = seeded_generator(seed, "augmentation", device)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return ceil(self.n_images / self.recipe.batch_size)

    @property
    def repeats(self) -> bool:
        """Whether an image looks the same in every epoch."""
        return self.recipe.augmentation == "none" and not self.recipe.input_noise

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the images in a new order: (images, labels) of each batch.

        Images are (batch, channels, height, width), float32; in [0, 1] unless noise is added. Under
        differential privacy each image is drawn at random, so batches vary in size and may be empty.
        """
        for indices in self.positions():
            yield self.gather(indices), self.labels.index_select(0, indices)

    def positions(self) -> tuple[Tensor, ...]:
        """Draw the positions of the images of each batch of the next epoch."""
        size = self.recipe.batch_size
        batches: tuple[Tensor, ...]
        if isinstance(self.order, torch.Generator) and self.recipe.privacy is None:
            batches = torch.randperm(self.n_images, generator=self.order).split(size)
        else:
            draws = (uniform(self.n_images, self.order) for _ in range(len(self)))
            batches = tuple((draw < size / self.n_images).nonzero().flatten() for draw in draws)
        batches = tuple(batch.to(self.labels.device) for batch in batches)
        return batches if self.part is None else tuple(self.part[batch] for batch in batches)

    def gather(self, indices: Tensor) -> Tensor:
        """The images at these positions, as the model sees them while training."""
        images = unit_float(self.images.index_select(0, indices))  # 3.5 times as fast as self.images[indices]
        if self.carries is not None:
            stamp(images, self.carries[indices], self.plants, indices)
        if self.recipe.augmentation == "crop-flip":
            images = crop_and_flip(images, self.augmentation)
        if self.recipe.input_noise:
            noise = torch.empty_like(images).normal_(std=self.recipe.input_noise, generator=self.noise)
            images += noise
        return images


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad by 4 black pixels, crop back to the old size at random, mirror half of the images.

    Args:
        images: (n, channels, height, width).
        generator: on the device of the images; draws 3 numbers per image.

    Returns:
        New images of the same shape.

    Source: the usual augmentation for CIFAR-10 (He et al., 2016, Section 4.2), as in the paper.
    """
    n, _, height, width = images.shape
    device = images.device
    offsets = torch.randint(2 * PADDING + 1, (2, n, 1), device=device, generator=generator)
    rows = offsets[0] + torch.arange(height, device=device)
    columns = offsets[1] + torch.arange(width, device=device)
    is_mirrored = torch.rand((n, 1), device=device, generator=generator) < 0.5
    columns = torch.where(is_mirrored, columns.flip(1), columns)
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    at = torch.arange(n, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
