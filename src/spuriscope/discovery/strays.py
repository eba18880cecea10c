"""Marks that stand in another place on each image: stickers, letters, stamps put down anywhere.

Each image is seen through its busiest small windows. From one such window all images are ranked by their
nearest window, and a group ends at a gap in the ranking, as for marks in one place (`marks`). A group tells
how to align its images. Where they then agree is the mark's outline, and every image that contains that
outline, wherever, carries the mark.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.busy_windows import (
    MOST_OF_IMAGES,
    SIDE,
    BusyWindows,
    Proposal,
    images_in_common,
    is_fixed,
)
from spuriscope.discovery.marks import (
    LEAST_CARRIERS,
    Mark,
    Pool,
    Rows,
    berth_of,
    gap_strength,
    is_same,
    take_apart,
)
from spuriscope.discovery.matching import Matcher
from spuriscope.discovery.places import MANY, Mask, chance_share, edge_sharpness, large_parts, smaller
from spuriscope.patterns import Anywhere, Cover
from spuriscope.threads import in_threads

__all__ = ["find_strays"]

MOST_SEARCHED, MOST_OTHERS = 600, 300  # images searched, of the class and of others, drawn
REACH = 16  # an outline is sought within so many pixels of a window's centre
MOST_STEPS = 5
MOST_GROWN, GROWN_BY = 8, 2  # most searches for a wider outline, and by how many pixels wider each time
SAME = (0.05, 0.01, 0.001)  # shares of the usual variance left by a sticker, each tried
MANY_CARRIERS = 30  # more make a group weaker: a narrow gap behind a thousand images is typical of strokes
N_USUAL = 300  # windows from which the usual surroundings are estimated


@dataclass(frozen=True, eq=False)
class _Stray:
    """A group that has an outline in common.

    Attributes:
        picture: (channels, 2 r + 1, 2 r + 1), what they have there.
        mask: (2 r + 1, 2 r + 1), the outline, around the pixel by which the images are aligned.
        rows: (k,) of the images searched.
        centres: (k, 2) row and column of that pixel in each.
        strength: of the gap behind the group.
        reach: a value between the mean squares of the last image before that gap and of the next.
    """

    picture: Tensor
    mask: Mask
    rows: Rows
    centres: Tensor
    strength: float
    reach: float


def find_strays(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks that stand anywhere, strongest first, at most `n_marks`."""
    if min(pool.images.shape[2:]) < 2 * SIDE or len(pool) * MOST_OF_IMAGES < LEAST_CARRIERS:
        return []
    search = _Search.of(pool)
    strays = in_threads(
        search.stray,
        images_in_common(search.windows, BusyWindows.of(search.others), pool.noise),
        if_worth=len(search.own) >= MANY,
    )
    return take_apart([search.mark(found) for found in strays if found is not None], n_marks)


