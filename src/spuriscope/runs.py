"""A run: the folder that `spuriscope train` writes, and the questions it can answer.

A run holds `model.safetensors`, `clean-twin.safetensors` unless that was left out, and `run.json`, which says
where the data were found and has the hashes of these files and of itself. It is written beside its place and
moved there once complete. A file that was changed, or belongs to another run, is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spuriscope.argument_types import checked
from spuriscope.checks import check_share, strict_json
from spuriscope.data import ImageSet, Reading, read
from spuriscope.documents import from_document, parse_json
from spuriscope.errors import CheckpointError, ConfigError, SpuriscopeError
from spuriscope.known_names import no_run
from spuriscope.measures import Predict, accuracy, measure
from spuriscope.placement_measures import placement_scores
from spuriscope.places import check_new, check_place, delete_left, move_into_place, unfinished_folder
from spuriscope.planting import Plant
from spuriscope.training import (
    Cell,
    DataKey,
    Recipe,
    TrainedModel,
    Trainer,
    Weights,
    load_model,
    train_all,
)

__all__ = ["Run", "check_out", "load_run", "save_run", "train_run"]

FORMAT = 2
FIRST_FORMAT = 1  # has no hashes
N_MOVED = 500  # images on which a pattern is moved
MODEL, TWIN, ABOUT = "model.safetensors", "clean-twin.safetensors", "run.json"
FILES = (MODEL, TWIN, ABOUT)


@dataclass(frozen=True, kw_only=True)
class _About:
    """The content of `run.json`; runs of the first format have neither hashes nor `reading`."""

    format: int
    source: str
    root: str | None
    cell: dict[str, Any]
    reading: Reading = field(default_factory=Reading)
    files: dict[str, str] = field(default_factory=dict)
    checksum: str | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model, its clean twin, and where their data lies.

    Attributes:
        model: the model.
        twin: its clean twin, None if it has none.
        source: the argument of `spuriscope.load`: a name, a folder, or an .npz file.
        root: the folder in which named data sets were sought, None for the usual places.
        reading: how its images were read.
    """

    model: TrainedModel
    twin: TrainedModel | None
    source: str
    root: str | None
    reading: Reading = field(default_factory=Reading)

    def data(
        self,
        source: str | Path | None = None,
        root: str | Path | None = None,
        reading: Reading | None = None,
    ) -> ImageSet:
        """The data it was trained on, by default from the same place and read in the same way.

        Raises:
            DataError: they are not there, or damaged.
            CheckpointError: other data are there.
        """
        old_root = Path(self.root) if self.root is not None else None
        source = self.source if source is None else source
        data = read(source, reading or self.reading, root=root or old_root)
        try:
            self.model.cell.data.check(data, "the model was trained on")
        except CheckpointError as error:
            raise CheckpointError(f"{error}, with --data") from None
        return data

    def score(
        self,
        data: ImageSet,
        plants: Sequence[Plant] | None = None,
        *,
        threshold: float = 0.1,
        with_places: bool = False,
    ) -> dict[str, Any]:
        """The effect of each pattern on the model, and on its clean twin, on the test images.

        Args:
            data: what the model was trained on, see `data`.
            plants: patterns and targets to measure; those planted by default.
            threshold: least rise of a probability that counts for the spurious score.
            with_places: whether to measure dependence on place and size too, see `score_models`.

        Returns:
            JSON values: the cell, `clean_accuracy`, and under `plants` for each plant its measures; the
            twin's have `clean_twin_` before their names. With one plant its measures stand at the top too.
        """
        wanted = self.model.cell.plants if plants is None else tuple(plants)
        models = {"": self.model.predict}
        if self.twin is not None:
            models["clean_twin_"] = self.twin.predict
        return {
            "cell": self.model.cell.hash,
            "model": self.model.cell.model,
            "seed": self.model.cell.seed,
            **score_models(models, data, wanted, threshold=threshold, with_places=with_places),
        }


