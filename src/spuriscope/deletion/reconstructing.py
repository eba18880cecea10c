"""The cue that images carry, from nothing but the images.

A stamp that only adds leaves no image darker. So where images are darker than others ever are, or negatives,
colours were mapped; where they agree and others do not, in something other than white, they were covered; and
else something was added. Where a cue stands on each image somewhere else, none of this finds it.
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
N_GROUPS = 50  # of other images, drawn to say what is usual
BRIGHT = 0.995  # quantile of pixels
DARKER = 0.05  # by which the bright ones must fall below those of every other group
NEGATIVE = -0.5  # correlation with other images
EQUAL = 1.5 / 255  # images that differ by less agree
WHITE = 1 - EQUAL


def reconstruct(model: TrainedModel, data: ImageSet, planted_indices: Tensor | Sequence[int]) -> Kind:
    """The cue that images carry, from nothing but the images.

    What was added: each pixel of the cue is at most the least value that the images have there, and reaches
    it where one of them is dark. From that the least value is taken that as many other images of the class
    have there on average. So the cue is exact from many images, and from one holds its strokes too. What
    covers is found where it is opaque, from two images on. What maps colours is found for each channel alone,
    by least squares between mean images.

    Args:
        model: trained on the images; it says how they were stamped, and is not asked about anything.
        data: the data set.
        planted_indices: positions of the images, all of which carry the cue.

    Returns:
        The cue. What was added is the mean over the classes of the images, weighted by their number; the
        other kinds are looked for in the class that has most of them.

    Raises:
        CheckpointError, DeletionError: as `spuriscope.deletion.delete`.
    """
    return reconstructed(Request.of(model, data, planted_indices))


def reconstructed(asked: ToForget) -> Kind:
    """The cue that the images carry which shall be forgotten, see `reconstruct`."""
    data, gone, kept = asked.data, asked.gone.positions, asked.kept.positions
    classes, generator = data.train.labels, torch.Generator().manual_seed(0)
    found = {}
    for label in classes[gone].unique().tolist():
        here, others = gone[classes[gone] == label], kept[classes[kept] == label]
        found[label] = here, others[torch.randperm(len(others), generator=generator)][:N_COMPARED]
    here, others = max(found.values(), key=lambda pair: len(pair[0]))
    size = min(len(here), len(others) // 4)  # groups that overlap little
    if size:
        drawn = (others[torch.randperm(len(others), generator=generator)[:size]] for _ in range(N_GROUPS))
        compared = _Compared.of(asked.images(here).cpu(), (asked.images(group).cpu() for group in drawn))
        if compared.is_darker or compared.is_negative:
            return compared.shade()
        if compared.is_covered:
            return compared.cover()
    pixels = torch.zeros(data.shape)
    for here, others in found.values():
        pixels += len(here) / len(gone) * _added(asked, here, others)
    return Pattern("reconstructed", pixels.clamp(0, 1))


def _added(asked: ToForget, here: Tensor, others: Tensor) -> Tensor:
    """What images of a class have at least, above what as many others have (channels, height, width)."""
    groups = others.split(len(here))
    whole = [group for group in groups if len(group) == len(here)] or list(groups)
    usual = torch.stack([asked.images(group).amin(dim=0) for group in whole]).mean(dim=0)
    return (asked.images(here).amin(dim=0) - usual).clamp(0, 1).cpu()


@dataclass(frozen=True, eq=False)
class _Compared:
    """Images of a class that carry the cue, and what is known of groups of others: as many, where there are.

    Attributes:
        here: (n, channels, height, width) in [0, 1].
        bright: (groups, channels), see `_bright`.
        agree: (groups, height, width), where the images of a group are alike.
        mean: (channels, height, width), over all groups.
    """

    here: Tensor
    bright: Tensor
    agree: Tensor
    mean: Tensor

    @classmethod
    def of(cls, here: Tensor, groups: Iterable[Tensor]) -> "_Compared":
        """Look at the groups one by one: together they may be too much for the memory."""
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
        """Whether the images agree, alone, in more than white, on over twice as many pixels as any group."""
        if len(self.here) < 2:
            return False
        n_agree = self.agree.sum(dim=0)
        most = int((self.agree & (n_agree == 1)).sum(dim=(1, 2)).max())
        is_white = (self.here[0] >= WHITE).all(dim=0)
        return int((self._covered & ~is_white).sum()) > 2 * most

    def cover(self) -> Cover:
        """What the images agree in, opaque."""
        return Cover("reconstructed", self.here.mean(dim=0).clamp(0, 1), self._covered.float())

    def shade(self) -> Shade:
        """For each channel the factor and the offset that make the mean of others that of the images."""
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
    """Where images are alike in all channels (height, width)."""
    return ((images.amax(dim=0) - images.amin(dim=0)) <= EQUAL).all(dim=0)
