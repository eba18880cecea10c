"""Images that a user's program already holds, from any library, as an `ImageSet`.

Pairs of tensors or arrays, a `torch.utils.data.Dataset`, a torchvision or a Hugging Face data set, a pandas
frame of paths and labels. They are copied as uint8, 0 to 255. Images in floating point are rounded to 8 bits
and must lie in [0, 1] or [0, 255]: normalising is up to the model, because a pattern is added to what a
camera sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from spuriscope.data.decoding import decode_content, decode_image, no_bombs
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.data.items import Items, items_of
from spuriscope.data.labels import Labels, read_labels
from spuriscope.data.pixels import ChannelOrder, channels_first, eight_bits, resized
from spuriscope.errors import ConfigError, DataError
from spuriscope.reading import check_image_size

__all__ = ["Given", "as_image_set", "as_splits", "load_given"]

Given: TypeAlias = Split | tuple[Any, Any] | Dataset[Any] | Any
"""A `Split`, a pair (images, labels), or any data set of `items_of`; anything else is refused when read."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One part as it was found: pixels, and labels that are not numbered yet."""

    images: Tensor
    labels: Labels
    names: tuple[str, ...] | None


def load_given(
    source: Given,
    test: Given | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    channels: ChannelOrder | None = None,
    image_size: int | None = None,
) -> ImageSet:
    """Make a data set of what a program holds; its test part is given, named as a split, or drawn.

    Args:
        source: see `as_splits`; or a mapping of splits, as a Hugging Face `DatasetDict`; or a pandas frame
            with a column `split`. The test part among splits is `test`, else `validation`, `val`, `valid` or
            `dev`.
        test: the test part. Without one, a fifth of the images of each class is drawn, as from a folder:
            `numpy.random.RandomState(0).permutation(n)`, the first fifth, at least one.
        class_names: see `as_image_set`.
        name: see `as_image_set`.
        channels: see `as_image_set`.
        image_size: see `as_image_set`.

    Raises:
        DataError: see `as_image_set`; or a class has only one image and there is no test part.
    """
    name = name or "your data"
    if test is None:
        source, test = _by_split(source)
    if test is not None:
        return as_image_set(
            source, test, class_names=class_names, name=name, channels=channels, image_size=image_size
        )
    whole = _read(source, "data", channels, image_size)
    (labels,), names = read_labels({"data": whole.labels}, class_names)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        positions = (labels == label).nonzero().flatten()
        if len(positions) < 2:
            raise DataError(
                f"class {names[label]!r} has one image, and a class needs two, to train and to test; add "
                "images, or give test= as well"
            )
        n_test = max(1, round(len(positions) / 5))
        is_test[positions[np.random.RandomState(0).permutation(len(positions))[:n_test]]] = True
    parts = []
    for rows in (~is_test, is_test):
        kept = (
            None if whole.names is None else tuple(whole.names[k] for k in rows.nonzero().flatten().tolist())
        )
        parts.append(Split(whole.images[rows], labels[rows], kept))
    train, drawn = parts
    return ImageSet(name, train, drawn, names)


def as_image_set(
    train: Given,
    test: Given,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "your data",
    channels: ChannelOrder | None = None,
    image_size: int | None = None,
) -> ImageSet:
    """Make a data set of a training and a test part.

    Args:
        train: see `as_splits`.
        test: see `as_splits`.
        class_names: one per label; by default those in the data, else the labels themselves.
        name: what reports call it.
        channels: position of the channels of arrays and tensors, where their shape does not tell.
        image_size: height and width that images are brought to: scaled to cover the square, and cropped.

    Raises:
        DataError: a part has no known form, or the parts do not fit together.
    """
    (train_split, test_split), names = as_splits(
        {"train": train, "test": test}, class_names=class_names, channels=channels, image_size=image_size
    )
    shared = set(train_split.names or ()) & set(test_split.names or ())
    if shared:
        raise DataError(f"{min(shared)} is in train and in test; give each image to one of them")
    return ImageSet(name, *_of_equal_channels(train_split, test_split), names)


def as_splits(
    given: Mapping[str, Given],
    *,
    class_names: Sequence[str] | None = None,
    channels: ChannelOrder | None = None,
    image_size: int | None = None,
    renumbers: bool = True,
) -> tuple[list[Split], tuple[str, ...]]:
    """Parts with a common numbering of labels, and the names of the classes.

    Args:
        given: parts by the names that errors use. A `Split`; a pair (images, labels); or a source read image
            by image: a Dataset, of torch, torchvision or Hugging Face, a pandas frame, a list of pairs.
            Images are uint8, or floating point in [0, 1] or [0, 255]: tensors (n, channels, height, width),
            arrays (n, height, width, channels), either without channels too, and the other way round where
            the shape tells; one by one also Pillow pictures and paths of files. Labels are whole numbers,
            strings, or one-hot rows.
        class_names: see `as_image_set`.
        channels: see `as_image_set`.
        image_size: see `as_image_set`.
        renumbers: whether labels that do not begin at 0 are renumbered; otherwise they are columns of a
            model's answers, and stay.

    Raises:
        DataError: it has none of these forms, images differ in size, or values leave the ranges.
    """
    read = {part: _read(some, part, channels, image_size) for part, some in given.items()}
    has_numbers = any(isinstance(some, Split) for some in given.values())  # the labels of a Split stay
    labels, names = read_labels(
        {part: some.labels for part, some in read.items()},
        class_names,
        renumbers=renumbers and not has_numbers,
    )
    found = [
        some if isinstance(some, Split) else Split(part.images, of_part, part.names)
        for some, part, of_part in zip(given.values(), read.values(), labels, strict=True)
    ]
    return found, names


