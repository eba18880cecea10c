"""Photographs that have a context beside their class: `folder/CONTEXT/CLASS/*.jpg`.

So lies NICO++ as its authors published it (`train/CONTEXT/CLASS`), and PACS, whose domains are contexts; as a
folder, or in a `.tar`, which is read member by member. Several threads decode the images and bring them to
one size, and they go into one file that is mapped (see `prepared`): however many there are, they need no
memory. Everything becomes RGB; EXIF rotation is not applied.

Seven tenths of the images of each class in each context are for training, as in Yang et al. (2022), Section
3.4. Which ones does not depend on the other classes and contexts.
"""

import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from spuriscope.data.duplicates import near_duplicates
from spuriscope.data.folder import EIGHT_BIT_MODES, SUFFIXES, entries_of, is_left_behind, no_bombs, opened
from spuriscope.data.image_set import ImageSet
from spuriscope.data.prepared import Writer, load_prepared
from spuriscope.data.published import Published, check_labels
from spuriscope.errors import ConfigError, DataError

__all__ = ["Missing", "Unreadable", "has_contexts", "load_contexts", "load_published", "prepare_contexts"]

Unreadable = Literal["refuse", "skip"]
Missing = Literal["refuse", "allow"]
Duplicates = Literal["keep", "move"]

BLOCK = 256  # images decoded ahead of what is written


