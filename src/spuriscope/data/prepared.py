"""Images that were decoded once, in a folder of two files: `images.u8` and `contents.safetensors`.

`images.u8` holds the pixels of the training images, then of the test images, (channels, height, width) each;
it is mapped into memory and read as it is needed, so a data set may be larger than the memory. The other file
holds labels and contexts, and in its header the names, the shape and the fingerprint. Nothing is unpickled.
A folder appears under its name once it is complete.
"""

import json
import os
import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.data.image_set import Contexts, ImageSet, Split
from spuriscope.errors import DataError

__all__ = ["Writer", "is_prepared", "load_prepared"]

FORMAT = "prepared 1"
IMAGES, CONTENTS = "images.u8", "contents.safetensors"
PARTS = ("train", "test")


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds images that were decoded once."""
    return (folder / CONTENTS).is_file()


class Writer:
    """Writes a prepared folder, image by image: the training images first. Use it in a `with` block.

    Raises:
        DataError: there is something under that name, or it cannot be written.
    """

    def __init__(self, out: Path, name: str, class_names: Sequence[str], contexts: Sequence[str]) -> None:
        self.out = out
        self.about: dict[str, Any] = {
            "name": name, "class_names": list(class_names), "contexts": list(contexts), "skipped": []
        }  # fmt: skip
        self.labels = {name: label for label, name in enumerate(class_names)}
        self.contexts = {name: code for code, name in enumerate(contexts)}
        self.codes: dict[str, list[tuple[int, int]]] = {part: [] for part in PARTS}
        self.shape: tuple[int, ...] | None = None  # of an image, once there is one

    def __enter__(self) -> Self:
        if self.out.exists():
            raise DataError(f"there is something in {self.out} already; choose another folder, or remove it")
        self.partial = self.out.with_name(f".{self.out.name}.{os.getpid()}.partial")
        try:
            self.partial.mkdir(parents=True)
            self.file = (self.partial / IMAGES).open("wb")
        except OSError as error:
            raise DataError(
                f"cannot write in {self.out.parent} ({error.strerror}); choose another folder"
            ) from None
        return self

    def add(self, part: str, pixels: NDArray[np.uint8], class_name: str, context: str) -> None:
        """Add an image (channels, height, width) to a part, "train" or "test"."""
        self.shape = pixels.shape
        self.codes[part].append((self.labels[class_name], self.contexts[context]))
        try:
            self.file.write(pixels.data)
        except OSError as error:
            raise DataError(f"cannot write in {self.partial} ({error.strerror}); make room there") from None

    def skip(self, name: str) -> None:
        """Write down an image that was left out."""
        self.about["skipped"].append(name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
            if error is None:
                self._complete()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _complete(self) -> None:
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for part, codes in self.codes.items():
            columns = torch.tensor(codes, dtype=torch.int64).reshape(-1, 2)
            tensors[f"{part}_labels"], tensors[f"{part}_contexts"] = (
                column.contiguous() for column in columns.unbind(1)
            )
        self.about["shape"] = list(self.shape or (0, 0, 0))
        self.about["fingerprint"] = _map(self.partial / IMAGES, self.about, tensors).fingerprint
        save_file(
            tensors,
            self.partial / CONTENTS,
            metadata={"spuriscope": FORMAT, "about": json.dumps(self.about)},
        )
        self.partial.rename(self.out)


def load_prepared(folder: Path) -> ImageSet:
    """The data set in a prepared folder; its images stay in their file.

    Raises:
        DataError: a file is missing or damaged, or another version wrote it.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CONTENTS
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        if header.get("spuriscope") != FORMAT:
            raise DataError(f"{path} was written by another version of spuriscope; prepare the images again")
        about = json.loads(header["about"])
        data = _map(folder / IMAGES, about, tensors)
        data.__dict__["fingerprint"] = about["fingerprint"]  # reckoned when it was written
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
    return ImageSet(
        about["name"],
        train=Split(images[:n_train], tensors["train_labels"]),
        test=Split(images[n_train:], tensors["test_labels"]),
        class_names=tuple(about["class_names"]),
        contexts=Contexts(
            tuple(about["contexts"]),
            tensors["train_contexts"],
            tensors["test_contexts"],
            tuple(about["skipped"]),
        ),
        images_file=path,
    )
