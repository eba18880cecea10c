"""Which pixels a model uses: its first weights, and how its answers change as pixels go dark.

`weight_importance` is the one measure that looks inside a model.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed
from spuriscope.data.image_set import unit_float
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import MeasureError
from spuriscope.measures import Labels, Predict, checked_labels, probabilities

__all__ = ["pixel_removal_sensitivity", "weight_importance"]


@checked(MeasureError)
def weight_importance(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """For each pixel the largest weight from it to the first hidden layer.

    Args:
        module: a network whose first layer with weights is fully connected, such as an MLP.
        shape: (channels, height, width) of its images.

    Returns:
        (channels, height, width).

    Raises:
        MeasureError: the first layer is not fully connected to the pixels.

    Source: Yang, Chou and Chaudhuri (2022), Section 3.3, Figs. 3 and 19.
    """
    first = next(
        (layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None), None
    )
    if not isinstance(first, nn.Linear) or first.in_features != prod(shape):
        raise MeasureError(
            f"weight importance needs a model whose first layer connects all {prod(shape)} pixels, such as "
            f"mlp; this one begins with {first}"
        )
    return first.weight.detach().amax(dim=0).reshape(tuple(shape)).cpu()


@checked(MeasureError)
def pixel_removal_sensitivity(
    predict: Predict,
    images: Images,
    labels: Labels,
    *,
    shares: Sequence[float] | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """How the probability of the true class falls as pixels go dark.

    Each non-zero pixel (all its channels) is set to zero with probability `share`; 0 leaves the image as it
    is, 1 leaves it black.

    Args:
        predict: maps images to class probabilities.
        images: as for `probabilities`, uint8 or in [0, 1]; 500 in the paper.
        labels: (n,) their classes.
        shares: in [0, 1]; 51 even steps by default.
        seed: draws which pixels go. Each image has one draw: a larger share removes the same and more.

    Returns:
        The shares (k,), and the mean probability of the label at each (k,).

    Raises:
        MeasureError: there are no images, a share leaves [0, 1], or `predict` does not return probabilities.

    Source: Yang, Chou and Chaudhuri (2022), Appendix B.3.
    """
    steps = torch.linspace(0, 1, 51) if shares is None else torch.tensor(list(shares), dtype=torch.float32)
    if not ((steps >= 0) & (steps <= 1)).all():
        raise MeasureError(f"shares of removed pixels lie between 0 and 1, got {steps.tolist()}")
    images = as_asked(images, error=MeasureError)
    labels = checked_labels(labels, images)
    check_seed("seed", seed, error=MeasureError)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand((len(images), 1, *images.shape[2:]), generator=generator)
    floats = unit_float(images)
    means = []
    for share in steps:
        answers = probabilities(predict, floats * (draws >= share))
        means.append(answers.gather(1, labels[:, None]).double().mean())
    return steps, torch.stack(means)
