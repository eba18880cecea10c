"""Who pays: whose images can be recognised as training images, and does the model betray the pattern."""

from dataclasses import replace
from typing import Any

from spuriscope.answers import Headline
from spuriscope.auditing.plan import AuditPlan
from spuriscope.membership.attacked import Membership, attack_games
from spuriscope.membership.game import Game
from spuriscope.training import Trains

__all__ = ["membership"]

LEAST_OF_CLASS = 16  # enough for images of the class in both halves, stamped and not


def membership(plan: AuditPlan, headline: Headline, trainer: Trains[Any]) -> Membership | None:
    """Attack models with the headline's plant, trained on halves of the data with as many steps.

    None where the class has too few images for members and outsiders.
    """
    n_class = plan.n_candidates
    if n_class < LEAST_OF_CLASS:
        return None
    game = Game(
        data=plan.data,
        pattern=plan.patterns[headline.pattern][plan.seeds[0]],
        target=plan.target,
        n_planted=min(headline.n_planted, n_class // 4),
        model=plan.model,
        recipe=replace(plan.recipe, epochs=2 * plan.recipe.epochs, milestones=None),
        n_models=plan.n_attacked,
        has_rehearsal=False,
        seed=plan.seeds[0],
        placement=plan.placement,
        relabel=plan.relabel,
    )
    return attack_games([game], n_clean=plan.n_clean, trainer=trainer)[0]
