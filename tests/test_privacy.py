"""Private training: clipping held to per-example clipping, noise and sampling to their distributions."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import ConfigError
from spuriscope.models import Dropout, build_model
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import (
    Cell,
    DataKey,
    Privacy,
    Recipe,
    TrainedModel,
    privacy as privacy_module,
    train,
    train_many,
)
from spuriscope.training.batches import Batches
from spuriscope.training.gradient import set_gradient
from spuriscope.training.private_gradient import private_gradient

CPU = torch.device("cpu")
PRIVACY = Privacy(noise_multiplier=0.5, max_grad_norm=1.0)
RECIPE = Recipe(epochs=2, batch_size=64, privacy=PRIVACY)


@pytest.fixture(scope="module")
def small() -> ImageSet:
    """300 digits, so that a training takes a moment."""
    digits = load("digits")
    train_part = Split(digits.train.images[:300], digits.train.labels[:300])
    test_part = Split(digits.test.images[:100], digits.test.labels[:100])
    return ImageSet("small", train_part, test_part, digits.class_names)


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["small-mlp", "cnn"])
@pytest.mark.parametrize("bound", [0.3, 1e6])
def test_without_noise_it_is_clipping_each_image(small: ImageSet, name: str, bound: float) -> None:
    pytest.importorskip("opacus")
    module = build_model(name, small.shape, 10, seed=1).train()
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    nn.init.normal_(list(module.parameters())[-2], 0, 0.1)  # the CNN's head is drawn as zero
    images, labels = small.train.images[:16].float() / 255, small.train.labels[:16]
    loss = set_gradient(module, images, labels, Recipe(clipping="per-example", clip_at=bound))
    slow = gradients(module)
    hardly = replace(RECIPE, privacy=Privacy(noise_multiplier=1e-12, max_grad_norm=bound))
    with private_gradient(module, hardly, n_images=300, noise=torch.Generator()) as private:
        found_loss = private(images, labels)
    assert float(found_loss) == pytest.approx(float(loss), rel=1e-5)
    for fast, one_by_one in zip(gradients(module), slow, strict=True):
        torch.testing.assert_close(fast * 64 / 16, one_by_one, rtol=1e-3, atol=1e-6)  # of the mean batch


def test_noise_has_the_spread_it_should_and_comes_from_the_generator(small: ImageSet) -> None:
    pytest.importorskip("opacus")
    module = build_model("small-mlp", small.shape, 10)
    recipe = replace(RECIPE, privacy=Privacy(noise_multiplier=1.5, max_grad_norm=0.2))
    empty = small.train.images[:0].float(), small.train.labels[:0]
    noises = []
    for seed in (0, 0, 1):
        with private_gradient(
            module, recipe, n_images=300, noise=torch.Generator().manual_seed(seed)
        ) as private:
            assert float(private(*empty)) == 0
        noises.append(torch.cat([gradient.flatten() for gradient in gradients(module)]))
    expected = 1.5 * 0.2 / 64
    assert float(noises[0].std()) == pytest.approx(expected, rel=0.01)  # 203,530 draws
    assert abs(float(noises[0].mean())) < expected / 100
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])


def test_every_image_is_drawn_by_chance_and_twins_draw_the_same(small: ImageSet) -> None:
    plant = Plant(pattern("r3", small.shape, seed=1), target=0, n_planted=3, seed=1)
    batches, twin = (Batches(small.train, plants, RECIPE, 3, CPU) for plants in ([plant], []))
    sizes = []
    for _ in range(100):
        for (_, labels), (_, twins) in zip(batches.epoch(), twin.epoch(), strict=True):
            assert torch.equal(labels, twins)
            sizes.append(float(len(labels)))
    assert len(sizes) == 100 * 5  # ceil(300 / 64)
    mean, variance = torch.tensor(sizes).mean(), torch.tensor(sizes).var()
    share = 64 / 300
    assert float(mean) == pytest.approx(64, abs=4 * math.sqrt(64 * (1 - share) / 500))
    assert float(variance) == pytest.approx(64 * (1 - share), rel=0.3)  # binomial


@pytest.mark.parametrize(("noise", "n_steps"), [(2.0, 1), (4.0, 10)])
def test_epsilon_without_sampling_is_that_of_the_gaussian_mechanism(noise: float, n_steps: int) -> None:
    """All images in each step: Renyi divergence alpha n / (2 sigma^2), turned into (epsilon, delta)."""
    pytest.importorskip("opacus")
    delta = 1e-5
    found = Privacy(noise_multiplier=noise, delta=delta).epsilon(n_images=10, batch_size=10, epochs=n_steps)

    def epsilon(alpha: float) -> float:
        divergence = alpha * n_steps / (2 * noise**2)
        return divergence + math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)

    assert found == pytest.approx(min(epsilon(1 + k / 1000) for k in range(1, 60_000)), rel=1e-3)


def test_epsilon_of_a_published_training() -> None:
    """TensorFlow Privacy's example: 60,000 images, batches of 250, noise 1.3, 15 epochs, delta 1e-5: 1.18."""
    pytest.importorskip("opacus")
    found = Privacy(noise_multiplier=1.3).epsilon(n_images=60_000, batch_size=250, epochs=15)
    assert 0.9 < found < 1.18  # theirs has an older, looser way from the divergence to epsilon
    recipe = Recipe(epochs=15, batch_size=250, privacy=Privacy(noise_multiplier=1.3))
    assert recipe.epsilon(60_000) == found
    assert replace(recipe, epochs=0).epsilon(60_000) == 0
    assert Recipe().epsilon(60_000) is None


