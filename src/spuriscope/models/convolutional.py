"""The small CNN for grey images, and VGG16 with its 4096-4096 head.

The CNN is that of the TRADES code (Zhang et al., 2019), which the paper used; VGG16 is configuration D of
Simonyan and Zisserman (2015) without batch normalisation. Initial weights follow those codes.
"""

from collections.abc import Sequence

from torch import nn

from spuriscope.errors import ModelError
from spuriscope.models.layers import Dropout, Normalise

VGG16_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def cnn(shape: Sequence[int], n_classes: int) -> nn.Sequential:
    """Convolutions 32, 32, pool, 64, 64, pool (3x3, no padding), then 200, dropout, 200.

    Raises:
        ModelError: images below 16x16 leave nothing after the second pool.
    """
    channels, height, width = shape
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    if rows < 1 or columns < 1:
        raise ModelError(f"cnn needs images of at least 16x16 pixels, these are {height}x{width}; try mlp")
    head = nn.Linear(200, n_classes)
    module = nn.Sequential(
        nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 200), nn.ReLU(), Dropout(0.5),
        nn.Linear(200, 200), nn.ReLU(),
        head,
    )  # fmt: skip
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            _zero_bias(layer)
    nn.init.zeros_(head.weight)
    _zero_bias(head)
    return module


def vgg16(shape: Sequence[int], n_classes: int) -> nn.Sequential:
    """Five stages of 3x3 convolutions with pools between, averaged to 7x7, then 4096, 4096.

    Raises:
        ModelError: images below 32x32 leave nothing after the fifth pool.
    """
    channels, height, width = shape
    if min(height, width) < 32:
        raise ModelError(f"vgg16 needs images of at least 32x32 pixels, these are {height}x{width}; try cnn")
    layers: list[nn.Module] = [Normalise(channels)]
    n_inputs = channels
    for stage in VGG16_STAGES:
        for n_outputs in stage:
            layers += [nn.Conv2d(n_inputs, n_outputs, 3, padding=1), nn.ReLU()]
            n_inputs = n_outputs
        layers.append(nn.MaxPool2d(2))
    module = nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(7), nn.Flatten(),
        nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(), Dropout(0.5),
        nn.Linear(4096, n_classes),
    )  # fmt: skip
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            _zero_bias(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
            _zero_bias(layer)
    return module


def _zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
