"""How folders are interpreted: as the parts of a data set, its contexts, or its classes.

    train/CLASS/*.jpg beside test/CLASS/*.jpg    two parts; the second may have any name in `FRESH`
    CONTEXT/CLASS/*.jpg                          contexts, see `spuriscope.data.contexts`
    CLASS/*.jpg                                  classes; a fifth of each is drawn for testing

The first form that fits is taken, so parts are never mixed. A folder that holds nothing but one folder is
skipped. Classes and images are sorted by name.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from spuriscope.data.tree import Folder, Photo
from spuriscope.errors import DataError
from spuriscope.reading import Missing

__all__ = [
    "Arranged",
    "Labelled",
    "arrange",
    "arrange_contexts",
    "arrange_unlabelled",
    "check_spelling",
    "choose_parts",
    "number_of",
    "of_classes",
    "of_parts",
]

Classes: TypeAlias = Mapping[str, Sequence[Photo]]  # the images of each class

TRAIN = ("train", "training")
FRESH = ("test", "testing", "holdout", "eval", "validation", "valid", "val", "dev")  # the first found is used


class Labelled(NamedTuple):
    """An image with its class and context."""

    photo: Photo
    class_name: str
    context: str = ""


@dataclass(frozen=True)
class Arranged:
    """A data set of photographs before any is decoded.

    Attributes:
        form: how its source was interpreted, as "2 parts, 10 classes".
        class_names: position = label.
        train: the training images, class by class, or context by context.
        test: the fresh images.
        contexts: names of the contexts; empty if there are none.
        notes: what a user should know about the choice, a phrase each.
    """

    form: str
    class_names: tuple[str, ...]
    train: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    contexts: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def photos(self) -> Iterable[Labelled]:
        """All images, the training ones first."""
        return (*self.train, *self.test)


def arrange(tree: Folder) -> Arranged:
    """Interpret folders as parts, as contexts, or as classes.

    Raises:
        DataError: there are no class folders or only one, a class is empty or has too few images to split,
            names differ only in case, or the parts have different classes.
    """
    top = tree.inner()
    if top.tables and len(top.folders) < 2:
        raise DataError(
            f"{top.path} has {number_of(list(top.folders), 'class folder')} and the table {top.tables[0]}; "
            f"give the table: {top.path}/{top.tables[0]}"
        )
    chosen = choose_parts(top.folders, top.path)
    if chosen is not None:
        return _arrange_parts(top, *chosen)
    below = list(top.folders.values())
    if below and all(folder.folders and not folder.images for folder in below):
        return arrange_contexts(top)
    classes = _classes(top)
    return of_classes(classes, top.path, notes=_passed_over([top, *top.folders.values()], n_stray(top)))


def arrange_unlabelled(tree: Folder) -> Arranged | None:
    """Images in one folder without classes; None where there are folders to read.

    A data set needs two parts and two classes: the last image becomes the test part, and one class is empty.
    """
    top = tree.inner()
    if top.folders or len(top.images) < 2:
        return None
    images = tuple(Labelled(photo, "any") for photo in top.images)
    form = f"{number_of(images, 'image')} without classes"
    return Arranged(form, ("any", "none"), images[:-1], images[-1:], notes=_passed_over([top], 0))


def arrange_contexts(tree: Folder, *, seed: int = 0, missing: Missing = "refuse") -> Arranged:
    """Interpret folders as contexts that hold classes; three tenths of each class in each are for testing.

    Args:
        tree: the folders.
        seed: draws the split: in each class of each context, sorted by name, the first three tenths of
            `numpy.random.RandomState(seed).permutation(n)` are for testing.
        missing: "refuse" a context that lacks a class which another one has, or "allow" it.

    Raises:
        DataError: they have another form, or a context lacks a class.
    """
    top = tree.inner()
    if top.folders and not any(folder.folders for folder in top.folders.values()):
        top = Folder(top.path, {top.path.rpartition("/")[2]: top})  # a single context, which was skipped
    check_spelling(top.folders, f"the contexts of {top.path}")
    groups: dict[tuple[str, str], list[Photo]] = {}
    for context, folder in top.folders.items():
        for class_name, of_class in folder.folders.items():
            if of_class.folders:
                raise DataError(
                    f"{of_class.path} should hold the images of one class in one context, but holds the "
                    f"folder {next(iter(of_class.folders))}; give the folder whose folders are the contexts"
                )
            if of_class.images:
                groups[context, class_name] = of_class.images
    contexts = sorted({context for context, _ in groups})
    class_names = sorted({class_name for _, class_name in groups})
    if not groups:
        raise DataError(f"{top.path} holds no images in CONTEXT/CLASS/; check the path")
    check_spelling(class_names, f"the classes of {top.path}")
    if missing == "refuse":
        _check_complete(groups, contexts, class_names, top.path)
    train: list[Labelled] = []
    test: list[Labelled] = []
    for (context, class_name), photos in sorted(groups.items()):
        n_test = min((3 * len(photos) + 5) // 10, len(photos) - 1)  # three tenths, rounded
        drawn = set(np.random.RandomState(seed).permutation(len(photos))[:n_test].tolist())
        for position, photo in enumerate(photos):
            (test if position in drawn else train).append(Labelled(photo, class_name, context))
    return Arranged(
        f"{number_of(contexts, 'context')}, {number_of(class_names, 'class')}",
        tuple(class_names),
        tuple(train),
        tuple(test),
        tuple(contexts),
        _passed_over(list(top.everything()), n_stray(top, *top.folders.values())),
    )


def of_classes(
    classes: Classes, where: str, *, order: Sequence[str] | None = None, notes: tuple[str, ...] = ()
) -> Arranged:
    """Split each class of a data set without parts 80:20, independently of the others.

    A fifth of the images of a class, at least one, is for testing: sorted by name, they are permuted by
    `numpy.random.RandomState(0).permutation(n)`, and the first fifth is taken.

    Args:
        classes: the images of each class, sorted by name.
        where: what errors call their folder.
        order: the classes by label; by default in the order given.
        notes: for the user.
    """
    class_names = tuple(order or classes)
    check_classes(class_names, where)
    train: list[Labelled] = []
    test: list[Labelled] = []
    for name, photos in classes.items():
        if len(photos) < 2:
            raise DataError(
                f"{where}/{name} has one image, and a class needs two, to train and to test; "
                "add images, or make folders train/ and test/ that hold the classes"
            )
        n_test = max(1, round(len(photos) / 5))
        drawn = set(np.random.RandomState(0).permutation(len(photos))[:n_test].tolist())
        for position, photo in enumerate(photos):
            (test if position in drawn else train).append(Labelled(photo, name))
    form = f"{number_of(class_names, 'class')}, a fifth of each drawn as fresh images"
    return Arranged(form, class_names, tuple(train), tuple(test), notes=notes)


def choose_parts(names: Iterable[str], where: str) -> tuple[str, str] | None:
    """Which of some names is the training part, and which the fresh one; None if they are not parts.

    Raises:
        DataError: two names differ only in case.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_name[name.casefold()].append(name)
    train = [name for known in TRAIN for name in by_name[known]]
    fresh = [name for known in FRESH for name in by_name[known]]
    if not train or not fresh:
        return None
    check_spelling([*train, *fresh], f"the parts of {where}")
    return train[0], fresh[0]


