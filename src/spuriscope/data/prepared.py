"""Images that were decoded once, in a folder of two files: `images.u8` and `contents.safetensors`.

`images.u8` holds the pixels of the training images, then of the test images, (channels, height, width) each;
it is mapped into memory and read as it is needed, so a data set may be larger than the memory. The other file
holds labels, contexts and the names of the images, and in its header what the data set is called, the shape
and the fingerprint. Nothing is unpickled. A folder appears under its name once it is complete.
"""

import hashlib
import json
import os
from array import array
from contextlib import ExitStack, suppress
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
from spuriscope.errors import ConfigError, DataError
from spuriscope.places import check_place, delete_left, move_into_place, unfinished_folder

__all__ = ["Writer", "is_prepared", "load_prepared"]

FORMAT = "prepared 1"
IMAGES, CONTENTS, COLOURED = "images.u8", "contents.safetensors", "coloured"
FILES = (IMAGES, CONTENTS, COLOURED)
PARTS = ("train", "test")
PIECE = 1 << 20  # bytes


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds images that were decoded once."""
    return (folder / CONTENTS).is_file()


class Writer:
    """Writes a prepared folder, image by image: the training images first. Use it in a `with` block.

    As long as all images are grey they are kept with one channel; the first coloured one turns all to RGB.

    Args:
        out: the folder to make.
        name: what the data set is called.
        arranged: its classes and contexts, and what it was taken for.

    Raises:
        DataError: there is something under that name, or it cannot be written.
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
        self.shape: tuple[int, ...] | None = None  # of an image (height, width, channels), once there is one

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
        """Write down an image that was left out."""
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
            with suppress(OSError):  # it writes what is left, where there may be no room
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
        content = save(tensors, metadata={"spuriscope": FORMAT, "about": json.dumps(about)})
        (self.partial / CONTENTS).write_bytes(content)
        move_into_place(self.partial, self.out, self._refuse_taken)

    def _fingerprint(self, shape: tuple[int, ...], tensors: dict[str, Tensor]) -> str:
        """What `ImageSet.fingerprint` is, by reading: a file that is mapped would count as memory."""
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
        folder: that `Writer` made.
        name: what the data set is called; by default as when it was written.
        untouched: refuse a file of images that has been written to since, by its time.

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
            raise DataError(f"{path} was written by another version of spuriscope; prepare the images again")
        about = json.loads(header["about"])
        status = (folder / IMAGES).stat()
        if untouched and about["written"] != [status.st_size, status.st_mtime_ns]:
            raise DataError(f"{folder / IMAGES} was changed; prepare the images again")
        data = _map(folder / IMAGES, about | ({} if name is None else {"name": name}), tensors)
        data.__dict__["content_fingerprint"] = about["fingerprint"]  # reckoned when it was written
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{folder} is damaged ({error}); prepare the images again") from error
    return data


def _map(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> ImageSet:
    """The data set whose images are in a file, which is read when they are asked for."""
    shape, n_train = about["shape"], len(tensors["train_labels"])
    n = n_train + len(tensors["test_labels"])
    if path.stat().st_size != n * prod(shape):
        raise DataError(
            f"{path} has {path.stat().st_size} bytes, {n} images need {n * prod(shape)}; prepare them again"
        )
    images = torch.from_file(str(path), shared=False, size=n * prod(shape), dtype=torch.uint8)
    images = images.view(n, *shape)
    contexts, skipped = tuple(about["contexts"]), tuple(about["skipped"])
    default_form = f"{len(contexts)} contexts, {len(about['class_names'])} classes"  # of older folders
    return ImageSet(
        about["name"],
        train=Split(images[:n_train], tensors["train_labels"], _names(tensors, "train")),
        test=Split(images[n_train:], tensors["test_labels"], _names(tensors, "test")),
        class_names=tuple(about["class_names"]),
        contexts=Contexts(contexts, tensors["train_contexts"], tensors["test_contexts"], skipped)
        if contexts
        else None,
        images_file=path,
        origin=Origin(about.get("form", default_form), tuple(about.get("notes", ())), skipped),
    )


def _names(tensors: dict[str, Tensor], part: str) -> tuple[str, ...] | None:
    """The names of the images; folders of older versions have none."""
    names = tensors.get(f"{part}_names")
    return None if names is None else tuple(json.loads(names.numpy().tobytes()))
