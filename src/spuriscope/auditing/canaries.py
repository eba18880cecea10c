"""How much leaks: canaries in one training like those of the audit, and a lower bound on epsilon."""

from typing import Any

from spuriscope.auditing.plan import AuditPlan
from spuriscope.membership.canaries import Canaries, attack_canaries
from spuriscope.training import Trains

__all__ = ["canaries"]

N_CANARIES = 100
SHARE = 0.1  # most of the training images, so that the model still learns its task


def canaries(plan: AuditPlan, trainer: Trains[Any]) -> Canaries | None:
    """Plant noise on up to 100 images, each by a coin toss, and count how many tosses the model gives away.

    None where there are fewer than 40 training images.
    """
    n_canaries = min(N_CANARIES, int(SHARE * len(plan.data.train)))
    if n_canaries < 4:
        return None
    return attack_canaries(
        plan.data,
        n_canaries=n_canaries,
        model=plan.model,
        recipe=plan.recipe,
        seed=plan.seeds[0],
        trainer=trainer,
    )
