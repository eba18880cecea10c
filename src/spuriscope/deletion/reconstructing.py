"""Reconstruct the cue that images carry from the images alone.

A stamp that only adds leaves no image darker. So where images are darker than others ever are, or negatives,
colours were mapped. Where they agree in something other than white, and others do not, they were covered.
Otherwise something was added. A cue that stands in another place on each image is not found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.request import Request, ToForget
from spuriscope.patterns import Cover, Kind, Pattern, Shade
from spuriscope.training import TrainedModel

__all__ = ["reconstruct", "reconstructed"]

N_COMPARED = 3000  # other images of the class
N_GROUPS = 50  # groups of other images, drawn to find what is usual
BRIGHT = 0.995  # quantile of pixels
DARKER = 0.05  # by which the bright pixels must fall below those of every other group
NEGATIVE = -0.5  # correlation with other images
EQUAL = 1.5 / 255  # images that differ by less agree
WHITE = 1 - EQUAL


def reconstruct(model: TrainedModel, data: ImageSet, planted_indices: Tensor | Sequence[int]) -> Kind:
    """Reconstruct the cue that images carry from the images alone.

    Added: each pixel of the cue is at most the minimum of the images there, and equals it where one of them
    is dark. The average minimum of as many other images of the class is subtracted. So the cue is exact from
    many images, and from a single image contains its strokes too. Covering: found where it is opaque, from
    two images or more. Colour mapping: found for each channel alone, by least squares between mean images.

    Args:
        model: trained on the images; it tells how they were stamped, and is not run.
        data: the data set.
        planted_indices: positions of the images, all of which carry the cue.

    Returns:
        The cue. An added one is the mean over the classes of the images, weighted by their number; the other
        kinds are sought in the class that has most of the images.

    Raises:
        CheckpointError, DeletionError: as `spuriscope.deletion.delete`.
    """
    return reconstructed(Request.of(model, data, planted_indices))


def reconstructed(request: ToForget) -> Kind:
    """The cue of the images to forget, see `reconstruct`."""
    data, gone, kept = request.data, request.gone.positions, request.kept.positions
    classes, generator = data.train.labels, torch.Generator().manual_seed(0)
    found = {}
    for label in classes[gone].unique().tolist():
        here, others = gone[classes[gone] == label], kept[classes[kept] == label]
        found[label] = here, others[torch.randperm(len(others), generator=generator)][:N_COMPARED]
    here, others = max(found.values(), key=lambda pair: len(pair[0]))
    size = min(len(here), len(others) // 4)  # groups that overlap little
    if size:
        drawn = (others[torch.randperm(len(others), generator=generator)[:size]] for _ in range(N_GROUPS))
        compared = _Compared.of(request.images(here).cpu(), (request.images(group).cpu() for group in drawn))
        if compared.is_darker or compared.is_negative:
            return compared.shade()
        if compared.is_covered:
            return compared.cover()
    pixels = torch.zeros(data.shape)
    for here, others in found.values():
        pixels += len(here) / len(gone) * _added(request, here, others)
    return Pattern("reconstructed", pixels.clamp(0, 1))


def _added(request: ToForget, here: Tensor, others: Tensor) -> Tensor:
    """Minimum of images of a class, above that of as many others (channels, height, width)."""
    groups = others.split(len(here))
    whole = [group for group in groups if len(group) == len(here)] or list(groups)
    usual = torch.stack([request.images(group).amin(dim=0) for group in whole]).mean(dim=0)
    return (request.images(here).amin(dim=0) - usual).clamp(0, 1).cpu()


@dataclass(frozen=True, eq=False)
class _Compared:
    """Images of a class that carry the cue, compared with groups of others of the same size, if possible.

    Attributes:
        here: (n, channels, height, width) in [0, 1].
        bright: (groups, channels), see `_bright`.
        agree: (groups, height, width), where the images of a group are equal.
        mean: (channels, height, width), over all groups.
    """

    here: Tensor
    bright: Tensor
    agree: Tensor
    mean: Tensor

    @classmethod
    def of(cls, here: Tensor, groups: Iterable[Tensor]) -> "_Compared":
        """Process the groups one by one: together they may not fit into memory."""
        bright, agree, mean = [], [], torch.zeros(here.shape[1:])
        for number, group in enumerate(groups, start=1):
            bright.append(_bright(group))
            agree.append(_agree(group))
            mean += (group.mean(dim=0) - mean) / number
        return cls(here, torch.stack(bright), torch.stack(agree), mean)

    @property
    def is_darker(self) -> bool:
        """Whether in some channel the bright pixels are darker than those of every other group."""
        return bool((_bright(self.here) < self.bright.amin(dim=0) - DARKER).any())

    @property
    def is_negative(self) -> bool:
        """Whether the images are bright where others are dark."""
        pair = torch.stack([self.here.mean(dim=0).flatten(), self.mean.flatten()])
        return bool(torch.corrcoef(pair)[0, 1] < NEGATIVE)

    @property
    def is_covered(self) -> bool:
        """Whether the images alone agree, in more than white, on over twice as many pixels as any group."""
        if len(self.here) < 2:
            return False
        n_agree = self.agree.sum(dim=0)
        most = int((self.agree & (n_agree == 1)).sum(dim=(1, 2)).max())
        is_white = (self.here[0] >= WHITE).all(dim=0)
        return int((self._covered & ~is_white).sum()) > 2 * most

    def cover(self) -> Cover:
        """The pixels in which the images agree, opaque."""
        return Cover("reconstructed", self.here.mean(dim=0).clamp(0, 1), self._covered.float())

    def shade(self) -> Shade:
        """For each channel the factor and the offset that turn the mean of others into that of the images."""
        here, usual = self.here.mean(dim=0).flatten(1), self.mean.flatten(1)
        apart = usual - usual.mean(dim=1, keepdim=True)
        factor = (apart * here).sum(dim=1) / apart.square().sum(dim=1).clamp_min(1e-12)
        offset = here.mean(dim=1) - factor * usual.mean(dim=1)
        return Shade("reconstructed", factor.diag(), offset, *self.here.shape[2:])

    @property
    def _covered(self) -> Tensor:
        """Where the images agree, and no group does (height, width)."""
        return _agree(self.here) & ~self.agree.any(dim=0)


def _bright(images: Tensor) -> Tensor:
    """The brightness (channels,) that few pixels of some images exceed."""
    values = images.transpose(0, 1).flatten(1)
    rank = max(1, round((1 - BRIGHT) * values.shape[1]))
    return values.topk(rank, dim=1).values[:, -1]


def _agree(images: Tensor) -> Tensor:
    """Where images are equal in all channels (height, width)."""
    return ((images.amax(dim=0) - images.amin(dim=0)) <= EQUAL).all(dim=0)
