"""Deletion methods by name, and the two functions for users: delete and repair.

A method is a function of a model, its data and the positions of the images to forget. It returns another
model and leaves the old one unchanged. `METHODS` holds ours by name; users add their own by registering such
a function. Methods that need to know nothing of the training fit any torch module (`OfModules`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, Unpack, overload, runtime_checkable

import torch
from torch import Tensor, nn

from spuriscope.adapters.form import FormSettings, ModelForm
from spuriscope.argument_types import checked
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.any_module import MakeOptimizer, ModuleRequest, OwnModule
from spuriscope.deletion.ekfac import Ekfac
from spuriscope.deletion.influence import Influence
from spuriscope.deletion.path import PathInfluence
from spuriscope.deletion.repairing import Repair
from spuriscope.deletion.request import Request, check_whole_data
from spuriscope.deletion.retraining import Ascent, Incremental, Retrain
from spuriscope.deletion.solvers import Lissa
from spuriscope.errors import DeletionError
from spuriscope.patterns import AnyPattern
from spuriscope.planting import Plant, draw_planted
from spuriscope.registry import Registry
from spuriscope.training import TrainedModel

__all__ = [
    "METHODS",
    "Cue",
    "Method",
    "OfModules",
    "delete",
    "find_method",
    "method_name",
    "planted_indices_of",
    "register_deletion",
    "repair",
]

Method = Callable[[TrainedModel, ImageSet, Tensor], TrainedModel]
AnyMethod = TypeVar("AnyMethod", bound=Method)

BUILT_IN: dict[str, Method] = {
    "retrain": Retrain(),
    "incremental": Incremental(),
    "influence": Influence(),
    "influence-lissa": Influence(solver=Lissa()),
    "influence-ekfac": Influence(solver=Ekfac()),
    "influence-path": PathInfluence(),
    "ascent": Ascent(),
    "repair": Repair(),
}
METHODS = Registry("deletion method", BUILT_IN, DeletionError)


@checked(DeletionError)
def register_deletion(name: str) -> Callable[[AnyMethod], AnyMethod]:
    """Register a deletion method of your own under a name, for `delete`, studies and the command line.

    Decorate a function of a `TrainedModel`, its data and the positions (k,) of the images to forget. It
    returns another `TrainedModel` and leaves the old one unchanged.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        DeletionError: the name is taken by us or by another module, or the decorated object is no function.
    """
    return METHODS.registering(name)


class Cue(Protocol):
    """A pattern and the class it leads to: a plant, or a finding of a search."""

    @property
    def pattern(self) -> AnyPattern:
        """What is stamped."""
        ...

    @property
    def target(self) -> int:
        """The class."""
        ...


@runtime_checkable
class OfModules(Protocol):
    """A method that needs to know nothing of the training, so it fits any torch module."""

    def on_module(self, request: ModuleRequest) -> nn.Module:
        """A module that forgets, in evaluation mode; the old one is not changed."""
        ...


@overload
def delete(
    model: TrainedModel,
    data: ImageSet,
    planted_indices: Tensor | Sequence[int],
    method: str | Method = "repair",
) -> TrainedModel: ...


@overload
def delete(
    model: nn.Module,
    data: ImageSet,
    planted_indices: Tensor | Sequence[int],
    method: str | OfModules = "repair",
    *,
    optimizer: MakeOptimizer | None = None,
    **form: Unpack[FormSettings],
) -> nn.Module: ...


@checked(DeletionError, passing=("data", "planted_indices"))
def delete(
    model: TrainedModel | nn.Module,
    data: ImageSet,
    planted_indices: Tensor | Sequence[int],
    method: str | Method | OfModules = "repair",
    *,
    optimizer: MakeOptimizer | None = None,
    **form: Any,
) -> TrainedModel | nn.Module:
    """Make a model that forgets some of its training images, as well as the method can.

    Args:
        model: trained on `data`, one of ours or any torch module; it is not changed.
        data: what it was trained on.
        planted_indices: positions of the images to forget among the training images.
        method: a name of `METHODS`, or a function like those. For a module, whose training is not known:
            repair, incremental, ascent, influence, influence-lissa or influence-ekfac. Those that train take
            3 epochs by default, or on few images as many as make 200 steps.
        optimizer: for a module: makes one from its parameters, as `lambda p: torch.optim.SGD(p, lr=0.01)`; by
            default Adam at the rate of the method, 0.001. Influence has none.
        form: for a module: how it wants its images and gives its answers, see `ModelForm`.

    Returns:
        The new model. Its `n_seconds` is the duration of the deletion, its `deletions` say what was done. For
        a module, a new module in evaluation mode.

    Raises:
        CheckpointError: the model was trained on other data.
        ConfigError: a setting of the form is out of range.
        DeletionError: there is no such method, or it does not fit a module; there are no positions, one is
            repeated, not a training image, or not one the model was trained on; or they are all images of a
            class.
        DivergenceError: a training of the method diverged.
    """
    if isinstance(model, nn.Module):
        return _delete_from_module(
            OwnModule(model, _data_set(data), ModelForm(**form), optimizer), planted_indices, method
        )
    _check_no_form(form, optimizer)
    request = Request.of(model, data, planted_indices)
    positions = request.gone.positions
    own = find_method(method)
    if not callable(own):
        raise DeletionError(f"{method_name(method)} fits only torch modules; this is a model of ours")
    start = time.perf_counter()
    deleted = own(model, data, positions)
    if not isinstance(deleted, TrainedModel):
        raise DeletionError(
            f"a deletion method returns a TrainedModel, got {type(deleted).__name__}; "
            "dataclasses.replace(model, module=...) makes one of a changed network"
        )
    return _recorded(deleted, model, positions, start, method=own, name=method_name(method))


def _delete_from_module(
    own: OwnModule, planted_indices: Tensor | Sequence[int], method: str | Method | OfModules
) -> nn.Module:
    fitting = find_method(method)
    if not isinstance(fitting, OfModules):
        names = [name for name, each in METHODS.items() if isinstance(each, OfModules)]
        raise DeletionError(
            f"{method_name(method)} must know how a model was trained, which is unknown for a module; take "
            f"one of {', '.join(names)}"
        )
    return fitting.on_module(ModuleRequest.of(own, planted_indices))


@overload
def repair(
    model: TrainedModel, data: ImageSet, cue: Cue | AnyPattern, *, method: Repair | None = None
) -> TrainedModel: ...


@overload
def repair(
    model: nn.Module,
    data: ImageSet,
    cue: Cue | AnyPattern,
    *,
    method: Repair | None = None,
    optimizer: MakeOptimizer | None = None,
    **form: Unpack[FormSettings],
) -> nn.Module: ...


@checked(DeletionError, passing=("data",))
def repair(
    model: TrainedModel | nn.Module,
    data: ImageSet,
    cue: Cue | AnyPattern,
    *,
    method: Repair | None = None,
    optimizer: MakeOptimizer | None = None,
    **form: Any,
) -> TrainedModel | nn.Module:
    """Make a model that no longer heeds a cue: train it further with the cue on other images.

    Images known to carry the cue are left out: those of a plant of the model, and the `examples` of a
    finding.

    Args:
        model: trained on `data`, one of ours or any torch module; it is not changed.
        data: what it was trained on.
        cue: a plant, a finding, or the pattern alone. A plant's pattern stands where the plant puts it; if
            that is anywhere, its place is drawn anew each time.
        method: settings; its pattern is replaced by that of the cue. A module is trained for 3 more epochs by
            default, or on few images as many as make 200 steps.
        optimizer: for a module: makes one from its parameters, as `lambda p: torch.optim.SGD(p, lr=0.01)`; by
            default Adam at the rate of the method.
        form: for a module: how it wants its images and gives its answers, see `ModelForm`.
    Returns:
        The new model, as from `delete`; for a module, a new module in evaluation mode.

    Raises:
        CheckpointError: the model was trained on other data.
        ConfigError: a setting of the form is out of range.
        DeletionError: as for `delete`; or the module does not fit the data.
        DivergenceError: the loss of a module stopped being a number.
        PatternError: the pattern does not fit the images.
    """
    own = method or Repair()
    if isinstance(cue, Plant):
        pattern: AnyPattern = cue.placed
    else:
        pattern = cue if isinstance(cue, AnyPattern) else cue.pattern
    if isinstance(model, nn.Module):
        of_user = OwnModule(model, _data_set(data), ModelForm(**form), optimizer)
        known: Sequence[int] = getattr(cue, "examples", ())
        part = ModuleRequest.of(of_user, known).kept if len(known) else None
        return own.train_module(of_user, pattern, part)
    _check_no_form(form, optimizer)
    check_whole_data(model, data)
    gone = torch.as_tensor(_carriers(model, data, cue)).sort().values
    part = Request.of(model, data, gone).kept if len(gone) else model.cell.part
    start = time.perf_counter()
    changed = own.train_on(model, data, pattern, part)
    return _recorded(changed, model, gone, start, method=own, name=method_name(own))


def _data_set(data: object) -> ImageSet:
    if not isinstance(data, ImageSet):
        raise DeletionError(
            f"a deletion takes the data set, not {type(data).__name__}: ss.load(source) makes one"
        )
    return data


def _check_no_form(form: Mapping[str, Any], optimizer: MakeOptimizer | None) -> None:
    given = [*form, *(["optimizer"] if optimizer is not None else [])]
    if given:
        raise DeletionError(f"a model of ours knows how it was trained; leave out {', '.join(given)}")


@overload
def find_method(method: str | Method) -> Method: ...


@overload
def find_method(method: str | Method | OfModules) -> Method | OfModules: ...


def find_method(method: str | Method | OfModules) -> Method | OfModules:
    """The method with a name in `METHODS`, or the given method itself.

    Raises:
        DeletionError: there is none of this name.
    """
    if not isinstance(method, str):
        return method
    METHODS.check(method)
    return METHODS[method]


def method_name(method: str | Method | OfModules) -> str:
    """The name of a method: as registered, or that of the function or class."""
    return method if isinstance(method, str) else getattr(method, "__name__", type(method).__name__)


def planted_indices_of(model: TrainedModel, data: ImageSet) -> Tensor:
    """Positions of all training images that a model saw with a pattern on, ascending; there may be none.

    Raises:
        CheckpointError: the model was trained on other data.
    """
    check_whole_data(model, data)
    cell = model.cell
    drawn = draw_planted(cell.plants, data.train.labels)
    positions = torch.cat([torch.empty(0, dtype=torch.int64), *drawn]).sort().values
    return positions if cell.part is None else positions[torch.isin(positions, cell.part.positions)]


def _carriers(model: TrainedModel, data: ImageSet, cue: Cue | AnyPattern) -> Tensor | Sequence[int]:
    """Images known to carry a cue."""
    if isinstance(cue, Plant):
        drawn = draw_planted(model.cell.plants, data.train.labels)
        of_plant = dict(zip(model.cell.plants, drawn, strict=True))
        return of_plant.get(cue, torch.empty(0, dtype=torch.int64))
    found: Sequence[int] = getattr(cue, "examples", ())
    return found


def _recorded(
    deleted: TrainedModel, model: TrainedModel, positions: Tensor, start: float, *, method: Method, name: str
) -> TrainedModel:
    """The model with a record of what was done and how long it took."""
    record = {
        "method": name,
        "settings": repr(method),
        "images": positions.tolist(),
    }
    is_trained = deleted.cell != model.cell  # otherwise changed later, which voids its promise of privacy
    return replace(
        deleted,
        n_seconds=time.perf_counter() - start,
        deletions=(*model.deletions, record),
        epsilon=deleted.epsilon if is_trained else None,
    )
