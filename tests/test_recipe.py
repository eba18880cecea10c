"""Recipes: the paper's settings, and what is refused."""

import json

import pytest
from hypothesis import given, strategies as st

from spuriscope.errors import ConfigError
from spuriscope.training import Recipe, paper_recipe, short_epochs, short_recipe, usual_recipe


def test_the_default_is_the_papers() -> None:
    recipe = Recipe()
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.epochs) == (
        "adam",
        0.01,
        128,
        70,
    )
    rates = [recipe.rate(epoch) for epoch in range(70)]
    assert rates[:40] == [0.01] * 40
    assert rates[40:50] == pytest.approx([1e-3] * 10)
    assert rates[50:60] == pytest.approx([1e-4] * 10)
    assert rates[60:] == pytest.approx([1e-5] * 10)


@given(st.integers(1, 200))
def test_milestones_keep_the_shape_of_the_schedule(epochs: int) -> None:
    milestones = Recipe(epochs=epochs).milestones or ()
    assert all(0 < milestone <= epochs for milestone in milestones)
    assert all(any(abs(m - epochs * k / 7) < 1 for k in (4, 5, 6)) for m in milestones)
    assert Recipe(epochs=epochs, milestones=()).rate(epochs) == 0.01
    assert Recipe(epochs=8).milestones == (5, 6, 7)


def test_cifar10_has_its_own() -> None:
    sgd = paper_recipe("cifar10", "resnet20", optimizer="sgd")
    assert (sgd.learning_rate, sgd.momentum, sgd.weight_decay, sgd.augmentation) == (
        0.1,
        0.9,
        1e-4,
        "crop-flip",
    )
    assert paper_recipe("cifar10", "vgg16", optimizer="sgd").learning_rate == 0.01
    assert paper_recipe("cifar10", "resnet20").learning_rate == 0.01
    mnist = paper_recipe("mnist", "mlp", optimizer="sgd")
    assert (mnist.learning_rate, mnist.weight_decay, mnist.augmentation) == (0.01, 0.0, "none")


def test_photographs_have_a_recipe_of_their_own_unless_one_is_named() -> None:
    usual = usual_recipe("photos", "resnet10", 3000)
    assert (usual.optimizer, usual.learning_rate, usual.batch_size, usual.epochs) == ("adam", 0.003, 32, 15)
    assert short_recipe("photos", "resnet10", 3000) == usual
    assert usual_recipe("photos", "resnet10", 100).epochs == 63  # of 4 steps: 250 in all
    assert usual_recipe("photos", "resnet10", 3000, epochs=2).epochs == 2
    by_sgd = usual_recipe("photos", "resnet10", 3000, optimizer="sgd")
    assert by_sgd == paper_recipe("photos", "resnet10", optimizer="sgd")


@pytest.mark.parametrize(("data", "model"), [("mnist", "mlp"), ("cifar10", "resnet20")])
def test_the_papers_networks_keep_the_papers_recipe(data: str, model: str) -> None:
    assert usual_recipe(data, model, 50_000) == paper_recipe(data, model)
    assert short_recipe(data, model, 1000) == paper_recipe(data, model, epochs=short_epochs(1000))


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(optimizer="sgd", clipping="norm", clip_at=0.5, milestones=(2, 3), epochs=4)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of adam, sgd, got 'lion'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number of 0 or more, got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of 0 or more, got -1.0"),
        ({"epochs": -1}, "epochs must be a whole number of 0 or more, got -1"),
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more, got 0"),
        ({"clipping": "value"}, "clipping 'value' needs clip_at above 0"),
        ({"learning_rates": 1}, "not the settings of a recipe: .*learning_rates"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.from_json(settings)
