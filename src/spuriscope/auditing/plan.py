"""What an audit will train, settled and checked before any training."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from spuriscope.adapters import Fit
from spuriscope.argument_types import checked
from spuriscope.auditing.course import Stage
from spuriscope.checks import check_number, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.verdict import SEEDS_TO_BE_GONE, SEEDS_TO_STAY
from spuriscope.errors import ConfigError, PatternError, PlantingError
from spuriscope.limits import MOST_REPLICATIONS
from spuriscope.models import default_model
from spuriscope.patterns import PATTERN_NAMES, Anywhere, Kind, pattern
from spuriscope.planting import Placement, Plant, Relabel, could_carry, find_relabel, placed
from spuriscope.training import Cell, DataKey, Recipe, short_recipe
from spuriscope.training.precision import settled
from spuriscope.training.recipe import Precision

__all__ = ["AuditPlan", "Effort", "PlantedPlace", "plan_audit"]

PlantedPlace = tuple[str, int, int]  # name of the pattern, number planted, seed

COUNTS = (1, 3, 10, 30, 100)
USUAL_SEEDS = 5
N_SEARCHED = 3  # seeds whose models, and clean twins, are searched

QUICK = ("small-mlp", "mlp", "large-mlp", "cnn")  # seconds per training; others get a lean plan by default
LEAN_PATTERNS = ("s3", "r3")  # the strongest square and the strongest noise
LEAN_COUNTS = (1, 10)  # and the largest of COUNTS that the class has
N_LEAN_SEEDS = 3
N_THOROUGH_SEEDS = 10
QUICK_COUNTS = (3,)  # and the largest

Effort = Literal["quick", "usual", "thorough"]


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What an audit will train.

    Attributes:
        data: the data set.
        model: name of the architecture.
        recipe: how each model is trained.
        target: the class whose images carry the pattern, or whose label they get.
        patterns: the pattern for each name and seed: noise is drawn anew for each seed. Includes those of
            `deletion_seeds`.
        counts: numbers of images that carry it, ascending, without 0.
        seeds: one replication each.
        threshold: least rise of a probability that counts for the spurious score.
        fit: a user's training function, in place of our model and recipe.
        placement: where the pattern stands, see `Plant`.
        size: requested size of the patterns, in pixels; None for their own.
        relabel: whose images get the target's label, see `Plant`.
        effort: extent of the audit: "quick", "usual" or "thorough".
    """

    data: ImageSet = field(repr=False)
    model: str
    recipe: Recipe
    target: int
    patterns: dict[str, dict[int, Kind]] = field(repr=False)
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    threshold: float
    fit: Fit | None = None
    placement: Placement = "fixed"
    size: int | None = None
    relabel: Relabel | None = None
    effort: Effort = "usual"

    @property
    def n_candidates(self) -> int:
        """Number of training images that could carry the pattern."""
        return int(could_carry(self.data.train.labels, self.target, self.relabel).sum())

    @property
    def model_name(self) -> str:
        """Name of an architecture, or of a user's function."""
        if self.fit is None:
            return self.model
        return getattr(self.fit, "__name__", type(self.fit).__name__)

    @property
    def is_slow(self) -> bool:
        """Whether a training may take long: that of a convolutional net for photographs, or of fit."""
        return self.fit is not None or self.model not in QUICK

    @property
    def is_lean(self) -> bool:
        """Whether later questions are asked with few models, which is the default for slow ones."""
        return self.effort == "quick" or (self.is_slow and len(self.seeds) < USUAL_SEEDS)

    @property
    def searched_seeds(self) -> tuple[int, ...]:
        """Replications whose models are searched."""
        return self.seeds[:N_SEARCHED]

    @property
    def deletion_seeds(self) -> tuple[int, ...]:
        """Replications of the deletion check: as many as its verdicts need, and at least those of the plan.

        For slow models as many as "cue stays" needs, unless five or more seeds are asked for. An audit with
        fewer seeds than the default is meant to be quick, and keeps to these. A user's own training has no
        methods to judge.
        """
        if self.fit is not None:
            return self.seeds
        return _deletion_seeds(len(self.seeds), is_slow=self.is_slow)

    @property
    def n_attacked(self) -> int:
        """Number of models of the membership game."""
        if self.is_lean:
            return 6 if self.is_slow and self.effort == "quick" else 8
        return 16

    @property
    def n_clean(self) -> int:
        """Number of their clean twins, with which the presence attack compares."""
        if self.is_lean:
            return 3 if self.is_slow and self.effort == "quick" else 5
        return 10

    @property
    def n_trainings(self) -> int:
        """Number of models that all questions train; fewer where the class is too small for one of them.

        Findings in the data take a few more, to prove them.
        """
        return sum(stage.work.get("training", 0) for stage in self.stages())

    def stages(self, n_methods: int = 0) -> tuple[Stage, ...]:
        """The questions in order, with the work that each takes.

        Args:
            n_methods: number of deletion methods to try.
        """
        n_searched, n_deleted = len(self.searched_seeds), len(self.deletion_seeds)
        rest = len(self.places()) - n_searched
        n_methods = 0 if self.fit is not None else n_methods
        return (
            Stage("already", "is there one already", {"training": n_searched, "search": n_searched}),
            Stage("picked_up", "would one be picked up", {"training": rest}),
            Stage("found_again", "would it be noticed", {"training": n_searched, "search": n_searched}),
            Stage("membership", "who can be recognised", {"training": self.n_attacked + self.n_clean}),
            Stage("canaries", "how much privacy is lost", {"training": 1}),
            Stage(
                "deletion",
                "how to get rid of it",
                {"training": 3 * n_deleted, "deletion": n_methods * n_deleted},
            ),
        )

    def on(self, data: ImageSet) -> "AuditPlan":
        """The plan for other data of the same classes, without numbers too large for its class."""
        n_class = int(could_carry(data.train.labels, self.target, self.relabel).sum())
        counts = tuple(n for n in self.counts if n <= n_class)
        return replace(self, data=data, counts=counts or (min(self.counts[0], n_class),))

    def plant(self, name: str, n_planted: int, seed: int) -> Plant:
        """The plant of a pattern."""
        picture = self.patterns[name][seed]
        return Plant(picture, self.target, n_planted, seed, self.placement, self.relabel)

    def placed(self, name: str, seed: int) -> Kind | Anywhere:
        """A pattern at its place."""
        return placed(self.patterns[name][seed], self.placement, seed)

    def cell(self, name: str, n_planted: int, seed: int) -> Cell:
        """The cell with `n_planted` images carrying the pattern; 0: the clean twin."""
        plants = (self.plant(name, n_planted, seed),) if n_planted else ()
        return Cell(
            data=DataKey.of(self.data), plants=plants, model=self.model, recipe=self.recipe, seed=seed
        )

    def places(self) -> list[PlantedPlace | int]:
        """Every training: (pattern name, number planted, seed), or the seed of a clean twin."""
        return [
            *self.seeds,
            *(
                (name, n_planted, seed)
                for name in self.patterns
                for n_planted in self.counts
                for seed in self.seeds
            ),
        ]

    def cells(self) -> dict[Cell, PlantedPlace | int]:
        """Every training of ours: its cell, and its place."""
        first = next(iter(self.patterns))
        return {
            self.cell(first, 0, place) if isinstance(place, int) else self.cell(*place): place
            for place in self.places()
        }