def check_spelling(names: Iterable[str], what: str) -> None:
    """Refuse names that look the same: "Cat" and "cat".

    Raises:
        DataError: there are two such names.
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold().strip()
        if seen.setdefault(folded, name) != name:
            raise DataError(
                f"{what} include {seen[folded]!r} and {name!r}, which differ in case only; merge them, or "
                "rename one"
            )


def check_classes(class_names: Sequence[str], where: str) -> None:
    """Refuse fewer than two classes, and names that differ only in case.

    Raises:
        DataError: there are fewer than two, or such names.
    """
    check_spelling(class_names, f"the classes of {where}")
    if len(class_names) < 2:
        raise DataError(f"{where} has {len(class_names)} class; a classifier needs two or more")


def number_of(things: Sequence[object], name: str) -> str:
    """As "2 parts"."""
    plural = {"class": "classes"}.get(name, f"{name}s")
    return f"{len(things):,} {name if len(things) == 1 else plural}"


def of_parts(
    parts: Mapping[str, Classes],
    where: str,
    *,
    order: Sequence[str] | None = None,
    passed_by: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Arranged:
    """Make a data set whose parts are given.

    Args:
        parts: the training part and the fresh one by name, each with the images of each class.
        where: what errors call the whole.
        order: the classes by label; by default as in the training part.
        passed_by: other parts, which are not used.
        notes: for the user.

    Raises:
        DataError: the parts have different classes, or class names differ only in case.
    """
    (train, of_train), (test, of_test) = parts.items()
    check_spelling(dict.fromkeys((*of_train, *of_test)), f"the classes of {where}")
    if of_train.keys() != of_test.keys():
        name = min(of_train.keys() ^ of_test.keys())
        there, lacking = (train, test) if name in of_train else (test, train)
        raise DataError(
            f"{where}: {there} has the class {name}, {lacking} does not; give both parts the same classes"
        )
    class_names = tuple(order or of_train)
    check_classes(class_names, where)
    said = [f"{train} to train on, {test} as fresh images"]
    if passed_by:
        said.append(f"{', '.join(passed_by)} {'is' if len(passed_by) == 1 else 'are'} not used")
    return Arranged(
        f"2 parts, {number_of(class_names, 'class')}",
        class_names,
        _labelled(of_train),
        _labelled(of_test),
        notes=(*said, *notes),
    )


def _arrange_parts(top: Folder, train_name: str, test_name: str) -> Arranged:
    train, test = top.folders[train_name], top.folders[test_name]
    used = [top, *train.everything(), *test.everything()]
    return of_parts(
        {f"{train_name}/": _classes(train), f"{test_name}/": _classes(test)},
        top.path,
        passed_by=[f"{name}/" for name in top.folders if name not in (train_name, test_name)],
        notes=_passed_over(used, n_stray(top, train, test)),
    )


def _labelled(classes: Classes) -> tuple[Labelled, ...]:
    return tuple(Labelled(photo, name) for name, photos in classes.items() for photo in photos)


def _classes(folder: Folder) -> dict[str, list[Photo]]:
    """The images of each class folder."""
    if not folder.folders:
        raise DataError(f"{folder.path} has no class folders; put the images of each class in its own folder")
    for of_class in folder.folders.values():
        if of_class.folders:
            raise DataError(
                f"{of_class.path} should hold the images of one class, but holds the folder "
                f"{next(iter(of_class.folders))}; give the folder whose folders are the classes, or one with "
                "train/ and test/"
            )
        if not of_class.images:
            raise DataError(f"the class folder {of_class.path} has no images; fill it, or remove it")
    return {name: of_class.images for name, of_class in folder.folders.items()}


def n_stray(*folders: Folder) -> int:
    """Number of images that lie beside the folders they should be in."""
    return sum(len(folder.images) for folder in folders)


def _passed_over(folders: Sequence[Folder], n_images: int) -> tuple[str, ...]:
    """Notes about files that are not used."""
    n_others = sum(folder.n_others for folder in folders)
    said = []
    if n_others:
        said.append(f"{n_others:,} other file{'s' if n_others > 1 else ''} passed over")
    if n_images:
        said.append(f"{n_images:,} image{'s' if n_images > 1 else ''} beside the class folders passed over")
    return tuple(said)


def _check_complete(
    groups: Mapping[tuple[str, str], Sequence[Photo]],
    contexts: Sequence[str],
    class_names: Sequence[str],
    where: str,
) -> None:
    n_of = Counter({key: len(photos) for key, photos in groups.items()})
    for context in contexts:
        for class_name in class_names:
            if not n_of[context, class_name]:
                other = next(there for there in contexts if n_of[there, class_name])
                raise DataError(
                    f"the context {context} of {where} has no images of class {class_name}, and {other} "
                    "has; add some, or prepare it with --missing allow"
                )
