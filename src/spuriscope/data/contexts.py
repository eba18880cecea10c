"""Photographs with a context beside their class: `folder/CONTEXT/CLASS/*.jpg`.

NICO++ is published in this form (`train/CONTEXT/CLASS`), and so is PACS, whose domains are contexts. The
source is a folder, or a `.tar`, which is read member by member. Everything becomes RGB.

Seven tenths of the images of each class in each context are for training, as in Yang et al. (2022), Section
3.4. Which ones does not depend on the other classes and contexts.
"""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed
from spuriscope.data.duplicates import near_duplicates
from spuriscope.data.folder import source_name
from spuriscope.data.image_set import ImageSet
from spuriscope.data.layout import Labelled, arrange_contexts
from spuriscope.data.photographs import load_photographs, write_photographs
from spuriscope.data.prepared import load_prepared
from spuriscope.data.published import Published, check_labels
from spuriscope.data.tree import read_tree
from spuriscope.errors import ConfigError, DataError
from spuriscope.reading import Background, Duplicates, Missing, Reading, Unreadable, check_choice
from spuriscope.scratch import scratch_folder

__all__ = ["load_contexts", "load_published", "prepare_contexts"]


def load_contexts(source: Path, reading: Reading | None = None, *, name: str | None = None) -> ImageSet:
    """Read photographs with contexts: a folder CONTEXT/CLASS/*.jpg, or a `.tar` of it.

    Raises:
        DataError: it has another form, a context lacks a class, or an image cannot be read.
    """
    arranged = arrange_contexts(read_tree(source))
    return load_photographs(arranged, name or source_name(source), reading or Reading())


def load_published(data: Published, path: Path) -> ImageSet:
    """Read photographs known by name, from their archive or from one of their context folders.

    Raises:
        DataError: as for `prepare_contexts`, or they are not the published ones.
    """
    source = path.parent if path.is_dir() else path
    found = load_contexts(source, Reading(image_size=data.shape[1]), name=data.name)
    contexts = found.contexts.names if found.contexts else ()
    if (found.class_names, contexts) != (data.class_names, data.contexts):
        raise DataError(
            f"{source} holds the contexts {', '.join(contexts)} and classes {', '.join(found.class_names)}, "
            f"{data.name} has {', '.join(data.contexts)} and {', '.join(data.class_names)}; give the folder "
            "itself to load it as it is"
        )
    for split, counts in ((found.train, data.train_counts), (found.test, data.test_counts)):
        check_labels(split.labels.numpy().astype(np.uint8), counts, data, source)
    return found


@checked(ConfigError)
def prepare_contexts(
    source: str | Path,
    out: str | Path,
    *,
    image_size: int | None = None,
    seed: int = 0,
    unreadable: Unreadable = "refuse",
    background: Background = "white",
    missing: Missing = "refuse",
    duplicates: Duplicates = "keep",
    name: str | None = None,
) -> ImageSet:
    """Decode photographs with contexts into a folder, which `spuriscope.load` then opens at once.

    Args:
        source: a folder CONTEXT/CLASS/*.jpg, one with these in `train/`, or a `.tar` of either.
        out: the folder to make.
        image_size: height and width in pixels that images are brought to: scaled to cover the square
            (Lanczos), then cropped around the centre. With None they keep their size, the same for all.
        seed: draws the split: in each class of each context, sorted by name, the first three tenths of
            `numpy.random.RandomState(seed).permutation(n)` are for testing.
        unreadable: "refuse" images that cannot be decoded, or "skip" them; the data set names those skipped.
        background: behind transparent pixels.
        missing: "refuse" a source where a context lacks a class that another one has, or "allow" it.
        duplicates: "keep" test images where the split put them, or "move" those with a near-duplicate among
            the training images there (`spuriscope.data.duplicates`); this decodes the images again.
        name: of the data set; by default that of its source.

    Raises:
        ConfigError: a setting is out of range.
        DataError: `out` is not empty or has no room, the source has another form, images differ in size, one
            cannot be read, or a context lacks a class.
    """
    source, out = Path(source), Path(out)
    check_choice("missing", missing, get_args(Missing))
    check_choice("duplicates", duplicates, get_args(Duplicates))
    check_seed("seed", seed)
    reading = Reading(image_size=image_size, unreadable=unreadable, background=background)
    arranged = arrange_contexts(read_tree(source), seed=seed, missing=missing)
    called = name if name is not None else source_name(source)
    while duplicates == "move":
        with scratch_folder("data", ("prepared",)) as folder:
            trial = folder / "prepared"
            tested = write_photographs(arranged, trial, called, reading)
            moved = {tested[pair.test] for pair in near_duplicates(load_prepared(trial))}
        if not moved:
            break
        arranged = replace(
            arranged,
            train=tuple(sorted((*arranged.train, *moved), key=_place)),
            test=tuple(image for image in arranged.test if image not in moved),
        )
    write_photographs(arranged, out, called, reading)
    return load_prepared(out)


def _place(image: Labelled) -> tuple[str, str, str]:
    return image.context, image.class_name, image.photo.name
