"""Decode photographs, bring them to one size, and write them into one file that is mapped.

Several threads decode, a few images ahead of the writer, so memory use does not grow with the number of
images. Images stay grey if all of them are and they have no contexts; otherwise they become RGB. An image
that cannot be decoded gives an error that names it, or it is skipped and recorded.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import astuple
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spuriscope.data.cache import cached
from spuriscope.data.decoding import Channels, decode_content, no_bombs, read_header
from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import Arranged, Labelled
from spuriscope.data.prepared import Writer
from spuriscope.errors import DataError
from spuriscope.reading import Reading

__all__ = ["load_photographs", "write_photographs"]

DARK = 64  # of 255: deep images all below it may hold 12 bits in files of 16, as scanners write
BLOCK = 64  # images decoded ahead of the writer
MOST_THREADS = 8  # each holds an image of full size
SUGGESTED = (64, 48, 32, 28, 16)  # pixels: sizes for small models, fast enough on processors


Unpack: TypeAlias = Callable[[Arranged], AbstractContextManager[Arranged]]


def load_photographs(
    arranged: Arranged, name: str, reading: Reading, *, unpack: Unpack = nullcontext
) -> ImageSet:
    """Photographs as a data set, from the cache if these files were decoded in this way before.

    Args:
        arranged: the images, their classes and parts.
        name: of the data set.
        reading: how they are read.
        unpack: writes images that are not files of their own into one, if they must be decoded.

    Raises:
        DataError: see `write_photographs`.
    """
    parts = (("train", arranged.train), ("test", arranged.test))
    about = (astuple(reading), arranged.form, arranged.class_names, arranged.contexts, arranged.notes)
    files = (
        (part, class_name, context, photo.name, photo.start, photo.size, *photo.stamp)
        for part, images in parts
        for photo, class_name, context in images
    )

    def make(out: Path) -> None:
        with unpack(arranged) as ready:
            write_photographs(ready, out, name, reading)

    return cached((about, *files), make, name)


def write_photographs(arranged: Arranged, out: Path, name: str, reading: Reading) -> list[Labelled]:
    """Decode photographs into a prepared folder; returns those of the test part that could be read.

    Raises:
        DataError: `out` is not empty, there is no room, images differ in size, one cannot be read and is not
            to be skipped, or no image of a class could be read.
    """
    n_deep = brightest = 0
    read: dict[str, list[Labelled]] = {"train": [], "test": []}
    with Writer(out, name, arranged) as writer:
        for part, images in (("train", arranged.train), ("test", arranged.test)):
            for image, found in _decoded(images, reading, "rgb" if arranged.contexts else None):
                if isinstance(found, DataError):
                    if reading.unreadable == "refuse":
                        raise DataError(f"{found}, or leave out all such images with --unreadable skip")
                    writer.skip(image.photo.name)
                    continue
                if writer.shape is not None and writer.shape[:2] != found.pixels.shape[:2]:
                    first = next(iter((*read["train"], *read["test"])))
                    raise DataError(_two_sizes(first, writer.shape, image, found.pixels.shape, arranged))
                writer.add(part, found.pixels, image)
                read[part].append(image)
                if found.is_deep:
                    n_deep, brightest = n_deep + 1, max(brightest, int(found.pixels.max()))
        _check_left(arranged, read, writer.skipped)
        if n_deep:
            note = f"{n_deep:,} image{'s' if n_deep > 1 else ''} of 16 bits scaled to 8 (65535 becomes 255)"
            if brightest < DARK:
                note += (
                    f", whose brightest pixel is only {brightest} of 255: if they hold 12 bits, multiply "
                    "them by 16 first"
                )
            writer.notes.append(note)
    return read["test"]


class _Decoded(NamedTuple):
    pixels: NDArray[np.uint8]  # (height, width, channels)
    is_deep: bool


def _decoded(
    images: Sequence[Labelled], reading: Reading, channels: Channels | None
) -> Iterator[tuple[Labelled, _Decoded | DataError]]:
    """Each image in order, with its pixels or with the error that it gave."""
    from tqdm import tqdm

    decode = partial(_decode, reading=reading, channels=channels)
    with (
        no_bombs(),
        ThreadPoolExecutor(min(MOST_THREADS, (os.cpu_count() or 1) + 1)) as pool,
        tqdm(total=len(images), desc="decoding", unit=" images", delay=2, leave=False, disable=None) as bar,
    ):
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            yield from zip(block, pool.map(decode, block), strict=True)
            bar.update(len(block))


def _decode(image: Labelled, reading: Reading, channels: Channels | None) -> _Decoded | DataError:
    try:
        pixels, header = decode_content(
            image.photo.content(),
            image_size=reading.image_size,
            channels=channels,
            background=reading.background,
            name=image.photo.called,
        )
    except DataError as error:
        return error
    return _Decoded(pixels, header.is_deep)


def _two_sizes(
    first: Labelled, first_shape: Sequence[int], other: Labelled, shape: Sequence[int], arranged: Arranged
) -> str:
    """The error for images that differ in size, with a size that suits them."""
    shorter = []
    with no_bombs():
        for image in arranged.photos:
            with suppress(DataError):
                shorter.append(min(read_header(image.photo.content()).size))
    typical = median_low(shorter)
    size = next((size for size in SUGGESTED if size <= typical), typical)
    return (
        f"{first.photo.called} is {_size(first_shape)} and {other.photo.called} is {_size(shape)} (width x "
        f"height); bring all to one size with --image-size {size} (in Python image_size={size}): scaled to "
        "cover, and cropped at the centre"
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _check_left(arranged: Arranged, read: dict[str, list[Labelled]], skipped: list[str]) -> None:
    """Refuse a class that has no images left in a part after some were skipped."""
    for part, images in (("train", arranged.train), ("test", arranged.test)):
        left = {image.class_name for image in read[part]}
        for image in images if skipped else ():
            if image.class_name not in left:
                raise DataError(
                    f"no image of the class {image.class_name} in the {part} part could be read, as "
                    f"{image.photo.called}; replace them, or remove the class"
                )
