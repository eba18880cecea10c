"""Run a frozen body on each image only once; its head then learns from the body's features.

With `freeze="body"` only the last fully connected layer is trained, and everything before it gives the same
output in every epoch. So it is run in one pass, and all epochs use its output. Where images change from epoch
to epoch, by crops or noise, nothing is kept.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spuriscope.models import head_of
from spuriscope.training.batches import Batches
from spuriscope.training.gradient import precision_of
from spuriscope.training.recipe import Recipe

__all__ = ["Features", "features_of"]

MOST_BYTES = 2**30  # of features; if there are more, the body is run in every epoch
AT_ONCE = 128  # images


class Features:
    """Features of a frozen body for the images of `Batches`, batch by batch, in their order.

    `labels` holds the labels of all training images, as the cell is trained on them.
    """

    def __init__(self, batches: Batches, seen: Tensor, rank: Tensor) -> None:
        self.labels, self.n_images = batches.labels, batches.n_images
        self._batches, self._seen, self._rank = batches, seen, rank

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the images in a new order: features (batch, d) and labels of each batch."""
        for positions in self._batches.positions():
            yield self._seen[self._rank[positions]], self.labels[positions]


def features_of(module: nn.Module, batches: Batches, recipe: Recipe) -> Features | None:
    """Features of a network's body for the images that its head is trained on, from one pass over them.

    Args:
        module: with its body in evaluation mode; its head is its last fully connected layer.
        batches: the images.
        recipe: how the head is trained.

    Returns:
        None where it does not pay, where images change from epoch to epoch, and where more than the head
        comes after the body.
    """
    if recipe.epochs < 2 or not batches.repeats:
        return None
    head = head_of(module)
    if batches.n_images * head.in_features * 4 > MOST_BYTES:
        return None
    device = batches.labels.device
    positions = torch.arange(len(batches.labels), device=device) if batches.part is None else batches.part
    rank = torch.empty(len(batches.labels), dtype=torch.int64, device=device)
    rank[positions] = torch.arange(len(positions), device=device)
    given: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        with torch.no_grad(), precision_of(recipe, device):
            for number, part in enumerate(positions.split(AT_ONCE)):
                logits = module(batches.gather(part))
                if number == 0 and not (len(given) == 1 and torch.equal(head.forward(given[0]), logits)):
                    return None
    finally:
        hook.remove()
    return Features(batches, torch.cat(given), rank)