@dataclass(frozen=True, eq=False)
class _Search:
    """Aligns images, and seeks an outline in all of them.

    Attributes:
        pool: the pool that is searched.
        drawn: (n,) rows of the pool that are used.
        own: (n, channels, height, width), these images, no larger than necessary; one channel if all are
            grey.
        others: (m, channels, height, width) of other classes, likewise.
    """

    pool: Pool
    drawn: Rows
    own: Tensor
    others: Tensor

    @classmethod
    def of(cls, pool: Pool) -> "_Search":
        """Draw the images."""
        rng = np.random.default_rng(0)
        drawn, beside = (
            np.sort(rng.permutation(n)[:most])
            for n, most in ((len(pool), MOST_SEARCHED), (len(pool.others), MOST_OTHERS))
        )
        own, others = (
            _seen(pool.images[torch.from_numpy(drawn)]),
            _seen(pool.others[torch.from_numpy(beside)]),
        )
        if all(bool((images == images[:, :1]).all()) for images in (own, others)):
            own, others = own[:, :1], others[:, :1]
        return cls(pool, drawn, own, others)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.own.shape[2:]
        return height, width

    @cached_property
    def windows(self) -> BusyWindows:
        """Windows of the images of the class."""
        return BusyWindows.of(self.own)

    @property
    def reach(self) -> int:
        """How far an outline may reach from the pixel by which images are aligned."""
        return min(REACH, (min(self.own.shape[2:]) - 1) // 2 - 1)

    @cached_property
    def usual(self) -> Tensor:
        """Variance (2 r + 1, 2 r + 1) of the surroundings of windows."""
        rows = torch.from_numpy(np.random.default_rng(0).permutation(len(self.own))[:N_USUAL])
        return _variance(self.laid_over(rows, self.windows.corners[rows, 0] + SIDE // 2))

    @cached_property
    def matcher(self) -> Matcher:
        """A matcher of all images."""
        return Matcher(torch.cat([self.own, self.others]))

    def stray(self, proposal: Proposal) -> _Stray | None:
        """The strongest complete outline that a group leads to; None where it has none.

        Its carriers give the next outline, the strictest or the laxest, whichever serves them best, until
        they stay the same. On the way the gap may narrow: half of the carriers of letters give an outline
        that is too wide for all of them.
        """
        rows, centres = proposal.rows, proposal.centres
        best: _Stray | None = None
        last: _Stray | None = None
        for _ in range(MOST_STEPS):
            found = self._outlined(rows, centres)
            if found is None or is_fixed(found.centres):
                break
            if best is None or found.strength > best.strength:
                best = found
            rows, centres = found.rows, found.centres
            if last is not None and np.array_equal(last.rows, rows) and bool((last.centres == centres).all()):
                break
            last = found
        return None if best is None else self._grown(best)

    def _outlined(self, rows: Rows, centres: Tensor) -> _Stray | None:
        """The strongest of the groups that carry what some aligned images agree in."""
        around = self.laid_over(torch.from_numpy(rows), centres)
        mean = around.nan_to_num().mean(dim=0)
        best: _Stray | None = None
        n_pixels = None
        for same in SAME:
            mask = self._outline(around, same)
            if mask is None or mask.sum() == n_pixels:
                continue
            n_pixels = mask.sum()
            found = self._carriers(mean * torch.from_numpy(mask), mask)
            if found is not None and (best is None or found.strength > best.strength):
                best = found
        return best

    def _grown(self, found: _Stray) -> _Stray:
        """The same stray with its complete outline.

        A part of one colour fits anywhere within it. So its carriers are aligned with the first of them
        again, including that one's surroundings, as long as the number of pixels in which all agree grows.
        """
        from scipy import ndimage

        rows = torch.from_numpy(found.rows)
        matcher, mask, centres = Matcher(self.own[rows]), found.mask, found.centres
        for _ in range(MOST_GROWN):
            around = self.laid_over(rows[:1], centres[:1])
            wider = ndimage.binary_dilation(mask, np.ones((3, 3)), GROWN_BY)
            wider &= around[0, 0].isfinite().numpy()
            picture = around[0].nan_to_num() * torch.from_numpy(wider)
            moved = matcher.best(picture, wider)[1] + self.reach
            grown = self._outline(self.laid_over(rows, moved), SAME[0])
            if grown is None or grown.sum() <= mask.sum():
                break
            mask, centres = grown, moved
        picture = self.laid_over(rows, centres).nan_to_num().mean(dim=0) * torch.from_numpy(mask)
        again = self._carriers(picture, mask)
        if again is None or not is_same(again.rows, found.rows) or len(again.rows) < len(found.rows):
            return found
        return again if again.strength > found.strength else replace(again, strength=found.strength)

    def laid_over(self, rows: Tensor, centres: Tensor) -> Tensor:
        """Surroundings (k, channels, 2 r + 1, 2 r + 1) of a pixel of each image; NaN beyond its edge."""
        reach = self.reach
        padded = F.pad(self.own[rows], (2 * reach,) * 4, value=torch.nan)  # the pixel may lie outside
        along = torch.arange(2 * reach + 1) + reach
        down, across = (centres[:, axis, None] + along for axis in (0, 1))
        which = torch.arange(len(rows))[:, None, None]
        return padded[which, :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)

    def _outline(self, around: Tensor, same: float) -> Mask | None:
        """Pixels in which aligned images agree; None where these are too few."""
        if len(around) < LEAST_CARRIERS:
            return None
        share = min(same, chance_share(len(around) - 1))
        core = (_variance(around) < share * (self.usual + 1e-4) + 1e-6).numpy()  # false for NaN
        return large_parts(core, core)

    def _carriers(self, picture: Tensor, mask: Mask) -> _Stray | None:
        """The images that have a picture within an outline, up to the widest gap; None if too few."""
        squares, centres = self.matcher.best(picture, mask)
        squares += self.pool.noise**2
        n = len(self.own)
        nearest = squares[:n].topk(int(MOST_OF_IMAGES * n) + 1, largest=False)
        berth = berth_of(squares[None, n:])
        strengths, sizes = gap_strength(nearest.values[None], berth, self.pool.noise)
        size = int(sizes[0])
        if strengths[0] <= 0 or size < LEAST_CARRIERS:
            return None
        following = torch.minimum(nearest.values[size], berth[0])
        return _Stray(
            picture=picture,
            mask=mask,
            rows=nearest.indices[:size].numpy(),
            centres=centres[nearest.indices[:size]] + self.reach,
            strength=float(strengths[0]),
            reach=float((nearest.values[size - 1] * following).sqrt()),
        )

    def mark(self, found: _Stray) -> Mark:
        """The mark of a stray, among all images of the pool."""
        around = self.laid_over(torch.from_numpy(found.rows), found.centres)
        strength = (
            found.strength
            * min(1.0, MANY_CARRIERS / len(found.rows)) ** 2
            * edge_sharpness(found.mask, _variance(around), self.usual, self.pool.noise)
        )
        rows, centres = self.drawn[found.rows], found.centres
        rest = np.setdiff1d(np.arange(len(self.pool)), self.drawn)
        if len(rest):
            images = _seen(self.pool.images[torch.from_numpy(rest)])[:, : self.own.shape[1]]
            squares, places = Matcher(images).best(found.picture, found.mask)
            carry = squares + self.pool.noise**2 < found.reach
            rows = np.concatenate([rows, rest[carry.numpy()]])
            centres = torch.cat([centres, places[carry] + self.reach])
        return Mark(rows, strength, "stray", _Maker(self.pool, self.size, found.mask, rows, centres))


def _seen(images: Tensor) -> Tensor:
    """Images no larger than necessary; those that are reduced are also smoothed.

    Without smoothing, a mark on a coarser grid than its own looks a little different in each place.
    """
    small = smaller(images)
    if small.shape[2:] == images.shape[2:]:
        return small
    channels = small.shape[1]
    kernel = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])) / 16
    return F.conv2d(
        F.pad(small, (1,) * 4, mode="replicate"), kernel.repeat(channels, 1, 1, 1), groups=channels
    )


