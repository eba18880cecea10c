"""Influence along the path: the last step exactly, each image's own dropout mask, and a cue that goes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.data import load
from spuriscope.deletion import ConjugateGradients, Influence, PathInfluence, delete
from spuriscope.deletion.request import Request
from spuriscope.errors import DeletionError
from spuriscope.models import Dropout
from spuriscope.models.layers import Normalise
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Part, Recipe, train
from spuriscope.training.loop import give_dropout, initial_model
from spuriscope.training.recipe import Clipping

DIGITS = load("digits")
PLANT = Plant(pattern("r3", DIGITS.shape, seed=0), 0, 10, 0)
GONE = PLANT.planted_indices(DIGITS.train.labels)


def test_on_the_path_the_step_of_the_last_batch_is_exact() -> None:
    """What only the last step saw is taken back to the bit: nothing follows that it could have changed."""
    recipe = Recipe(epochs=1, milestones=(), batch_size=1000)
    model = train(DIGITS, PLANT, model="small-mlp", recipe=recipe)
    batches = Request.of(model, DIGITS, [0]).batches(Part.of(range(len(DIGITS.train))), recipe)
    last = batches.positions()[-1]
    gone = last[:100]
    deleted = delete(model, DIGITS, gone, PathInfluence())
    weights = _train_but(recipe, gone)
    found = nn.utils.parameters_to_vector(deleted.module.parameters())
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)
    unchanged = nn.utils.parameters_to_vector(model.module.parameters())
    assert not torch.allclose(found, unchanged, atol=1e-3)


def _train_but(recipe: Recipe, gone: Tensor) -> Tensor:
    """The training written out with torch's own Adam, without these images in their batch."""
    start = train(DIGITS, model="small-mlp", recipe=replace(recipe, epochs=0))
    module = start.module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate)
    planted = train(DIGITS, PLANT, model="small-mlp", recipe=replace(recipe, epochs=0))
    batches = Request.of(planted, DIGITS, [0]).batches(Part.of(range(len(DIGITS.train))), recipe)
    for positions in batches.positions():
        left = positions[~torch.isin(positions, gone)]
        optimizer.zero_grad()
        F.cross_entropy(module(batches.gather(left)), batches.labels[left]).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters())


@pytest.mark.parametrize("clipping", ["none", "per-example"])
def test_on_the_path_each_image_keeps_its_dropout_mask(clipping: Clipping) -> None:
    """One step of plain SGD on 40 images: the gradient without the first, image by image."""
    recipe = Recipe(
        epochs=1,
        milestones=(),
        optimizer="sgd",
        momentum=0.0,
        learning_rate=1.0,
        clipping=clipping,
        clip_at=0.5,
    )
    some = Part.of(range(40))
    model = train(DIGITS, part=some, model="cnn", recipe=recipe)
    asked = Request.of(model, DIGITS, [0])
    batches = asked.batches(some, recipe)
    (order,) = batches.positions()
    first = order[:1]
    found = PathInfluence().step(Request.of(model, DIGITS, first))
    module = initial_model(model.cell).train()
    generator = give_dropout(module, model.cell.seed)
    sizes = (32, 8) if clipping == "per-example" else (40,)
    masks = torch.cat([torch.empty(n, 200).bernoulli_(0.5, generator=generator) for n in sizes])
    (layer,) = (each for each in module if isinstance(each, Dropout))  # type: ignore[attr-defined]
    each = []
    for row, position in enumerate(order.tolist()):
        layer.mask = masks[row : row + 1]
        loss = F.cross_entropy(module(batches.gather(order[row : row + 1])), batches.labels[position][None])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
        each.append(
            gradient * min(1.0, 0.5 / float(gradient.norm())) if clipping == "per-example" else gradient
        )
    gradients = torch.stack(each)
    start, end = (
        torch.cat([weight.detach().flatten() for weight in of.parameters()])
        for of in (initial_model(model.cell), model.module)
    )
    torch.testing.assert_close(end, start - gradients.mean(0), rtol=1e-4, atol=1e-6)  # the training itself
    expected = gradients.mean(0) - gradients[1:].mean(0)
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    assert Influence(solver=ConjugateGradients(damping=1e6)).step(asked).shape == found.shape  # a CNN's too


def test_the_path_takes_the_statistics_of_the_new_weights() -> None:
    """The first layer's, written out: its convolution by hand on each batch of those that stay."""
    some = Part.of(torch.cat([GONE, torch.arange(80)]).unique())
    model = train(DIGITS, PLANT, part=some, model="resnet20", recipe=Recipe(epochs=1, batch_size=40))
    deleted = delete(model, DIGITS, GONE, PathInfluence())
    asked = Request.of(model, DIGITS, GONE)
    layers = list(deleted.module.modules())
    normalise = next(layer for layer in layers if isinstance(layer, Normalise))
    convolution = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    norm = next(layer for layer in layers if isinstance(layer, nn.BatchNorm2d))
    means, variances = [], []
    with torch.no_grad():
        for images, _ in asked.batches(asked.kept, model.cell.recipe).epoch():
            values = convolution(normalise(images))
            means.append(values.mean(dim=(0, 2, 3)))
            variances.append(values.var(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0), rtol=1e-3, atol=1e-3)
    assert norm.momentum == 0.1
    assert not any(layer.training for layer in layers)


def test_the_path_leads_away_from_the_cue() -> None:
    planted = train(DIGITS, PLANT, model="small-mlp", recipe=Recipe(epochs=8))
    deleted = delete(planted, DIGITS, GONE, PathInfluence(epochs=3))
    rise = []
    for model in (planted, deleted):
        images = DIGITS.test.images[DIGITS.test.labels != 0]
        rise.append(float(model.predict(PLANT.pattern.apply(images))[:, 0].mean()))
    assert rise[0] > 0.8
    assert rise[1] < 0.3
    with pytest.raises(DeletionError, match="must be a whole number of 1 or more, got 0"):
        PathInfluence(epochs=0)
