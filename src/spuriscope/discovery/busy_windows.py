"""Images that have a small window in common, wherever it stands.

Each image is seen through its busiest windows, those with the largest variance. From one such window, all
images are ranked by their nearest window, and a group ends at a gap in the ranking, as for marks in one
place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.discovery.marks import Rows, berth_of, gap_strength, is_same, mean_squares

__all__ = ["MOST_OF_IMAGES", "SIDE", "BusyWindows", "Proposal", "images_in_common", "is_fixed"]

SIDE = 5  # of a window, pixels
N_WINDOWS = 24  # of each image, those with the largest variance
LEAST_SPREAD = 0.03  # least standard deviation of the pixels of a busy window
MOST_WINDOWS, AT_ONCE = 2400, 600  # windows that groups start from: those farthest from other classes
MOST_OF_IMAGES = 0.25  # a larger share of the images is not a stray, but how the class is drawn
N_PROPOSED = 12
FIXED = 0.5  # a group with more than this share of its windows in one place is not a stray
NOWHERE = 10.0  # mean square to a missing window


@dataclass(frozen=True, eq=False)
class BusyWindows:
    """The busiest windows of some images.

    Attributes:
        pixels: (n, w, d) of each.
        corners: (n, w, 2) row and column of each window's upper left pixel.
        is_there: (n, w) whether the window is busy.
    """

    pixels: Tensor
    corners: Tensor
    is_there: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "BusyWindows":
        """The busiest windows of images (n, channels, height, width): local peaks of variance, at most 24."""
        n, _, height, width = images.shape
        mean, squares = (F.avg_pool2d(values, SIDE, 1) for values in (images, images.square()))
        variance = (squares - mean.square()).mean(dim=1)
        is_peak = F.max_pool2d(variance[:, None], SIDE, 1, SIDE // 2)[:, 0] == variance
        down, across = height - SIDE + 1, width - SIDE + 1
        top = (variance * is_peak).flatten(1).topk(min(N_WINDOWS, down * across))
        corners = torch.stack([top.indices // across, top.indices % across], dim=2)
        inside = torch.arange(SIDE)
        rows = corners[:, :, 0, None, None] + inside[:, None]
        columns = corners[:, :, 1, None, None] + inside
        pixels = images[torch.arange(n)[:, None, None, None], :, rows, columns]
        return cls(pixels.flatten(2), corners, top.values > LEAST_SPREAD**2)


@dataclass(frozen=True, eq=False)
class Proposal:
    """Images that have a window in common.

    Attributes:
        strength: of the gap behind them.
        rows: (k,) of the images searched.
        centres: (k, 2) row and column of that window's centre in each.
    """

    strength: float
    rows: Rows
    centres: Tensor


def images_in_common(own: BusyWindows, others: BusyWindows, noise: float) -> list[Proposal]:
    """The strongest groups of images that have a window in common, each at its own place, strongest first.

    Args:
        own: windows of the images of a class.
        others: windows of images of other classes, which bound a group.
        noise: root mean square of the rounding error of a pixel.
    """
    windows = own.pixels.flatten(0, 1)[own.is_there.flatten()]
    image = torch.arange(len(own.pixels)).repeat_interleave(own.is_there.sum(dim=1))
    if len(windows) == 0:
        return []
    berth = torch.cat([_berth(part, others, noise) for part in windows.split(AT_ONCE)])
    rarest = berth.topk(min(MOST_WINDOWS, len(berth))).indices
    found = []
    for part in rarest.split(AT_ONCE):
        to_windows = _to_windows(windows[part], own, noise)
        squares = to_windows.amin(dim=2).clamp(min=noise**2)
        squares[torch.arange(len(part)), image[part]] = noise**2
        for strength, rows, seed in _gaps(squares, berth[part], noise):
            near = torch.from_numpy(rows)
            centres = own.corners[near, to_windows[seed, near].argmin(dim=1)] + SIDE // 2
            if not is_fixed(centres):
                found.append(Proposal(strength, rows, centres))
    kept: list[Proposal] = []
    for one in sorted(found, key=lambda one: -one.strength):
        if len(kept) < N_PROPOSED and not any(is_same(one.rows, other.rows) for other in kept):
            kept.append(one)
    return kept


def _to_windows(windows: Tensor, images: BusyWindows, noise: float) -> Tensor:
    """Mean squares (w, n, per image) from windows (w, d) to those of images; large for missing windows."""
    squares = mean_squares(windows, images.pixels.flatten(0, 1), noise)
    squares.masked_fill_(~images.is_there.flatten(), NOWHERE)
    return squares.reshape(len(windows), *images.is_there.shape)


def _berth(windows: Tensor, others: BusyWindows, noise: float) -> Tensor:
    """Mean squares (w,) from windows (w, d) to the nearest of other classes."""
    beside = others.pixels[others.is_there]
    if len(others.pixels) and not len(beside):
        return torch.full((len(windows),), NOWHERE)
    return berth_of(mean_squares(windows, beside, noise)).clamp(min=noise**2)


def _gaps(squares: Tensor, berth: Tensor, noise: float) -> list[tuple[float, Rows, int]]:
    """The strongest of the groups around some windows: strength, images, and the window."""
    nearest = squares.topk(int(MOST_OF_IMAGES * squares.shape[1]) + 1, largest=False)
    strengths, sizes = gap_strength(nearest.values, berth, noise)
    return [
        (float(strengths[seed]), nearest.indices[seed, : int(sizes[seed])].numpy(), seed)
        for seed in strengths.argsort(descending=True)[: 4 * N_PROPOSED].tolist()
        if strengths[seed] > 0
    ]


def is_fixed(centres: Tensor) -> bool:
    """Whether most of some places (k, 2) coincide."""
    _, counts = centres.unique(dim=0, return_counts=True)
    return bool(counts.max() > FIXED * len(centres))
