"""The rows of a study, one per model and cue, and how to select among them by seed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import correlation, fmean, mode
from typing import Any

from spuriscope.data import ImageSet, Reading, read
from spuriscope.documents import from_text
from spuriscope.errors import ConfigError, DataError, StoreError
from spuriscope.limits import LARGEST_SIDE
from spuriscope.measures import empirical_norm
from spuriscope.patterns import PATTERN_NAMES, Kind, pattern
from spuriscope.studies.source import Source
from spuriscope.training.cell_document import CellDocument

__all__ = [
    "NORM",
    "PLACE",
    "Result",
    "by_seed",
    "correlations",
    "distinct",
    "images_of",
    "mean_by_seed",
    "own_settings",
    "read_results",
    "results",
    "strengths",
    "with_norms",
]

NORM = "empirical_norm"
CLIPPING, NOISE = {"clipping", "clip_at"}, {"noise_multiplier", "max_grad_norm"}
TOGETHER = {name: choice for choice in (CLIPPING, NOISE) for name in choice}  # settings that form one choice
PLACE = ("model", "pattern", "target", "n_planted", "seed", "part")  # other labels are settings of the recipe


@dataclass(frozen=True)
class Result:
    """One model under one pattern and target.

    Attributes:
        cell: hash of the trained cell.
        labels: its place in the study: model, pattern, target, n_planted, seed, and the settings of the
            recipe that vary.
        measures: its numbers by name.
    """

    cell: str
    labels: Mapping[str, Any]
    measures: Mapping[str, float]

    def is_at(self, wanted: Mapping[str, Any]) -> bool:
        """Whether it has these labels; a label may also be a collection of allowed values."""
        for name, value in wanted.items():  # a loop, because it is called hundreds of thousands of times
            label = self.labels.get(name)
            if label not in value if isinstance(value, tuple | frozenset) else label != value:
                return False
        return True

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the recipe that vary in its study."""
        return {name: value for name, value in self.labels.items() if name not in PLACE}


def results(rows: Iterable[Mapping[str, Any]]) -> list[Result]:
    """Rebuild the rows of a study from those of `Store.rows`, which are one per cell and measure."""
    found: dict[tuple[str, ...], Result] = {}
    measures: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        labels = {
            name: tuple(value) if isinstance(value, list) else value  # milestones, as JSON has them
            for name, value in row.items()
            if name not in ("cell", "measure", "value")
        }
        key = (row["cell"], *(f"{name}={value}" for name, value in labels.items()))
        measures[key][row["measure"]] = row["value"]
        found.setdefault(key, Result(row["cell"], labels, measures[key]))
    return list(found.values())


def read_results(source: Source, study: str) -> list[Result]:
    """Read the rows of a study from a store, or from a folder of exported files.

    Raises:
        StoreError, ConfigError: there is no such study.
    """
    return results(source.rows(study))


def images_of(source: Source, found: Sequence[Result], root: Path | None = None) -> ImageSet:
    """The data set that rows of a store were trained on, found by the name it had then.

    Args:
        source: has the rows.
        found: at least one row.
        root: folder with the files of the data set.

    Raises:
        ConfigError: there are no rows, or they are exported ones, which have no images.
        DataError: there is no such data set, its files are missing, or it is another by now.
        StoreError: the row of the cell is damaged.
    """
    if not found:
        raise ConfigError("the study has no finished cells yet; `spuriscope study status` shows what is done")
    content = source.content(found[0].cell)
    if content is None:
        raise ConfigError(
            f"{source.folder} does not say which images cell {found[0].cell} saw; draw this from the store, "
            "or export the study with --root, so that its rows have the norms"
        )
    of = f"the cell {found[0].cell}"
    key = from_text(CellDocument, content, source=of, error=StoreError).data
    _, height, width = key.shape
    is_square = height == width <= LARGEST_SIDE
    data = read(key.name, Reading(image_size=height if is_square else None), root=root)
    is_equal = key.fingerprint in (data.fingerprint, data.content_fingerprint)
    if not is_equal or len(key.class_names) != data.n_classes:
        raise DataError(f"the study was trained on another {key.name}; give its folder with --root")
    return data


def distinct(found: Sequence[Result], label: str) -> list[Any]:
    """The values of a label, in the order they first occur."""
    return list(dict.fromkeys(result.labels[label] for result in found if label in result.labels))


def by_seed(found: Sequence[Result], measure: str, **wanted: Any) -> dict[int, float]:
    """A measure of the models with these labels, by seed; averaged where several match.

    A label may be given as a tuple of allowed values.
    """
    values: dict[int, list[float]] = {}
    for result in found:
        if measure in result.measures and result.is_at(wanted):
            values.setdefault(result.labels["seed"], []).append(result.measures[measure])
    return {seed: fmean(values[seed]) for seed in sorted(values)}