@dataclass(frozen=True, order=True)
class Photo:
    """One image of a source, not read yet.

    Attributes:
        context: name of its context.
        class_name: name of its class.
        name: where it is, for errors; the order within a class.
        file: the file its bytes are in.
        start: where they begin there.
        size: how many they are, -1 for all to the end.
    """

    context: str
    class_name: str
    name: str
    file: Path
    start: int = 0
    size: int = -1

    def content(self) -> bytes:
        """Its bytes."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def has_contexts(folder: Path) -> bool:
    """Whether a folder holds folders that hold nothing but folders: contexts, and classes in them.

    `train/` and `test/` are not contexts but the two parts of a folder of class folders.
    """
    tops = [entry for entry in entries_of(_top(folder), top=folder) if entry.is_dir()]
    if {"train", "test"} <= {entry.name for entry in tops}:
        return False
    inner = [entries_of(entry, top=folder) for entry in tops]
    return bool(tops) and all(entries and all(entry.is_dir() for entry in entries) for entries in inner)


def load_contexts(source: Path, *, image_size: int | None = None, name: str | None = None) -> ImageSet:
    """Read photographs with contexts, by way of a temporary file that is gone with the data set.

    Arguments and errors as for `prepare_contexts`, which keeps the file.
    """
    with tempfile.TemporaryDirectory(prefix="spuriscope-data-", ignore_cleanup_errors=True) as folder:
        return prepare_contexts(source, Path(folder) / "prepared", image_size=image_size, name=name)


def load_published(data: Published, path: Path) -> ImageSet:
    """Read photographs known by name, from their archive or from one of their context folders.

    Raises:
        DataError: as for `prepare_contexts`, or they are not those that were published.
    """
    source = path.parent if path.is_dir() else path
    found = load_contexts(source, image_size=data.shape[1], name=data.name)
    contexts = found.contexts.names if found.contexts else ()
    if (found.class_names, contexts) != (data.class_names, data.contexts):
        raise DataError(
            f"{source} holds the contexts {', '.join(contexts)} and classes {', '.join(found.class_names)}, "
            f"{data.name} has {', '.join(data.contexts)} and {', '.join(data.class_names)}; give the folder "
            "itself to load it as it is"
        )
    for split, counts in ((found.train, data.train_counts), (found.test, data.test_counts)):
        check_labels(split.labels.numpy().astype(np.uint8), counts, data, source)
    return found


def prepare_contexts(
    source: Path,
    out: Path,
    *,
    image_size: int | None = None,
    seed: int = 0,
    unreadable: Unreadable = "refuse",
    missing: Missing = "refuse",
    duplicates: Duplicates = "keep",
    name: str | None = None,
) -> ImageSet:
    """Decode photographs with contexts into a folder, which `spuriscope.load` opens at once from then on.

    Args:
        source: a folder CONTEXT/CLASS/*.jpg or *.png, one with these in `train/`, or a `.tar` of either.
        out: the folder to make.
        image_size: height and width in pixels that images are brought to: scaled to cover the square
            (Lanczos), then cropped around the centre. None leaves them as they are, which must be one size.
        seed: draws the split: in each class of each context, sorted by name, the first three tenths of
            `numpy.random.RandomState(seed).permutation(n)` are for testing.
        unreadable: "refuse" images that cannot be decoded, or "skip" them; the data set names those skipped.
        missing: "refuse" a source where a context lacks a class that another one has, or "allow" it.
        duplicates: "keep" test images where the split put them, or "move" those with a near-duplicate among
            the training images there (`spuriscope.data.duplicates`); the images are decoded again for it.
        name: what the data set is called; by default as its source.

    Raises:
        ConfigError: a setting is out of range.
        DataError: there is something in `out`, the source is not of this form or has no room, images differ
            in size, one cannot be read, or a context lacks a class.
    """
    for setting, value, allowed in (
        ("unreadable", unreadable, Unreadable),
        ("missing", missing, Missing),
        ("duplicates", duplicates, Duplicates),
    ):
        if value not in get_args(allowed):
            raise ConfigError(f"{setting} must be one of {', '.join(get_args(allowed))}, got {value!r}")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is a number of pixels, 1 or more, got {image_size}")
    photos = sorted(_in_folder(source) if source.is_dir() else _in_archive(source))
    contexts = sorted({photo.context for photo in photos})
    class_names = sorted({photo.class_name for photo in photos})
    if missing == "refuse":
        _check_complete(photos, contexts, class_names, source)
    train, test = _split(photos, seed)
    called = name if name is not None else source.resolve().name.removesuffix(".tar")
    while duplicates == "move":
        with tempfile.TemporaryDirectory(prefix="spuriscope-data-") as folder:
            trial = Path(folder) / "prepared"
            with Writer(trial, called, class_names, contexts) as writer:
                _write(writer, "train", train, image_size, unreadable)
                tested = _write(writer, "test", test, image_size, unreadable)
            moved = {tested[pair.test] for pair in near_duplicates(load_prepared(trial))}
        if not moved:
            break
        train, test = sorted([*train, *moved]), [photo for photo in test if photo not in moved]
    with Writer(out, called, class_names, contexts) as writer:
        _write(writer, "train", train, image_size, unreadable)
        _write(writer, "test", test, image_size, unreadable)
    return load_prepared(out)


def _write(
    writer: Writer, part: str, photos: Sequence[Photo], image_size: int | None, unreadable: Unreadable
) -> list[Photo]:
    """Decode photos into a part of a prepared folder; returns those that could be read."""
    written = []
    for photo, pixels in _decoded(photos, image_size):
        if isinstance(pixels, DataError):
            if unreadable == "refuse":
                raise pixels
            writer.skip(photo.name)
            continue
        if writer.shape not in (None, pixels.shape):
            raise DataError(
                f"{photo.name} is {_size(pixels.shape)} and others are {_size(writer.shape or ())} (width x "
                "height); bring all to one size: `spuriscope data prepare SOURCE --image-size 64 --out DIR`"
            )
        writer.add(part, pixels, photo.class_name, photo.context)
        written.append(photo)
    return written


def _top(folder: Path) -> Path:
    """The folder of the contexts: `train/` where that is the only one."""
    names = [entry.name for entry in entries_of(folder, top=folder) if entry.is_dir()]
    return folder / "train" if names == ["train"] else folder


def _in_folder(folder: Path) -> Iterator[Photo]:
    for context in entries_of(_top(folder), top=folder):
        if not context.is_dir():
            continue
        for of_class in entries_of(context, top=folder):
            if not of_class.is_dir():
                raise DataError(
                    f"{context} should hold class folders, but holds {of_class.name}; move it away"
                )
            for path in entries_of(of_class, top=folder):
                if path.suffix.lower() not in SUFFIXES or not path.is_file():
                    raise DataError(f"{path} is neither a PNG nor a JPEG image; convert it, or move it away")
                yield Photo(context.name, of_class.name, str(path), path)


def _in_archive(path: Path) -> Iterator[Photo]:
    tops = set()
    try:
        with tarfile.open(path, mode="r:") as archive:  # not a compressed one: images are read in any order
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise DataError(
                        f"{path} holds the suspicious member {member.name!r}, a link or a path that leads "
                        "out of the archive; unpack it where you trust it, and give the folder"
                    )
                if member.isdir() or any(map(is_left_behind, name.parts)):
                    continue
                if name.suffix.lower() not in SUFFIXES or len(name.parts) < 3:
                    raise DataError(
                        f"{path} holds {member.name}, which is not an image in CONTEXT/CLASS/; leave it out"
                    )
                tops.add(name.parts[:-3])
                called = f"{member.name} in {path}"
                context, class_name = name.parts[-3:-1]
                yield Photo(context, class_name, called, path, member.offset_data, member.size)
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read as a .tar of images ({reason}); check it, and unpack a compressed one"
        ) from error
    if len(tops) > 1:
        raise DataError(
            f"{path} has images at several depths or in several folders; pack one folder of contexts"
        )


def _check_complete(
    photos: Sequence[Photo], contexts: Sequence[str], class_names: Sequence[str], source: Path
) -> None:
    if not photos:
        raise DataError(f"{source} holds no images in CONTEXT/CLASS/; check the path")
    n_of = Counter((photo.context, photo.class_name) for photo in photos)
    for context in contexts:
        for class_name in class_names:
            if not n_of[context, class_name]:
                other = next(there for there in contexts if n_of[there, class_name])
                raise DataError(
                    f"the context {context} of {source} has no images of class {class_name}, and {other} "
                    "has; add some, or prepare it with --missing allow"
                )


def _split(photos: Sequence[Photo], seed: int) -> tuple[list[Photo], list[Photo]]:
    """Training and test images, drawn within each class of each context."""
    train: list[Photo] = []
    test: list[Photo] = []
    groups: dict[tuple[str, str], list[Photo]] = {}
    for photo in photos:
        groups.setdefault((photo.context, photo.class_name), []).append(photo)
    for group in groups.values():
        n_test = min((3 * len(group) + 5) // 10, len(group) - 1)  # three tenths, rounded
        chosen = set(np.random.RandomState(seed).permutation(len(group))[:n_test].tolist())
        for position, photo in enumerate(group):
            (test if position in chosen else train).append(photo)
    return train, test


def _decoded(
    photos: Sequence[Photo], image_size: int | None
) -> Iterator[tuple[Photo, NDArray[np.uint8] | DataError]]:
    """Each photo with its pixels (3, height, width) in their order, or with why there are none."""
    from tqdm import tqdm

    with (
        no_bombs(),
        ThreadPoolExecutor() as pool,
        tqdm(total=len(photos), desc="decoding", unit=" images", delay=2, leave=False, disable=None) as bar,
    ):
        for start in range(0, len(photos), BLOCK):
            block = photos[start : start + BLOCK]
            yield from zip(block, pool.map(partial(_decode, image_size=image_size), block), strict=True)
            bar.update(len(block))


def _decode(photo: Photo, image_size: int | None) -> NDArray[np.uint8] | DataError:
    try:
        content = photo.content()
        with opened(photo.name, content) as image:
            image.verify()  # the checksums of a PNG, which decoding passes over
        with opened(photo.name, content) as image:
            if image.mode not in EIGHT_BIT_MODES:
                return DataError(
                    f"{photo.name} has more than 8 bits for a pixel (mode {image.mode}); save it with 8 bits"
                )
            if image_size is not None:
                image.draft("RGB", (2 * image_size, 2 * image_size))  # large JPEGs: decode what is needed
            image.load()
            image.info.pop("transparency", None)  # Pillow warns about it, and it is dropped anyway
            picture = image.convert("RGB")
    except (DataError, OSError) as error:
        return error if isinstance(error, DataError) else DataError(f"{photo.name} cannot be read ({error})")
    if image_size is not None and picture.size != (image_size, image_size):
        picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[1]}"
