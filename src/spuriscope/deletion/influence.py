"""Group influence: one step of the weights, from a gradient, instead of a training without the images.

A training minimises the mean of l_i(w) + (weight decay / 2) |w|^2 over its images. To first order, training
without k of n images moves the weights by (1/n) H^-1 times the sum of their gradients, weight decay included,
where H is the curvature of that mean over all n (Koh et al., 2019). With H over the n - k remaining images,
and 1/(n - k) for 1/n, it is a Newton step. Both need one solve, for the summed gradient.

At the end of a training the loss on a cue's images is about 0, so their gradient is too, and with it the
step, whatever the solver; this holds already after the first epoch (docs/results/deletion.md).
`deletion.path` has the influence of the steps in which the images were learnt.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from spuriscope.checks import check_seed, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.any_module import ModuleRequest
from spuriscope.deletion.curvature import Curvature, moved, summed_gradient
from spuriscope.deletion.request import Request, ToForget, copy_of_module
from spuriscope.deletion.solvers import ConjugateGradients, Solver
from spuriscope.errors import DeletionError
from spuriscope.training import TrainedModel
from spuriscope.training.loop import one_thread

__all__ = ["Influence"]


@dataclass(frozen=True, kw_only=True)
class Influence:
    """Move the weights as training without the images would, to first order.

    Attributes:
        solver: how H^-1 is applied.
        is_newton: average over the remaining images instead of all.
        n_curvature: number of images for the curvature, drawn at random.
        seed: draws these images.

    Raises:
        DeletionError: a number is out of range; or, when called, the step is not a number, or the solver does
            not converge.
    """

    solver: Solver = field(default_factory=ConjugateGradients)
    is_newton: bool = False
    n_curvature: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("n_curvature", self.n_curvature, least=1, error=DeletionError)
        check_seed("seed", self.seed, error=DeletionError)

    def __call__(self, model: TrainedModel, data: ImageSet, planted_indices: Tensor) -> TrainedModel:
        """See `spuriscope.deletion.delete`."""
        request = Request.of(model, data, planted_indices)
        with one_thread(request.device):
            step = self.step(request)
        return replace(model, module=moved(copy_of_module(model), _finite(step)), losses=())

    def on_module(self, request: ModuleRequest) -> nn.Module:
        """As for a model of ours, on a user's module, assuming training without weight decay."""
        network, place = request.own.copied(), request.own.device
        if not all(parameter.requires_grad for parameter in network.parameters()):
            raise DeletionError(
                "influence moves all parameters, and some of the module are frozen; take repair, ascent or "
                "incremental"
            )
        try:
            with one_thread(place):
                step = self._step(request, network, 0.0)
        except (RuntimeError, ValueError) as error:  # torch cannot differentiate it twice
            reason = " ".join(str(error).split())[:160]
            raise DeletionError(
                f"the curvature of the module cannot be taken ({reason}); take repair, ascent or incremental"
            ) from None
        return moved(network.module, _finite(step))

    def step(self, request: Request) -> Tensor:
        """The change of the weights (p,), in the order of `module.parameters()`."""
        return self._step(request, copy_of_module(request.model), request.model.cell.recipe.weight_decay)

    def _step(self, request: ToForget, module: nn.Module, decay: float) -> Tensor:
        gone, kept = request.gone.positions, request.kept.positions
        pool = kept if self.is_newton else torch.cat([gone, kept])
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(self.seed))
        chosen = pool[order[: self.n_curvature]]
        curvature = Curvature(module, request.images(chosen), request.labels(chosen), weight_decay=decay)
        weights = torch.cat([weight.flatten() for weight in curvature.weights.values()])
        gradient = summed_gradient(module, request.images(gone), request.labels(gone))
        gradient += len(gone) * decay * weights
        return self.solver(curvature, gradient / len(pool))


def _finite(step: Tensor) -> Tensor:
    if not step.isfinite().all():
        raise DeletionError("the step of influence is not a number; give the solver more damping")
    return step
