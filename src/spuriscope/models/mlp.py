"""Multilayer perceptrons: 784-256-10, 784-256-256-256-10 and 784-512-512-512-10 in the paper.

The paper's text gives the MLP two hidden layers; its Table 2 and its code have three, as here.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn


def mlp(shape: Sequence[int], n_classes: int, *, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected layers with ReLU between them, on the flattened image."""
    sizes = [prod(shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_inputs, n_outputs in pairwise(sizes):
        layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))
