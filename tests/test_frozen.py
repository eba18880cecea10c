"""A frozen body is asked once, and the head learns what it would learn if it were asked each time."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spuriscope.data import ImageSet, Split
from spuriscope.models import build_model, head_of
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Cell, DataKey, Part, Recipe, loop, train_cell
from spuriscope.training.batches import Batches
from spuriscope.training.frozen import features_of

RECIPE = Recipe(epochs=3, batch_size=16, freeze="body")


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (150, 1, 28, 28), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(150) % 3)
    return ImageSet("noise", split, split, ("a", "b", "c"))


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet20"])
@pytest.mark.parametrize("of_all", [True, False])
def test_the_head_learns_what_it_learns_when_the_body_is_asked_each_time(
    data: ImageSet, monkeypatch: pytest.MonkeyPatch, model: str, of_all: bool
) -> None:
    plant = Plant(pattern("r3", data.shape, seed=0), 1, 5, 0)
    part = None if of_all else Part.of(torch.arange(0, 150, 2))
    cell = Cell(data=DataKey.of(data), plants=(plant,), part=part, model=model, recipe=RECIPE, seed=1)
    once = train_cell(cell, data, device="cpu")
    monkeypatch.setattr(loop, "features_of", lambda *_: None)
    each_time = train_cell(cell, data, device="cpu")
    assert once.losses == pytest.approx(each_time.losses, rel=1e-5)
    start = loop.initial_model(cell).state_dict()
    own = {f"{name}.{which}" for name, layer in once.module.named_modules() for which in ("weight", "bias")
           if layer is head_of(once.module)}  # fmt: skip
    for name, value in once.module.state_dict().items():
        torch.testing.assert_close(value, each_time.module.state_dict()[name], rtol=1e-4, atol=1e-6)
        assert torch.equal(value, start[name]) == (name not in own)


def test_the_body_sees_each_image_once(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    gather = Batches.gather

    def counted(batches: Batches, indices: Tensor) -> Tensor:
        asked.extend(indices.tolist())
        return gather(batches, indices)

    monkeypatch.setattr(Batches, "gather", counted)
    cell = Cell(data=DataKey.of(data), model="mlp", recipe=RECIPE, seed=0)
    train_cell(cell, data, device="cpu")
    assert sorted(asked) == list(range(150))
    asked.clear()
    train_cell(replace(cell, recipe=replace(RECIPE, input_noise=0.1)), data, device="cpu")
    assert len(asked) == 3 * 150


class _Cooled(nn.Module):
    """A network that does something to what its last layer gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        cooled: Tensor = self.network(images) / 2
        return cooled


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 1}, {"augmentation": "crop-flip"}, {"input_noise": 0.1}, {}],
)
def test_where_nothing_can_be_kept_the_body_is_asked_each_time(
    data: ImageSet, changes: dict[str, Any]
) -> None:
    recipe = replace(RECIPE, **changes)
    network = build_model("mlp", data.shape, 3)
    batches = Batches(data.train, (), recipe, 0, torch.device("cpu"))
    if changes:
        assert features_of(network.eval(), batches, recipe) is None
        return
    assert features_of(network.eval(), batches, recipe) is not None
    assert features_of(_Cooled(network).eval(), batches, recipe) is None
