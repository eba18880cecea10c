"""The gradient of one step under differential privacy: clip each image's, sum, and add noise.

Opacus finds the norm of each image's gradient without keeping the gradients (ghost clipping): one backward
pass for the norms, one for the clipped sum. A test compares it with per-example clipping.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.errors import ConfigError
from spuriscope.training.draws import Draws, normal_like
from spuriscope.training.gradient import precision_of, refuse_batch_norm
from spuriscope.training.privacy import check_opacus
from spuriscope.training.recipe import Recipe

__all__ = ["SetGradient", "check_private", "private_gradient"]

SetGradient = Callable[
    [Tensor, Tensor], Tensor
]  # images, labels -> mean loss; the gradient is in the parameters


@contextmanager
def private_gradient(
    module: nn.Module, recipe: Recipe, *, n_images: int, noise: Draws
) -> Iterator[SetGradient]:
    """Yield the function that puts the noisy gradient of a batch into the parameters of `module`.

    The sum of clipped gradients and noise is divided by the mean batch size. The size of the batch at hand
    would reveal how many images were drawn.

    Args:
        module: returns logits.
        recipe: has `privacy`.
        n_images: number of images that batches are drawn from.
        noise: draws the noise; a torch generator must be on the device of the module.

    Raises:
        ConfigError: the module mixes the images of a batch, Opacus cannot clip one of its layers, or the
            recipe rounds products.
    """
    check_private(recipe)
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    privacy = recipe.privacy
    assert privacy is not None
    refuse_batch_norm(module, "differential privacy", "choose an MLP, the CNN or VGG16")
    _lay_out(module, torch.contiguous_format)  # with channels last Opacus 1.6 computes norms far too small
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
                )  # the images need no gradient
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
            clipped = 0.0 if parameter.grad is None else parameter.grad
            parameter.grad = (clipped + normal_like(parameter, spread, noise)) / mean_size
        return total

    try:
        yield set_gradient
    finally:
        wrapped.to_standard_module()
        _lay_out(module, torch.channels_last)


def check_private(recipe: Recipe) -> None:
    """Raise unless a recipe can keep its promise of privacy here.

    Rounded products spoil the norms that clipping relies on: in bfloat16 a clipped gradient had norm .1008
    where the bound was .1 (digits, 20 images one by one), in float32 .1000000.

    Raises:
        ConfigError: it rounds products, or Opacus is not installed.
    """
    if recipe.privacy is None:
        return
    if recipe.precision != "float32":
        raise ConfigError(
            f"differential privacy needs precision 'float32', got {recipe.precision!r}: rounded norms let "
            "gradients exceed their bound; leave out the precision, or the privacy"
        )
    check_opacus()


def _lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    module.to(memory_format=memory_format)  # type: ignore[call-overload]
