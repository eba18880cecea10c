"""Who was in the training set: attacks, what each may claim, and how sure that is."""

from spuriscope.membership.attacks import ATTACKS, Attack, Knowledge, Rehearsal
from spuriscope.membership.evaluation import Evaluation, Trial, evaluate
from spuriscope.membership.presence import presence, presence_statistics
from spuriscope.membership.quarters import Quarters, quarters

__all__ = [
    "ATTACKS",
    "Attack",
    "Evaluation",
    "Knowledge",
    "Quarters",
    "Rehearsal",
    "Trial",
    "evaluate",
    "presence",
    "presence_statistics",
    "quarters",
]
