"""Labels in any form that programs use, converted to positions in the names of the classes.

Whole numbers from any start, strings, one-hot rows, and pandas categoricals. The training and the test labels
are read together, so that a class has one number in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.errors import DataError
from spuriscope.limits import MOST_CLASSES

__all__ = ["Labels", "read_labels"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one part as they were found.

    Attributes:
        values: (n,) int64, or (n,) strings.
        class_names: position = label, where the labels come with names.
    """

    values: NDArray[Any]
    class_names: tuple[str, ...] | None = None

    @property
    def are_names(self) -> bool:
        """Whether these are strings."""
        return self.values.dtype.kind == "U"

    @classmethod
    def of(cls, labels: Any, where: str, class_names: Sequence[str] | None = None) -> "Labels":
        """Labels in any form.

        Args:
            labels: (n,) or (n, 1) whole numbers or strings, (n, n_classes) one-hot rows, or an object with
                `categories` and `codes`.
            where: what errors call them: "labels of train".
            class_names: names that came with them.

        Raises:
            DataError: they have another form: floats, several classes for an image, missing labels.
        """
        categories = _categories(labels)
        if categories is not None:
            labels, class_names = categories
        elif hasattr(labels, "columns"):  # one-hot rows in a frame
            class_names = tuple(map(str, labels.columns))
        values = _array(labels, where)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim == 2 and len(values):
            values = _one_hot(values, where)
        if values.size == 0:
            return cls(np.zeros(0, dtype=np.int64), _names(class_names, where))
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        if values.dtype.kind == "O":
            values = _strings(values, where)
        if values.ndim != 1 or values.dtype.kind not in "iuU":
            raise DataError(_refused(values, where))
        if values.dtype.kind == "u" and int(values.max()) > np.iinfo(np.int64).max:
            raise DataError(f"{where} hold {int(values.max())}, which is no class; number the classes from 0")
        if values.dtype.kind != "U":
            values = values.astype(np.int64)
            if class_names is not None and int(values.min()) < 0:  # as libraries mark a missing label
                raise DataError(f"{where} lack the class of {int((values < 0).sum())} images; fill it in")
        return cls(values, _names(class_names, where))


def read_labels(
    parts: dict[str, Labels], class_names: Sequence[str] | None = None, *, renumbers: bool = True
) -> tuple[list[Tensor], tuple[str, ...]]:
    """Labels of each part (n,), int64, as positions in the names of the classes, and these names.

    Whole numbers from 0 stay unchanged. Others, and strings, are numbered in sorted order.

    Args:
        parts: the training part first; string labels of the others must occur in it.
        class_names: one per label; by default those that the labels bring, or the labels themselves.
        renumbers: whether whole numbers that do not begin at 0 are renumbered.

    Raises:
        DataError: a label has no name, numbers and strings are mixed, or names differ only in case.
    """
    filled = {part: labels for part, labels in parts.items() if len(labels.values)}
    if len({labels.are_names for labels in filled.values()}) > 1:
        raise DataError(f"some of {' and '.join(filled)} have numbers for labels and others strings; use one")
    brought = {labels.class_names for labels in filled.values() if labels.class_names is not None}
    if class_names is None and len(brought) > 1:
        first, second, *_ = sorted(brought)
        raise DataError(
            f"{' and '.join(filled)} name other classes: {_few(first)} and {_few(second)}; give both the same"
        )
    names = next(iter(brought), None) if class_names is None else tuple(map(str, class_names))
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two classes are called {twice!r}; give each a name of its own")
    every = np.concatenate([labels.values for labels in filled.values()] or [np.zeros(0, dtype=np.int64)])
    if every.dtype.kind == "U":
        return _of_strings(parts, every, names)
    return _of_numbers(parts, every, names, renumbers=renumbers)


def _of_strings(
    parts: dict[str, Labels], every: NDArray[Any], names: tuple[str, ...] | None
) -> tuple[list[Tensor], tuple[str, ...]]:
    if names is None:
        first = next(iter(parts))
        names = tuple(np.unique(parts[first].values).tolist())
        told = f"{first} has not"
    else:
        told = f"the classes are {_few(names)}"
    position = {name: number for number, name in enumerate(names)}
    for part, labels in parts.items():
        for name in np.unique(labels.values).tolist() if labels.are_names else ():
            if name not in position:
                raise DataError(
                    f"{part} has the class {name!r}, {told}; use one spelling, or add images of it"
                )
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(name.strip().casefold(), name)
        if other != name:
            raise DataError(f"the classes {other!r} and {name!r} differ in case or spaces only; use one name")
    found = [
        torch.tensor([position[name] for name in labels.values.tolist()], dtype=torch.int64)
        for labels in parts.values()
    ]
    return found, names