def score_models(
    models: Mapping[str, Predict],
    data: ImageSet,
    plants: Sequence[Plant],
    *,
    threshold: float = 0.1,
    with_places: bool = False,
) -> dict[str, Any]:
    """The effect of each pattern on models, on the test images.

    Args:
        models: by the prefix of the names of its measures, as "" and "clean_twin_".
        data: its test part is used.
        plants: patterns and targets.
        threshold: least rise of a probability that counts for the spurious score.
        with_places: whether to measure dependence on place and size too, see `placement_scores`, on the first
            500 test images that are not of the target class.

    Returns:
        JSON values, as from `Run.score`.

    Raises:
        MeasureError: a model does not return probabilities, or has no such class.
    """
    check_share("threshold", threshold)
    test = data.test
    scores: dict[str, Any] = {"data": data.name, "threshold": threshold}
    for prefix, predict in models.items():
        scores[f"{prefix}clean_accuracy"] = accuracy(predict, test.images, test.labels)
    of_plants = []
    for plant in plants:
        about: dict[str, Any] = {
            "pattern": plant.pattern.name,
            "target": plant.target,
            "n_planted": plant.n_planted,
            "placement": plant.placement,
            "relabel": plant.relabel,
        }
        others = test.images[(test.labels != plant.target).nonzero().flatten()[:N_MOVED]]
        for prefix, predict in models.items():
            found = asdict(measure(predict, test, plant.placed, plant.target, threshold=threshold))
            found["spurious_score"] = found.pop("score_all")
            found["spurious_score_non_target"] = found.pop("score_non_target")
            found["normalised_spurious_score"] = found.pop("normalised_score")
            if with_places:
                found["placement_scores"] = asdict(
                    placement_scores(predict, others, plant.placed, plant.target, threshold=threshold)
                )
            about |= {prefix + name: value for name, value in found.items()}
        of_plants.append(about)
    if len(of_plants) == 1:
        scores |= of_plants[0]
    return scores | {"plants": of_plants}


def train_run(
    data: ImageSet,
    plants: Sequence[Plant],
    *,
    model: str,
    recipe: Recipe,
    seed: int,
    weights: str | Path | None = None,
    twin: bool,
    source: str,
    root: str | None,
    reading: Reading | None = None,
    trainer: Trainer | None = None,
) -> Run:
    """Train a model and, if something is planted and `twin` is true, its clean twin.

    Raises:
        ConfigError, ModelError, PatternError, PlantingError: the arguments do not fit together.
        TrainingError: a model could not be trained.
    """
    cell = Cell(
        data=DataKey.of(data),
        plants=tuple(plants),
        model=model,
        recipe=recipe,
        seed=seed,
        weights=None if weights is None else Weights.of(weights),
    )
    cells = [cell, cell.clean_twin] if twin and cell.plants else [cell]
    models = train_all(cells, data, trainer or Trainer())
    twin_model = models.get(cell.clean_twin) if len(cells) == 2 else None
    return Run(models[cell], twin_model, source, root, reading or Reading())


def check_out(folder: str | Path, *, overwrite: bool = False) -> None:
    """Refuse, before anything is trained, a place where a run could not be written.

    Raises:
        ConfigError: something is there already, its name is too long or a broken link, or its parent folder
            cannot be written to. A run may be overwritten, but not one with other files in its folder, nor
            anything else, nor the current folder.
    """
    folder = Path(folder)
    check_place(folder)
    delete_left(folder.resolve(), FILES)
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; choose another folder with --out")
    if folder.is_dir() and any(folder.iterdir()):
        others = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
        if others or not _is_run(folder):
            named = f" ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
            raise ConfigError(
                f"{folder} holds other files{named}; choose an empty or a new folder with --out"
            )
        if not overwrite:
            raise ConfigError(f"{folder} holds a run already; choose another folder, or add --overwrite")
    else:
        check_new(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write in {folder.parent} ({error.strerror}); choose another --out"
        ) from None


@checked(ConfigError)
def save_run(folder: str | Path, run: Run, *, overwrite: bool = False) -> None:
    """Write a run; the folder appears once complete. If several processes write one, one wins.

    Raises:
        ConfigError: see `check_out`; or another process has written there in the meantime.
    """
    folder = Path(folder)
    check_out(folder, overwrite=overwrite)
    place, before = folder.resolve(), _identity(folder)

    def check() -> None:
        if _identity(place) != before:
            raise ConfigError(f"another process has written {folder} meanwhile; choose another --out")
        check_out(folder, overwrite=overwrite)

    try:
        with unfinished_folder(place, FILES) as new:
            _write_files(new, run)
            move_into_place(new, place, check, replaces=overwrite)
    except OSError as error:
        raise ConfigError(f"cannot write {folder} ({error.strerror}); choose another --out") from None


