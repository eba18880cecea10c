"""What a person looks at to believe a finding: the cue's place, its carriers, its effect on an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Split, in_pieces, unit_float
from spuriscope.discovery.finding import Finding
from spuriscope.discovery.matching import Matcher
from spuriscope.discovery.transplants import how_much_carried
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import AnyPattern, Anywhere, Kind, Transplanted
from spuriscope.patterns.kinds import Box

__all__ = ["Exhibit", "Tried", "all_carriers", "exhibit"]

N_TRIED, N_SHOWN = 100, 3  # fresh images on which it is tried, and those that are shown
MOST_USUAL = 500  # fresh images from which the usual is estimated
MOST_BOXED = 0.6  # of the image: a larger box would say nothing
HALF = 0.5
FAINT = 0.25  # of the largest change: fainter changes are not boxed


@dataclass(frozen=True, eq=False)
class Tried:
    """A fresh image before and after the cue was put on it.

    Attributes:
        position: in the fresh images.
        label: its class.
        images: (2, channels, height, width) in [0, 1], before and after.
        probabilities: of the finding's class, before and after.
        box: where the cue stands on it; None where it is all over the image.
    """

    position: int
    label: int
    images: Tensor
    probabilities: tuple[float, float]
    box: Box | None


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A finding as a person looks at it.

    Attributes:
        finding: what is shown.
        examples: (n,) the suspected images, positions in the training set, strongest carriers first.
        boxes: where the cue stands on each of these; None where it is all over the image.
        carried: (n,) how strongly each carries it: 1 as the pattern on an image, 0 as fresh images.
        tried: fresh images of other classes, those that it moves most first.
        n_tried: number of fresh images on which it was tried.
        n_moved: number of these whose probability it raises by more than the threshold.
    """

    finding: Finding
    examples: NDArray[np.int64]
    boxes: tuple[Box | None, ...]
    carried: NDArray[np.float64]
    tried: tuple[Tried, ...]
    n_tried: int
    n_moved: int


def exhibit(
    finding: Finding, predict: Predict, train: Split, holdout: Split, *, threshold: float = 0.1, seed: int = 0
) -> Exhibit:
    """Prepare a finding to be looked at.

    Args:
        finding: of a search of `train`.
        predict: the model that was searched.
        train: the training images, as the model saw them.
        holdout: fresh images.
        threshold: least rise of a probability that counts.
        seed: of the search: the cue is tried on the fresh images that it was tried on there, the first 100.
    """
    draws = torch.Generator().manual_seed(seed)
    usual = unit_float(holdout.images[torch.randperm(len(holdout), generator=draws)[:MOST_USUAL]]).float()
    own = train.images[torch.from_numpy(finding.examples)]
    pattern = finding.pattern
    carried, boxes = _seen(pattern, own, usual)
    order = np.argsort(-carried, kind="stable")
    others = (holdout.labels != finding.target).nonzero().flatten()
    as_searched = torch.Generator().manual_seed(seed + finding.target)
    drawn = others[torch.randperm(len(others), generator=as_searched)[:N_TRIED]]
    before = unit_float(holdout.images[drawn]).float()
    after = pattern.apply(before)
    said = probabilities(predict, torch.cat([before, after]))[:, finding.target].reshape(2, -1)
    rise = said[1] - said[0]
    stamped = [boxes[0]] * len(drawn)
    if isinstance(pattern, Anywhere):
        shifts = pattern.places(torch.arange(len(drawn)))
        stamped = [_moved(pattern.pattern.box, shift) for shift in shifts.tolist()]
    tried = [
        Tried(
            position=int(drawn[row]),
            label=int(holdout.labels[drawn[row]]),
            images=torch.stack([before[row], after[row]]),
            probabilities=(float(said[0, row]), float(said[1, row])),
            box=stamped[row],
        )
        for row in rise.argsort(descending=True, stable=True)[:N_SHOWN].tolist()
    ]
    return Exhibit(
        finding,
        finding.examples[order],
        tuple(boxes[place] for place in order),
        carried[order],
        tuple(tried),
        n_tried=len(drawn),
        n_moved=int((rise > threshold).sum()),
    )


