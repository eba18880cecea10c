"""Embeddings against numpy's own decomposition, a closed form of the ELBO, and images with known factors."""

from math import log, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from spuriscope.data import load
from spuriscope.discovery import PCAEmbedding, VAEEmbedding, reconstructions, residuals
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.models.vae import VAE, negative_elbo


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return load("digits").train.images[:600, :, ::3, ::3]  # 10 x 10 pixels


def test_principal_components_leave_as_little_as_a_full_decomposition(digits: Tensor) -> None:
    """Eckart and Young: no 20 directions leave less than the 20 first."""
    for images in (digits, digits.repeat(2, 1, 1, 1)):
        x = images.flatten(1).numpy() / 255.0
        least = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[20:]
        embedding = PCAEmbedding(n_components=20).fit(images)
        left = x - embedding.pca_.inverse_transform(embedding.transform(images).numpy())
        assert float(np.sum(left**2)) == pytest.approx(float(np.sum(least**2)), rel=0.01)
        made = embedding.pca_.inverse_transform(embedding.transform(images).numpy()).clip(0, 1)
        np.testing.assert_allclose(reconstructions(embedding, images).flatten(1), made, atol=1e-5)


def test_principal_components_explain_what_lies_in_their_plane_and_nothing_else() -> None:
    rng = torch.Generator().manual_seed(0)
    planes = torch.rand(2, 3, 5, 4, generator=rng)
    images = torch.einsum("nk,kchw->nchw", torch.rand(50, 2, generator=rng) / 2, planes)
    embedding = PCAEmbedding(n_components=2).fit(images)
    assert residuals(embedding, images).abs().max() < 1e-5
    odd = images[:1].clone()
    odd[0, 1, 2, 3] = 1
    assert residuals(embedding, odd)[0].abs().argmax() == 1 * 20 + 2 * 4 + 3


def test_many_pixels_are_fitted_on_a_part(monkeypatch: pytest.MonkeyPatch, digits: Tensor) -> None:
    monkeypatch.setattr("spuriscope.discovery.embed.MOST_VALUES", 100 * 100)
    embedding = PCAEmbedding(n_components=5).fit(digits)
    assert embedding.pca_.n_samples_ == 100
    assert embedding.transform(digits).shape == (600, 5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 5, 7), (3, 1, 30)])
