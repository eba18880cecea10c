"""The executor of this machine does what `train_many` does."""

import pytest
import torch

from spuriscope.data import load
from spuriscope.errors import ConfigError
from spuriscope.training import Cell, DataKey, Progress, Recipe, TrainedModel, Trainer, train_cell


def test_cells_train_as_alone() -> None:
    data = load("digits")
    cells = [
        Cell(data=DataKey.of(data), model="small-mlp", recipe=Recipe(epochs=1), seed=seed) for seed in (0, 1)
    ]
    told: list[Progress] = []
    executor = Trainer("cpu", 1)
    found = list(executor.run(cells, data, told.append))
    executor.close()
    for result, cell in zip(found, cells, strict=True):
        assert isinstance(result, TrainedModel)
        alone = train_cell(cell, data)
        assert torch.equal(result.logits(data.test.images), alone.logits(data.test.images))
    assert (told[-1].models_done, told[-1].epochs_done) == (2, 2)
    with pytest.raises(ConfigError, match="n_workers must be 1 or more, got 0"):
        Trainer("cpu", 0).run(cells, data)
