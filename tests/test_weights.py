"""Fine-tuning: a training that starts from a file, made here as a stranger would publish it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spuriscope.data import ImageSet, Split
from spuriscope.errors import ModelError
from spuriscope.models import build_model
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Weights, train, train_many


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
    torch.save({"conv1.weight": torch.zeros(1)}, pickled)
    with pytest.raises(ModelError, match=r"model\.pth is not safetensors .*convert a \.pth"):
        train(data, model="resnet10", weights=pickled)
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(published.read_bytes())
    weights = Weights.of(changed)
    changed.write_bytes(published.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelError, match="was changed since the cell was made"):
        weights.put_into(build_model("resnet10", (3, 33, 33), 3))
