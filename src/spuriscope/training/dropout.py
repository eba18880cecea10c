"""Dropout masks drawn before a pass instead of during it.

A layer that draws its own mask gives the remaining images other rows once one image is left out of the
batch. Masks drawn ahead, from the same generator in the same order, equal those of the training to the bit,
and each image keeps its own rows in every pass.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spuriscope.models import Dropout

__all__ = ["Masks", "draw_masks", "mask_shapes"]

Masks = Mapping[str, Tensor]  # by the name of the buffer: (n, ...), 1 where a value is kept, else 0


def mask_shapes(module: nn.Module, shape: Sequence[int], device: torch.device) -> dict[str, tuple[int, ...]]:
    """Shape of the input of each dropout layer for one image (channels, height, width), in layer order.

    The network stays in the mode it was in.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _, inputs, __, name=name: shapes.update({name: tuple(inputs[0].shape[1:])})
        )
        for name, layer in module.named_modules()
        if isinstance(layer, Dropout)
    ]
    if hooks:
        was_training = module.training
        with torch.no_grad():
            module.eval()(torch.zeros((1, *shape), device=device))
        module.train(was_training)
    for hook in hooks:
        hook.remove()
    return shapes


def draw_masks(
    module: nn.Module, shapes: Mapping[str, tuple[int, ...]], n_images: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw the masks that the dropout layers would draw in one pass over `n_images` images.

    Args:
        module: has the layers.
        shapes: from `mask_shapes`.
        n_images: rows of each mask.
        generator: the layers' own.
    """
    layers = dict(module.named_modules())
    masks = {}
    for name, shape in shapes.items():
        layer = layers[name]
        assert isinstance(layer, Dropout)
        empty = torch.empty((n_images, *shape), device=generator.device)
        masks[f"{name}.mask"] = empty.bernoulli_(1 - layer.p, generator=generator)
    return masks