def _of_numbers(
    parts: dict[str, Labels], every: NDArray[Any], names: tuple[str, ...] | None, *, renumbers: bool
) -> tuple[list[Tensor], tuple[str, ...]]:
    low, high = (int(every.min()), int(every.max())) if every.size else (0, -1)
    if high >= MOST_CLASSES and (names is not None or low == 0 or not renumbers):
        raise DataError(
            f"{' and '.join(parts)} hold the label {high}, and a classifier has at most {MOST_CLASSES:,} "
            "classes; number them from 0, without gaps"
        )
    if names is None and (low == 0 or not renumbers):
        names = tuple(map(str, range(high + 1)))
    if names is not None and low >= 0 and high < len(names):
        return [torch.from_numpy(labels.values.astype(np.int64)) for labels in parts.values()], names
    values = np.unique(every)
    if names is None:
        names = tuple(map(str, values.tolist()))
    elif len(values) != len(names) or not renumbers:
        raise DataError(
            f"labels run from {low} to {high}, but {len(names)} classes are named (0 to {len(names) - 1}); "
            "number them from 0, or name all of them"
        )
    return [torch.from_numpy(np.searchsorted(values, labels.values)) for labels in parts.values()], names


def _categories(labels: Any) -> tuple[NDArray[Any], tuple[str, ...]] | None:
    """Codes and names of a pandas categorical; None for anything else."""
    found = getattr(labels, "cat", labels)
    if not hasattr(found, "categories") or not hasattr(found, "codes"):
        return None
    return np.asarray(found.codes), tuple(map(str, found.categories))


def _array(labels: Any, where: str) -> NDArray[Any]:
    if isinstance(labels, Tensor):
        return labels.detach().cpu().numpy()
    try:
        if isinstance(labels, list | tuple) and any(isinstance(label, str) for label in labels):
            return np.array(labels, dtype=object)
        if isinstance(labels, list | tuple) and any(isinstance(label, Tensor) for label in labels):
            labels = [label.tolist() if isinstance(label, Tensor) else label for label in labels]
        return np.asarray(labels)
    except (TypeError, ValueError) as error:  # rows of different lengths, or items that are not arrays
        raise DataError(
            f"{where} must be one number or name for each image ({' '.join(str(error).split())}); give each "
            "image one class"
        ) from None


def _one_hot(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.dtype.kind not in "biuf":
        raise DataError(_refused(values, where))
    is_one, is_zero = values == 1, values == 0
    n_ones = is_one.sum(axis=1)
    if not (is_one | is_zero).all():
        raise DataError(
            f"{where} of shape {values.shape} are neither one-hot nor one class for each image; give "
            "labels.argmax(axis=1) if the largest of a row is its class"
        )
    if (n_ones != 1).any():
        row = int(np.flatnonzero(n_ones != 1)[0])
        raise DataError(
            f"{where} are multi-label: image {row} has {int(n_ones[row])} of {values.shape[1]} classes, and "
            "a classifier here knows one class for each image; take one column, or images of one class"
        )
    found: NDArray[Any] = values.argmax(axis=1)
    return found


def _strings(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Python objects that are all strings, or all whole numbers."""
    if all(isinstance(value, str) for value in values.flat):
        return values.astype(str)
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values.flat):
        return values.astype(np.int64)
    odd = next(
        (number, value)
        for number, value in enumerate(values.flat)
        if isinstance(value, str) != isinstance(values.flat[0], str) or not isinstance(value, str | int)
    )
    raise DataError(
        f"{where} must be names or whole numbers, one kind for all; that of image {odd[0]} is {odd[1]!r}"
    )


def _refused(values: NDArray[Any], where: str) -> str:
    told = (
        f"{where} must be whole numbers or strings, shape (n,), or one-hot rows, got {values.dtype} of shape "
    )
    told += str(values.shape)
    if values.dtype.kind == "f" and values.ndim == 1:
        whole = np.isfinite(values).all() and (values == np.round(values)).all()
        return told + ("; say labels.astype(int)" if whole else "; a regression's targets are no classes")
    return told + ("; say labels.astype(int)" if values.dtype.kind == "b" else "; give each image one class")


def _names(class_names: Sequence[str] | None, where: str) -> tuple[str, ...] | None:
    return None if class_names is None else tuple(map(str, class_names))


def _few(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")