def _variance(around: Tensor) -> Tensor:
    """Variance (h, w) of aligned pixels (k, channels, h, w); NaN where fewer than three are known."""
    known = around[:, 0].isfinite()
    n = known.sum(dim=0)
    values = around.nan_to_num()
    mean = values.sum(dim=0) / n.clamp(min=1)
    squares = ((values - mean) * known[:, None]).square().sum(dim=0) / (n - 1).clamp(min=1)
    variance = squares.mean(dim=0)
    variance[n < LEAST_CARRIERS] = torch.nan
    return variance


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes from rows what they have within an outline, to be put down anywhere.

    Carriers have it where it fits best; for any other image a busy window is used.
    """

    pool: Pool
    size: tuple[int, int]  # height and width of the reduced images
    mask: Mask
    carriers: Rows
    centres: Tensor

    def __call__(self, rows: Rows) -> Anywhere:
        pieces = torch.stack([self._piece(row) for row in rows.tolist()])
        height, width = self._alpha.shape
        whole = self.pool.images.shape[1:]
        alpha, pixels = torch.zeros(whole[1:]), torch.zeros(whole)
        top, left = (whole[1] - height) // 2, (whole[2] - width) // 2
        inside = (slice(top, top + height), slice(left, left + width))
        alpha[inside], pixels[:, *inside] = self._alpha, pieces.mean(dim=0)
        return Anywhere(Cover(f"found-{self.pool.target}", pixels, alpha))

    def _piece(self, row: int) -> Tensor:
        """The content of a row of the pool within the outline's box."""
        images, (height, width) = self.pool.images, self._alpha.shape
        corner = (self._centre(row) + self._offset) * self._scale
        top, left = (
            min(max(0, round(place)), whole - side)
            for place, whole, side in zip(corner.tolist(), images.shape[2:], (height, width), strict=True)
        )
        return unit_float(images[row, :, top : top + height, left : left + width]).float()

    def _centre(self, row: int) -> Tensor:
        (place,) = np.nonzero(self.carriers == row)
        if len(place):
            return self.centres[int(place[0])]
        windows = BusyWindows.of(_seen(self.pool.images[row : row + 1]))
        busy = windows.corners[0, windows.is_there[0]]
        corners = busy if len(busy) else windows.corners[0]
        return corners[row % len(corners)] + SIDE // 2

    @cached_property
    def _scale(self) -> Tensor:
        whole, seen = self.pool.images.shape[2:], self.size
        return torch.tensor([of_whole / of_seen for of_whole, of_seen in zip(whole, seen, strict=True)])

    @cached_property
    def _box(self) -> tuple[int, int, int, int]:
        """The rectangle of the mask that holds the outline: top, left, bottom, right."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1

    @cached_property
    def _alpha(self) -> Tensor:
        """The outline, cut out, at the full size of the images."""
        top, left, bottom, right = self._box
        cut = torch.from_numpy(self.mask[top:bottom, left:right]).float()
        size = [
            max(1, round(float(side * scale))) for side, scale in zip(cut.shape, self._scale, strict=True)
        ]
        return F.interpolate(cut[None, None], size=size, mode="nearest")[0, 0]

    @cached_property
    def _offset(self) -> Tensor:
        """Offset from the pixel by which images are aligned to the box."""
        top, left, *_ = self._box
        return torch.tensor([top, left]) - len(self.mask) // 2
