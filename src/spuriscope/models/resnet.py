"""The CIFAR ResNets of He et al. (2016): stages of 16, 32 and 64 channels, shortcuts without parameters.

Where a stage begins, its shortcut takes every second pixel and pads the new channels with zeros ("option A"
of the paper), which gives the counts of Table 2. Weights are drawn as in He et al. (2015).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.models.layers import GlobalAverage, Normalise


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_outputs)
        self.stride = stride
        self.n_new_channels = n_outputs - n_inputs

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_inputs, h, w) to (n, n_outputs, h / stride, w / stride)."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)  # in place here and below to save memory
        y = self.norm2(self.conv2(y))
        if self.n_new_channels:
            half = self.n_new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(y.add_(x), inplace=True)


def resnet(shape: Sequence[int], n_classes: int, *, blocks_per_stage: int) -> nn.Sequential:
    """A ResNet of 6 * blocks_per_stage + 2 layers, for images of any size."""
    channels = shape[0]
    blocks: list[nn.Module] = []
    n_inputs = 16
    for n_outputs, first_stride in ((16, 1), (32, 2), (64, 2)):
        for position in range(blocks_per_stage):
            blocks.append(Block(n_inputs, n_outputs, first_stride if position == 0 else 1))
            n_inputs = n_outputs
    module = nn.Sequential(
        Normalise(channels),
        nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        *blocks,
        GlobalAverage(),
        nn.Linear(64, n_classes),
    )  # fmt: skip
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return module
