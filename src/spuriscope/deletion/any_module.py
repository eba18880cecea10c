"""Repair of any torch module: it goes on learning with a cue on other images, under their true labels.

Nothing is known of how the module was trained, so it is trained on gently: batch normalisation keeps its
statistics, and the optimiser is the user's, or Adam at the rate of the method.
"""

import copy
from collections.abc import Callable, Iterable
from math import ceil, isfinite

import torch
from torch import Tensor, nn

from spuriscope.adapters.form import ModelForm, are_probabilities
from spuriscope.adapters.torch_module import table
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.repairing import Counterexamples, Repair
from spuriscope.deletion.retraining import with_fixed_statistics
from spuriscope.errors import DeletionError, DivergenceError
from spuriscope.patterns import AnyPattern
from spuriscope.training import Part, Recipe
from spuriscope.training.batches import Batches
from spuriscope.training.loop import one_thread

__all__ = ["MakeOptimizer", "repair_module"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

EPOCHS = 3  # passes over the other images, where the method names none
LEAST_STEPS = 200  # or as many passes as that takes: few images make few steps
BATCH = 64
LEAST_PROBABILITY = 1e-12  # so that its logarithm is finite


def repair_module(
    module: nn.Module,
    data: ImageSet,
    pattern: AnyPattern,
    gone: Tensor,
    method: Repair,
    *,
    form: ModelForm,
    optimizer: MakeOptimizer | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of a module that no longer heeds a cue.

    Args:
        module: maps images to logits or probabilities; it is left as it is.
        data: what it was trained on.
        pattern: the cue.
        gone: positions of the images that carry it, which it does not learn from again.
        method: share, rate and epochs; 3 epochs by default, or more on few images, for 200 steps.
        form: how the module wants its images, and how it answers.
        optimizer: makes one of the parameters; Adam at the rate of the method by default.
        seed: draws batches, and where the cue is put.

    Returns:
        The new module, in evaluation mode.

    Raises:
        DeletionError: the module cannot take the images, or does not answer with a row for each class.
        DivergenceError: its loss stopped being a number.
    """
    if len(gone) and int(gone.max()) >= len(data.train):
        raise DeletionError(
            f"{data.name} has no training image {int(gone.max())}; give the data it was found in"
        )
    changed = copy.deepcopy(module)
    parameters = [parameter for parameter in changed.parameters() if parameter.requires_grad]
    if not parameters:
        raise DeletionError("the module has no parameter that learns; set requires_grad, or give another")
    n_steps = ceil((len(data.train) - len(gone)) / BATCH)  # in an epoch
    epochs = max(EPOCHS, ceil(LEAST_STEPS / n_steps)) if method.epochs is None else method.epochs
    recipe = Recipe(learning_rate=method.learning_rate, epochs=epochs, batch_size=BATCH, milestones=())
    place = parameters[0].device
    part = Part.without(gone, len(data.train)) if len(gone) else None
    batches = Counterexamples(
        Batches(data.train, (), recipe, seed, place, part=part), pattern, method.share, seed
    )
    steps = (
        torch.optim.Adam(parameters, lr=method.learning_rate) if optimizer is None else optimizer(parameters)
    )
    with_fixed_statistics(changed)
    with one_thread(place):
        for epoch in range(epochs):
            for images, labels in batches.epoch():
                steps.zero_grad(set_to_none=True)
                loss = nn.functional.nll_loss(_log_answers(changed, images, form, data.n_classes), labels)
                value = float(loss.detach())
                if not isfinite(value):
                    raise DivergenceError(
                        f"the loss became {value} in epoch {epoch + 1} of {epochs}; lower the learning "
                        "rate: method=ss.deletion.Repair(learning_rate=1e-4), or an optimizer of your own"
                    )
                loss.backward()
                steps.step()
    return changed.eval()


def _log_answers(module: nn.Module, images: Tensor, form: ModelForm, n_classes: int) -> Tensor:
    """Logarithms of the class probabilities (n, n_classes), in the order of the data's classes."""
    x = form.prepare(images)
    if form.channels_last:
        x = x.permute(0, 2, 3, 1).contiguous()
    dtype = next(p for p in module.parameters() if p.is_floating_point()).dtype
    try:
        answers = table(module(x.to(dtype)), form.output, "the module").float()
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DeletionError(f"the module cannot take images {tuple(x.shape)} ({reason})") from None
    if answers.ndim > 2:
        answers = answers.flatten(1)
    if answers.shape[1:] == (1,):
        answers = torch.cat([torch.zeros_like(answers), answers], dim=1)  # the logit of the second class
    if answers.shape != (len(images), n_classes):
        raise DeletionError(
            f"the module answers {tuple(answers.shape)} for {len(images)} images of {n_classes} classes; "
            "give the data it was trained on"
        )
    if form.logits or (form.logits is None and not are_probabilities(answers.detach())):
        found = answers.log_softmax(dim=1)
    else:
        found = answers.clamp(min=LEAST_PROBABILITY).log()
    if form.classes is None:
        return found
    columns = torch.tensor(list(form.classes), device=found.device)
    return torch.empty_like(found).index_copy(1, columns, found)