def _write_files(folder: Path, run: Run) -> None:
    """Write the files of a run into an empty folder."""
    run.model.save(folder / MODEL)
    if run.twin is not None:
        run.twin.save(folder / TWIN)
    about: dict[str, Any] = {
        "format": FORMAT,
        "source": run.source,
        "root": run.root,
        "reading": asdict(run.reading),
        "cell": run.model.cell.to_json(),
        "files": {path.name: _sha256(path.read_bytes()) for path in sorted(folder.iterdir())},
    }
    about["checksum"] = _checksum(about)
    (folder / ABOUT).write_text(strict_json(about) + "\n", encoding="utf-8")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Identify a folder, to notice when another took its name; None for a missing or empty one."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    status = folder.stat()
    return status.st_dev, status.st_ino


@checked(CheckpointError)
def load_run(folder: str | Path) -> Run:
    """Read the run that `save_run` wrote.

    Raises:
        CheckpointError: the folder holds no run, a damaged one, or files of several runs.
    """
    folder = Path(folder)
    about = _read_about(folder)
    files, version = about.files, about.format
    for name, expected in files.items():
        path = folder / name
        if path.is_file() and _sha256(path.read_bytes()) != expected:
            raise CheckpointError(
                f"{path} is not the file that was written with this run: it is damaged, or another run's; "
                "put its own file back, or train the run again"
            )
    has_twin = (folder / TWIN).is_file()
    if version == FORMAT and has_twin != (TWIN in files):
        there, expected = ("is", "without") if has_twin else ("is not", "with")
        raise CheckpointError(
            f"{folder / TWIN} {there} there, but the run was written {expected} one; train the run again"
        )
    model = load_model(folder / MODEL)
    twin = load_model(folder / TWIN) if has_twin else None
    _check_parts(folder, about.cell, model, twin)
    return Run(model, twin, about.source, about.root, about.reading)


def _read_about(folder: Path) -> _About:
    """Read the `run.json` of a run, in any format.

    Raises:
        CheckpointError: there is no run, or its `run.json` is damaged, was changed, or has a newer format.
    """
    path = folder / ABOUT
    if not os.path.isfile(path):
        raise CheckpointError(no_run(folder))
    try:
        document = parse_json(path, error=CheckpointError)
        version = document.get("format") if isinstance(document, Mapping) else None
        if version not in (FORMAT, FIRST_FORMAT):
            raise CheckpointError(
                f"{folder} was written by another version of spuriscope (format {version!r}, this one knows "
                f"{FIRST_FORMAT} and {FORMAT})"
            )
        about = from_document(_About, document, source=str(path), error=CheckpointError)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{error}; train the run again") from None
    sealed = {name: value for name, value in document.items() if name != "checksum"}
    if version == FORMAT and about.checksum != _checksum(sealed):
        raise CheckpointError(f"{path} was changed: its checksum differs; train the run again")
    return about


def _check_parts(folder: Path, content: Any, model: TrainedModel, twin: TrainedModel | None) -> None:
    """Raise unless the files of a run, in any format, belong together."""
    try:
        is_own = Cell.from_json(content, model.cell.patterns, model.cell.part) == model.cell
    except SpuriscopeError:  # other patterns, or another part
        is_own = False
    if not is_own:
        raise CheckpointError(
            f"{folder / MODEL} is not the training that {ABOUT} describes; put the run's own file back, or "
            "train the run again"
        )
    if twin is not None and twin.cell != model.cell.clean_twin:
        raise CheckpointError(
            f"{folder / TWIN} is not the clean twin of {MODEL}, but {twin!r}; put the run's own file back, "
            "or train the run again"
        )


def _is_run(folder: Path) -> bool:
    """Whether a folder's `run.json` was written here."""
    try:
        about = parse_json(folder / ABOUT)
    except ConfigError:
        return False
    return isinstance(about, dict) and {"format", "source", "root", "cell"} <= set(about)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checksum(about: Mapping[str, Any]) -> str:
    """SHA-256 of the content of `run.json`, without the checksum itself."""
    return _sha256(json.dumps(about, sort_keys=True).encode())
