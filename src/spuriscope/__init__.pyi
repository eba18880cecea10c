from .adapters import Fit, load_onnx, module_predict, sklearn_fit, sklearn_predict
from .auditing import audit, plan_audit, write_audit
from .contexts import ContextMeasures, RareContext, measure_context
from .data import ImageSet, Split, load
from .data.contexts import prepare_contexts
from .deletion import METHODS, delete, deletion_check, repair
from .discovery import Finding, discover
from .errors import SpuriscopeError
from .measures import (
    Measures,
    Predict,
    accuracy,
    empirical_norm,
    measure,
    normalised_spurious_score,
    pixel_removal_sensitivity,
    predicted_share,
    probabilities,
    spurious_accuracy,
    spurious_score,
    weight_importance,
)
from .membership import ATTACKS, Attack, Game, Knowledge, attack_game
from .models import build_model
from .patterns import PATTERN_NAMES, Pattern, pattern
from .planting import Plant, draw_planted, parse_planted_set
from .runs import Run, load_run, save_run
from .theory import RidgeModel
from .training import (
    Cell,
    DataKey,
    FailedCell,
    Part,
    Privacy,
    Recipe,
    TrainedModel,
    load_model,
    paper_recipe,
    train,
    train_cell,
    train_many,
)

__version__: str
