"""The deletion check: is a model that was made to forget images like one that never saw them?

For each seed a model is trained with a pattern planted, and two oracles without the images: one of the same
seed, and one of another, because two trainings never agree entirely. The method is judged by its differences
from the oracle, seed by seed, see `spuriscope.deletion.verdict`. "As if never seen" must be shown, with 14
seeds or more; it is never concluded from a failure to find a difference. What is shown neither way cannot be
told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Generic, TypeVar

from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import Method, delete, find_method, method_name
from spuriscope.deletion.request import images_as_trained
from spuriscope.deletion.retraining import SEED_OFFSET, oracle_cell
from spuriscope.deletion.verdict import (
    MARGINS,
    SEEDS_TO_BE_GONE,
    DeletionVerdict,
    State,
    is_above,
    judge_measure,
    judge_method,
)
from spuriscope.errors import DeletionError
from spuriscope.measures import measure
from spuriscope.membership.attacks import confidence
from spuriscope.membership.evaluation import auc
from spuriscope.patterns import Kind, pattern as make_pattern
from spuriscope.planting import Placement, Plant, Relabel
from spuriscope.statistics import Interval, mean_interval
from spuriscope.training import (
    AnyModel,
    Cell,
    DataKey,
    OnProgress,
    Recipe,
    TrainedModel,
    Trainer,
    Trains,
    short_recipe,
    train_all,
)

__all__ = [
    "Comparison",
    "DeletionCheck",
    "DeletionTrial",
    "check_methods",
    "compare_method",
    "deletion_check",
    "state_of",
    "train_trials",
]


Model = TypeVar("Model", bound=AnyModel)


@dataclass(frozen=True, eq=False, kw_only=True)
class DeletionTrial(Generic[Model]):
    """The models of one seed.

    Attributes:
        plant: what was planted.
        gone: (n_planted,), positions of the images that carry it.
        planted: the model that saw them.
        oracle: the model of the same seed that did not.
        other: a model of another seed that did not.
    """

    plant: Plant
    gone: Tensor
    planted: Model
    oracle: Model
    other: Model


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure over seeds.

    Attributes:
        name: score and spurious_accuracy, over test images of other classes; clean_accuracy, over all;
            disagreement: share of the test images on which the oracle answers otherwise; membership: how
            often the deleted images have a smaller loss than stamped test images of their class (the class
            before relabelling), 0.5 if they are alike.
        margin: largest negligible difference from the oracle.
        before: of the planted models.
        after: of the models made to forget.
        oracle: of the oracles; their disagreement is with the other oracle.
        difference: after minus oracle, paired by seed.
        n_above: seeds whose difference is above the margin.
        n_below: seeds whose difference is below minus the margin; disagreeing with the oracle less than
            another oracle does is not a fault.
        state: "alike": within the margin in more than 4 of 5 trainings; "differs": beyond it, on one side,
            in more than half; or "cannot be told".
    """

    name: str
    margin: float
    before: Interval
    after: Interval
    oracle: Interval
    difference: Interval
    n_above: int
    n_below: int
    state: State


@dataclass(frozen=True, kw_only=True)
class DeletionCheck:
    """The judgement of a method over seeds.

    Attributes:
        method: its name.
        verdict: "as if never seen", "cue gone but traces remain", "cue gone, traces cannot be told", "cue
            stays", or "cannot be told". Gone: in more than 4 of 5 trainings; stays: in more than half.
        was_learnt: whether there was a cue to delete: in most trainings the planted model scores above the
            oracle by more than the margin. This takes at least 5 seeds.
        comparisons: each measure.
        seconds: duration of a deletion.
        share_of_training: those seconds over the seconds of a training.
        rows: for each seed the measures `before`, `after` and of the `oracle`.
    """

    method: str
    verdict: DeletionVerdict
    was_learnt: bool
    comparisons: tuple[Comparison, ...]
    seconds: Interval
    share_of_training: float
    rows: tuple[Mapping[str, Mapping[str, float]], ...]

    def __getitem__(self, measure: str) -> Comparison:
        """The comparison of a measure, by its name.

        Raises:
            DeletionError: there is no such measure.
        """
        found = {comparison.name: comparison for comparison in self.comparisons}
        if measure not in found:
            raise DeletionError(f"a check has no measure {measure!r}; choose one of {', '.join(found)}")
        return found[measure]

    def __str__(self) -> str:
        score = self["score"]
        return (
            f"{self.method}: {self.verdict}; score {score.before.mean:.2f} before, {score.after.mean:.2f} "
            f"after, {score.oracle.mean:.2f} without the images, over {score.after.n} seeds; "
            f"{self.seconds.mean:.1f} s"
        )

    def _repr_html_(self) -> str:
        """In a notebook: the verdict, and a row for each measure."""
        from spuriscope.report.notebook import as_table, as_text

        rows = [
            (
                each.name,
                f"{each.before.mean:.3f}",
                f"{each.after.mean:.3f}",
                f"{each.oracle.mean:.3f}",
                f"{each.difference.mean:+.3f} ({each.difference.low:+.3f} to {each.difference.high:+.3f})",
                each.state,
            )
            for each in self.comparisons
        ]
        header = ("measure", "before", "after", "without the images", "difference", "state")
        return as_text(str(self)) + as_table(header, rows)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        found = asdict(self)
        return found | {"comparisons": list(found["comparisons"]), "rows": list(found["rows"])}


