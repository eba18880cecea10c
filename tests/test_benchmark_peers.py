"""The methods beside ours find what their papers plant, and their scores match slow versions."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from torch import nn

from peers import (
    activation_clustering,
    activations,
    infected,
    mask_sizes,
    outliers,
    scan,
    spectral_signatures,
)
from spuriscope.data import load
from spuriscope.training import Recipe, TrainedModel, train


def planted_activations(n_planted: int, n_units: int) -> np.ndarray:
    """300 activations of a class, the first of them shifted along one direction."""
    rng = np.random.RandomState(0)
    x = rng.randn(300, n_units).astype(np.float32)
    x[:n_planted] += 4
    return x


def test_activation_clustering_finds_a_fifth_of_a_class() -> None:
    is_suspected = activation_clustering(planted_activations(60, 4))
    assert is_suspected[:60].mean() > 0.95
    assert is_suspected[60:].mean() < 0.05


def test_spectral_signature_is_the_first_singular_direction() -> None:
    x = planted_activations(30, 24)
    centred = x - x.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(spectral_signatures(x), (left[:, 0] * sizes[0]) ** 2, rtol=1e-3, atol=1e-3)
    assert set(np.argsort(-spectral_signatures(x))[:30]) == set(range(30))


def test_the_outlier_is_the_image_that_principal_components_do_not_explain() -> None:
    data = load("digits")
    images = data.train.images[:20].clone()
    images[7] = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (1, 28, 28)).astype(np.uint8))
    assert outliers(data.test.images, images).argmax() == 7


def test_activations_are_what_the_last_layer_gets() -> None:
    data = load("digits")
    model = train(data, model="small-mlp", recipe=Recipe(epochs=1))
    images = data.test.images[:20]
    last = model.module[-1]  # type: ignore[index]
    with torch.inference_mode():
        torch.testing.assert_close(last(torch.from_numpy(activations(model, images))), model.logits(images))


def test_scan_finds_a_group_that_is_shifted_where_clean_classes_vary_little() -> None:
    """Two directions of large spread in every class hide the shift from principal components."""
    rng = np.random.RandomState(0)
    spread = np.array([20, 20, *[1] * 6])
    clean = (rng.randn(600, 8) * spread + np.repeat([[0], [50], [90]], 200, axis=0)).astype(np.float32)
    of_class = (rng.randn(300, 8) * spread).astype(np.float32)
    of_class[:40, 5] += 8
    is_suspected = scan(clean, np.repeat([0, 1, 2], 200), of_class)
    assert is_suspected[:40].mean() > 0.95
    assert is_suspected[40:].mean() < 0.05


def test_neural_cleanse_needs_a_small_mask_where_four_pixels_decide() -> None:
    """A linear model: four pixels decide for class 0, all pixels alike for classes 1 to 4."""
    weights = torch.zeros(5, 1, 8, 8)
    weights[0, 0, :2, :2] = 20
    weights[1:] = (
        torch.linspace(-1, 1, 64).reshape(8, 8) * torch.tensor([1.0, -1, 1, -1])[:, None, None, None]
    )
    last = nn.Linear(64, 5, bias=False)
    last.weight.data = weights.flatten(1)
    model = SimpleNamespace(module=nn.Sequential(nn.Flatten(), last))
    images = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    sizes = mask_sizes(cast(TrainedModel, model), images, torch.arange(5).repeat(20))
    assert sizes.argmin() == 0
    assert sizes[0] < sizes[1:].min() / 2
    assert infected(np.array([10, 100, 110, 95, 105], dtype=np.float32)).tolist() == [True, *[False] * 4]
    assert not infected(np.array([100, 100, 110, 95, 105], dtype=np.float32)).any()
