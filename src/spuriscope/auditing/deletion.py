"""How do I get rid of it: deletion methods on the headline's plant, each beside the oracle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from statistics import fmean
from typing import Any

from spuriscope.answers import Deletion, FailedMethod, Headline, Left
from spuriscope.auditing.plan import AuditPlan
from spuriscope.deletion import METHODS, ConjugateGradients, Influence, Method
from spuriscope.deletion.check import DeletionCheck, DeletionTrial, check_methods, state_of, train_trials
from spuriscope.deletion.verdict import MARGINS, SEEDS_NEEDED, is_above
from spuriscope.errors import DeletionError, DivergenceError
from spuriscope.statistics import mean_interval
from spuriscope.training import TrainedModel, Trains

__all__ = ["deletion", "n_methods"]

CHECKED: dict[str, Method] = {
    "repair": METHODS["repair"],
    "influence-path": METHODS["influence-path"],
    "incremental": METHODS["incremental"],
    "ascent": METHODS["ascent"],
    # little data and much damping, because it is slow; its final residual is still small
    "influence": Influence(solver=ConjugateGradients(damping=0.1, tolerance=0.01), n_curvature=500),
}
SLOWEST = 0.5  # share of a training above which training again is the better choice
LEFT_OUT = ("influence",)  # where models are slow: it takes longer than two trainings of resnet10


def deletion(
    plan: AuditPlan,
    headline: Headline,
    trainer: Trains[Any],
    *,
    on_deleted: Callable[[], None] = lambda: None,
) -> Deletion | None:
    """What each method leaves of the headline's cue, its cost, and which one to take.

    With a user's own training only one thing is asked: does training without the images remove the cue? None
    where the class has only one image, so that nothing would be left of it.
    """
    n_class = plan.n_candidates
    if n_class < 2:
        return None
    n_planted = min(headline.n_planted, n_class // 2)
    trials = train_trials(
        plan.data,
        pattern=plan.patterns[headline.pattern],
        target=plan.target,
        n_planted=n_planted,
        placement=plan.placement,
        relabel=plan.relabel,
        model=plan.model,
        recipe=plan.recipe,
        seeds=plan.deletion_seeds,
        trainer=trainer,
    )
    before = [state_of(trial.planted, trial, plan.data) for trial in trials]
    oracles = [state_of(trial.oracle, trial, plan.data) for trial in trials]
    checks: list[DeletionCheck] = []
    failed: list[FailedMethod] = []
    left_out = [name for name in CHECKED if plan.is_lean and name in LEFT_OUT]
    ours = [trial for trial in trials if isinstance(trial.planted, TrainedModel)]
    if ours:
        checks, failed = _checked(plan, left_out, ours, on_deleted)
    learnt = [old["score"] - new["score"] for old, new in zip(before, oracles, strict=True)]
    return Deletion(
        pattern=headline.pattern,
        target=plan.target,
        n_planted=n_planted,
        seeds=plan.deletion_seeds,
        seeds_needed=dict(SEEDS_NEEDED),
        training_seconds=fmean(trial.planted.n_seconds for trial in trials),
        was_learnt=is_above(learnt, MARGINS["score"]),
        before=_left(before),
        oracle=_left(oracles),
        disagreement=mean_interval([row["disagreement"] for row in oracles]),
        methods=tuple(checks),
        failed=tuple(failed),
        left_out=tuple(left_out if ours else ()),
        recommended=_recommended(checks),
    )


def n_methods(plan: AuditPlan) -> int:
    """Number of methods to try."""
    return sum(not (plan.is_lean and name in LEFT_OUT) for name in CHECKED)


def _checked(
    plan: AuditPlan,
    left_out: Sequence[str],
    trials: Sequence[DeletionTrial[TrainedModel]],
    on_deleted: Callable[[], None],
) -> tuple[list[DeletionCheck], list[FailedMethod]]:
    """Judge each method; one that fails does not stop the audit."""
    checks: list[DeletionCheck] = []
    failed: list[FailedMethod] = []
    for name, method in CHECKED.items():
        if name in left_out:
            continue
        try:
            checks += check_methods({name: method}, trials, plan.data, on_deleted=on_deleted)
        except (DeletionError, DivergenceError) as error:
            failed.append(FailedMethod(method=name, reason=str(error)))
    if not checks:
        raise DeletionError(f"no deletion method came to an end; the first said: {failed[0].reason}")
    return checks, failed


def _left(states: Sequence[Mapping[str, float]]) -> Left:
    """The measures of some models, over seeds."""
    names = (field.name for field in fields(Left))
    return Left(**{name: mean_interval([row[name] for row in states]) for name in names})


def _recommended(checks: Sequence[DeletionCheck]) -> str | None:
    """The quickest method that leaves no more of the cue than the oracle has and costs no accuracy.

    It goes by the means: the score exceeds the oracle's by at most the margin, and neither accuracy falls by
    more than its own margin. A method whose cue stays is never taken. None where only training again does it.
    """

    def is_good(check: DeletionCheck) -> bool:
        changes = {key: check[key].difference.mean for key in MARGINS}
        return (
            changes["score"] <= MARGINS["score"]
            and changes["spurious_accuracy"] >= -MARGINS["spurious_accuracy"]
            and changes["clean_accuracy"] >= -MARGINS["clean_accuracy"]
            and check.share_of_training <= SLOWEST
            and check.verdict != "cue stays"
        )

    good = [check for check in checks if is_good(check)]
    return min(good, key=lambda check: check.share_of_training).method if good else None