@checked(DeletionError)
def deletion_check(
    method: str | Method,
    data: ImageSet,
    *,
    pattern: str | Kind = "r3",
    target: int | str = 0,
    n_planted: int = 10,
    placement: Placement = "fixed",
    relabel: Relabel | None = None,
    model: str = "mlp",
    recipe: Recipe | None = None,
    n_seeds: int = SEEDS_TO_BE_GONE,
    first_seed: int = 0,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> DeletionCheck:
    """Train, delete, and compare with models that never saw the images.

    Args:
        method: a name of `METHODS`, or a function of a model, its data and positions that returns a model.
        data: the data set.
        pattern: what is planted: a name, whose noise is drawn anew for each seed, or a pattern.
        target: the class whose images carry it, by number or name.
        n_planted: number of those images; all of them are deleted.
        placement: where the pattern stands, see `Plant`.
        relabel: whose images get the target's label, see `Plant`.
        model: name of the architecture.
        recipe: how it is trained; by default the paper's, with 8 epochs or as many as make 250 steps, or ours
            for resnet10, see `spuriscope.training.usual_recipe`.
        n_seeds: replications. "As if never seen" and "cue gone" take 14 or more, "cue stays" 6.
        first_seed: the first seed.
        device: "cpu", "cuda", or "auto", for the trainings.
        n_workers: processes that train on the CPU; one per core by default.
        on_progress: called after each epoch of any training.

    Raises:
        ConfigError, ModelError, PatternError, PlantingError: the arguments do not fit together.
        DeletionError: there is no such method, a number is out of range, nothing is planted, or the method
            cannot delete the images.
        TrainingError: a model could not be trained.
    """
    find_method(method)
    check_whole("n_seeds", n_seeds, least=1, error=DeletionError)
    check_seed("first_seed", first_seed, error=DeletionError)
    trials = train_trials(
        data,
        pattern=pattern,
        target=data.label(target),
        n_planted=n_planted,
        placement=placement,
        relabel=relabel,
        model=model,
        recipe=recipe or short_recipe(data.name, model, len(data.train)),
        seeds=range(first_seed, first_seed + n_seeds),
        trainer=Trainer(device, n_workers, on_progress),
    )
    return check_methods({method_name(method): method}, trials, data)[0]


def train_trials(
    data: ImageSet,
    *,
    pattern: str | Kind | Mapping[int, Kind],
    target: int,
    n_planted: int,
    placement: Placement = "fixed",
    relabel: Relabel | None = None,
    model: str,
    recipe: Recipe,
    seeds: Sequence[int],
    trainer: Trains[Model],
) -> list[DeletionTrial[Model]]:
    """Train the three models of each seed, all of them together.

    Args:
        pattern: a name, whose noise is drawn anew for each seed, a pattern, or one for each seed.
        target, n_planted, placement, relabel, model, recipe: as for `deletion_check`.
        seeds: replications.
        trainer: trains the models.

    Raises:
        DeletionError: nothing is planted, or there are no seeds.
        TrainingError: a model could not be trained.
    """
    if n_planted < 1 or not seeds:
        raise DeletionError(
            f"a check needs an image to delete and a seed, got {n_planted} images and {len(seeds)} seeds"
        )
    plans = []
    for seed in seeds:
        if isinstance(pattern, str):
            picture = make_pattern(pattern, data.shape, seed=seed)
        else:
            picture = pattern[seed] if isinstance(pattern, Mapping) else pattern
        plant = Plant(picture, target, n_planted, seed, placement, relabel)
        cell = Cell(data=DataKey.of(data), plants=(plant,), model=model, recipe=recipe, seed=seed)
        gone = plant.planted_indices(data.train.labels)
        oracle = oracle_cell(cell, data, gone)
        plans.append((plant, gone, (cell, oracle, replace(oracle, seed=SEED_OFFSET + seed))))
    models = train_all((cell for *_, cells in plans for cell in cells), data, trainer)
    return [
        DeletionTrial(
            plant=plant, gone=gone, planted=models[cells[0]], oracle=models[cells[1]], other=models[cells[2]]
        )
        for plant, gone, cells in plans
    ]


def check_methods(
    methods: Mapping[str, str | Method],
    trials: Sequence[DeletionTrial[TrainedModel]],
    data: ImageSet,
    *,
    on_deleted: Callable[[], None] = lambda: None,
) -> list[DeletionCheck]:
    """Judge several methods on the same models.

    Args:
        methods: by name.
        trials: see `train_trials`.
        data: what the models were trained on.
        on_deleted: called after each deletion.
    """
    before = [state_of(trial.planted, trial, data) for trial in trials]
    oracles = [state_of(trial.oracle, trial, data) for trial in trials]
    seconds = [trial.planted.n_seconds for trial in trials]
    checks = []
    for name, method in methods.items():
        after = []
        for trial in trials:
            deleted = delete(trial.planted, data, trial.gone, method)
            after.append(state_of(deleted, trial, data) | {"seconds": deleted.n_seconds})
            on_deleted()
        checks.append(compare_method(name, before, after, oracles, seconds=seconds))
    return checks


def state_of(model: AnyModel, trial: DeletionTrial[Any], data: ImageSet) -> dict[str, float]:
    """The measures of `MARGINS` of one model; the oracle is compared with the other oracle."""
    plant, test = trial.plant, data.test
    found = measure(model.predict, test, plant.placed, plant.target)
    peer = trial.other if model is trial.oracle else trial.oracle
    answers, others = (m.logits(test.images).argmax(dim=1) for m in (model, peer))
    deleted = images_as_trained(trial.planted, data, trial.gone)
    like_planted = plant.could_carry(test.labels).nonzero().flatten()
    strangers = plant.apply(test.images[like_planted], like_planted)
    members, outsiders = (
        confidence(model.logits(images), images.new_full((len(images),), plant.target).long())
        for images in (deleted, strangers)
    )
    return {
        "score": found.score_non_target,
        "spurious_accuracy": found.spurious_accuracy,
        "clean_accuracy": found.clean_accuracy,
        "disagreement": float((answers != others).double().mean()),
        "membership": auc(members, outsiders) if len(outsiders) else 0.5,
    }


def compare_method(
    name: str,
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    oracles: Sequence[Mapping[str, float]],
    *,
    seconds: Sequence[float],
) -> DeletionCheck:
    """Judge a method by its measures, one mapping per seed.

    Args:
        name: of the method.
        before: measures of the planted models.
        after: of the models made to forget, with `seconds`.
        oracles: of the oracles.
        seconds: durations of the trainings.
    """
    differences = {
        key: [mine[key] - theirs[key] for mine, theirs in zip(after, oracles, strict=True)] for key in MARGINS
    }
    learnt = [old["score"] - new["score"] for old, new in zip(before, oracles, strict=True)]
    comparisons = tuple(
        Comparison(
            name=key,
            margin=margin,
            before=mean_interval([row[key] for row in before]),
            after=mean_interval([row[key] for row in after]),
            oracle=mean_interval([row[key] for row in oracles]),
            difference=mean_interval(differences[key], low=-1.0),
            n_above=sum(difference > margin for difference in differences[key]),
            n_below=sum(difference < -margin for difference in differences[key]),
            state=judge_measure(key, differences[key]),
        )
        for key, margin in MARGINS.items()
    )
    took = [row["seconds"] for row in after]
    return DeletionCheck(
        method=name,
        verdict=judge_method(differences),
        was_learnt=is_above(learnt, MARGINS["score"]),
        comparisons=comparisons,
        seconds=mean_interval(took, high=float("inf")),
        share_of_training=fmean(took) / fmean(seconds),
        rows=tuple(
            {"before": dict(old), "after": dict(new), "oracle": dict(oracle)}
            for old, new, oracle in zip(before, after, oracles, strict=True)
        ),
    )
