"""Decoded images in a folder of two files: `images.u8` and `contents.safetensors`.

`images.u8` holds the pixels of the training images, then of the test images, (channels, height, width) each;
it is mapped into memory and read on demand, so a data set may be larger than memory. The other file holds
labels, contexts and names of the images, and in its header the name of the data set, the shape of an image,
the fingerprint of the pixels, and a checksum of everything else. Nothing is unpickled. A folder appears under
its name only once it is complete.
"""

import hashlib
import json
import os
from array import array
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Contexts, ImageSet, Origin, Split
from spuriscope.data.layout import Arranged, Labelled
from spuriscope.documents import from_text
from spuriscope.errors import ConfigError, DataError
from spuriscope.places import check_place, delete_left, move_into_place, unfinished_folder
from spuriscope.sealing import checksum

__all__ = ["Writer", "check_pixels", "is_prepared", "load_prepared"]

FORMAT = "prepared 1"
CHECKSUM = "checksum"  # older folders lack it
IMAGES, CONTENTS, COLOURED = "images.u8", "contents.safetensors", "coloured"
FILES = (IMAGES, CONTENTS, COLOURED)
PARTS = ("train", "test")
PIECE = 1 << 20  # bytes


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds prepared images."""
    return (folder / CONTENTS).is_file()


@dataclass(frozen=True, kw_only=True)
class _About:
    """The header of a prepared folder; folders of older versions have neither form nor notes."""

    name: str
    class_names: tuple[str, ...]
    contexts: tuple[str, ...]
    skipped: tuple[str, ...]
    written: tuple[int, int] | None = None  # size and time of the file of images
    shape: tuple[int, int, int]  # (channels, height, width)
    fingerprint: str
    form: str = ""
    notes: tuple[str, ...] = ()


class Writer:
    """Writes a prepared folder, image by image, training images first. Use it in a `with` block.

    While all images are grey they are kept with one channel; the first coloured one turns all into RGB.

    Args:
        out: the folder to make.
        name: of the data set.
        arranged: its classes and contexts, and how it was interpreted.

    Raises:
        DataError: that name is taken, or it cannot be written.
    """

    def __init__(self, out: Path, name: str, arranged: Arranged) -> None:
        self.out = out
        self.name, self.arranged = name, arranged
        self.labels = {class_name: label for label, class_name in enumerate(arranged.class_names)}
        self.contexts = {context: code for code, context in enumerate(arranged.contexts)}
        self.codes = {part: (array("q"), array("q")) for part in PARTS}  # labels, contexts
        self.names: dict[str, list[str]] = {part: [] for part in PARTS}
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.shape: tuple[int, ...] | None = None  # (height, width, channels), set by the first image

    def __enter__(self) -> Self:
        delete_left(self.out, FILES)
        self._refuse_taken()
        self.unfinished = ExitStack()
        try:
            check_place(self.out)
            self.partial = self.unfinished.enter_context(unfinished_folder(self.out, FILES))
            self.file = (self.partial / IMAGES).open("w+b")
        except ConfigError as error:
            raise DataError(str(error)) from None
        except OSError as error:
            self.unfinished.close()
            raise DataError(
                f"cannot write in {self.out.parent} ({error.strerror}); choose another folder"
            ) from None
        return self

    def _refuse_taken(self) -> None:
        if self.out.exists():
            raise DataError(f"there is something in {self.out} already; choose another folder, or remove it")

    def add(self, part: str, pixels: NDArray[np.uint8], image: Labelled) -> None:
        """Add an image (height, width, channels) to a part, "train" or "test"."""
        try:
            if self.shape is not None and self.shape[2] != pixels.shape[2]:
                if self.shape[2] == 1:
                    self._colour()
                pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            self.file.write(np.ascontiguousarray(pixels.transpose(2, 0, 1)).data)
        except OSError as error:
            raise DataError(f"cannot write in {self.partial} ({error.strerror}); make room there") from None
        self.shape = pixels.shape
        labels, contexts = self.codes[part]
        labels.append(self.labels[image.class_name])
        contexts.append(self.contexts.get(image.context, 0))
        self.names[part].append(image.photo.name)

    def skip(self, name: str) -> None:
        """Record an image that was left out."""
        self.skipped.append(name)

    def _colour(self) -> None:
        """Write the grey images again as RGB."""
        n_bytes = prod((self.shape or ())[:2])
        coloured = (self.partial / COLOURED).open("w+b")
        self.file.seek(0)
        while grey := self.file.read(n_bytes):
            coloured.write(3 * grey)
        self.file.close()
        (self.partial / COLOURED).replace(self.partial / IMAGES)
        self.file = coloured

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._complete()
        except OSError as failure:
            raise DataError(f"cannot write in {self.partial} ({failure.strerror}); make room there") from None
        finally:
            with suppress(OSError):  # closing writes the rest, for which there may be no room
                self.file.close()
            self.unfinished.close()

    def _complete(self) -> None:
        from safetensors.torch import save

        self.file.flush()
        written = os.fstat(self.file.fileno())
        tensors: dict[str, Tensor] = {}
        for part in PARTS:
            for what, values in zip(("labels", "contexts"), self.codes[part], strict=True):
                tensors[f"{part}_{what}"] = torch.tensor(values, dtype=torch.int64)
            names = json.dumps(self.names[part]).encode()
            tensors[f"{part}_names"] = torch.from_numpy(np.frombuffer(names, np.uint8).copy())
        height, width, channels = self.shape or (0, 0, 0)
        about: dict[str, Any] = {
            "name": self.name,
            "class_names": self.arranged.class_names,
            "contexts": self.arranged.contexts,
            "skipped": self.skipped,
            "form": self.arranged.form,
            "notes": [*self.arranged.notes, *self.notes],
            "written": [written.st_size, written.st_mtime_ns],
            "shape": (channels, height, width),
        }
        about["fingerprint"] = self._fingerprint(about["shape"], tensors)
        texts = {"spuriscope": FORMAT, "about": json.dumps(about)}
        texts[CHECKSUM] = checksum(texts, tensors)
        (self.partial / CONTENTS).write_bytes(save(tensors, metadata=texts))
        move_into_place(self.partial, self.out, self._refuse_taken)

    def _fingerprint(self, shape: tuple[int, ...], tensors: dict[str, Tensor]) -> str:
        """`ImageSet.fingerprint`, computed by reading: a mapped file would count as memory."""
        digest = hashlib.sha256()
        self.file.seek(0)
        for part in PARTS:
            labels = tensors[f"{part}_labels"]
            digest.update(repr((len(labels), *shape)).encode())
            left = len(labels) * prod(shape)
            while left and (piece := self.file.read(min(left, PIECE))):
                digest.update(piece)
                left -= len(piece)
            digest.update(labels.numpy().astype("<i8").data)
        return digest.hexdigest()


def load_prepared(folder: Path, *, name: str | None = None, untouched: bool = False) -> ImageSet:
    """The data set in a prepared folder; its images stay in their file.

    Args:
        folder: made by `Writer`.
        name: of the data set; by default as when it was written.
        untouched: refuse a file of images that was written to later, by its time.

    Raises:
        DataError: a file is missing or damaged, or another version wrote it.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CONTENTS
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if header.get("spuriscope") != FORMAT:
            raise DataError(f"{path} was written by another version of spuriscope")
        sealed = {key: text for key, text in header.items() if key != CHECKSUM}
        if CHECKSUM in header and header[CHECKSUM] != checksum(sealed, tensors):
            raise DataError(f"{path} was changed: its checksum differs")
        about = from_text(_About, header["about"], source=str(path), error=DataError)
        status = (folder / IMAGES).stat()
        if untouched and about.written != (status.st_size, status.st_mtime_ns):
            raise DataError(f"{folder / IMAGES} was changed")
        data = _map(folder / IMAGES, about, tensors, name or about.name)
        data.known_by(about.fingerprint)  # computed when it was written
    except DataError as error:
        raise DataError(f"{error}; prepare the images again") from None
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"{folder} is damaged ({error}); prepare the images again") from error
    return data


