"""Studies: many cells and their measures, kept in one store, resumable; the paper's figures are studies."""

from spuriscope.studies.executors import Executor
from spuriscope.studies.paper import SIZES, STUDIES, THEORY, paper_grid
from spuriscope.studies.runner import Outcome, run_study
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Grid, Study, read_grid

__all__ = [
    "SIZES",
    "STUDIES",
    "THEORY",
    "Entry",
    "Executor",
    "Grid",
    "Outcome",
    "Store",
    "Study",
    "paper_grid",
    "read_grid",
    "run_study",
]
