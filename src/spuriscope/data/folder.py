"""Your own photographs, as most people keep them: a folder, or a `.tar` of one, with or without parts.

`layout` interprets the folders, `decoding` turns images into pixels, `cache` keeps these.
"""

from pathlib import Path

from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import arrange, arrange_unlabelled
from spuriscope.data.photographs import load_photographs
from spuriscope.data.tree import read_tree
from spuriscope.reading import Reading

__all__ = ["load_folder", "load_unlabelled", "source_name"]


def load_folder(source: Path, reading: Reading | None = None) -> ImageSet:
    """Read photographs in class folders, in parts, or in contexts.

    Args:
        source: a folder, or a `.tar`.
        reading: how they are read.

    Raises:
        DataError: it has none of these forms (see `layout.arrange`), or an image is unreadable or differs in
            size from the first (see `photographs`).
    """
    return load_photographs(arrange(read_tree(source)), source_name(source), reading or Reading())


def load_unlabelled(source: Path, reading: Reading) -> ImageSet | None:
    """Read images from one folder or `.tar` without classes; None where it contains folders.

    Raises:
        DataError: see `load_folder`.
    """
    arranged = arrange_unlabelled(read_tree(source))
    return None if arranged is None else load_photographs(arranged, source_name(source), reading)


def source_name(source: Path) -> str:
    """The name of a data set, after the folder or archive it was read from."""
    return source.resolve().name.removesuffix(".tar")