def test_autoencoder_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    vae = VAE(shape, 6)
    images = torch.rand(4, *shape)
    with torch.inference_mode():
        made, mean, log_variance = vae(images, torch.zeros(4, 6))
    assert made.shape == images.shape
    assert mean.shape == log_variance.shape == (4, 6)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_negative_elbo_is_the_one_of_two_gaussians() -> None:
    """Against torch.distributions, with the spread that makes the images likeliest."""
    rng = torch.Generator().manual_seed(3)
    images, made = (torch.rand(7, 2, 3, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    mean, log_variance = (torch.randn(7, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    spread = float((images - made).square().mean().sqrt())
    likelihood = torch.distributions.Normal(made, spread).log_prob(images).flatten(1).sum(dim=1)
    prior = torch.distributions.Normal(torch.zeros(7, 4), torch.ones(7, 4))
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    for weight in (1.0, 0.25):
        expected = (weight * divergence - likelihood).mean()
        found = negative_elbo(images, made, mean, log_variance, kl_weight=weight)
        torch.testing.assert_close(found, expected)


def test_perfect_reconstructions_cost_no_less_than_rounding_allows() -> None:
    images, latents = torch.rand(2, 1, 2, 2), torch.zeros(2, 3)
    best = 4 / 2 * (log(2 * pi / (255**2 * 12)) + 1)
    assert float(negative_elbo(images, images, latents, latents)) == pytest.approx(best)


def test_autoencoder_finds_the_two_numbers_that_images_are_made_of() -> None:
    """Bright squares at random places: two latents suffice; the mean image explains little."""
    rng = np.random.RandomState(0)
    images = torch.zeros(500, 1, 12, 12)
    for image, (row, column) in zip(images, rng.randint(0, 9, size=(500, 2)), strict=True):
        image[0, row : row + 4, column : column + 4] = 0.9
    embedding = VAEEmbedding(n_components=4, n_steps=600, batch_size=32).fit(images)
    left = residuals(embedding, images).square().mean()
    assert left < 0.3 * images.var(dim=0, correction=0).mean()
    assert left < residuals(PCAEmbedding(n_components=4).fit(images), images).square().mean()
    assert embedding.losses_[-1] < embedding.losses_[0]


def test_autoencoder_is_the_same_each_time_and_leaves_the_callers_chance_alone(digits: Tensor) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    told = []
    small: dict[str, int] = {"n_components": 3, "n_steps": 110, "batch_size": 16}
    first, second = (
        VAEEmbedding(**small).fit(digits, on_step=lambda *told_: told.append(told_[:2])) for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.transform(digits), second.transform(digits))
    assert first.losses_ == second.losses_
    assert told[:2] == [(100, 110), (110, 110)]
    other = VAEEmbedding(**small, seed=1).fit(digits)
    assert not torch.equal(first.transform(digits), other.transform(digits))


@pytest.mark.parametrize("make", [PCAEmbedding, lambda n: VAEEmbedding(n, n_steps=2)], ids=["pca", "vae"])
def test_one_contract_for_every_embedding(make: type[PCAEmbedding], digits: Tensor) -> None:
    with pytest.raises(DiscoveryError, match="Embedding has seen no images yet; call fit first"):
        make(3).transform(digits)
    with pytest.raises(DiscoveryError, match="call fit first"):
        make(3).inverse_transform(torch.zeros(1, 3))
    embedding = make(3).fit(digits)
    latents = embedding.transform(digits)
    assert (latents.shape, latents.dtype) == ((600, 3), torch.float32)
    torch.testing.assert_close(embedding.transform(digits[5:7].float() / 255), latents[5:7])
    images = embedding.inverse_transform(100 * latents)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    whole = residuals(embedding, digits) + reconstructions(embedding, digits)
    torch.testing.assert_close(whole, digits / 255)
    with pytest.raises(DiscoveryError, match=r"fitted on images of shape \(1, 10, 10\) .* got \(1, 9, 9\)"):
        embedding.transform(torch.rand(2, 1, 9, 9))
    with pytest.raises(DiscoveryError, match=r"latents must be \(n, 3\), got shape \(2, 4\)"):
        embedding.inverse_transform(torch.zeros(2, 4))
    with pytest.raises(DiscoveryError, match=r"must lie in \[0, 1\], got nan to nan"):
        make(3).fit(torch.full((9, 1, 8, 8), torch.nan))
    with pytest.raises(DiscoveryError, match=r"must lie in \[0, 1\], got 0 to 255; divide"):
        make(3).fit(digits.float() / digits.max() * 255)
    with pytest.raises(DiscoveryError, match=r"images must be \(n, .* got torch.uint8 of shape \(600, 100\)"):
        make(3).fit(digits.flatten(1))
    with pytest.raises(DiscoveryError, match="this needs at least . images with pixels in them, got shape"):
        make(3).fit(digits[:1])
    with pytest.raises(ConfigError, match="n_components must be a whole number of 1 or more, got 0"):
        make(0)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="n_steps must be a whole number of 1 or more, got 0"):
        VAEEmbedding(n_steps=0)
    with pytest.raises(DiscoveryError, match="images of 64 values have no 65 principal components"):
        PCAEmbedding(n_components=65).fit(torch.rand(70, 1, 8, 8))
    with pytest.raises(DiscoveryError, match="loss became .* by step 100; lower its learning_rate"):
        VAEEmbedding(n_components=3, n_steps=100, learning_rate=1e30).fit(torch.rand(70, 1, 8, 8))
