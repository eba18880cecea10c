"""The images a model learns from and is tested on: one copy, as uint8.

Every other part of spuriscope starts from an `ImageSet`. Loaders fill it (see the sibling modules), trainings
gather batches from it, and nothing ever writes into it.
"""

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.errors import DataError, PlantingError

MOST_SHOWN, MOST_LOOKED_AT = 12, 10_000  # images shown in a notebook, and those they are chosen from
PIECE = 1000  # most images processed at once: images in a file need not fit into memory
PIECE_VALUES = 2**24  # most values processed at once: fewer images where they are large

__all__ = ["Contexts", "ImageSet", "Origin", "Split", "in_pieces", "unit_float"]


@checked(DataError)
@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels: the training part, or the test part.

    Attributes:
        images: (n, channels, height, width), uint8, 0 to 255.
        labels: (n,), int64, positions in the class names of the data set.
        names: the file or key of each image, by which a user knows it; None where images have none.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                "images must be uint8 of shape (n, channels, height, width), "
                f"got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must be int64 of shape ({len(self.images)},), one for each image, "
                f"got {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if self.names is not None and len(self.names) != len(self.images):
            raise DataError(f"{len(self.images)} images have {len(self.names)} names; name each one, or none")

    def __len__(self) -> int:
        return len(self.images)

    def called(self, position: int) -> str:
        """The name of the image at a position, or the position where it has none."""
        return str(position) if self.names is None else self.names[position]

    def __repr__(self) -> str:
        return f"Split({len(self):,} images of {'x'.join(map(str, self.images.shape[1:]))})"


