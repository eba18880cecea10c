"""The gradient of one step under differential privacy: each image's clipped, the sum made noisy.

Opacus finds the norm of each image's gradient without keeping the gradients themselves (ghost clipping): one
pass back for the norms, one for the sum of what is left. A test holds it to per-example clipping.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.errors import ConfigError
from spuriscope.training.gradient import precision_of, refuse_batch_norm
from spuriscope.training.recipe import Recipe

__all__ = ["SetGradient", "private_gradient"]

SetGradient = Callable[
    [Tensor, Tensor], Tensor
]  # images, labels -> mean loss; the gradient is in the parameters


@contextmanager
def private_gradient(
    module: nn.Module, recipe: Recipe, *, n_images: int, noise: torch.Generator
) -> Iterator[SetGradient]:
    """What puts the noisy gradient of a batch into the parameters of `module`, while the block lasts.

    The sum of clipped gradients and noise is divided by the mean size of a batch, not by that of the batch at
    hand, which would tell how many were drawn.

    Args:
        module: returns logits.
        recipe: has `privacy`.
        n_images: that batches are drawn from.
        noise: draws the noise, on the device of the module.

    Raises:
        ConfigError: the module mixes the images of a batch, or Opacus cannot clip one of its layers.
    """
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    privacy = recipe.privacy
    assert privacy is not None
    refuse_batch_norm(module, "differential privacy", "choose an MLP, the CNN or VGG16")
    _lay_out(module, torch.contiguous_format)  # of channels last Opacus 1.6 finds norms far too small
    try:
        wrapped = GradSampleModuleFastGradientClipping(
            module, max_grad_norm=privacy.max_grad_norm, loss_reduction="sum", use_ghost_clipping=True
        )
    except NotImplementedError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"differential privacy cannot clip this model ({reason}); choose an MLP, the CNN or VGG16"
        ) from None
    mean_size = min(recipe.batch_size, n_images)

    def set_gradient(images: Tensor, labels: Tensor) -> Tensor:
        module.zero_grad(set_to_none=True)
        total = torch.zeros((), device=labels.device)
        if len(labels):
            with precision_of(recipe, images.device), warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Full backward hook is firing"
                )  # images need no gradient
                losses = F.cross_entropy(wrapped(images), labels, reduction="none")
                losses.sum().backward(retain_graph=True)
                module.zero_grad(set_to_none=True)
                kept = wrapped.get_clipping_coef()
                wrapped.disable_hooks()
                (kept * losses).sum().backward()
                wrapped.enable_hooks()
            total = losses.detach().mean()
        for parameter in module.parameters():
            spread = privacy.noise_multiplier * privacy.max_grad_norm
            noisy = torch.empty_like(parameter).normal_(std=spread, generator=noise)
            clipped = 0.0 if parameter.grad is None else parameter.grad
            parameter.grad = (clipped + noisy) / mean_size
        return total

    try:
        yield set_gradient
    finally:
        wrapped.to_standard_module()
        _lay_out(module, torch.channels_last)


def _lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    module.to(memory_format=memory_format)  # type: ignore[call-overload]
