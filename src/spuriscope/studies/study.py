"""What a study is: many cells, the measures taken on them, and the figure they make.

A `Grid` declares a study in a few lines, in Python or in a YAML file; `Grid.expand` turns it into the `Study`
for one data set. Clean twins are always included: for every model, recipe and seed the cell with nothing
planted, measured under every pattern and target.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, get_args

from spuriscope.added_measures import MEASURES
from spuriscope.checks import LARGEST_COUNT, check_whole, is_whole
from spuriscope.contexts import Context, RareContext, context_names
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import METHODS
from spuriscope.documents import from_document, parse_yaml
from spuriscope.errors import ConfigError
from spuriscope.limits import MOST_CELLS, MOST_REPLICATIONS
from spuriscope.membership.attacks import ATTACKS
from spuriscope.membership.game import SEEDS_OF_GAME, Game, GamePool, draw_pool
from spuriscope.patterns import AnyPattern, Anywhere, Kind, pattern
from spuriscope.planting import ALL, Placement, Plant, Relabel, could_carry
from spuriscope.registry import Registry
from spuriscope.training import Cell, DataKey, Recipe, Weights, paper_recipe
from spuriscope.training.precision import settled

__all__ = ["Entry", "Grid", "Study", "check_study_name", "read_grid"]

LONGEST_NAME = 100  # bytes
MOST_MODELS = SEEDS_OF_GAME - 1  # of one game


@dataclass(frozen=True)
class Entry:
    """One row of a study: a cell, and the pattern and target it is measured under.

    Attributes:
        cell: the training.
        pattern: what is stamped on the test images, or the context from which they are taken.
        target: the class it might lead to.
        labels: its place in the study: model, pattern, target, n_planted, seed, the settings of the recipe
            that vary, and in a membership game which part of the images the cell has.
    """

    cell: Cell
    pattern: Kind | Anywhere | Context
    target: int
    labels: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """Rows to train and measure on one data set.

    Attributes:
        name: its name in the store.
        title: what its figure shows.
        figure: how it is drawn.
        entries: its rows; a cell may stand in several.
        games: the membership games of its models, and the cells of each.
        deletions: methods that make each planted model forget its planted images.
        attacks: of plugins, run in its games beside ours.
        measures: of plugins, taken for each row beside ours.
    """

    name: str
    title: str
    figure: str
    entries: tuple[Entry, ...] = field(repr=False)
    games: Mapping[Game, Sequence[Cell]] = field(default_factory=dict, repr=False)
    deletions: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the rows."""
        return list(dict.fromkeys(entry.cell for entry in self.entries))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A study as a product of settings.

    Attributes:
        name: its name in the store.
        title: what its figure shows.
        figure: how it is drawn, see `spuriscope.studies.figures`.
        models: names of architectures.
        patterns: names or paths of pictures.
        targets: classes that carry the pattern, one at a time.
        counts: numbers of their training images that carry it; 0, the clean twin, is added if missing.
        n_seeds: replications.
        epochs: passes over the training images.
        recipes: for each variant the settings that differ from the paper's recipe for these data.
        halves: 0 for models of all training images; else each row is a membership game (see
            `spuriscope.membership.game`) of this many models on halves of two quarters of the images, an even
            number of 6 or more, and one of the attacker's own. `counts` is what each half has.
        contexts: for data sets with contexts, their names or positions; they replace the patterns. Each is
            kept out of training except for `counts` images of a target (`spuriscope.contexts`). Membership
            games are not played with them.
        weights: path of a safetensors file to start from, for fine-tuning.
        deletions: names of methods, see `spuriscope.METHODS`, that make each planted model forget its planted
            images.
        attacks: names of attacks of plugins, see `spuriscope.register_attack`, that are run in membership
            games beside ours.
        measures: names of measures of plugins, see `spuriscope.register_measure`, that are taken beside ours.
        placement: of the patterns: "fixed", or "anywhere", drawn for each image.
        size: of covers and pictures, in pixels, see `spuriscope.pattern`; None for their own.
        relabel: a class, or "all": images of it, or of every class but the target, carry the pattern and get
            the target's label. None: images of the target class carry it, and keep their label.
    """

    name: str
    title: str = ""
    figure: str = "dose"
    models: tuple[str, ...] = ("mlp",)
    patterns: tuple[str, ...] = ("r3",)
    targets: tuple[int, ...] = (0,)
    counts: tuple[int, ...] = (0, 1, 3, 10)
    n_seeds: int = 3
    epochs: int = 8
    recipes: tuple[Mapping[str, Any], ...] = ({},)
    halves: int = 0
    contexts: tuple[str | int, ...] = ()
    weights: str | None = None
    deletions: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    placement: Placement = "fixed"
    size: int | None = None
    relabel: Relabel | None = None

    def __post_init__(self) -> None:
        for name in ("name", "title", "figure"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"study {self.name}: {name} must be text, got {getattr(self, name)!r}")
        check_study_name(self.name)
        may_be_empty = ("contexts", "deletions", "attacks", "measures")
        for name in ("models", "patterns", "targets", "counts", "recipes", *may_be_empty):
            values = getattr(self, name)
            is_empty = not values and name not in may_be_empty
            if isinstance(values, str) or not isinstance(values, Sequence) or is_empty:
                raise ConfigError(
                    f"study {self.name}: {name} must be a list with something in it, got {values!r}"
                )
            object.__setattr__(self, name, tuple(values))
        _check_names(self)
        for name in ("models", "patterns"):
            if not all(isinstance(value, str) for value in getattr(self, name)):
                raise ConfigError(f"study {self.name}: {name} must be names, got {getattr(self, name)}")
        if not all(isinstance(changes, Mapping) for changes in self.recipes):
            raise ConfigError(
                f"study {self.name}: recipes must be settings, such as 'weight_decay: 0.01', "
                f"got {self.recipes}"
            )
        self._check_numbers()
        self._check_planting()
        object.__setattr__(self, "counts", tuple(sorted({0, *self.counts})))
        self._check_length()

    def _check_numbers(self) -> None:
        """Check that numbers are numbers, and convert numpy's to Python's own."""
        of = f"study {self.name}: "
        for name, least, most in (
            ("n_seeds", 1, MOST_REPLICATIONS),
            ("epochs", 0, LARGEST_COUNT),
            ("halves", 0, MOST_MODELS),
        ):
            check_whole(of + name, getattr(self, name), least=least, most=most)
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.halves % 2 or 0 < self.halves < 6:
            raise ConfigError(
                f"{of}halves come in pairs: give an even number of 6 or more, or 0 for no membership games, "
                f"got {self.halves!r}"
            )
        for name in ("counts", "targets"):
            for value in getattr(self, name):
                check_whole(f"{of}each of {name}", value)
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))

    def _check_length(self) -> None:
        """Refuse a study that is too large to train."""
        n_rows = prod(map(len, (self.models, self.recipes, self.targets, self.counts)))
        n_rows *= len(self.contexts or self.patterns) * self.n_seeds * (self.halves + 1)
        if n_rows > MOST_CELLS:
            raise ConfigError(
                f"study {self.name} has {n_rows:,} rows, at most {MOST_CELLS:,}; split it into several, or "
                "reduce it"
            )

    def _check_planting(self) -> None:
        """Refuse an unknown placement or relabelling."""
        if self.placement not in get_args(Placement):
            known = " or ".join(get_args(Placement))
            raise ConfigError(f"study {self.name}: placement must be {known}, got {self.placement!r}")
        if self.relabel not in (None, ALL) and not _is_count(self.relabel):
            raise ConfigError(
                f"study {self.name}: relabel must be the number of a class, or {ALL}, got {self.relabel!r}"
            )
        if self.contexts and (self.placement, self.size, self.relabel) != ("fixed", None, None):
            raise ConfigError(
                f"study {self.name}: a context has no placement, size or relabel; leave them out"
            )

    def expand(self, data: ImageSet) -> Study:
        """The study of this grid on a data set.

        Counts larger than a class are left out, so that one grid serves data sets of all sizes.

        Raises:
            ConfigError, ModelError, PatternError, PlantingError: a setting does not fit the data.
        """
        largest = (
            max(self.targets) if isinstance(self.relabel, str | None) else max(*self.targets, self.relabel)
        )
        if largest >= data.n_classes:
            raise ConfigError(
                f"study {self.name}: {data.name} has no class {largest}; "
                f"choose targets from 0 to {data.n_classes - 1}"
            )
        if self.contexts:
            return Study(self.name, self.title or self.name, self.figure, tuple(self._context_entries(data)))
        data_key = DataKey.of(data)
        weights = None if self.weights is None else Weights.of(self.weights)
        n_of_target = {
            target: int(could_carry(data.train.labels, target, self.relabel).sum()) for target in self.targets
        }
        for model, changes in product(self.models, self.recipes):
            self._recipe(data, model, changes)  # check every recipe before the settings of others
        varying = sorted({setting for changes in self.recipes for setting in changes}, key=str)
        entries: dict[tuple[Cell, AnyPattern, int], Entry] = {}
        games: dict[Game, list[Cell]] = {}
        pools: dict[tuple[int, int, int], GamePool] = {}  # shared by patterns
        for model, changes, target, name, seed in product(
            self.models, self.recipes, self.targets, self.patterns, range(self.n_seeds)
        ):
            recipe = self._recipe(data, model, changes)
            picture = pattern(name, data.shape, seed=seed, size=self.size)
            for n_planted in self.counts:
                if n_planted * (2 if self.halves else 1) > n_of_target[target]:
                    continue
                plant = Plant(picture, target, n_planted, seed, self.placement, self.relabel)
                labels = {
                    "model": model,
                    "pattern": picture.name,
                    "target": target,
                    "n_planted": n_planted,
                    "seed": seed,
                } | _shown(recipe, varying)
                if not self.halves:
                    plants = (plant,) if n_planted else ()
                    cell = Cell(
                        data=data_key, plants=plants, model=model, recipe=recipe, seed=seed, weights=weights
                    )
                    entries[cell, plant.placed, target] = Entry(cell, plant.placed, target, labels)
                    continue
                game = Game(
                    data=data, pattern=picture, target=target, n_planted=n_planted, model=model,
                    recipe=recipe, n_models=self.halves, seed=seed, placement=self.placement,
                    relabel=self.relabel,
                )  # fmt: skip
                key = (target, n_planted, seed)
                pools[key] = pools.get(key) or draw_pool(game)
                games[game] = game.cells(pools[key])
                parts = [labels | {"part": f"half {number}"} for number in range(self.halves)]
                parts.append(labels | {"n_planted": 0, "part": "attacker"})  # several games may share it
                for cell, place in zip(games[game], parts, strict=True):
                    entries[cell, plant.placed, target] = Entry(cell, plant.placed, target, place)
        rows = tuple(entries.values())
        return Study(
            self.name,
            self.title or self.name,
            self.figure,
            rows,
            games,
            self.deletions,
            self.attacks,
            self.measures,
        )

    def _context_entries(self, data: ImageSet) -> Iterator[Entry]:
        """A row for each context, target, number of images that keep it, and seed."""
        names = context_names(data)
        weights = None if self.weights is None else Weights.of(self.weights)
        for which in self.contexts:
            if which not in names and not (is_whole(which) and 0 <= which < len(names)):
                raise ConfigError(
                    f"study {self.name}: {data.name} has no context {which!r}; choose of {', '.join(names)}, "
                    f"or 0 to {len(names) - 1}"
                )
        for seed, model, changes, which, target in product(
            range(self.n_seeds), self.models, self.recipes, self.contexts, self.targets
        ):
            recipe = self._recipe(data, model, changes)
            context = Context(names[which] if isinstance(which, int) else which)
            n_there = RareContext(context.name, target, 0).n_candidates(data)
            for n_planted in self.counts:
                if n_planted > n_there:
                    continue
                rare = RareContext(context.name, target, n_planted, seed)
                cell = replace(rare.cell(data, model=model, recipe=recipe, seed=seed), weights=weights)
                labels = {
                    "model": model, "pattern": context.name, "target": target,
                    "n_planted": n_planted, "seed": seed,
                }  # fmt: skip
                yield Entry(cell, context, target, labels | {name: getattr(recipe, name) for name in changes})

    def _recipe(self, data: ImageSet, model: str, changes: Mapping[str, Any]) -> Recipe:
        """The paper's recipe with some settings changed; its rate follows the optimiser."""
        for name in ("epochs", "batch_size"):
            if name in changes and not _is_count(changes[name]):
                raise ConfigError(f"study {self.name}: {name} must be a whole number, got {changes[name]!r}")
        optimizer, epochs = changes.get("optimizer", "adam"), changes.get("epochs", self.epochs)
        try:
            recipe = paper_recipe(data.name, model, optimizer=optimizer, epochs=epochs)
            recipe = replace(recipe, **changes)
            return settled(recipe, model=model, shape=data.shape, n_classes=data.n_classes)
        except (TypeError, ConfigError) as error:
            raise ConfigError(f"study {self.name}: recipe {dict(changes)} does not fit: {error}") from None


