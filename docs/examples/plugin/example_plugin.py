"""An architecture and a deletion method of one's own, for every command and every worker.

pip install ./docs/examples/plugin
spuriscope study run docs/examples/plugin/study.yaml --data digits --store store
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

import spuriscope as ss
from spuriscope.models import Dropout, head_of


@ss.register_architecture("tanh-net", title="tanh net", shape=(1, 28, 28))
def tanh_net(shape: Sequence[int], n_classes: int) -> nn.Module:
    """One hidden layer, as in the 1990s, with dropout that repeats."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(shape), 64), nn.Tanh(), Dropout(0.2), nn.Linear(64, n_classes)
    )


@ss.register_deletion("reset-head")
def reset_head(model: ss.TrainedModel, data: ss.ImageSet, positions: Tensor) -> ss.TrainedModel:
    """Draw the last layer anew, then go on training on the images that stay."""
    module = deepcopy(model.module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.cell.seed)
        head_of(module).reset_parameters()
    return ss.delete(replace(model, module=module), data, positions, "incremental")
