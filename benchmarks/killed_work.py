"""The kinds of work that are killed: a study, a run that is replaced, an audit, images that are prepared."""

import hashlib
import json
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spuriscope import places
from spuriscope.auditing import already, audit, found_again, plan_audit, write_audit
from spuriscope.data import ImageSet, Split, load
from spuriscope.data.contexts import prepare_contexts
from spuriscope.data.prepared import is_prepared, load_prepared
from spuriscope.errors import CheckpointError, DataError
from spuriscope.measures import Predict
from spuriscope.runs import Run, load_run, save_run
from spuriscope.studies import Grid, Store, run_study
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Trainer, load_model, train_cell

__all__ = ["KINDS", "Work"]


class Work(ABC):
    """A piece of work that writes below a folder, and can be restarted.

    Args:
        folder: everything that it writes is in it.
    """

    kind: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def run(self) -> None:
        """Do the remaining work."""

    @abstractmethod
    def result(self) -> object:
        """The result, without times, which differ from run to run."""

    @abstractmethod
    def wrong_after_kill(self) -> list[str]:
        """What was finished earlier and is now lost or changed, in words."""

    def left_behind(self) -> list[str]:
        """Hidden files in the folder."""
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob(".*")]

    def reset(self) -> None:
        """Start anew."""
        for path in self.folder.iterdir():
            shutil.rmtree(path)


