"""Taking images out of a model again, and what is left of them."""

from spuriscope.deletion.methods import METHODS, Method, delete, planted_indices_of, repair
from spuriscope.deletion.repairing import Repair, reconstruct
from spuriscope.deletion.retraining import Ascent, Incremental, Retrain, oracle_cell

__all__ = [
    "METHODS",
    "Ascent",
    "Incremental",
    "Method",
    "Repair",
    "Retrain",
    "delete",
    "oracle_cell",
    "planted_indices_of",
    "reconstruct",
    "repair",
]
