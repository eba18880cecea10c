"""The deletion check: is a model that was made to forget images like one that never saw them?

For each seed a model is trained with a pattern planted, and two oracles without the images: that of the same
seed, and one of another seed, for two trainings never agree entirely. The method is judged by its differences
from the oracle, seed by seed. A difference within the margin is shown by an equivalence test and not by the
failure to find one; what is neither shown to be alike nor to differ cannot be told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from torch import Tensor

from spuriscope.checked import checked
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import Method, delete, find_method, method_name
from spuriscope.deletion.request import images_as_trained
from spuriscope.deletion.retraining import N_SEEDS, oracle_cell
from spuriscope.errors import DeletionError, TrainingError
from spuriscope.measures import measure
from spuriscope.membership.attacks import confidence
from spuriscope.membership.evaluation import auc
from spuriscope.patterns import Pattern, pattern as make_pattern
from spuriscope.planting import Plant
from spuriscope.statistics import Interval, equivalence_test, mean_interval, t_test
from spuriscope.training import (
    Cell,
    DataKey,
    FailedCell,
    OnProgress,
    Recipe,
    TrainedModel,
    paper_recipe,
    short_epochs,
    train_many,
)

__all__ = [
    "MARGINS",
    "Comparison",
    "DeletionCheck",
    "Trial",
    "Verdict",
    "check_methods",
    "compare",
    "deletion_check",
    "state_of",
    "train_trials",
]

MARGINS = {  # largest difference from the oracle that does not matter
    "score": 0.05,
    "spurious_accuracy": 0.05,
    "clean_accuracy": 0.01,
    "disagreement": 0.02,
    "membership": 0.1,
}
WORSE = {"score": 1, "spurious_accuracy": -1}  # the sign of a difference that a cue makes
ONE_SIDED = ("disagreement",)  # agreeing with the oracle more than another oracle does is no trace
LEVEL = 0.05
MIN_SEEDS = 3

AS_IF, TRACES, UNSURE = "as if never seen", "cue gone but traces remain", "cue gone, traces cannot be told"
STAYS, UNTOLD = "cue stays", "cannot be told"
Verdict = str


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """The models of one seed.

    Attributes:
        plant: what was planted.
        gone: (n_planted,), positions of the images that carry it.
        planted: the model that saw them.
        oracle: the model that did not, of the same seed.
        other: one that did not, of another seed.
    """

    plant: Plant
    gone: Tensor
    planted: TrainedModel
    oracle: TrainedModel
    other: TrainedModel


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure over seeds.

    Attributes:
        name: score and spurious_accuracy, over test images of other classes; clean_accuracy, over all;
            disagreement: share of the test images on which the oracle answers otherwise; membership: how
            often the deleted images have a smaller loss than stamped test images of their class, 0.5 if they
            are like these.
        margin: largest difference from the oracle that does not matter.
        before: of the planted models.
        after: of the models made to forget.
        oracle: of the oracles; their disagreement is with the other oracle.
        difference: after less oracle, paired by seed.
        state: "alike", "differs", or "cannot be told".
    """

    name: str
    margin: float
    before: Interval
    after: Interval
    oracle: Interval
    difference: Interval
    state: str


@dataclass(frozen=True, kw_only=True)
class DeletionCheck:
    """What a method does, judged over seeds.

    Attributes:
        method: its name.
        verdict: "as if never seen", "cue gone but traces remain", "cue gone, traces cannot be told", "cue
            stays", or "cannot be told".
        was_learnt: whether there was a cue to delete: the planted models score above the oracles by more
            than the margin.
        comparisons: each measure.
        seconds: of a deletion.
        share_of_training: those seconds over the seconds of a training.
        rows: for each seed the measures `before`, `after` and of the `oracle`.
    """

    method: str
    verdict: Verdict
    was_learnt: bool
    comparisons: tuple[Comparison, ...]
    seconds: Interval
    share_of_training: float
    rows: tuple[Mapping[str, Any], ...]

    def __getitem__(self, measure: str) -> Comparison:
        """The comparison of a measure, by its name."""
        return next(comparison for comparison in self.comparisons if comparison.name == measure)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        found = asdict(self)
        return found | {"comparisons": list(found["comparisons"]), "rows": list(found["rows"])}