def test_training_repeats_and_keeps_its_epsilon(small: ImageSet) -> None:
    pytest.importorskip("opacus")
    first = train(small, model="small-mlp", recipe=RECIPE, seed=2)
    cells = [Cell(data=DataKey.of(small), model="small-mlp", recipe=RECIPE, seed=seed) for seed in (2, 3)]
    again, other = sorted(train_many(cells, small, n_workers=1), key=lambda model: model.cell.seed)
    assert isinstance(again, TrainedModel)
    assert isinstance(other, TrainedModel)
    weights = [torch.cat([p.flatten() for p in m.module.parameters()]) for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.epsilon == PRIVACY.epsilon(n_images=300, batch_size=64, epochs=2)
    loaded = TrainedModel.from_bytes(first.to_bytes())
    assert (loaded.epsilon, loaded.cell) == (first.epsilon, first.cell)
    assert not any(hasattr(p, "_norm_sample") for p in first.module.parameters())  # nothing of Opacus is left


def test_recipes_without_privacy_are_what_they_were() -> None:
    assert "privacy" not in Recipe().to_json()
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
    assert Recipe.from_json(Recipe().to_json()) == Recipe()
    assert hash(RECIPE) != hash(replace(RECIPE, privacy=None))


def test_what_can_be_mended(small: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="noise_multiplier must be a number above 0, got 0"):
        Privacy(noise_multiplier=0)
    with pytest.raises(ConfigError, match="max_grad_norm must be a number above 0, got nan"):
        Privacy(noise_multiplier=1, max_grad_norm=float("nan"))
    with pytest.raises(ConfigError, match="delta is a chance below 1, got 1"):
        Privacy(noise_multiplier=1, delta=1)
    with pytest.raises(ConfigError, match="leave out clipping 'value'"):
        replace(RECIPE, clipping="value", clip_at=0.1)
    with pytest.raises(ConfigError, match="these are not the settings of privacy: .*'sigma'"):
        Recipe.from_json({"privacy": {"sigma": 1}})
    monkeypatch.setattr(privacy_module, "find_spec", lambda name: None)
    for refused in (lambda: train(small, recipe=RECIPE), lambda: RECIPE.epsilon(300)):
        with pytest.raises(ConfigError, match=r"pip install 'spuriscope\[privacy\]'"):
            refused()


def test_batch_normalisation_is_refused(small: ImageSet) -> None:
    pytest.importorskip("opacus")
    with pytest.raises(ConfigError, match="differential privacy needs a gradient for each image, but .* MLP"):
        train(small, model="resnet20", recipe=RECIPE)
