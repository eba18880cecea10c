"""Fine-tuning: a training that starts from a file, made here as a stranger would publish it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from spuriscope.data import ImageSet, Split
from spuriscope.errors import ConfigError, ModelError
from spuriscope.models import build_model, head_of
from spuriscope.models.photographs import PhotoResNet
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Weights, train, train_many
from spuriscope.training.cell import seeded_generator
from spuriscope.training.recipe import OptimizerName


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 33, 33), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(24) % 3)
    return ImageSet("noise", split, split, ("a", "b", "c"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet for 1,000 classes, as safetensors."""
    path = tmp_path_factory.mktemp("hub") / "model.safetensors"
    module = build_model("resnet10", (3, 64, 64), 1000, seed=9)
    with torch.no_grad():
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.25)
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
    return path


def test_a_training_starts_from_the_file_and_a_drawn_head(data: ImageSet, published: Path) -> None:
    recipe = Recipe(epochs=0)
    model = train(data, model="resnet10", recipe=recipe, weights=published, seed=4)
    plain = train(data, model="resnet10", recipe=recipe, seed=4)
    source = build_model("resnet10", (3, 64, 64), 1000, seed=9).state_dict()
    for name, value in model.module.state_dict().items():
        if name.startswith("fc."):
            assert torch.equal(value, plain.module.state_dict()[name])
        elif "running" in name:
            assert torch.equal(value, source[name] + 0.25)
        else:
            assert torch.equal(value, source[name])


def test_a_head_that_fits_is_taken_over(data: ImageSet, tmp_path: Path) -> None:
    module = build_model("resnet10", (3, 64, 64), 3, seed=2)
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, tmp_path / "m.safetensors")
    model = train(data, model="resnet10", recipe=Recipe(epochs=0), weights=tmp_path / "m.safetensors")
    assert torch.equal(model.module.fc.weight, module.fc.weight)  # type: ignore[union-attr, arg-type]


def test_workers_start_from_it_too_and_the_checkpoint_remembers(data: ImageSet, published: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8)
    cells = [
        Cell(data=DataKey.of(data), model="resnet10", recipe=recipe, seed=seed, weights=Weights.of(published))
        for seed in (0, 1)
    ]
    models = {model.cell: model for model in train_many(cells, data, n_workers=2)}
    for cell in cells:
        model = models[cell]
        assert isinstance(model, TrainedModel)
        alone = train(data, model="resnet10", recipe=recipe, seed=cell.seed, weights=published)
        for name, value in alone.module.state_dict().items():
            assert torch.equal(model.module.state_dict()[name], value)
        again = TrainedModel.from_bytes(model.to_bytes())
        assert again.cell.hash == cell.hash
        assert again.cell.weights == cell.weights


def test_content_names_the_cell_and_the_place_does_not(
    data: ImageSet, published: Path, tmp_path: Path
) -> None:
    def hashed(weights: Weights | None) -> str:
        return Cell(data=DataKey.of(data), model="resnet10", recipe=Recipe(), weights=weights).hash

    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(published.read_bytes())
    assert hashed(Weights.of(copy)) == hashed(Weights.of(published)) != hashed(None)


def test_what_does_not_fit_is_said(data: ImageSet, published: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the weights .*none\.safetensors"):
        train(data, model="resnet10", weights=tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="does not fit this model: .* such as .*; name the architecture"):
        train(data, model="resnet18", weights=published)
    pickled = tmp_path / "model.pth"
    torch.save(build_model("resnet10", (3, 33, 33), 3), pickled)
    with pytest.raises(ModelError, match=r"model\.pth holds more than tensors .*execute code"):
        train(data, model="resnet10", weights=pickled)
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(published.read_bytes())
    weights = Weights.of(changed)
    changed.write_bytes(published.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelError, match="was changed since the cell was made"):
        weights.put_into(build_model("resnet10", (3, 33, 33), 3))


def test_a_state_dict_saved_by_torch_is_read_as_safetensors_are(
    data: ImageSet, published: Path, tmp_path: Path
) -> None:
    torch.save({"state_dict": load_file(published)}, tmp_path / "model.pth")
    recipe = Recipe(epochs=0)
    found, expected = (
        train(data, model="resnet10", recipe=recipe, weights=path)
        for path in (tmp_path / "model.pth", published)
    )
    for name, value in expected.module.state_dict().items():
        assert torch.equal(found.module.state_dict()[name], value)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_a_frozen_body_is_as_a_linear_model_on_its_features(
    data: ImageSet, published: Path, optimizer: OptimizerName
) -> None:
    """The head alone, on features reckoned once, in a loop of torch's own optimiser."""
    recipe = Recipe(
        epochs=3,
        batch_size=8,
        freeze="body",
        optimizer=optimizer,
        weight_decay=0.01,
        milestones=(),
    )
    model = train(data, model="resnet10", recipe=recipe, weights=published, seed=1)
    before = train(data, model="resnet10", recipe=replace(recipe, epochs=0), weights=published, seed=1)
    for name, value in before.module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], value) == (not name.startswith("fc."))
    assert all(parameter.requires_grad for parameter in model.module.parameters())

    body, head = before.module, before.module.fc
    assert isinstance(body, PhotoResNet)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        features = body.eval().features(data.train.images / 255)
    make: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
        "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.01),
    }
    slow = make[optimizer](head.parameters())
    order = seeded_generator(1, "order")
    for _ in range(3):
        for rows in torch.randperm(24, generator=order).split(8):
            slow.zero_grad()
            F.cross_entropy(head(features[rows]), data.train.labels[rows]).backward()
            slow.step()
    torch.testing.assert_close(head_of(model.module).weight, head.weight, rtol=1e-4, atol=1e-5)


def test_freezing_enters_the_hash_only_where_it_is_used(data: ImageSet) -> None:
    plain = Recipe(epochs=2)
    assert "freeze" not in plain.to_json()
    assert Recipe.from_json(Recipe(freeze="body").to_json()) == Recipe(freeze="body")
    hashes = {
        Cell(data=DataKey.of(data), model="resnet10", recipe=recipe).hash
        for recipe in (plain, Recipe(epochs=2, freeze="none"), Recipe(epochs=2, freeze="body"))
    }
    assert len(hashes) == 2
    with pytest.raises(ConfigError, match="leave out freeze"):
        Recipe(freeze="body", clipping="per-example", clip_at=1)
    with pytest.raises(ConfigError, match="freeze must be one of none, body"):
        Recipe(freeze="head")  # type: ignore[arg-type]
