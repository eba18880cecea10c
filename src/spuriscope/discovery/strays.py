"""Marks that stand somewhere else on each image: stickers, letters, stamps put down anywhere.

Each image is looked at in the small windows in which most is going on. From one such window all images stand
in a row, each by that of its windows which is nearest, and a group is a gap in the row, as of marks in one
place (`marks`). A group says where its images are to be laid over each other. Where they then agree is the
mark's outline, and whoever has that outline in it, wherever, carries the mark.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import unit_float
from spuriscope.discovery.marks import (
    LEAST_CARRIERS,
    NOISE,
    Mark,
    Pool,
    Rows,
    berth_of,
    gap_strength,
    is_same,
    mean_squares,
    take_apart,
)
from spuriscope.discovery.matching import Matcher
from spuriscope.discovery.places import MANY, Mask, edge_sharpness, large_parts, smaller
from spuriscope.patterns import Anywhere, Cover
from spuriscope.threads import in_threads

__all__ = ["find_strays"]

SIDE = 5  # of a window, pixels
N_WINDOWS = 24  # of each image, those with the largest variance
LEAST_SPREAD = 0.03  # standard deviation of the pixels of a window in which something is going on
MOST_SEARCHED, MOST_OTHERS = 600, 300  # images that are searched, of the class and of others, drawn
MOST_WINDOWS, AT_ONCE = 2400, 600  # windows that groups start from, those with the widest berth
MOST_OF_SEARCHED = 0.25  # what more of the images have is no stray, but how the class is drawn
REACH = 16  # an outline is sought within so many pixels of a window's centre
N_PROPOSED = 12
MOST_STEPS = 3
MOST_GROWN, GROWN_BY = 8, 2  # times that an outline is looked for anew in a wider one, and by how many pixels
CHANCE = 1e-3  # that pixels of unrelated images agree so
SAME = (0.05, 0.005)  # of the usual variance: what is stuck on leaves less, how much less is tried
MANY_CARRIERS = 30  # more make a group weaker: a narrow gap behind a thousand is how strokes are
FIXED = 0.5  # a group of which more than this share has its window in one place is no stray
N_USUAL = 300  # windows that say what is usual around one
NOWHERE = 10.0  # mean square to a window that is not there


@dataclass(frozen=True, eq=False)
class _Windows:
    """The busiest windows of some images.

    Attributes:
        pixels: (n, w, d) of each.
        corners: (n, w, 2) row and column of each window's upper left pixel.
        is_there: (n, w) whether anything is going on in it.
    """

    pixels: Tensor
    corners: Tensor
    is_there: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "_Windows":
        """Of images (n, channels, height, width): local peaks of the variance, at most 24 of each."""
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
class _Proposal:
    """Images that have a window in common.

    Attributes:
        strength: of the gap behind them.
        rows: (k,) of the images searched.
        centres: (k, 2) row and column of that window's centre in each.
    """

    strength: float
    rows: Rows
    centres: Tensor


@dataclass(frozen=True, eq=False)
class _Stray:
    """A group that has an outline in common.

    Attributes:
        picture: (channels, 2 r + 1, 2 r + 1), what they have there.
        mask: (2 r + 1, 2 r + 1), the outline, around the pixel that the images are laid over each other by.
        rows: (k,) of the images searched.
        centres: (k, 2) row and column of that pixel in each.
        strength: of the gap behind the group.
        reach: between the mean squares of the last image before that gap and of what comes next.
    """

    picture: Tensor
    mask: Mask
    rows: Rows
    centres: Tensor
    strength: float
    reach: float


def find_strays(pool: Pool, n_marks: int) -> list[Mark]:
    """Marks that stand anywhere, strongest first, at most `n_marks`."""
    if min(pool.images.shape[2:]) < 2 * SIDE or len(pool) * MOST_OF_SEARCHED < LEAST_CARRIERS:
        return []
    search = _Search.of(pool)
    strays = in_threads(search.stray, search.proposals(), if_worth=len(search.own) >= MANY)
    return take_apart([search.mark(found) for found in strays if found is not None], n_marks)


@dataclass(frozen=True, eq=False)
class _Search:
    """Lays images over each other, and looks for an outline in all of them.

    Attributes:
        pool: that is searched.
        drawn: (n,) rows of the pool that are looked at.
        own: (n, channels, height, width), these images, no larger than they need be; one channel if all are
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

    @cached_property
    def windows(self) -> _Windows:
        """Of the images of the class."""
        return _Windows.of(self.own)

    @property
    def reach(self) -> int:
        """How far an outline may reach from the pixel that images are laid over each other by."""
        return min(REACH, (min(self.own.shape[2:]) - 1) // 2 - 1)

    @cached_property
    def usual(self) -> Tensor:
        """Variance (2 r + 1, 2 r + 1) of what lies around windows."""
        rows = torch.from_numpy(np.random.default_rng(0).permutation(len(self.own))[:N_USUAL])
        return _variance(self.laid_over(rows, self.windows.corners[rows, 0] + SIDE // 2))

    @cached_property
    def matcher(self) -> Matcher:
        """Of all images."""
        return Matcher(torch.cat([self.own, self.others]))

    def proposals(self) -> list[_Proposal]:
        """The strongest groups of images that have a window in common."""
        own, others = self.windows, _Windows.of(self.others)
        windows = own.pixels.flatten(0, 1)[own.is_there.flatten()]
        image = torch.arange(len(self.own)).repeat_interleave(own.is_there.sum(dim=1))
        if len(windows) == 0:
            return []
        berth = torch.cat([_berth(part, others) for part in windows.split(AT_ONCE)])
        rarest = berth.topk(min(MOST_WINDOWS, len(berth))).indices
        found = []
        for part in rarest.split(AT_ONCE):
            to_windows = _to_windows(windows[part], own)
            squares = to_windows.amin(dim=2).clamp(min=NOISE**2)
            squares[torch.arange(len(part)), image[part]] = NOISE**2
            for strength, rows, seed in _gaps(squares, berth[part]):
                near = torch.from_numpy(rows)
                centres = own.corners[near, to_windows[seed, near].argmin(dim=1)] + SIDE // 2
                if not _is_fixed(centres):
                    found.append(_Proposal(strength, rows, centres))
        kept: list[_Proposal] = []
        for one in sorted(found, key=lambda one: -one.strength):
            if len(kept) < N_PROPOSED and not any(is_same(one.rows, other.rows) for other in kept):
                kept.append(one)
        return kept

    def stray(self, proposal: _Proposal) -> _Stray | None:
        """The strongest outline that a group leads to, in full; None where it has none."""
        found = [stray for same in SAME if (stray := self._followed(proposal, same)) is not None]
        return self._grown(max(found, key=lambda one: one.strength)) if found else None

    def _followed(self, proposal: _Proposal, same: float) -> _Stray | None:
        """Where following a group ends: its carriers give the next outline, until the gap no longer grows."""
        rows, centres = proposal.rows, proposal.centres
        best: _Stray | None = None
        for _ in range(MOST_STEPS):
            around = self.laid_over(torch.from_numpy(rows), centres)
            mask = self._outline(around, same)
            if mask is None:
                break
            found = self._carriers(around.nan_to_num().mean(dim=0) * torch.from_numpy(mask), mask)
            if found is None or (best is not None and found.strength <= best.strength):
                break
            best = found
            if np.array_equal(np.sort(found.rows), np.sort(rows)) or _is_fixed(found.centres):
                break
            rows, centres = found.rows, found.centres
        return best if best is not None and not _is_fixed(best.centres) else None

    def _grown(self, found: _Stray) -> _Stray:
        """The same stray with all of its outline.

        A part of one colour fits anywhere within it. So its carriers are laid over the first of them by what
        that one has around the outline as well, as long as the pixels in which all agree become more.
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
        """Surroundings (k, channels, 2 r + 1, 2 r + 1) of a pixel of each image; nan beyond its edge."""
        reach = self.reach
        padded = F.pad(self.own[rows], (2 * reach,) * 4, value=torch.nan)  # the pixel may lie outside
        along = torch.arange(2 * reach + 1) + reach
        down, across = (centres[:, axis, None] + along for axis in (0, 1))
        which = torch.arange(len(rows))[:, None, None]
        return padded[which, :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)

    def _outline(self, around: Tensor, same: float) -> Mask | None:
        """Pixels in which images that are laid over each other agree; None where these are too few."""
        from scipy import stats

        freedom = len(around) - 1
        if freedom + 1 < LEAST_CARRIERS:
            return None
        share = min(same, float(stats.chi2.ppf(CHANCE, freedom)) / freedom)
        core = (_variance(around) < share * (self.usual + 1e-4) + 1e-6).numpy()  # nan is no less
        return large_parts(core, core)

    def _carriers(self, picture: Tensor, mask: Mask) -> _Stray | None:
        """Who has a picture within an outline, up to the widest gap; None where that are too few."""
        squares, centres = self.matcher.best(picture, mask)
        squares += NOISE**2
        n = len(self.own)
        nearest = squares[:n].topk(int(MOST_OF_SEARCHED * n) + 1, largest=False)
        berth = berth_of(squares[None, n:])
        strengths, sizes = gap_strength(nearest.values[None], berth)
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
        """The mark that a stray is: among all images of the pool."""
        around = self.laid_over(torch.from_numpy(found.rows), found.centres)
        strength = (
            found.strength
            * min(1.0, MANY_CARRIERS / len(found.rows)) ** 2
            * edge_sharpness(found.mask, _variance(around), self.usual)
        )
        rows, centres = self.drawn[found.rows], found.centres
        rest = np.setdiff1d(np.arange(len(self.pool)), self.drawn)
        if len(rest):
            images = _seen(self.pool.images[torch.from_numpy(rest)])[:, : self.own.shape[1]]
            squares, places = Matcher(images).best(found.picture, found.mask)
            carry = squares + NOISE**2 < found.reach
            rows = np.concatenate([rows, rest[carry.numpy()]])
            centres = torch.cat([centres, places[carry] + self.reach])
        return Mark(rows, strength, "stray", _Maker(self, found.mask, rows, centres))


def _seen(images: Tensor) -> Tensor:
    """Images no larger than they need be; those that are made smaller are smoothed.

    What stands on a coarser grid than its own looks a little different in each place.
    """
    small = smaller(images)
    if small.shape[2:] == images.shape[2:]:
        return small
    channels = small.shape[1]
    kernel = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])) / 16
    return F.conv2d(
        F.pad(small, (1,) * 4, mode="replicate"), kernel.repeat(channels, 1, 1, 1), groups=channels
    )


def _to_windows(windows: Tensor, images: _Windows) -> Tensor:
    """Mean squares (w, n, per image) of windows (w, d) to those of images, far to one that is not there."""
    squares = mean_squares(windows, images.pixels.flatten(0, 1))
    squares.masked_fill_(~images.is_there.flatten(), NOWHERE)
    return squares.reshape(len(windows), *images.is_there.shape)


def _berth(windows: Tensor, others: _Windows) -> Tensor:
    """Mean squares (w,) of windows (w, d) to the nearest of other classes."""
    beside = others.pixels[others.is_there]
    if len(others.pixels) and not len(beside):
        return torch.full((len(windows),), NOWHERE)
    return berth_of(mean_squares(windows, beside)).clamp(min=NOISE**2)


def _gaps(squares: Tensor, berth: Tensor) -> list[tuple[float, Rows, int]]:
    """The strongest of the groups around some windows: strength, images, and around which."""
    nearest = squares.topk(int(MOST_OF_SEARCHED * squares.shape[1]) + 1, largest=False)
    strengths, sizes = gap_strength(nearest.values, berth)
    return [
        (float(strengths[seed]), nearest.indices[seed, : int(sizes[seed])].numpy(), seed)
        for seed in strengths.argsort(descending=True)[: 4 * N_PROPOSED].tolist()
        if strengths[seed] > 0
    ]


def _is_fixed(centres: Tensor) -> bool:
    """Whether most of some places (k, 2) are one."""
    _, counts = centres.unique(dim=0, return_counts=True)
    return bool(counts.max() > FIXED * len(centres))


def _variance(around: Tensor) -> Tensor:
    """Variance (h, w) of pixels (k, channels, h, w) laid over each other; nan where three are not known."""
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
    """Makes of rows what they have within an outline, to be put down anywhere.

    Carriers have it where it fits best, any other image in a window in which something is going on.
    """

    search: _Search
    mask: Mask
    carriers: Rows
    centres: Tensor

    def __call__(self, rows: Rows) -> Anywhere:
        pieces = torch.stack([self._piece(row) for row in rows.tolist()])
        height, width = self._alpha.shape
        whole = self.search.pool.images.shape[1:]
        alpha, pixels = torch.zeros(whole[1:]), torch.zeros(whole)
        top, left = (whole[1] - height) // 2, (whole[2] - width) // 2
        inside = (slice(top, top + height), slice(left, left + width))
        alpha[inside], pixels[:, *inside] = self._alpha, pieces.mean(dim=0)
        return Anywhere(Cover(f"found-{self.search.pool.target}", pixels, alpha))

    def _piece(self, row: int) -> Tensor:
        """What a row of the pool has within the outline's box."""
        images, (height, width) = self.search.pool.images, self._alpha.shape
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
        windows = _Windows.of(_seen(self.search.pool.images[row : row + 1]))
        busy = windows.corners[0, windows.is_there[0]]
        corners = busy if len(busy) else windows.corners[0]
        return corners[row % len(corners)] + SIDE // 2

    @cached_property
    def _scale(self) -> Tensor:
        whole, seen = self.search.pool.images.shape[2:], self.search.own.shape[2:]
        return torch.tensor([of_whole / of_seen for of_whole, of_seen in zip(whole, seen, strict=True)])

    @cached_property
    def _box(self) -> tuple[int, int, int, int]:
        """The rectangle of the mask that holds the outline: top, left, bottom, right."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1

    @cached_property
    def _alpha(self) -> Tensor:
        """The outline, cut out, as large as it is in the images."""
        top, left, bottom, right = self._box
        cut = torch.from_numpy(self.mask[top:bottom, left:right]).float()
        size = [
            max(1, round(float(side * scale))) for side, scale in zip(cut.shape, self._scale, strict=True)
        ]
        return F.interpolate(cut[None, None], size=size, mode="nearest")[0, 0]

    @cached_property
    def _offset(self) -> Tensor:
        """From the pixel that images are laid over each other by to the box."""
        top, left, *_ = self._box
        return torch.tensor([top, left]) - len(self.mask) // 2