def all_carriers(finding: Finding, train: Split, holdout: Split, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of all training images of the class that carry a cue, those of the finding among them.

    A search names the images of which it is certain. Here an image counts if it carries at least half of the
    cue that the named ones carry, by their median; if that is more than half of the class, only those named
    do.

    Args:
        finding: of a search of `train`.
        train: the training images, as the model saw them.
        holdout: fresh images.
        seed: draws the fresh images from which the usual is estimated.
    """
    draws = torch.Generator().manual_seed(seed)
    usual = unit_float(holdout.images[torch.randperm(len(holdout), generator=draws)[:MOST_USUAL]]).float()
    of_class = (train.labels == finding.target).nonzero().flatten()
    carried = np.concatenate(
        [_carried(finding.pattern, images, usual) for images in in_pieces(train.images[of_class])]
    )
    positions = of_class.numpy()
    is_named = np.isin(positions, finding.examples)
    if not is_named.any():
        return finding.examples
    found = np.union1d(positions[carried >= HALF * np.median(carried[is_named])], finding.examples)
    return found if len(found) <= HALF * len(positions) else finding.examples


def _carried(pattern: AnyPattern, own: Tensor, usual: Tensor) -> NDArray[np.float64]:
    """How strongly each image (n, channels, h, w) carries a cue."""
    return _seen(pattern, own, usual)[0]


def _seen(pattern: AnyPattern, own: Tensor, usual: Tensor) -> tuple[NDArray[np.float64], list[Box | None]]:
    """How strongly each image (n, channels, h, w) carries a cue, and the box of it."""
    if isinstance(pattern, Transplanted):
        carried = how_much_carried(pattern, own, usual)
        return carried.double().numpy(), [None] * len(own)
    if isinstance(pattern, Anywhere):
        return _anywhere(pattern, own, usual)
    return _in_place(pattern, own, usual)


def _in_place(pattern: Kind, own: Tensor, usual: Tensor) -> tuple[NDArray[np.float64], list[Box | None]]:
    """How strongly each image (n, channels, h, w) carries a cue that stands in one place, and its box."""
    change = (pattern.apply(usual) - usual).mean(dim=0)
    away = unit_float(own).float() - usual.mean(dim=0)
    carried = (away * change).sum(dim=(1, 2, 3)) / change.square().sum().clamp(min=1e-12)
    return carried.double().numpy(), [_box(change)] * len(own)


def _anywhere(pattern: Anywhere, own: Tensor, usual: Tensor) -> tuple[NDArray[np.float64], list[Box | None]]:
    """The same at the place of best fit; no box where it fits no better than in the median of `usual`."""
    box = pattern.pattern.box
    place = (slice(None), slice(box.top, box.bottom), slice(box.left, box.right))
    mask = pattern.touched[place[1:]]
    picture = pattern.picture[place] * mask
    squares, corners = zip(
        *(Matcher(unit_float(piece).float()).best(picture, mask.numpy()) for piece in in_pieces(own)),
        strict=True,
    )
    chance = torch.cat([Matcher(piece).best(picture, mask.numpy())[0] for piece in in_pieces(usual)]).median()
    carried = 1 - torch.cat(squares) / chance.clamp(min=1e-12)
    moved: list[Box | None] = [
        Box(top, left, top + box.size[0], left + box.size[1]) for top, left in torch.cat(corners).tolist()
    ]
    return carried.double().numpy(), moved


def _moved(box: Box, shift: Sequence[int]) -> Box:
    (down, across) = shift
    return Box(box.top + down, box.left + across, box.bottom + down, box.right + across)


def _box(change: Tensor) -> Box | None:
    """The rectangle in which a cue changes images by more than a share of its largest change."""
    strength = change.abs().amax(dim=0)
    seen = strength > FAINT * strength.max()
    rows, columns = (seen.any(dim=dim).nonzero().flatten() for dim in (1, 0))
    if len(rows) == 0:
        return None
    box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    height, width = box.size
    return box if height * width <= MOST_BOXED * strength.numel() else None
