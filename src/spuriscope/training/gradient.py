"""The gradient of one step: its precision, and how it is clipped.

The paper's text clips the norm of the gradient, the authors' code clips each element; differential privacy
clips the gradient of every image before the mean is taken. A recipe names one of the three.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from spuriscope.errors import ConfigError
from spuriscope.training.dropout import Masks
from spuriscope.training.recipe import Recipe

__all__ = ["per_pass", "precision_of", "refuse_batch_norm", "set_gradient"]

CHUNK = 32  # images whose gradients are held at once


def set_gradient(
    module: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, *, masks: Masks | None = None
) -> Tensor:
    """Put the clipped gradient of the mean cross-entropy into the parameters of `module`.

    Args:
        module: returns logits (n, n_classes).
        images: (n, channels, height, width).
        labels: (n,).
        recipe: says how to clip.
        masks: dropout masks of these images; by default the layers draw them.

    Returns:
        The mean cross-entropy of the batch, detached.

    Raises:
        ConfigError: per-example clipping was asked for, but batch normalisation mixes the images.
    """
    if recipe.clipping == "per-example":
        with precision_of(recipe, images.device):
            return _set_per_example_gradient(module, images, labels, recipe.clip_at, masks or {})
    module.zero_grad(set_to_none=True)
    with precision_of(recipe, images.device):
        logits = functional_call(module, dict(masks), (images,)) if masks else module(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
    if recipe.clipping == "value":
        nn.utils.clip_grad_value_(module.parameters(), recipe.clip_at)
    elif recipe.clipping == "norm":
        nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_at)
    return loss.detach()


@contextmanager
def precision_of(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Compute in the precision of a recipe; restore torch's own setting afterwards."""
    if recipe.precision == "bfloat16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    elif device.type == "cuda":
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        before = products.allow_tf32, convolutions.allow_tf32
        products.allow_tf32 = convolutions.allow_tf32 = recipe.precision == "tf32"
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before
    else:
        yield


def refuse_batch_norm(module: nn.Module, method: str, instead: str) -> None:
    """Raise ConfigError, naming the method and what to do, if a layer mixes the images of a batch."""
    if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules()):
        raise ConfigError(
            f"{method} needs a gradient for each image, but this model's batch normalisation mixes them; "
            f"{instead}"
        )


def per_pass(recipe: Recipe, n_images: int) -> tuple[int, ...]:
    """Sizes of the passes over a batch of `n_images`, in order: dropout draws once per pass."""
    size = CHUNK if recipe.clipping == "per-example" else n_images
    return tuple(min(size, n_images - start) for start in range(0, n_images, size))


def _set_per_example_gradient(
    module: nn.Module, images: Tensor, labels: Tensor, clip_at: float, masks: Masks
) -> Tensor:
    instead = "clip by value or norm, or choose an MLP, the CNN or VGG16"
    refuse_batch_norm(module, "per-example clipping", instead)
    parameters = dict(module.named_parameters())
    detached = {name: parameter.detach() for name, parameter in parameters.items()}

    def loss_of_one(weights: dict[str, Tensor], image: Tensor, label: Tensor, kept: Masks) -> Tensor:
        logits: Tensor = functional_call(module, weights | dict(kept), (image[None],))
        return F.cross_entropy(logits, label[None])

    each = vmap(grad_and_value(loss_of_one), in_dims=(None, 0, 0, 0), randomness="different")
    total = {name: torch.zeros_like(parameter) for name, parameter in detached.items()}
    loss = torch.zeros((), device=images.device)
    for rows in torch.arange(len(images), device=images.device).split(CHUNK):
        kept = {name: mask[rows] for name, mask in masks.items()}
        gradients, losses = each(detached, images[rows], labels[rows], kept)
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        scale = (clip_at / torch.stack(squares).sum(0).sqrt().clamp_min(1e-12)).clamp_max(1)
        for name, gradient in gradients.items():
            total[name] += torch.tensordot(scale, gradient, dims=1)
        loss += losses.sum()
    for name, parameter in parameters.items():
        parameter.grad = total[name] / len(images)
    return loss / len(images)