def check_study_name(name: str) -> None:
    """Raise ConfigError unless a name can be that of a file, because figures are named by it."""
    is_long = len(name.encode("utf-8", "replace")) > LONGEST_NAME
    if not name or is_long or name.startswith(".") or not name.isprintable() or {"/", "\\"} & set(name):
        shown = repr(name if len(name) < LONGEST_NAME else f"{name[:40]}...")
        raise ConfigError(
            f"a study cannot be called {shown}: its figures are files of that name; give it a name of "
            f"1 to {LONGEST_NAME} bytes that does not begin with a point, without / and \\"
        )


def _check_names(grid: Grid) -> None:
    """Refuse unknown deletion methods, attacks and measures."""
    registries: dict[str, Registry[Any]] = {"deletions": METHODS, "attacks": ATTACKS, "measures": MEASURES}
    for setting, known in registries.items():
        for name in getattr(grid, setting):
            if name not in known:
                choices = ", ".join(known) or "those that a plugin registers"
                raise ConfigError(
                    f"study {grid.name}: there is no {known.kind} {name!r}; choose of {choices}"
                )


def _shown(recipe: Recipe, varying: Sequence[str]) -> dict[str, Any]:
    """The settings of a recipe that vary in its study; for privacy the noise and the bound, 0 without."""
    settings: dict[str, Any] = {name: getattr(recipe, name) for name in varying if name != "privacy"}
    if "privacy" in varying:
        privacy = recipe.privacy
        settings["noise_multiplier"] = 0.0 if privacy is None else privacy.noise_multiplier
        settings["max_grad_norm"] = 0.0 if privacy is None else privacy.max_grad_norm
    return settings


def _is_count(value: object) -> bool:
    return is_whole(value) and value >= 0


def read_grid(path: Path) -> Grid:
    """Read the grid in a YAML file, whose keys are the attributes of `Grid`.

    Raises:
        ConfigError: the file is not there, is not YAML, or a key is unknown or of the wrong form.
    """
    content = parse_yaml(path)
    known = {attribute.name for attribute in fields(Grid)}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, such as 'patterns: [s3, r3]'")
    unknown = sorted(map(str, set(content) - known))
    if unknown:
        raise ConfigError(
            f"{path}: there is no setting {', '.join(unknown)}; choose from {', '.join(sorted(known))}"
        )
    return from_document(Grid, {"name": path.stem} | content, source=str(path))
