"""Dropout masks drawn before a pass instead of in it.

A layer that draws its own mask gives other images other rows once one image is left out of the batch. Drawn
ahead, from the same generator in the same order, the masks are those of the training to the bit, and each
image keeps its own rows in whatever pass it takes part.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spuriscope.models import Dropout

__all__ = ["Masks", "draw_masks", "mask_shapes"]

Masks = Mapping[str, Tensor]  # by the name of the buffer: (n, ...), 1 where a value is kept and 0 elsewhere


def mask_shapes(module: nn.Module, shape: Sequence[int], device: torch.device) -> dict[str, tuple[int, ...]]:
    """Shape of what goes through each dropout layer for one image (channels, height, width), in layer order.

    Leaves the network in the mode it was in.
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
    """What the dropout layers would draw in one pass over so many images.

    Args:
        module: has the layers.
        shapes: of `mask_shapes`.
        n_images: rows of each mask.
        generator: that of the layers.
    """
    layers = dict(module.named_modules())
    masks = {}
    for name, shape in shapes.items():
        layer = layers[name]
        assert isinstance(layer, Dropout)
        empty = torch.empty((n_images, *shape), device=generator.device)
        masks[f"{name}.mask"] = empty.bernoulli_(1 - layer.p, generator=generator)
    return masks