def _read(given: Given, part: str, channels: ChannelOrder | None, image_size: int | None) -> _Part:
    check_image_size(image_size)
    if channels not in (None, "first", "last"):
        raise ConfigError(f"channels are 'first' or 'last', got {channels!r}")
    if isinstance(given, Split):
        return _Part(given.images, Labels(given.labels.numpy()), given.names)
    what = f"images of {part}"
    items = items_of(given, part)
    if items is None and isinstance(given, tuple | list) and len(given) == 2:
        pixels, _ = eight_bits(channels_first(given[0], what, channels=channels), what)
        labels = Labels.of(given[1], f"labels of {part}")
        if len(labels.values) != len(pixels):
            raise DataError(
                f"{part} has {len(pixels)} images and {len(labels.values)} labels; give one label for each "
                "image"
            )
        if image_size is not None:
            pixels = torch.stack([resized(image, image_size, what) for image in pixels])
        return _Part(pixels.contiguous(), labels, None)
    if items is None:
        raise DataError(_not_understood(given, part))
    return _read_items(items, part, channels, image_size)


def _not_understood(given: Any, part: str) -> str:
    if hasattr(given, "dataset") and not hasattr(given, "__getitem__"):
        return f"{part} is a {type(given).__name__}, which has batches; give its .dataset"
    if isinstance(given, np.ndarray | Tensor):
        return f"{part} is images alone; give a pair (images, labels)"
    return (
        f"{part} must be a Split, a pair (images, labels), or a Dataset with a length whose items are "
        f"such pairs, got {type(given).__name__}"
    )


def _read_items(items: Items, part: str, channels: ChannelOrder | None, image_size: int | None) -> _Part:
    what = f"images of {part}"
    images, labels, scales = [], [], []
    with no_bombs():
        items.check_steady(part)
        for position in range(items.n):
            image, label = items.read(position, part)
            pixels, scale = eight_bits(_pixels(image, position, what, channels, image_size), what)
            images.append(pixels if image_size is None else resized(pixels, image_size, what))
            scales.append(scale)
            labels.append(label)
    if "bytes" in scales:  # then an image whose largest value is 1 or less is a dark one
        for position, scale in enumerate(scales):
            if scale == "unit":
                images[position] = (images[position] > 127).to(torch.uint8)
    found = Labels.of(
        labels if items.labels is None else items.labels, f"labels of {part}", items.class_names
    )
    return _Part(_together(images, what), found, items.names)


def _pixels(
    image: Any, position: int, what: str, channels: ChannelOrder | None, image_size: int | None
) -> Tensor:
    """One image (channels, height, width), with unchanged values."""
    if isinstance(image, Image.Image | str | PathLike):
        pixels = _of_picture(image, image_size, f"item {position} of {what.removeprefix('images of ')}")
        return channels_first(pixels, what, many=False, channels="last")
    if image is None or not isinstance(image, Tensor | np.ndarray | list):
        raise DataError(
            f"item {position} of {what.removeprefix('images of ')} is not a pair of an image and a label: "
            f"its image is {type(image).__name__}; give a tensor, an array, a Pillow picture or a path"
        )
    return channels_first(image, what, many=False, channels=channels)


def _of_picture(image: Any, image_size: int | None, name: str) -> NDArray[np.uint8]:
    """A Pillow picture, or the one in a file, as (height, width, channels)."""
    if isinstance(image, Image.Image):
        return decode_image(image, image_size=image_size, name=name)
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        raise DataError(f"{image} cannot be read ({error.strerror}); check the path") from None
    return decode_content(content, image_size=image_size, name=str(image))[0]


def _together(images: list[Tensor], what: str) -> Tensor:
    if not images:
        return torch.empty(0, 1, 1, 1, dtype=torch.uint8)
    channels = {len(image) for image in images}
    if channels == {1, 3}:  # some are grey
        images = [image.expand(3, -1, -1) if len(image) == 1 else image for image in images]
    sizes = sorted({tuple(image.shape) for image in images})
    if len(sizes) > 1:
        raise DataError(
            f"{what} are of several shapes, as {sizes[0]} and {sizes[-1]} (channels, height, width); bring "
            f"them to one: image_size={_suggested(sizes)}"
        )
    return torch.stack(images)


def _suggested(sizes: list[tuple[int, ...]]) -> int:
    """A usual size to which no image has to be enlarged, if there is one."""
    least = min(min(size[1:]) for size in sizes)
    return max([size for size in (32, 64, 128, 224) if size <= least], default=32)


def _of_equal_channels(train: Split, test: Split) -> tuple[Split, Split]:
    """Both parts in colour if one is: grey pictures look grey where they are read alone."""
    if {train.images.shape[1], test.images.shape[1]} != {1, 3}:
        return train, test
    train, test = (
        Split(split.images.expand(-1, 3, -1, -1).contiguous(), split.labels, split.names)
        for split in (train, test)
    )
    return train, test


def _by_split(source: Any) -> tuple[Any, Any]:
    """The training and the test part of a source with named splits; otherwise all of it, and None."""
    if isinstance(source, Mapping):
        return _splits({str(key): part for key, part in source.items()})
    if hasattr(source, "iloc") and "split" in getattr(source, "columns", ()):
        split = source["split"].astype(str)
        return _splits({key: source[split == key] for key in dict.fromkeys(split)})
    return source, None


def _splits(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The training and the test part among splits by name."""
    lower = {key.lower(): key for key in given}
    test = next((lower[key] for key in ("test", "validation", "val", "valid", "dev") if key in lower), None)
    if "train" not in lower or test is None:
        raise DataError(
            f"the splits are {', '.join(given) or 'none'}; there must be train, and test or validation: give "
            "train= and test= yourself"
        )
    return given[lower["train"]], given[test]
