"""Remove images from a model again, and measure what is left of them."""

from spuriscope.deletion.check import DeletionCheck, deletion_check
from spuriscope.deletion.ekfac import Ekfac
from spuriscope.deletion.influence import Influence
from spuriscope.deletion.methods import (
    METHODS,
    Method,
    delete,
    planted_indices_of,
    register_deletion,
    repair,
)
from spuriscope.deletion.path import PathInfluence
from spuriscope.deletion.reconstructing import reconstruct
from spuriscope.deletion.repairing import Repair
from spuriscope.deletion.retraining import Ascent, Incremental, Retrain, oracle_cell
from spuriscope.deletion.solvers import ConjugateGradients, Lissa, Solver

__all__ = [
    "METHODS",
    "Ascent",
    "ConjugateGradients",
    "DeletionCheck",
    "Ekfac",
    "Incremental",
    "Influence",
    "Lissa",
    "Method",
    "PathInfluence",
    "Repair",
    "Retrain",
    "Solver",
    "delete",
    "deletion_check",
    "oracle_cell",
    "planted_indices_of",
    "reconstruct",
    "register_deletion",
    "repair",
]