@checked(ConfigError)
def plan_audit(
    data: ImageSet,
    *,
    model: str | None = None,
    target: int | str = 0,
    patterns: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
    n_seeds: int | None = None,
    epochs: int | None = None,
    threshold: float = 0.1,
    fit: Fit | None = None,
    placement: Placement = "fixed",
    size: int | None = None,
    relabel: int | str | None = None,
    effort: Effort = "usual",
    precision: Precision = "float32",
) -> AuditPlan:
    """Settle what an audit will train, and refuse beforehand what cannot be trained.

    Args:
        data: any data set.
        model: name of an architecture; by default one that suits the images, see `default_model`.
        target: the class whose images will carry the pattern, by number or name.
        patterns: names or paths of pictures; by default those of the paper's seven that fit the images, and
            that can stand anywhere if asked to; for slow models s3 and r3 of these. Slow are all but MLPs and
            the CNN.
        counts: numbers of images that carry it; by default 1, 3, 10, 30, 100, as far as the class allows, for
            slow models the largest of these, 1 and 10.
        n_seeds: replications; each has its own initial weights, batch order, planted images and noise; by
            default 5, for slow models and your own training 3. From 5 on, deletion is checked on at least 14
            seeds, which every verdict takes, by default for slow models on 6, which show that a cue stays.
        epochs: passes over the data; by default 8, resnet10 15, or on small data as many as make 250 steps.
        threshold: least rise of a probability that counts for the spurious score.
        fit: trains in place of our model and recipe: a function of images (n, channels, height, width),
            float32 in [0, 1], labels (n,) and a seed, which returns one from images to class probabilities.
        placement: "fixed", or "anywhere": the pattern stands in another place on each image.
        size: of the patterns, in pixels, see `spuriscope.pattern`.
        relabel: a class by number or name, or "all": its images, or those of every class but the target,
            carry the pattern and get the target's label; by default images of the target class carry it.
        effort: "quick" asks every question with fewer patterns, numbers and seeds; "thorough" with more.
        precision: of the matrix products of our training, see `Recipe`; "auto" tries what is fastest on this
            machine, and the page names the result.

    Raises:
        ConfigError, PatternError, PlantingError: a setting is out of range or does not fit the data.
    """
    target = data.label(target)
    if fit is not None and epochs is not None:
        raise ConfigError("how long to train is up to fit; leave out epochs")
    if fit is not None and precision != "float32":
        raise ConfigError("in which precision to train is up to fit; leave out precision")
    model = model or default_model(data.shape)
    if effort not in get_args(Effort):
        raise ConfigError(f"effort is one of {', '.join(get_args(Effort))}, got {effort!r}")
    is_slow = fit is not None or model not in QUICK
    usual = _usual(effort, is_slow=is_slow)
    n_seeds = usual.n_seeds if n_seeds is None else n_seeds
    check_whole("n_seeds", n_seeds, least=1, most=MOST_REPLICATIONS)
    check_number("threshold", threshold, above=0, below=1)
    whose = find_relabel(data, relabel)
    n_class = int(could_carry(data.train.labels, target, whose).sum())
    if counts is None:
        possible = [n for n in COUNTS if n <= n_class]
        counts = [n for n in possible if n in usual.counts or (n == possible[-1] and usual.has_largest)]
    counts = [int(n) for n in counts]
    if not counts or min(counts) < 1 or max(counts) > n_class:
        source = f"class {target}" if whose is None else "what is relabelled"
        raise PlantingError(
            f"{source} of {data.name} has {n_class} training images; choose counts from 1 to "
            f"{n_class}, got {', '.join(map(str, counts)) or 'none'}"
        )
    seeds = tuple(range(n_seeds))
    if patterns is None and size is not None:
        raise PatternError("the paper's patterns have one size; name a cover or a picture with --pattern")
    drawn = {}
    deletion_seeds = seeds if fit is not None else _deletion_seeds(n_seeds, is_slow=is_slow)
    for name in usual.patterns if patterns is None else patterns:
        try:
            of_seed = {seed: pattern(name, data.shape, seed=seed, size=size) for seed in deletion_seeds}
            Plant(of_seed[0], target, 0, 0, placement, whose)  # raises an error that says why not
        except PatternError:
            if patterns is None:
                continue
            raise
        drawn[of_seed[0].name] = of_seed
    if not drawn:
        raise PatternError("an audit needs at least one pattern; name one with --pattern")
    recipe = replace(short_recipe(data.name, model, len(data.train), epochs=epochs), precision=precision)
    return AuditPlan(
        data=data,
        model=model,
        recipe=settled(recipe, model=model, shape=data.shape, n_classes=data.n_classes),
        target=target,
        patterns=drawn,
        counts=tuple(sorted(set(counts))),
        seeds=seeds,
        threshold=threshold,
        fit=fit,
        placement=placement,
        size=size,
        relabel=whose,
        effort=effort,
    )


@dataclass(frozen=True)
class _Usual:
    """What is planted by default."""

    patterns: tuple[str, ...]
    counts: tuple[int, ...]
    n_seeds: int
    has_largest: bool = True  # whether the counts include the largest that the class allows


def _usual(effort: Effort, *, is_slow: bool) -> _Usual:
    if effort == "quick":
        return _Usual(LEAN_PATTERNS[1:] if is_slow else LEAN_PATTERNS, QUICK_COUNTS, 2)
    if is_slow and effort == "usual":
        return _Usual(LEAN_PATTERNS, LEAN_COUNTS, N_LEAN_SEEDS)
    n_seeds = USUAL_SEEDS if is_slow or effort == "usual" else N_THOROUGH_SEEDS
    return _Usual(PATTERN_NAMES, COUNTS, n_seeds)


def _deletion_seeds(n_seeds: int, *, is_slow: bool) -> tuple[int, ...]:
    if n_seeds >= USUAL_SEEDS:
        n_seeds = max(n_seeds, SEEDS_TO_BE_GONE)
    elif is_slow and n_seeds >= N_LEAN_SEEDS:
        n_seeds = SEEDS_TO_STAY
    return tuple(range(n_seeds))
