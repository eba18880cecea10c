"""Who was in the training set: attacks, what each may claim, and how certain that is."""

from spuriscope.membership.attacked import attack_game, attack_games
from spuriscope.membership.attacks import ATTACKS, Attack, Knowledge, Rehearsal, register_attack
from spuriscope.membership.canaries import (
    OneRunAudit,
    attack_canaries,
    audit_guesses,
    epsilon_bound,
    plant_canaries,
)
from spuriscope.membership.evaluation import AttackTrial, Evaluation, evaluate
from spuriscope.membership.game import Game, Played, draw_pool, judge_attacks, play, play_with
from spuriscope.membership.presence import presence, presence_statistics
from spuriscope.membership.quarters import Quarters, quarters

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackTrial",
    "Evaluation",
    "Game",
    "Knowledge",
    "OneRunAudit",
    "Played",
    "Quarters",
    "Rehearsal",
    "attack_canaries",
    "attack_game",
    "attack_games",
    "audit_guesses",
    "draw_pool",
    "epsilon_bound",
    "evaluate",
    "judge_attacks",
    "plant_canaries",
    "play",
    "play_with",
    "presence",
    "presence_statistics",
    "quarters",
    "register_attack",
]
