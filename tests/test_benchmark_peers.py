"""The methods beside ours find what their papers plant, and their scores match slow versions."""

import numpy as np
import torch

from peers import activation_clustering, activations, outliers, spectral_signatures
from spuriscope.data import load
from spuriscope.training import Recipe, train


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