def check_pixels(data: ImageSet) -> None:
    """Compare all pixels and labels of a prepared data set with the fingerprint in its folder.

    Raises:
        DataError: they differ.
    """
    if replace(data).content_fingerprint != data.content_fingerprint:  # a copy computes its own
        raise DataError(f"{data.name} was changed after it was prepared; prepare the images again")


def _map(path: Path, about: _About, tensors: dict[str, Tensor], name: str) -> ImageSet:
    """The data set whose images are in a file, which is read on demand."""
    shape, n_train = about.shape, len(tensors["train_labels"])
    n = n_train + len(tensors["test_labels"])
    if min(shape) < 0 or path.stat().st_size != n * prod(shape):
        raise DataError(f"{path} has {path.stat().st_size} bytes, {n} images need {n * prod(shape)}")
    images = torch.from_file(str(path), shared=False, size=n * prod(shape), dtype=torch.uint8)
    images = images.view(n, *shape)
    default_form = f"{len(about.contexts)} contexts, {len(about.class_names)} classes"
    contexts = None
    if about.contexts:
        train, test = (_codes(tensors, part, len(about.contexts)) for part in PARTS)
        contexts = Contexts(about.contexts, train, test, about.skipped)
    return ImageSet(
        name,
        train=Split(images[:n_train], tensors["train_labels"], _names(tensors, "train")),
        test=Split(images[n_train:], tensors["test_labels"], _names(tensors, "test")),
        class_names=about.class_names,
        contexts=contexts,
        images_file=path,
        origin=Origin(about.form or default_form, about.notes, about.skipped),
    )


def _codes(tensors: dict[str, Tensor], part: str, n_contexts: int) -> Tensor:
    """The contexts of a part, each of which has a name."""
    codes = tensors[f"{part}_contexts"]
    if codes.dtype != torch.int64 or (len(codes) and not 0 <= codes.min() <= codes.max() < n_contexts):
        raise DataError(f"the contexts of the {part} part are not positions among {n_contexts}")
    return codes


def _names(tensors: dict[str, Tensor], part: str) -> tuple[str, ...] | None:
    """The names of the images; folders of older versions have none."""
    names = tensors.get(f"{part}_names")
    if names is None:
        return None
    text = names.numpy().tobytes()
    return from_text(tuple[str, ...], text, source=f"the names of the {part} part", error=DataError)