def mean_by_seed(found: Sequence[Result], measure: str, **wanted: Any) -> dict[int, float]:
    """A measure averaged over every planted cell with these labels, for each seed that has all of them.

    A seed has all of them if each of its models, targets and recipes has every pattern that its clean twin
    was measured under, with every number planted. Other seeds, of a running study, are left out: a mean over
    fewer cells is another number.
    """
    anywhere = {name: value for name, value in wanted.items() if name != "n_planted"}
    n_patterns = len(distinct([result for result in found if result.is_at(anywhere)], "pattern"))
    planted = [result for result in found if result.labels["n_planted"] > 0 and result.is_at(wanted)]
    counts: dict[str, set[int]] = defaultdict(set)
    places: dict[int, set[tuple[str, str, int]]] = defaultdict(set)
    for result in planted:
        labels = result.labels
        other = str([labels[name] for name in labels if name not in ("pattern", "n_planted", "seed")])
        counts[other].add(labels["n_planted"])
        places[labels["seed"]].add((other, labels["pattern"], labels["n_planted"]))
    n_places = n_patterns * sum(map(len, counts.values()))
    means = by_seed(planted, measure)
    return {seed: mean for seed, mean in means.items() if len(places[seed]) == n_places}


def correlations(
    here: Sequence[Mapping[int, float]], there: Sequence[Mapping[int, float]]
) -> dict[int, float]:
    """Pearson's correlation for each seed that has every value; 0 where one side does not vary.

    Args:
        here: values by seed, one mapping per point.
        there: the values to compare with, point by point.
    """
    seeds = sorted(set[int].intersection(*(set(values) for values in (*here, *there))))
    pairs = {seed: ([x[seed] for x in here], [y[seed] for y in there]) for seed in seeds}
    return {
        seed: correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else 0.0
        for seed, (x, y) in pairs.items()
    }


def own_settings(found: Sequence[Result]) -> dict[str, Any]:
    """The recipe that a study varies one choice at a time: the most frequent value of each choice."""
    recipes = list({str(result.settings): result.settings for result in found}.values())
    own: dict[str, Any] = {}
    for name in recipes[0] if recipes else ():
        together = sorted(TOGETHER.get(name, {name}) & recipes[0].keys())
        common = mode([tuple(recipe[part] for part in together) for recipe in recipes])
        own[name] = dict(zip(together, common, strict=True))[name]
    return own


def strengths(found: Sequence[Result], setting: str, **wanted: Any) -> list[tuple[float, dict[str, Any]]]:
    """The recipes that differ from the study's own in one setting, weakest value first, with their settings.

    "clip_at" and "clipping" are one setting, as are "noise_multiplier" and "max_grad_norm"; the own recipe
    is left out.

    Args:
        found: rows of a study.
        setting: the setting that varies.
        wanted: settings that the recipes must have, such as clipping="norm".
    """
    own = own_settings(found)
    free = TOGETHER.get(setting, {setting}) & own.keys()
    recipes = {str(result.settings): result.settings for result in found if setting in result.settings}
    others = [
        recipe
        for recipe in recipes.values()
        if all(recipe[name] == own[name] for name in own.keys() - free)
        and any(recipe[name] != own[name] for name in free)
        and all(recipe.get(name) == value for name, value in wanted.items())
    ]
    weakest_first = sorted(others, key=lambda recipe: float(recipe[setting]), reverse=setting == "clip_at")
    return [(float(recipe[setting]), recipe) for recipe in weakest_first]


def with_norms(source: Source, found: Sequence[Result], root: Path | None = None) -> list[Result]:
    """Rows with the empirical norm of their pattern as another measure, unchanged if they already have it.

    Raises:
        ConfigError, DataError, StoreError: as for `images_of`, where the images are needed.
    """
    if found and all(NORM in row.measures for row in found if row.labels["pattern"] in PATTERN_NAMES):
        return list(found)
    return _normed(found, images_of(source, found, root))


def _normed(found: Sequence[Result], data: ImageSet) -> list[Result]:
    """The same rows with the empirical norm of their pattern on the test images as another measure.

    Patterns from a user's pictures are skipped: a study knows them only by name.
    """
    norms: dict[tuple[str, int], float] = {}
    of_picture: dict[Kind, float] = {}  # computed once, as most patterns do not depend on the seed
    for name, seed in dict.fromkeys((result.labels["pattern"], result.labels["seed"]) for result in found):
        if name in PATTERN_NAMES:
            picture = pattern(name, data.shape, seed=seed)
            if picture not in of_picture:
                of_picture[picture] = empirical_norm(data.test.images, picture)
            norms[name, seed] = of_picture[picture]
    normed = []
    for result in found:
        place = (result.labels["pattern"], result.labels["seed"])
        more = {NORM: norms[place]} if place in norms else {}
        normed.append(replace(result, measures={**result.measures, **more}))
    return normed
