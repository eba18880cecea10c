"""Photographs are decoded, brought to one size, and written into one file that is mapped.

Several threads decode, a few images ahead of what is written: however many images there are, they need no
memory. Images stay grey if all of them are, unless they have contexts, and become RGB otherwise. An image
that cannot be decoded ends in an error that names it, or it is skipped and written down.
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

DARK = 64  # of 255: what no deep image is brighter than hints at 12 bits in files of 16, as scanners write
BLOCK = 64  # images decoded ahead of what is written
MOST_THREADS = 8  # each holds an image of full size
SUGGESTED = (64, 48, 32, 28, 16)  # pixels: what small models take, and processors manage


Unpack: TypeAlias = Callable[[Arranged], AbstractContextManager[Arranged]]


def load_photographs(
    arranged: Arranged, name: str, reading: Reading, *, unpack: Unpack = nullcontext
) -> ImageSet:
    """Photographs as a data set, from the cache if these files were decoded in this way before.

    Args:
        arranged: the images, their classes and parts.
        name: what the data set is called.
        reading: how they are read.
        unpack: brings images that lie in no file as they are into one, if they have to be decoded.

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
        DataError: there is something in `out`, there is no room, images differ in size, one cannot be read
            and is not to be skipped, or nothing of a class could be read.
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
    """Each image with its pixels, in their order, or with why there are none."""
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
    """What is said of images that differ in size, with a size that suits them."""
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
    """Refuse a class of which nothing is left in a part after images were skipped."""
    for part, images in (("train", arranged.train), ("test", arranged.test)):
        left = {image.class_name for image in read[part]}
        for image in images if skipped else ():
            if image.class_name not in left:
                raise DataError(
                    f"no image of the class {image.class_name} in the {part} part could be read, as "
                    f"{image.photo.called}; replace them, or remove the class"
                )