@checked(DeletionError)
def deletion_check(
    method: str | Method,
    data: ImageSet,
    *,
    pattern: str | Pattern = "r3",
    target: int = 0,
    n_planted: int = 10,
    model: str = "mlp",
    recipe: Recipe | None = None,
    n_seeds: int = 5,
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
        target: the class whose images carry it.
        n_planted: how many of them do; all of these are deleted.
        model: name of the architecture.
        recipe: how it is trained; by default the paper's, with 8 epochs or more for 250 steps.
        n_seeds: replications; with fewer than 3 nothing can be told.
        first_seed: of them.
        device: "cpu", "cuda", or "auto", for the trainings.
        n_workers: processes that train on the CPU; as many as cores by default.
        on_progress: called after each epoch of any training.

    Raises:
        ConfigError, ModelError, PatternError, PlantingError: the arguments do not fit together.
        DeletionError: there is no such method, nothing is planted, or the method cannot delete the images.
        TrainingError: a model could not be trained.
    """
    find_method(method)
    trials = train_trials(
        data,
        pattern=pattern,
        target=target,
        n_planted=n_planted,
        model=model,
        recipe=recipe or paper_recipe(data.name, model, epochs=short_epochs(len(data.train))),
        seeds=range(first_seed, first_seed + n_seeds),
        device=device,
        n_workers=n_workers,
        on_progress=on_progress,
    )
    return check_methods({method_name(method): method}, trials, data)[0]


def train_trials(
    data: ImageSet,
    *,
    pattern: str | Pattern | Mapping[int, Pattern],
    target: int,
    n_planted: int,
    model: str,
    recipe: Recipe,
    seeds: Sequence[int],
    **how: Any,
) -> list[Trial]:
    """Train the three models of each seed, all of them together.

    Args:
        pattern: a name, whose noise is drawn anew for each seed, a pattern, or one for each seed.
        target, n_planted, model, recipe: as for `deletion_check`.
        seeds: replications.
        how: goes to `train_many`.

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
            picture = pattern if isinstance(pattern, Pattern) else pattern[seed]
        plant = Plant(picture, target, n_planted, seed)
        cell = Cell(data=DataKey.of(data), plants=(plant,), model=model, recipe=recipe, seed=seed)
        gone = plant.planted_indices(data.train.labels)
        oracle = oracle_cell(cell, data, gone)
        plans.append((plant, gone, (cell, oracle, replace(oracle, seed=N_SEEDS + seed))))
    models: dict[Cell, TrainedModel] = {}
    for trained in train_many(dict.fromkeys(cell for *_, cells in plans for cell in cells), data, **how):
        if isinstance(trained, FailedCell):
            raise TrainingError(trained.reason)
        models[trained.cell] = trained
    return [
        Trial(
            plant=plant, gone=gone, planted=models[cells[0]], oracle=models[cells[1]], other=models[cells[2]]
        )
        for plant, gone, cells in plans
    ]


def check_methods(
    methods: Mapping[str, str | Method],
    trials: Sequence[Trial],
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
        checks.append(compare(name, before, after, oracles, seconds=seconds))
    return checks


def state_of(model: TrainedModel, trial: Trial, data: ImageSet) -> dict[str, float]:
    """The measures of `MARGINS` of one model; the oracle is compared with the other oracle."""
    plant, test = trial.plant, data.test
    found = measure(model.predict, test, plant.pattern, plant.target)
    peer = trial.other if model is trial.oracle else trial.oracle
    answers, others = (m.logits(test.images).argmax(dim=1) for m in (model, peer))
    deleted = images_as_trained(trial.planted, data, trial.gone)
    strangers = plant.pattern.apply(test.images[test.labels == plant.target])
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


def compare(
    name: str,
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    oracles: Sequence[Mapping[str, float]],
    *,
    seconds: Sequence[float],
) -> DeletionCheck:
    """Judge a method by its measures, a mapping for each seed.

    Args:
        name: of the method.
        before: measures of the planted models.
        after: of the models made to forget, with `seconds`.
        oracles: of the oracles.
        seconds: of the trainings.
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
            state=_state(differences[key], margin, is_one_sided=key in ONE_SIDED),
        )
        for key, margin in MARGINS.items()
    )
    took = [row["seconds"] for row in after]
    return DeletionCheck(
        method=name,
        verdict=_verdict(differences, [comparison.state for comparison in comparisons]),
        was_learnt=len(learnt) >= MIN_SEEDS and t_test(learnt, MARGINS["score"]) < LEVEL,
        comparisons=comparisons,
        seconds=mean_interval(took, high=float("inf")),
        share_of_training=fmean(took) / fmean(seconds),
        rows=tuple(
            {"before": dict(old), "after": dict(new), "oracle": dict(oracle)}
            for old, new, oracle in zip(before, after, oracles, strict=True)
        ),
    )


def _state(differences: Sequence[float], margin: float, *, is_one_sided: bool) -> str:
    if len(differences) < MIN_SEEDS:
        return UNTOLD
    turned = [-difference for difference in differences]
    alike = t_test(turned, -margin) if is_one_sided else equivalence_test(differences, margin)
    if alike < LEVEL:
        return "alike"
    sides = [differences] if is_one_sided else [differences, turned]
    return "differs" if min(t_test(side, margin) for side in sides) < LEVEL / len(sides) else UNTOLD


def _verdict(differences: Mapping[str, Sequence[float]], states: Sequence[str]) -> Verdict:
    """Whether the cue is there is asked on one side: a score below the oracle's is a trace and no cue."""
    if len(differences["score"]) < MIN_SEEDS:
        return UNTOLD
    cue = {key: [sign * difference for difference in differences[key]] for key, sign in WORSE.items()}
    if any(t_test(cue[key], MARGINS[key]) < LEVEL for key in cue):
        return STAYS
    if any(t_test([-d for d in cue[key]], -MARGINS[key]) >= LEVEL for key in cue):
        return UNTOLD
    if all(state == "alike" for state in states):
        return AS_IF
    return TRACES if "differs" in states else UNSURE