@dataclass(frozen=True, eq=False)
class Contexts:
    """Where the images of a data set were taken, or how they were made: a label beside the class.

    Attributes:
        names: one name for each context, position = code.
        train: (n_train,), int64, the context of each training image.
        test: (n_test,), int64, of each test image.
        skipped: images of the source that could not be read and were left out, by name.
    """

    names: tuple[str, ...]
    train: Tensor
    test: Tensor
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """How a source of images was read.

    Attributes:
        form: how it was interpreted, as "2 parts, 10 classes" or "4 contexts, 7 classes".
        notes: what else a user should know, a phrase each: unused parts, files passed over.
        skipped: images that could not be read and were left out, by name.
    """

    form: str
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        images = "image" if len(self.skipped) == 1 else "images"
        skipped = [f"{len(self.skipped):,} unreadable {images} skipped: {_few(self.skipped)}"]
        return "; ".join([self.form, *self.notes, *(skipped if self.skipped else ())])


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@checked(DataError)
@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set of images: a training part, a test part, and the names of the classes.

    Attributes:
        name: what the user calls it: "mnist", or the name of a folder or file.
        train: the images a model learns from.
        test: the images it is measured on.
        class_names: one name for each label, position = label.
        contexts: the context of each image, where the data set has contexts.
        images_file: the file that the images are mapped from, training images first; None if in memory.
        origin: how its source was read, where it could have been read otherwise.

    Raises:
        DataError: a part is empty, the parts differ in shape, a label has no class name, or the contexts
            are not one for each image.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...] = field(repr=False)
    contexts: Contexts | None = field(default=None, repr=False)
    images_file: Path | None = field(default=None, repr=False)
    origin: Origin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for part, split in (("training", self.train), ("test", self.test)):
            if len(split) == 0:
                raise DataError(f"{self.name} has no {part} images")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"{self.name}: {part} labels run from {low} to {high}, "
                    f"but {len(self.class_names)} classes are named (0 to {len(self.class_names) - 1})"
                )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {tuple(self.train.images.shape[1:])} and test images "
                f"{tuple(self.test.images.shape[1:])} (channels, height, width); bring them to one size"
            )
        if len(self.class_names) < 2:
            raise DataError(f"{self.name} has {len(self.class_names)} class; a classifier needs two or more")
        if self.contexts is not None:
            for part, split, codes in (
                ("training", self.train, self.contexts.train),
                ("test", self.test, self.contexts.test),
            ):
                if codes.shape != split.labels.shape:
                    raise DataError(
                        f"{self.name}: {len(split)} {part} images have {len(codes)} contexts; give each one"
                    )

    def _repr_html_(self) -> str:
        """In a notebook: the numbers of images, and the first images of each class."""
        from spuriscope.report.notebook import as_pictures, as_text

        labels = self.train.labels.tolist()
        first = [labels.index(label) for label in range(self.n_classes) if label in labels[:MOST_LOOKED_AT]]
        shown = first[:MOST_SHOWN]
        return as_text(
            self.name,
            f"{len(self.train):,} training and {len(self.test):,} test images of "
            f"{' × '.join(map(str, self.shape))}, {self.n_classes:,} classes",
        ) + as_pictures(
            [self.train.images[place] for place in shown],
            [self.class_names[labels[place]] for place in shown],
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def label(self, target: SupportsIndex | str) -> int:
        """The number of a class, given its name or its number.

        Args:
            target: a whole number is a label; a string is a name, or the digits of a label where no class
                has that name.

        Raises:
            PlantingError: there is no such class.
        """
        if isinstance(target, str):
            if target in self.class_names:
                return self.class_names.index(target)
            if not target.isdecimal():
                raise PlantingError(
                    f"{self.name} has no class {target!r}; choose one of {self._told_classes()}"
                )
        try:
            number = operator.index(target) if not isinstance(target, str) else int(target)
        except TypeError:
            raise PlantingError(
                f"a class is a name or a whole number, got {type(target).__name__}; choose one of "
                f"{self._told_classes()}"
            ) from None
        if not 0 <= number < self.n_classes:
            raise PlantingError(
                f"{self.name} has no class {target}; choose 0 to {self.n_classes - 1}: {self._told_classes()}"
            )
        return number

    def without(self, positions: Tensor) -> "ImageSet":
        """The data set without the training images at some positions; later ones move up.

        Args:
            positions: (n,), among the training images.

        Raises:
            DataError: nothing would be left.
        """
        kept = torch.ones(len(self.train), dtype=torch.bool)
        kept[positions] = False
        names = self.train.names
        train = Split(
            self.train.images[kept],
            self.train.labels[kept],
            None if names is None else tuple(name for name, stays in zip(names, kept, strict=True) if stays),
        )
        contexts = self.contexts
        if contexts is not None:
            contexts = replace(contexts, train=contexts.train[kept])
        return ImageSet(self.name, train, self.test, self.class_names, contexts, origin=self.origin)

    def _told_classes(self) -> str:
        return ", ".join(self.class_names[:20]) + (", ..." if self.n_classes > 20 else "")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that a training depends on: pixels, labels, shapes, and the number of classes.

        Where the largest label tells the number of classes, as in every data set that has images of its
        last class, this is `content_fingerprint`. Names, class names, contexts and file format are left out:
        MNIST read from plain or from compressed files is the same data.
        """
        largest = max(int(split.labels.max()) for split in (self.train, self.test))
        if self.n_classes == largest + 1:
            return self.content_fingerprint
        return hashlib.sha256(f"{self.content_fingerprint} {self.n_classes} classes".encode()).hexdigest()

    def known_by(self, content_fingerprint: str, fingerprint: str | None = None) -> "ImageSet":
        """The data set itself, with fingerprints computed earlier: of these images, or of the whole set where
        a worker holds a part.

        Args:
            content_fingerprint: see that property.
            fingerprint: see that property; by default computed from the other.
        """
        self.__dict__["content_fingerprint"] = content_fingerprint
        if fingerprint is not None:
            self.__dict__["fingerprint"] = fingerprint
        return self

    @cached_property
    def content_fingerprint(self) -> str:
        """SHA-256 over pixels, labels and shapes of both parts."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            for piece in in_pieces(split.images):
                digest.update(piece.contiguous().numpy().data)
            digest.update(split.labels.contiguous().numpy().astype("<i8").data)
        return digest.hexdigest()


def in_pieces(images: Tensor) -> Sequence[Tensor]:
    """Split images (n, channels, height, width) into views so small that copies need little memory."""
    at_once = max(1, min(PIECE, PIECE_VALUES // max(1, images[:1].numel())))
    found: Sequence[Tensor] = images.split(at_once)
    return found


def unit_float(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]: uint8 is divided by 255, floating point is unchanged."""
    return torch.div(images, 255) if images.dtype == torch.uint8 else images
