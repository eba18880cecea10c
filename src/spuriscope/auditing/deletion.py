"""How do I get rid of it: deletion methods on the headline's plant, each beside the oracle."""

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from spuriscope.auditing.plan import AuditPlan
from spuriscope.deletion import METHODS, ConjugateGradients, Influence, Method
from spuriscope.deletion.check import DeletionCheck, check_methods, train_trials
from spuriscope.deletion.verdict import MARGINS, SEEDS_NEEDED
from spuriscope.errors import DeletionError, DivergenceError

__all__ = ["deletion"]

CHECKED: dict[str, Method] = {
    "repair": METHODS["repair"],
    "influence-path": METHODS["influence-path"],
    "incremental": METHODS["incremental"],
    "ascent": METHODS["ascent"],
    # little data and much damping, for it is slow; the residual it stops at is still small
    "influence": Influence(solver=ConjugateGradients(damping=0.1, tolerance=0.01), n_curvature=500),
}
SLOWEST = 0.5  # share of a training above which training again is the better choice
LEFT_OUT = ("influence",)  # where models are slow: two trainings of resnet10 do not suffice for it


def deletion(plan: AuditPlan, headline: dict[str, Any], **how: Any) -> dict[str, Any] | None:
    """What each method leaves of the headline's cue, what it costs, and which to take.

    None where the class has one image: nothing would be left of it.
    """
    n_class = plan.n_candidates
    if n_class < 2:
        return None
    name, n_planted = headline["pattern"], min(headline["n_planted"], n_class // 2)
    seeds = plan.deletion_seeds
    pictures = plan.patterns[name]
    trials = train_trials(
        plan.data,
        pattern=pictures,
        target=plan.target,
        n_planted=n_planted,
        placement=plan.placement,
        relabel=plan.relabel,
        model=plan.model,
        recipe=plan.recipe,
        seeds=seeds,
        **how,
    )
    checks: list[DeletionCheck] = []
    failed: list[dict[str, str]] = []
    left_out = [method for method in CHECKED if plan.is_lean and method in LEFT_OUT]
    for method_name, method in CHECKED.items():
        if method_name in left_out:
            continue
        try:
            checks += check_methods({method_name: method}, trials, plan.data)
        except (DeletionError, DivergenceError) as error:  # one method that fails is no reason for no page
            failed.append({"method": method_name, "reason": str(error)})
    if not checks:
        raise DeletionError(f"no deletion method came to an end; the first said: {failed[0]['reason']}")
    found = {
        "pattern": name,
        "target": plan.target,
        "n_planted": n_planted,
        "seeds": list(seeds),
        "seeds_needed": dict(SEEDS_NEEDED),
        "training_seconds": fmean(trial.planted.n_seconds for trial in trials),
        "methods": [check.to_json() for check in checks],
        "failed": failed,
        "left_out": left_out,
        "recommended": _recommended(checks),
    }
    return dict(json.loads(json.dumps(found)))  # tuples become lists


def _recommended(checks: Sequence[DeletionCheck]) -> str | None:
    """The quickest method that leaves no more of the cue than the oracle has and costs no accuracy.

    Judged by the means: the score exceeds the oracle's by no more than the margin, and neither accuracy falls
    by more than its own. A method whose cue stays is never taken. None where only training again does.
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
