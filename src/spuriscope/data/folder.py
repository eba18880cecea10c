"""Photographs of one's own, as most people keep them: a folder, a `.tar` of one, with or without parts.

`layout` says what folders mean, `decoding` how an image becomes pixels, `cache` where these are kept.
"""

from pathlib import Path

from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import arrange
from spuriscope.data.photographs import load_photographs
from spuriscope.data.tree import read_tree
from spuriscope.reading import Reading

__all__ = ["load_folder", "source_name"]


def load_folder(source: Path, reading: Reading | None = None) -> ImageSet:
    """Read photographs in class folders, in parts, or in contexts.

    Args:
        source: a folder, or a `.tar`.
        reading: how they are read.

    Raises:
        DataError: it is of no such form (see `layout.arrange`), or an image is unreadable or of another size
            than the first (see `photographs`).
    """
    return load_photographs(arrange(read_tree(source)), source_name(source), reading or Reading())


def source_name(source: Path) -> str:
    """What a data set is called after the folder or archive it was read from."""
    return source.resolve().name.removesuffix(".tar")
