"""Training: the recipe, one training or many, and their files."""

from spuriscope.training.cell import Cell, DataKey
from spuriscope.training.loop import fit, train, train_cell
from spuriscope.training.many import FailedCell, OnProgress, Progress, train_many
from spuriscope.training.part import Part
from spuriscope.training.privacy import Privacy
from spuriscope.training.recipe import Recipe, paper_recipe, short_epochs, short_recipe, usual_recipe
from spuriscope.training.trained import TrainedModel, load_model
from spuriscope.training.trainer import AnyModel, Trainer, Trains, train_all, train_each
from spuriscope.training.weights import Weights

__all__ = [
    "AnyModel",
    "Cell",
    "DataKey",
    "FailedCell",
    "OnProgress",
    "Part",
    "Privacy",
    "Progress",
    "Recipe",
    "TrainedModel",
    "Trainer",
    "Trains",
    "Weights",
    "fit",
    "load_model",
    "paper_recipe",
    "short_epochs",
    "short_recipe",
    "train",
    "train_all",
    "train_cell",
    "train_each",
    "train_many",
    "usual_recipe",
]
