"""Architectures against Table 2, and against torch's own layers."""

import pytest
import torch
from torch import nn

from spuriscope.errors import ModelError
from spuriscope.models import ARCHITECTURES, Dropout, build_model, count_parameters

# Yang et al. (2022), Table 2
TABLE_2 = {
    "small-mlp": 203_530,
    "mlp": 335_114,
    "large-mlp": 932_362,
    "cnn": 312_202,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet110": 1_727_962,
    "vgg16": 134_301_514,
}


def test_parameters_are_those_of_table_2() -> None:
    assert {name: count_parameters(name) for name in ARCHITECTURES} == TABLE_2


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 33, 47), (2, 64, 64)])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("vgg16", "resnet110")])
def test_models_take_any_shape_and_number_of_classes(name: str, shape: tuple[int, int, int]) -> None:
    module = build_model(name, shape, 7).eval()
    assert module(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet110", (3, 32, 32)), ("vgg16", (3, 32, 32)), ("vgg16", (1, 40, 40))]
)
def test_large_models_take_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        module = ARCHITECTURES[name].build(shape, 3)
        assert module(torch.rand(2, *shape)).shape == (2, 3)


def test_the_seed_draws_the_weights_and_nothing_else_does() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = build_model("cnn", (1, 28, 28), 10, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    second = build_model("cnn", (1, 28, 28), 10, seed=3)
    third = build_model("cnn", (1, 28, 28), 10, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(third.parameters()))


def test_models_too_large_for_the_images_say_so() -> None:
    with pytest.raises(
        ModelError, match="cnn needs images of at least 16x16 pixels, these are 15x28; try mlp"
    ):
        build_model("cnn", (1, 15, 28), 10)
    with pytest.raises(ModelError, match="vgg16 needs images of at least 32x32"):
        build_model("vgg16", (1, 28, 28), 10)
    with pytest.raises(ModelError, match="no model 'resnet50'; choose one of small-mlp, mlp"):
        build_model("resnet50", (1, 28, 28), 10)
    assert build_model("cnn", (1, 16, 16), 2)(torch.rand(1, 1, 16, 16)).shape == (1, 2)


def test_dropout_zeroes_half_keeps_the_mean_and_owns_its_chance() -> None:
    layer, x = Dropout(0.5).train(), torch.ones(200, 200)
    layer.generator = torch.Generator().manual_seed(1)
    state = torch.random.get_rng_state()
    first = layer(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    layer.generator.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)


def test_resnet_shortcut_pads_channels_and_takes_every_second_pixel() -> None:
    module = build_model("resnet20", (3, 32, 32), 10).eval()
    block = next(layer for layer in module.children() if getattr(layer, "n_new_channels", 0))
    with torch.no_grad():
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
        x = torch.rand(2, 16, 8, 8)
        y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()
