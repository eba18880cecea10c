"""Find test images that are also among the training images, or almost.

Pictures from the web come in copies: another size, compressed again, slightly brighter. With one copy in each
part, a test measures memorisation. Two images count as near-duplicates if their thumbnails (16x16, grey)
correlate by more than 0.97. Recoloured copies are found, mirrored and cropped ones are not, and sketches of a
few lines may be reported that only look alike: of the 17 pairs found between the parts of PACS, the 12 in
art, cartoons and photographs are copies to the eye, the 5 in sketches are guitars of one form.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.checks import check_number
from spuriscope.data.image_set import PIECE, ImageSet, in_pieces, unit_float

__all__ = ["NearDuplicate", "copied_in_test", "near_duplicates", "without_copies"]

SIDE = 16
THRESHOLD = 0.97
MUCH_NEARER = 4  # times nearer than the nearest image usually is


@dataclass(frozen=True)
class NearDuplicate:
    """A test image that is almost equal to a training image.

    Attributes:
        test: its position in the test part.
        train: position of the most similar training image.
        similarity: correlation of their thumbnails.
    """

    test: int
    train: int
    similarity: float


def near_duplicates(data: ImageSet, *, threshold: float = THRESHOLD) -> list[NearDuplicate]:
    """Test images with a near-duplicate among the training images, by position.

    It takes 256 bytes of memory per training image, whatever the size of the images.

    Args:
        data: its two parts are compared.
        threshold: least correlation of thumbnails that counts.
    """
    check_number("threshold", threshold, least=-1, most=1)
    train = torch.cat(list(_thumbnails(data.train.images)))
    found: list[NearDuplicate] = []
    start = 0
    for piece in _thumbnails(data.test.images):
        test = _standardised(piece)
        best = torch.full((len(test),), -1.0)
        at = torch.zeros(len(test), dtype=torch.int64)
        for first in range(0, len(train), PIECE):
            likeness, positions = (test @ _standardised(train[first : first + PIECE]).T).max(dim=1)
            is_better = likeness > best
            best = torch.where(is_better, likeness, best)
            at = torch.where(is_better, positions + first, at)
        found += [
            NearDuplicate(start + position, int(at[position]), float(best[position]))
            for position in (best > threshold).nonzero().flatten().tolist()
        ]
        start += len(test)
    return found


def without_copies(images: Tensor) -> Tensor:
    """Which images (n,) are not near-duplicates of an earlier one.

    Images of one class may all look alike, as handwritten ones do. So a copy must also be four times nearer
    (in one minus the correlation) than the nearest other image is to the median image.

    Args:
        images: (n, channels, height, width), uint8 or in [0, 1], of one class.
    """
    rows = _standardised(torch.cat(list(_thumbnails(images)))) if len(images) else torch.empty(0, 1)
    nearest = torch.full((len(rows),), -1.0)
    earlier = torch.full((len(rows),), -1.0)
    for first in range(0, len(rows), PIECE):
        likeness = rows[first : first + PIECE] @ rows.T
        places = torch.arange(first, first + len(likeness))[:, None]
        likeness[places == torch.arange(len(rows))] = -1
        nearest[first : first + PIECE] = likeness.amax(dim=1)
        earlier[first : first + PIECE] = likeness.where(torch.arange(len(rows)) < places, -1.0).amax(dim=1)
    usual = (1 - nearest).median() if len(rows) else torch.tensor(0.0)
    return 1 - earlier >= torch.minimum(torch.tensor(1 - THRESHOLD), usual / MUCH_NEARER)


def copied_in_test(data: ImageSet) -> Tensor:
    """Which test images (n,) are copies: near-duplicates of a training image, or of an earlier test image.

    Near-duplicates are sought in the image's own class, see `without_copies`; equal images in all classes.
    """
    train, test = data.train, data.test
    known = set(_digests(train.images))
    is_copy = torch.tensor([digest in known for digest in _digests(test.images)])
    for label in test.labels.unique():
        of_class = test.labels == label
        known_too = train.images[train.labels == label]
        is_new = without_copies(torch.cat([known_too, test.images[of_class]]))
        is_copy[of_class] |= ~is_new[len(known_too) :]
    return is_copy


def _digests(images: Tensor) -> Iterator[bytes]:
    """A digest of each image, the same only for equal images."""
    for image in images:
        yield hashlib.blake2b(image.contiguous().numpy().data, digest_size=16).digest()


def _thumbnails(images: Tensor) -> Iterator[Tensor]:
    """Grey means of 16x16 patches, as uint8 (n, 256), a piece at a time."""
    for piece in in_pieces(images):
        means = F.adaptive_avg_pool2d(unit_float(piece).mean(dim=1, keepdim=True), SIDE)
        yield (255 * means).round().to(torch.uint8).flatten(1)


def _standardised(thumbnails: Tensor) -> Tensor:
    """Centre and scale to length 1, so that products are correlations; 0 where an image is uniform."""
    centred = thumbnails.float() - thumbnails.float().mean(dim=1, keepdim=True)
    return F.normalize(centred, dim=1)
