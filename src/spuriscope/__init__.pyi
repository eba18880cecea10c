from .adapters import (
    Fit as Fit,
    ModelForm as ModelForm,
    check_answers as check_answers,
    load_onnx as load_onnx,
    module_predict as module_predict,
    open_model as open_model,
    sklearn_fit as sklearn_fit,
    sklearn_predict as sklearn_predict,
)
from .added_measures import register_measure as register_measure
from .adequacy import Adequacy as Adequacy, adequacy as adequacy
from .answers import Audit as Audit
from .auditing import (
    audit as audit,
    audit_model as audit_model,
    load_audit as load_audit,
    plan_audit as plan_audit,
    write_audit as write_audit,
)
from .contexts import (
    ContextMeasures as ContextMeasures,
    RareContext as RareContext,
    measure_context as measure_context,
)
from .data import ImageSet as ImageSet, Split as Split, load as load, register_data as register_data
from .data.contexts import prepare_contexts as prepare_contexts
from .deletion import (
    METHODS as METHODS,
    delete as delete,
    deletion_check as deletion_check,
    register_deletion as register_deletion,
    repair as repair,
)
from .discovery import (
    Finding as Finding,
    discover as discover,
    missing_contexts as missing_contexts,
    register_embedding as register_embedding,
    register_transplant as register_transplant,
)
from .errors import SpuriscopeError as SpuriscopeError
from .measures import (
    Measures as Measures,
    Predict as Predict,
    accuracy as accuracy,
    empirical_norm as empirical_norm,
    measure as measure,
    normalised_spurious_score as normalised_spurious_score,
    predicted_share as predicted_share,
    probabilities as probabilities,
    spurious_accuracy as spurious_accuracy,
    spurious_score as spurious_score,
)
from .membership import (
    ATTACKS as ATTACKS,
    Attack as Attack,
    Game as Game,
    Knowledge as Knowledge,
    attack_game as attack_game,
    register_attack as register_attack,
)
from .models import build_model as build_model, register_architecture as register_architecture
from .patterns import (
    COVER_NAMES as COVER_NAMES,
    PATTERN_NAMES as PATTERN_NAMES,
    SHADE_NAMES as SHADE_NAMES,
    Anywhere as Anywhere,
    Cover as Cover,
    Pattern as Pattern,
    Shade as Shade,
    pattern as pattern,
    register_pattern as register_pattern,
)
from .pixel_measures import (
    pixel_removal_sensitivity as pixel_removal_sensitivity,
    weight_importance as weight_importance,
)
from .placement_measures import PlacementScores as PlacementScores, placement_scores as placement_scores
from .planting import Plant as Plant, draw_planted as draw_planted, parse_planted_set as parse_planted_set
from .runs import Run as Run, load_run as load_run, save_run as save_run
from .theory import RidgeModel as RidgeModel
from .training import (
    Cell as Cell,
    DataKey as DataKey,
    FailedCell as FailedCell,
    Part as Part,
    Privacy as Privacy,
    Recipe as Recipe,
    TrainedModel as TrainedModel,
    load_model as load_model,
    paper_recipe as paper_recipe,
    train as train,
    train_cell as train_cell,
    train_many as train_many,
)

__version__: str
