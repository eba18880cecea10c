"""Data sets that are read image by image: of torch, torchvision, Hugging Face, pandas, and lists.

None of these libraries is imported here: a data set is recognised by its attributes. The image of an item may
be a tensor, an array, a Pillow picture, or the path of a file.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spuriscope.data.columns import USUAL
from spuriscope.errors import DataError

__all__ = ["Items", "items_of"]

N_ASKED_TWICE = 16


@dataclass(frozen=True, eq=False)
class Items:
    """Images with their labels, read one by one.

    Attributes:
        n: number of images.
        item: the image and the label at a position.
        class_names: position = label, where the data set has names.
        names: the file or key of each image, where it has one.
        labels: all labels, where they are known without reading the images.
    """

    n: int
    item: Callable[[int], tuple[Any, Any]] = field(repr=False)
    class_names: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    labels: Any = None

    def check_steady(self, part: str) -> None:
        """Read some items twice: a data set that draws images anew at each call cannot be used.

        Raises:
            DataError: an image or a label changes from call to call.
        """
        for position in np.unique(
            np.linspace(0, self.n - 1, min(self.n, N_ASKED_TWICE)).astype(int)
        ).tolist():
            first, second = (self.read(position, part) for _ in range(2))
            for what, one, other in zip(("image", "label"), first, second, strict=True):
                if not _is_same(one, other):
                    raise DataError(
                        f"the {what} of item {position} of {part} changes from call to call, as under random "
                        "augmentation; give the data set without it"
                    )

    def read(self, position: int, part: str) -> tuple[Any, Any]:
        """The item at a position.

        Raises:
            DataError: it is not a pair, its file cannot be read, or the data set fails to return it.
        """
        item = self._fetch(position, part)
        try:
            if isinstance(item, Mapping):  # which would unpack into its keys
                raise TypeError(f"it is a mapping of {', '.join(map(str, item))}")
            image, label = item
        except (TypeError, ValueError) as error:
            raise DataError(
                f"item {position} of {part} is not a pair of an image and a label ({error}); give a "
                "Dataset of pairs"
            ) from None
        return image, label

    def _fetch(self, position: int, part: str) -> Any:
        try:
            return self.item(position)
        except IndexError as error:
            raise DataError(
                f"{part} has length {self.n}, but no item {position} ({error}); correct its __len__"
            ) from None
        except OSError as error:
            raise DataError(f"item {position} of {part} cannot be read ({error}); replace it") from None
        except Exception as error:  # the user's code may raise anything; keep its traceback
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(
                f"item {position} of {part} cannot be read ({what}); correct its __getitem__"
            ) from error


def items_of(given: Any, part: str) -> Items | None:
    """Wrap a source that is read image by image; None if this is not one.

    Args:
        given: a Hugging Face or torchvision data set, a pandas frame, a torch Dataset, a list of pairs of an
            image and a label, or a pair (images, labels) where the images are pictures or paths.
        part: what errors call it.

    Raises:
        DataError: a column cannot be identified, or one image is there twice.
    """
    if isinstance(given, tuple | list) and len(given) == 2 and not _are_pairs(given):
        images, labels = given
        return _of_lists(images, labels, part) if _is_one_by_one(images) else None
    if hasattr(given, "features") and hasattr(given, "column_names"):
        return _of_columns(given, part)
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return _of_frame(given, part)
    is_other = isinstance(given, str | bytes | dict | np.ndarray | Tensor) or (
        isinstance(given, list | tuple) and not _are_pairs(given)
    )
    if is_other or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        return None
    return _of_dataset(given, part)


def _are_pairs(given: Any) -> bool:
    return len(given) > 0 and all(isinstance(item, tuple) and len(item) == 2 for item in given)


def _is_one_by_one(images: Any) -> bool:
    """Whether these are pictures, paths, or images of several sizes."""
    if not isinstance(images, list | tuple) and not (hasattr(images, "iloc") or _is_array_of_objects(images)):
        return False
    some = list(images)
    return any(isinstance(image, Image.Image | str | PathLike) for image in some) or (
        len({tuple(image.shape) for image in some if hasattr(image, "shape")}) > 1
    )


def _is_array_of_objects(images: Any) -> bool:
    return isinstance(images, np.ndarray) and images.dtype.kind in "OU" and images.ndim == 1


def _of_lists(images: Any, labels: Any, part: str) -> Items:
    some = list(images)
    names = _names(some, part)
    if hasattr(labels, "__len__") and len(labels) != len(some):
        raise DataError(
            f"{part} has {len(some)} images and {len(labels)} labels; give one label for each image"
        )
    return Items(len(some), lambda position: (some[position], None), names=names, labels=labels)


def _of_columns(given: Any, part: str) -> Items:
    """A Hugging Face `Dataset`."""
    kinds = {name: type(feature).__name__ for name, feature in given.features.items()}
    of_images = [name for name, kind in kinds.items() if kind == "Image"]
    image = _column(kinds, of_images, USUAL["image"], part, "images")
    of_labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    label = _column([name for name in kinds if name != image], of_labels, USUAL["label"], part, "labels")
    names = getattr(given.features[label], "names", None)

    def item(position: int) -> tuple[Any, Any]:
        row = given[position]
        return row[image], row[label]

    return Items(len(given), item, class_names=None if names is None else tuple(names))


def _of_frame(given: Any, part: str) -> Items:
    """A pandas frame."""
    columns = list(given.columns)
    of_images = [name for name in columns if len(given) and _is_image(given[name].iloc[0])]
    image = _column(columns, of_images, USUAL["image"], part, "images")
    rest = [name for name in columns if name not in (image, "split")]
    label = _column(rest, rest if len(rest) == 1 else [], USUAL["label"], part, "labels")
    return _of_lists(given[image].tolist(), given[label], part)


def _is_image(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
    return isinstance(value, Image.Image | PathLike | np.ndarray | Tensor)


def _column(columns: Collection[Any], fitting: list[Any], usual: Sequence[str], part: str, what: str) -> Any:
    """The one column that holds the images, or the labels."""
    if len(fitting) == 1:
        return fitting[0]
    found = [name for name in fitting or columns if str(name).lower() in usual]
    if len(found) != 1:
        told = ", ".join(map(str, fitting or columns)) or "none"
        raise DataError(
            f"which column of {part} holds the {what} cannot be told: {told}; keep one of them, and call it "
            f"{usual[0]!r}"
        )
    return found[0]


def _of_dataset(given: Any, part: str) -> Items:
    """A torch Dataset, a torchvision data set, a `Subset` of one, or a list of pairs."""
    source, positions = given, None
    while hasattr(source, "dataset") and hasattr(source, "indices"):
        own = [int(position) for position in source.indices]
        positions = own if positions is None else [own[position] for position in positions]
        source = source.dataset
    samples = getattr(source, "samples", None) or getattr(source, "imgs", None)
    names = None
    if isinstance(samples, list) and samples and isinstance(samples[0], tuple):
        paths = [sample[0] for sample in samples]
        names = _names(paths if positions is None else [paths[position] for position in positions], part)
    classes = getattr(source, "classes", None)
    is_named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return Items(len(given), given.__getitem__, tuple(classes) if classes and is_named else None, names)


def _names(images: Sequence[Any], part: str) -> tuple[str, ...] | None:
    """The paths of the images, if all are paths or pictures that were read from one."""
    paths = [getattr(image, "filename", "") if isinstance(image, Image.Image) else image for image in images]
    if not all(isinstance(path, str | PathLike) and fspath(path) for path in paths):
        return None
    names = [str(fspath(path)) for path in paths]
    seen: dict[str, int] = {}
    for position, name in enumerate(names):
        if name in seen:
            raise DataError(
                f"{name} is in {part} twice, as images {seen[name]} and {position}; give each image once"
            )
        seen[name] = position
    return tuple(names)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Image.Image) and isinstance(other, Image.Image):
        return one.size == other.size and one.tobytes() == other.tobytes()
    return np.array_equal(np.asarray(one), np.asarray(other))
