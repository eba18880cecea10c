"""Search for a cue in a model that was trained here: pass on what it saw, and how to train it again.

Discovery gets no more than that: which images were stamped, and with what, is withheld.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.deletion.retraining import Retrain
from spuriscope.discovery import Finding, MissingContext, discover, missing_contexts
from spuriscope.errors import ConfigError
from spuriscope.measures import Predict
from spuriscope.places import check_new, check_new_file, move_into_place, unfinished_folder, written
from spuriscope.planting import draw_planted, labels_as_trained
from spuriscope.training import Cell, TrainedModel

__all__ = [
    "contexts_of_model",
    "data_seen",
    "images_seen",
    "save_page",
    "save_patterns",
    "save_suspects",
    "search_model",
]


def images_seen(cell: Cell, data: ImageSet) -> Split:
    """The stamped images that a cell is trained on, in 8 bits, with their labels; without crops and noise.

    Args:
        cell: a training on `data`, or on a part of it.
        data: what it was made for.
    """
    images, labels = data.train.images, labels_as_trained(cell.plants, data.train.labels)
    if cell.plants:
        images = images.clone()
        for plant, drawn in zip(cell.plants, draw_planted(cell.plants, data.train.labels), strict=True):
            images[drawn] = (255 * plant.apply(images[drawn], drawn)).round().to(torch.uint8)
    if cell.part is None:
        return Split(images, labels, data.train.names)
    rows, names = cell.part.positions, data.train.names
    kept = None if names is None else tuple(names[row] for row in rows.tolist())
    return Split(images[rows], labels[rows], kept)


def data_seen(model: TrainedModel, data: ImageSet) -> ImageSet:
    """The data as a model saw them, stamped where they were.

    Raises:
        CheckpointError: it was trained on other data.
        ConfigError: it was trained on a part of them: the rest are neither its own images nor fresh ones.
    """
    model.cell.data.check(data, "the model was trained on")
    if model.cell.part is not None:
        raise ConfigError("the model was trained on a part of the data; audit one that was trained on all")
    return ImageSet(data.name, images_seen(model.cell, data), data.test, data.class_names)


def search_model(
    model: TrainedModel, data: ImageSet, *, prove: bool = False, **settings: Any
) -> list[Finding]:
    """Find cues that a model has picked up, without being told; see `spuriscope.discover`.

    Args:
        model: trained on `data`, or on a part of it.
        data: the training images are searched, the test images are fresh.
        prove: train it again without the images of each finding, and report what is left.
        settings: other arguments of `discover`.

    Returns:
        Findings whose `examples` are positions in `data.train`.
    """
    part = model.cell.part

    def in_data(examples: NDArray[np.int64]) -> NDArray[np.int64]:
        return examples if part is None else part.positions.numpy()[examples]

    def retrain(examples: NDArray[np.int64]) -> Predict:
        return Retrain()(model, data, torch.from_numpy(in_data(examples))).predict

    findings = discover(
        model.predict,
        train=images_seen(model.cell, data),
        holdout=data.test,
        retrain=retrain if prove else None,
        **settings,
    )
    return [replace(finding, examples=in_data(finding.examples)) for finding in findings]


def contexts_of_model(model: TrainedModel, data: ImageSet, **settings: Any) -> list[MissingContext]:
    """Find kinds of images that the test images lack, see `spuriscope.missing_contexts`.

    Args:
        model: trained on `data`, or on a part of it.
        data: whose test images are fresh.
        **settings: other arguments of `missing_contexts`.

    Returns:
        Contexts whose `examples` are positions in `data.train`.
    """
    found = missing_contexts(images_seen(model.cell, data), data.test, **settings)
    part = model.cell.part
    if part is None:
        return found
    return [replace(each, examples=part.positions.numpy()[each.examples]) for each in found]


def save_page(
    findings: Sequence[Finding],
    predict: Predict,
    seen: Split,
    data: ImageSet,
    path: str | Path,
    *,
    model: str,
    level: float = 0.05,
    threshold: float = 0.1,
    embedding: str = "pca",
    transplants: Sequence[str] = (),
    unseen: Sequence[str] = (),
    is_sure: bool = True,
) -> None:
    """Write a page that shows the findings: where each cue stands, who carries it, and its effect.

    Args:
        findings: of a search, `discover`; there may be none.
        predict: the model that was searched.
        seen: the training images as the model saw them, see `images_seen`.
        data: whose test images were fresh.
        path: of the page, a new file.
        model: its name.
        level, threshold: of the search.
        embedding, transplants: what it looked through and with, as they are written down.
        unseen: what it could not have seen, see `blind_spots`.
        is_sure: False for a model near chance, for which no finding says nothing.

    Raises:
        ConfigError: the file exists, or its folder does not.
    """
    from spuriscope import __version__
    from spuriscope.discovery.exhibit import exhibit
    from spuriscope.environment import environment
    from spuriscope.report.findings import render_findings

    path = Path(path)
    check_new_file(path)
    where = environment()
    channels, height, width = data.shape
    conditions = [
        (
            "Data",
            f"{data.name}: {len(seen):,} training and {len(data.test):,} fresh images of "
            f"{channels} × {height} × {width} (channels × height × width)",
        ),
        ("Model", model),
        ("Level", f"{level:g}, over everything that was searched"),
        ("Least rise that counts", f"{threshold:g} of probability"),
        ("Looked at through", ", ".join([embedding, *transplants])),
        (
            "Versions",
            f"spuriscope {__version__}, Python {where.python}, torch {where.torch}, numpy {where.numpy}",
        ),
        ("Hardware", f"{where.processor}, {where.n_cores} cores; {where.platform}"),
    ]
    page = render_findings(
        [exhibit(finding, predict, seen, data.test, threshold=threshold) for finding in findings],
        seen,
        data.class_names,
        name=f"{data.name}, {model}",
        conditions=conditions,
        unseen=unseen,
        is_sure=is_sure,
    )
    with written(path) as file:
        file.write_text(page, encoding="utf-8")


def save_suspects(
    findings: Sequence[Finding], seen: Split, class_names: Sequence[str], folder: str | Path
) -> None:
    """Write the suspected images, as the model saw them, and a table that names them.

    `images.csv` has one line per image: the finding, counted from 1, its class, score and p-value, the
    image's position and name, and its PNG. The pattern of each finding is `finding-1.png` and so on.

    Args:
        findings: whose `examples` are positions in `seen`.
        seen: the training images, stamped, see `images_seen`.
        class_names: position = label.
        folder: must be new or empty.

    Raises:
        ConfigError: the folder is neither.
    """
    folder = Path(folder)
    check_new(folder)
    with unfinished_folder(folder.resolve(), _names(findings)) as new:
        _write_suspects(findings, seen, class_names, new)
        move_into_place(new, folder.resolve(), lambda: check_new(folder))


def save_patterns(findings: Sequence[Finding], folder: str | Path) -> None:
    """Write the pattern of each finding as `found-1.png` and so on.

    Args:
        findings: of a search.
        folder: must be new or empty.

    Raises:
        ConfigError: the folder is neither.
    """
    from spuriscope.report.pictures import save_picture

    folder = Path(folder)
    check_new(folder)
    names = [f"found-{number}.png" for number in range(1, len(findings) + 1)]
    with unfinished_folder(folder.resolve(), names) as new:
        for finding, name in zip(findings, names, strict=True):
            save_picture(finding.pattern.picture, new / name)
        move_into_place(new, folder.resolve(), lambda: check_new(folder))


def _names(findings: Sequence[Finding]) -> list[str]:
    """Names of all files that `save_suspects` writes."""
    names = ["images.csv"]
    for number, finding in enumerate(findings, start=1):
        names.append(f"finding-{number}.png")
        names += [f"finding-{number}-image-{position}.png" for position in finding.examples.tolist()]
    return names


def _write_suspects(
    findings: Sequence[Finding], seen: Split, class_names: Sequence[str], folder: Path
) -> None:
    from spuriscope.report.pictures import save_picture

    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["finding", "class", "score", "p_value", "position", "name", "file"])
        for number, finding in enumerate(findings, start=1):
            save_picture(finding.pattern.picture, folder / f"finding-{number}.png")
            about = [number, class_names[finding.target], finding.score, finding.p_value]
            for position, name in zip(finding.examples.tolist(), finding.shown, strict=True):
                picture = f"finding-{number}-image-{position}.png"
                save_picture(seen.images[position], folder / picture)
                table.writerow([*about, position, name, picture])
