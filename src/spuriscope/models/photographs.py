"""ResNets for photographs: 18 and 50 layers as He et al. (2016) made them for ImageNet, and a small one.

Names and shapes of their weights match those of torchvision and timm, so that their files fit; the 50 layers
have their stride in the 3x3 convolution, as there. A stem and a pool leave a quarter of the rows and columns,
then come four stages. `resnet10` has one block per stage and a quarter of the channels: it is for 64x64
pixels and trains on a laptop. Input is normalised inside, by the constants of ImageNet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.errors import ModelError
from spuriscope.models.layers import Normalise

__all__ = ["PhotoResNet", "resnet10", "resnet18", "resnet50"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
LEAST = 33  # pixels; fewer leave one pixel at the end, on which batch normalisation fails


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    widening = 1

    def __init__(self, n_inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(n_inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_inputs, h, w) to (n, width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y.add_(x if self.downsample is None else self.downsample(x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the last gives four times the width."""

    widening = 4

    def __init__(self, n_inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(n_inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_inputs, h, w) to (n, 4 * width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y.add_(x if self.downsample is None else self.downsample(x)), inplace=True)


class PhotoResNet(nn.Module):
    """A stem, four stages of blocks, a global average and a linear head.

    Args:
        channels: of the images.
        n_classes: logits.
        block: kind of block.
        n_blocks: in each stage.
        width: channels of the first stage; each later one has twice as many.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        block: type[BasicBlock] | type[Bottleneck],
        n_blocks: Sequence[int],
        width: int,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(channels, IMAGENET_MEAN, IMAGENET_SPREAD)
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        n_inputs = width
        for stage, n in enumerate(n_blocks):
            own = width << stage
            layers: list[nn.Module] = [block(n_inputs, own, 2 if stage else 1)]
            n_inputs = own * block.widening
            layers += [block(n_inputs, own, 1) for _ in range(n - 1)]
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(n_inputs, n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] to logits (n, n_classes)."""
        logits: Tensor = self.fc(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Input of the head: (n, features)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(self.normalise(x)))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


def resnet10(shape: Sequence[int], n_classes: int) -> PhotoResNet:
    """One block per stage of 16, 32, 64 and 128 channels; raises ModelError for images below 33 pixels."""
    return PhotoResNet(_channels("resnet10", shape), n_classes, BasicBlock, (1, 1, 1, 1), 16)


def resnet18(shape: Sequence[int], n_classes: int) -> PhotoResNet:
    """Two blocks per stage of 64 to 512 channels; raises ModelError for images below 33 pixels."""
    return PhotoResNet(_channels("resnet18", shape), n_classes, BasicBlock, (2, 2, 2, 2), 64)


def resnet50(shape: Sequence[int], n_classes: int) -> PhotoResNet:
    """3, 4, 6 and 3 bottlenecks; raises ModelError for images below 33 pixels."""
    return PhotoResNet(_channels("resnet50", shape), n_classes, Bottleneck, (3, 4, 6, 3), 64)


def _channels(name: str, shape: Sequence[int]) -> int:
    channels, height, width = shape
    if min(height, width) < LEAST:
        raise ModelError(
            f"{name} is for photographs of at least {LEAST}x{LEAST} pixels, these images are "
            f"{height}x{width}; try resnet20"
        )
    return channels


def _shortcut(n_inputs: int, n_outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and n_inputs == n_outputs:
        return None
    return nn.Sequential(nn.Conv2d(n_inputs, n_outputs, 1, stride, bias=False), nn.BatchNorm2d(n_outputs))