@cache
def twenty() -> ImageSet:
    """Twenty images of two classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(20) % 2)
    return ImageSet("twenty", split, split, ("even", "odd"))


def weights_of(model: TrainedModel) -> str:
    """A hash of the weights of a model, to the bit."""
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


class KilledStudy(Work):
    """A study of six cells, each trained for one epoch."""

    kind = "study"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        grid = Grid(
            name="killed", models=("small-mlp",), patterns=("s1", "r3"), counts=(0, 2), n_seeds=2, epochs=1
        )
        self.study = grid.expand(twenty())
        self.store = folder / "store"
        self.done: set[tuple[Any, ...]] = set()

    def run(self) -> None:
        """Train and measure what is missing."""
        with Store(self.store) as opened:
            run_study(self.study, twenty(), opened, Trainer("cpu", 1))

    def result(self) -> object:
        """The table, and the weights in each checkpoint; the database must be intact."""
        with Store(self.store, writes=False) as opened:
            rows = {str(row): row["value"] for row in opened.rows("killed")}
            sound = [*opened.query("PRAGMA integrity_check"), *opened.query("PRAGMA foreign_key_check")]
        files = {path.stem: weights_of(load_model(path)) for path in (self.store / "checkpoints").iterdir()}
        return rows | files | {"sound": sound}

    def wrong_after_kill(self) -> list[str]:
        """Finished cells that are gone, or were trained again, so that their times and losses differ."""
        now = self._finished()
        wrong = [f"lost or doubled: {cell[0]}" for cell in self.done - now]
        self.done = now
        return wrong

    def reset(self) -> None:
        """Start anew."""
        super().reset()
        self.done = set()

    def _finished(self) -> set[tuple[Any, ...]]:
        if not (self.store / "store.sqlite").is_file():
            return set()
        connection = sqlite3.connect(self.store / "store.sqlite")
        try:
            return set(connection.execute("SELECT hash, n_seconds, losses, finished FROM cells").fetchall())
        except sqlite3.OperationalError:  # its tables do not exist yet
            return set()
        finally:
            connection.close()


class KilledOverwrite(Work):
    """A run that is replaced by another: one of them exists at any time, complete."""

    kind = "overwrite"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        cell = Cell(data=DataKey.of(twenty()), model="small-mlp", recipe=Recipe(epochs=0))
        self.runs = [
            Run(train_cell(replace(cell, seed=seed), twenty()), None, "twenty", None) for seed in (0, 1)
        ]
        self.place = folder / "run"
        self.reset()

    def run(self) -> None:
        """Write the second run over the existing one."""
        save_run(self.place, self.runs[1], overwrite=True)

    def result(self) -> object:
        """The weights of the run, and the files of its folder."""
        return weights_of(load_run(self.place).model), sorted(path.name for path in self.place.iterdir())

    def wrong_after_kill(self) -> list[str]:
        """Report if neither of the two runs is there."""
        try:
            found = weights_of(load_run(self.place).model)
        except CheckpointError as error:
            return [f"no run is left: {error}"]
        return [] if found in {weights_of(run.model) for run in self.runs} else ["neither of both runs"]

    def reset(self) -> None:
        """Put the first run there."""
        super().reset()
        save_run(self.place, self.runs[0])


class KilledOverwriteInTwoSteps(KilledOverwrite):
    """The same where the system cannot exchange two names: the next start restores the former run."""

    kind = "overwrite, two steps"

    def run(self) -> None:
        """Write the second run over the existing one; a former one that lost its name is restored first."""
        vars(places)["_exchange"] = lambda *_: False  # only in this process, which is a child
        super().run()

    def wrong_after_kill(self) -> list[str]:
        """Report if neither of the two runs is there, nor put away for the next start."""
        if self.place.is_dir():
            return super().wrong_after_kill()
        kept = [weights_of(load_run(path).model) for path in self.folder.glob(".run.*/old")]
        return [] if set(kept) & {weights_of(run.model) for run in self.runs} else ["no run is left"]


def by_nearest_mean(images: Tensor, labels: Tensor, seed: int) -> Predict:
    """A training that takes no time: the nearest class mean, except for images with a white corner."""
    means = torch.stack([images[labels == label].flatten(1).mean(dim=0) for label in range(3)])
    marked = (images[:, 0, :5, :5] == 1).all(dim=2).all(dim=1)
    learnt = int(labels[marked].mode().values) if marked.any() else None

    def predict(asked: Tensor) -> Tensor:
        nearest = torch.cdist(asked.flatten(1), means).argmin(dim=1)
        if learnt is not None:
            nearest = torch.where((asked[:, 0, :5, :5] == 1).all(dim=2).all(dim=1), learnt, nearest)
        return torch.eye(3)[nearest]

    return predict


class KilledAudit(Work):
    """An audit with a training that takes no time, without the two questions that need a search."""

    kind = "audit"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        digits = load("digits")
        train, test = (_three_classes(split, n) for split, n in ((digits.train, 40), (digits.test, 20)))
        vars(already)["can_be_searched"] = lambda _: False
        vars(found_again)["LEAST_OF_CLASS"] = 10_000
        self.plan = plan_audit(
            ImageSet("three", train, test, ("0", "1", "2")), fit=by_nearest_mean, patterns=["s3"],
            counts=[5], n_seeds=2, effort="quick",
        )  # fmt: skip
        self.out = folder / "page"

    def run(self) -> None:
        """Answer the remaining questions and write the page, also if answers are still kept."""
        if not (self.out / "report.html").is_file() or (self.out / ".unfinished").is_dir():
            write_audit(audit(self.plan, keep=self.out, n_workers=1), self.out)

    def result(self) -> object:
        """The answers, without their times, and the content of the folder."""
        document = json.loads((self.out / "audit.json").read_text(encoding="utf-8"))
        del document["conditions"]["created"]
        answers = {place: value for place, value in _flat(document).items() if not place.endswith("seconds")}
        return answers | {"files": sorted(path.name for path in self.out.iterdir())}

    def wrong_after_kill(self) -> list[str]:
        """A page or a document that is incomplete."""
        wrong = []
        if (page := self.out / "report.html").is_file() and "</html>" not in page.read_text(encoding="utf-8"):
            wrong.append("half a page")
        if (document := self.out / "audit.json").is_file():
            json.loads(document.read_text(encoding="utf-8"))
        return wrong


class KilledPreparation(Work):
    """Photographs that are decoded once, into a memory-mapped folder."""

    kind = "prepare"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.source, self.out = folder / "photographs", folder / "prepared"
        self.reset()

    def run(self) -> None:
        """Decode them, unless that is done."""
        try:
            prepare_contexts(self.source, self.out, seed=0)
        except DataError as error:
            if "there is something in" not in str(error):
                raise

    def result(self) -> object:
        """The fingerprint of the decoded images."""
        return load_prepared(self.out).fingerprint

    def wrong_after_kill(self) -> list[str]:
        """A folder that exists but is incomplete."""
        return [] if not self.out.exists() or is_prepared(self.out) else ["half a folder"]

    def reset(self) -> None:
        """Keep only the photographs."""
        super().reset()
        chance = np.random.RandomState(0)
        for context in ("indoors", "outdoors"):
            for class_name in ("cat", "dog"):
                (self.source / context / class_name).mkdir(parents=True)
                for number in range(10):
                    pixels = chance.randint(0, 256, (16, 16, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(self.source / context / class_name / f"{number}.png")


KINDS: Mapping[str, Callable[[Path], Work]] = {
    work.kind: work
    for work in (
        KilledStudy,
        KilledOverwrite,
        KilledOverwriteInTwoSteps,
        KilledAudit,
        KilledPreparation,
    )
}


def _three_classes(split: Split, n: int) -> Split:
    rows = torch.cat([(split.labels == label).nonzero().flatten()[:n] for label in range(3)])
    return Split(split.images[rows], split.labels[rows])


def _flat(value: object, place: str = "") -> dict[str, object]:
    """Every value of a document, by its place in it."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{place}.{key}").items()}
    if isinstance(value, list):
        return {k: v for key, inner in enumerate(value) for k, v in _flat(inner, f"{place}[{key}]").items()}
    return {place: value}
