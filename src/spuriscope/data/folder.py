"""A folder of class folders with PNG or JPEG images, as most people keep their own data.

Either `folder/CLASS/*.png`, split 80:20 here, or `folder/train/CLASS/*.png` and `folder/test/CLASS/
*.png`. Classes and images are taken in the order of their names. Hidden files and what operating
systems leave behind (`.DS_Store`, `Thumbs.db`) are passed over; so are files beside the class folders.
Transparency is dropped and EXIF rotation is not applied. Nothing is resized: that is a choice which
belongs to the owner of the images.
"""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import DataError

__all__ = ["EIGHT_BIT_MODES", "SUFFIXES", "entries_of", "is_left_behind", "load_folder", "no_bombs", "opened"]

SUFFIXES = {".png", ".jpg", ".jpeg"}
_LEFT_BEHIND = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_GREY_MODES = {"1", "L", "LA"}
EIGHT_BIT_MODES = _GREY_MODES | {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}

Classes = Mapping[str, list[Path]]  # the images of each class, both in the order of their names


def load_folder(folder: Path) -> ImageSet:
    """Read a folder of class folders.

    With `train/` and `test/` on top these are the two parts (a `val/` beside them is not read). Without
    them every fifth image of each class is for testing, at least one: in each class the images, sorted
    by name, are drawn by `numpy.random.RandomState(0).permutation(n)`, and the first fifth is taken.

    Images become grey, (1, height, width), if all of them are grey, and RGB otherwise.

    Raises:
        DataError: there are no class folders, a class is empty or has one image only, the parts have
            different classes, a link leads out of the folder, or an image is unreadable, of more than
            8 bits, or of another size than the first.
    """
    names = {entry.name for entry in entries_of(folder, top=folder) if entry.is_dir()}
    if {"train", "test"} <= names <= {"train", "test", "val"}:
        train, test = (_classes(folder / part, top=folder) for part in ("train", "test"))
        if train.keys() != test.keys():
            name = min(train.keys() ^ test.keys())
            there, lacking = ("train", "test") if name in train else ("test", "train")
            raise DataError(
                f"{folder / there} has the class {name}, {folder / lacking} has not; "
                "give both parts the same class folders"
            )
    else:
        train, test = _split(_classes(folder, top=folder))

    with no_bombs():
        paths = [path for part in (train, test) for paths in part.values() for path in paths]
        size, grey = _common_form(paths)
        return ImageSet(
            folder.resolve().name,
            train=_read(train, size, grey=grey),
            test=_read(test, size, grey=grey),
            class_names=tuple(train),
        )


def entries_of(folder: Path, *, top: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without hidden files; links must stay under `top`."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read ({error.strerror}); check the path") from error
    entries = [entry for entry in entries if not is_left_behind(entry.name)]
    for entry in entries:
        if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(os.path.realpath(top)):
            raise DataError(f"{entry} is a link that leads out of {top}; put a copy in its place")
    return entries


def is_left_behind(name: str) -> bool:
    """Whether this is a hidden file, or one that an operating system leaves behind."""
    return name.startswith(".") or name in _LEFT_BEHIND


def _classes(folder: Path, *, top: Path) -> Classes:
    """The images of each class folder."""
    classes = {entry.name: _images(entry, top=top) for entry in entries_of(folder, top=top) if entry.is_dir()}
    if not classes:
        raise DataError(f"{folder} has no class folders; put the images of each class in a folder of its own")
    return classes


def _images(class_folder: Path, *, top: Path) -> list[Path]:
    """The images of one class."""
    paths = entries_of(class_folder, top=top)
    for path in paths:
        if path.is_dir():
            raise DataError(
                f"{class_folder} should hold the images of one class, but holds the folder {path.name}; give "
                "the folder whose folders are the classes, or one with train/ and test/"
            )
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise DataError(f"{path} is neither a PNG nor a JPEG image; convert it, or move it away")
    if not paths:
        raise DataError(f"the class folder {class_folder} has no images; fill it, or remove it")
    return paths


def _split(classes: Classes) -> tuple[Classes, Classes]:
    """Training and test images: every class is split 80:20, and does not depend on the others."""
    train, test = {}, {}
    for name, paths in classes.items():
        if len(paths) < 2:
            raise DataError(
                f"{paths[0].parent} has one image, and a class needs two, to train and to test; "
                "add images, or make folders train/ and test/ that hold the classes"
            )
        n_test = max(1, round(len(paths) / 5))
        chosen = set(np.random.RandomState(0).permutation(len(paths))[:n_test].tolist())
        train[name] = [path for k, path in enumerate(paths) if k not in chosen]
        test[name] = [path for k, path in enumerate(paths) if k in chosen]
    return train, test


@contextmanager
def opened(path: Path | str, content: bytes | None = None) -> Iterator[Image.Image]:
    """An image that is open for decoding; what Pillow raises for a damaged one becomes a `DataError`.

    Use it inside `no_bombs`, which makes errors of Pillow's warnings about images of absurd size.

    Args:
        path: of the image; what errors call it.
        content: its bytes, where it is not a file of its own.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is too large ({error}); resize the images") from error
    except (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error, zlib.error) as error:
        reason = str(error).partition(" <_io")[0]  # Pillow names the buffer it read from
        raise DataError(f"{path} cannot be read as an image ({reason}); replace it, or remove it") from error


@contextmanager
def no_bombs() -> Iterator[None]:
    """Images of absurd size are errors inside. Not for use in threads: it changes Python's own filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _common_form(paths: list[Path]) -> tuple[tuple[int, int], bool]:
    """Size (width, height) of the images, which must be one, and whether all are grey. Decodes no pixels."""
    with opened(paths[0]) as image:
        first_size, all_grey = image.size, True
    for path in paths:
        with opened(path) as image:
            size, mode = image.size, image.mode
            image.verify()  # the checksums of a PNG, which decoding passes over
        if mode not in EIGHT_BIT_MODES:
            raise DataError(f"{path} has more than 8 bits for a pixel (mode {mode}); save it with 8 bits")
        if size != first_size:
            raise DataError(
                f"{paths[0]} is {first_size[0]}x{first_size[1]} and {path} is {size[0]}x{size[1]} (width x "
                "height); resize the images to one size"
            )
        all_grey = all_grey and mode in _GREY_MODES
    return first_size, all_grey


def _read(classes: Classes, size: tuple[int, int], *, grey: bool) -> Split:
    """Decode the images of one part, class by class."""
    width, height = size
    n, channels = sum(map(len, classes.values())), 1 if grey else 3
    try:
        pixels = np.empty((n, height, width, channels), dtype=np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{n} images of {width}x{height} need {n * height * width * channels / 1e9:.0f} GB of memory; "
            "resize the images"
        ) from error
    for k, path in enumerate(path for paths in classes.values() for path in paths):
        with opened(path) as image:
            image.load()
            image.info.pop("transparency", None)  # Pillow warns about it, and it is dropped anyway
            pixels[k] = np.asarray(image.convert("L" if grey else "RGB")).reshape(height, width, channels)
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()])
    return Split(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels).long())
