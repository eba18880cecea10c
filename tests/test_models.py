"""Architectures against Table 2, and against torch's own layers."""

import pytest
import torch
from torch import nn

from spuriscope.errors import ModelError
from spuriscope.models import (
    ARCHITECTURES,
    Dropout,
    build_model,
    count_parameters,
    default_model,
    head_of,
)

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
PHOTO_RESNETS = {"resnet18": 11_689_512, "resnet50": 25_557_032}  # for 1,000 classes, as torchvision prints


def test_parameters_are_those_of_table_2() -> None:
    assert {name: count_parameters(name) for name in TABLE_2} == TABLE_2


@pytest.mark.parametrize("name", PHOTO_RESNETS)
def test_parameters_are_those_published_for_imagenet(name: str) -> None:
    with torch.device("meta"):
        module = ARCHITECTURES[name].build((3, 224, 224), 1000)
    assert sum(parameter.numel() for parameter in module.parameters()) == PHOTO_RESNETS[name]


def test_weights_have_the_names_that_are_published() -> None:
    with torch.device("meta"):
        names = ARCHITECTURES["resnet18"].build((3, 64, 64), 1000).state_dict().keys()
    block = [f"conv{k}.weight" for k in (1, 2)] + [
        f"bn{k}.{part}"
        for k in (1, 2)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    shortcut = [name.replace("bn1", "downsample.1") for name in block if name.startswith("bn1")]
    expected = {name for name in block if "1" in name} | {"fc.weight", "fc.bias"}
    for stage in range(1, 5):
        for k in range(2):
            expected |= {f"layer{stage}.{k}.{name}" for name in block}
        if stage > 1:
            expected |= {f"layer{stage}.0.{name}" for name in ["downsample.0.weight", *shortcut]}
    assert set(names) == expected


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
def test_resnets_for_photographs_take_odd_sizes_and_refuse_small_ones(name: str) -> None:
    module = build_model(name, (3, 33, 47), 5).train()
    assert module(torch.rand(1, 3, 33, 47)).shape == (1, 5)
    with pytest.raises(ModelError, match=f"{name} is for photographs of at least 33x33 .* are 32x64"):
        build_model(name, (3, 32, 64), 5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 33, 47), (2, 64, 64)])
@pytest.mark.parametrize("name", [name for name in TABLE_2 if name not in ("vgg16", "resnet110")])
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
    with pytest.raises(ModelError, match="no model 'resnet34'; choose one of small-mlp, mlp"):
        build_model("resnet34", (1, 28, 28), 10)
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


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((1, 28, 28), "mlp"),
        ((1, 32, 32), "mlp"),
        ((3, 32, 32), "resnet20"),
        ((1, 40, 20), "resnet20"),
        ((1, 64, 64), "resnet10"),
        ((3, 224, 224), "resnet10"),
    ],
    ids=str,
)
def test_what_suits_the_images_is_taken_and_can_take_them(shape: tuple[int, int, int], name: str) -> None:
    assert default_model(shape) == name
    assert build_model(name, shape, 3).eval()(torch.zeros(1, *shape)).shape == (1, 3)


def test_the_head_gives_the_logits() -> None:
    for name in ARCHITECTURES:
        with torch.device("meta"):
            module = ARCHITECTURES[name].build(ARCHITECTURES[name].table_shape, 7)
        assert head_of(module).out_features == 7
    with pytest.raises(ModelError, match="no fully connected layer"):
        head_of(nn.Conv2d(1, 1, 1))
