"""Images as points: a few numbers hold what they have in common, the residual holds the rest.

There are two embeddings with the same methods, `fit`, `transform`, `inverse_transform`: principal components,
which take seconds, and the variational autoencoder that the interim report asks for. A rare cue is not part
of what images have in common, so it often shows in `residuals` and not in the latents: search both.

Source: Tischler (2024), step 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from spuriscope.checks import check_number, check_seed, check_whole
from spuriscope.data.image_set import unit_float
from spuriscope.errors import DiscoveryError
from spuriscope.models.vae import VAE, negative_elbo
from spuriscope.training.cell import seeded_generator
from spuriscope.training.loop import one_thread

__all__ = ["Embedding", "PCAEmbedding", "VAEEmbedding", "check_images", "reconstructions", "residuals"]

BATCH = 1000
MOST_VALUES = 100_000_000  # pixels that PCA is fitted on: 400 MB, twice all of MNIST

OnStep = Callable[[int, int, float], None]  # takes steps done, all steps, negative ELBO of the last ones


class Embedding(Protocol):
    """Reduces images to a few numbers each, and restores them."""

    def fit(self, images: Tensor) -> Self:
        """Learn from images (n, channels, height, width), uint8, or floating point in [0, 1]."""

    def transform(self, images: Tensor) -> Tensor:
        """Latents (n, n_components), float32."""

    def inverse_transform(self, latents: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] from latents (n, n_components)."""


@dataclass(eq=False)
class PCAEmbedding:
    """Principal components by scikit-learn, with its randomised solver, or the exact one if faster.

    Attributes:
        n_components: number of components.
        seed: of the solver, and of the draw of images where there are too many to hold as floats.
        pca_: the fitted `sklearn.decomposition.PCA`.
        shape_: (channels, height, width) of the images it was fitted on.

    Raises:
        ConfigError: a number is out of range.
    """

    n_components: int = 32
    seed: int = 0
    pca_: Any = field(init=False, repr=False)
    shape_: tuple[int, int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_whole("n_components", self.n_components, least=1)
        check_seed("seed", self.seed)

    def fit(self, images: Tensor) -> Self:
        """Learn the components of images (n, channels, height, width), uint8 or in [0, 1].

        Of more than 100 million values a random part of the images is used, to save memory.

        Raises:
            DiscoveryError: wrong shape, values that are not numbers, or too few images for the components.
        """
        from sklearn.decomposition import PCA

        shape = check_images(images, least=self.n_components)
        n_pixels = images[0].numel()
        if n_pixels < self.n_components:
            raise DiscoveryError(
                f"images of {n_pixels} values have no {self.n_components} principal components; "
                f"choose n_components up to {n_pixels}"
            )
        n_fitted = max(self.n_components, MOST_VALUES // n_pixels)
        if len(images) > n_fitted:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
            images = images[order[:n_fitted]]
        pca = PCA(self.n_components, random_state=self.seed, copy=False)
        pca.fit(unit_float(images).float().flatten(1).numpy(force=True).copy())
        self.pca_, self.shape_ = pca, shape
        return self

    def transform(self, images: Tensor) -> Tensor:
        """Coordinates (n, n_components) along the components, float32.

        Raises:
            DiscoveryError: not fitted yet, or images of another shape.
        """
        check_fitted_to(self, images)
        parts = [unit_float(part).float().flatten(1).numpy(force=True) for part in images.split(BATCH)]
        return torch.from_numpy(np.concatenate([self.pca_.transform(part) for part in parts]))

    def inverse_transform(self, latents: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] from latents (n, n_components)."""
        check_latents(self, latents)
        pixels = torch.from_numpy(self.pca_.inverse_transform(latents.numpy(force=True)))
        return pixels.reshape(-1, *self.shape_).clamp_(0, 1)


@dataclass(eq=False)
class VAEEmbedding:
    """A small convolutional variational autoencoder, see `spuriscope.models.vae`.

    Latents are the means from its encoder. It is trained by Adam for a fixed number of steps, whatever the
    number of images: 4,000 steps of 128 images are 8.5 epochs of MNIST. The weight of the divergence rises
    from 0 to 1 over the first quarter (KL warm-up). The same images and seed give the same network to the
    bit: it uses one CPU thread, and all randomness comes from generators.

    Attributes:
        n_components: dimension of the latents.
        n_steps: training steps.
        batch_size: images per step.
        learning_rate: highest rate of Adam; it rises and falls once ("one cycle").
        seed: draws weights, order and latents.
        vae_: the fitted network.
        losses_: negative ELBO in nats per image, mean of each hundred steps (with the warm-up's weight).
        shape_: (channels, height, width) of the images it was fitted on.

    Raises:
        ConfigError: a number is out of range.
    """

    n_components: int = 32
    n_steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0
    vae_: VAE = field(init=False, repr=False)
    losses_: tuple[float, ...] = field(init=False, repr=False)
    shape_: tuple[int, int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("n_components", "n_steps", "batch_size"):
            check_whole(name, getattr(self, name), least=1)
        check_number("learning_rate", self.learning_rate, above=0)
        check_seed("seed", self.seed)

    def fit(self, images: Tensor, *, on_step: OnStep | None = None) -> Self:
        """Train on images (n, channels, height, width), uint8 or in [0, 1].

        Args:
            images: what to learn from.
            on_step: called every hundred steps with the steps done, all steps, and the mean loss of those.

        Raises:
            DiscoveryError: wrong shape, values that are not numbers, or the loss stopped being a number.
        """
        shape = check_images(images, least=2)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seeded_generator(self.seed, "weights").initial_seed())
            vae = VAE(shape, self.n_components)
        vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with one_thread(torch.device("cpu")):
            losses = self._train(vae, images, on_step)
        self.vae_, self.losses_, self.shape_ = vae.eval(), losses, shape
        return self

    def _train(self, vae: VAE, images: Tensor, on_step: OnStep | None) -> tuple[float, ...]:
        order, noise = seeded_generator(self.seed, "order"), seeded_generator(self.seed, "noise")
        optimizer = torch.optim.Adam(vae.parameters(), fused=True)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=self.n_steps)
        means, total, n_since = [], 0.0, 0
        for step in range(1, self.n_steps + 1):
            rows = torch.randint(len(images), (self.batch_size,), generator=order)
            batch = unit_float(images[rows]).float()
            draws = torch.randn(len(rows), self.n_components, generator=noise)
            kl_weight = min(1.0, 4 * step / self.n_steps)
            loss = negative_elbo(batch, *vae(batch, draws), kl_weight=kl_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            total, n_since = total + loss.item(), n_since + 1
            if step % 100 == 0 or step == self.n_steps:
                means.append(total / n_since)
                total, n_since = 0.0, 0
                if not np.isfinite(means[-1]):
                    raise DiscoveryError(
                        f"the autoencoder's loss became {means[-1]} by step {step}; lower its learning_rate"
                    )
                if on_step is not None:
                    on_step(step, self.n_steps, means[-1])
        return tuple(means)

    @torch.inference_mode()
    def transform(self, images: Tensor) -> Tensor:
        """Means (n, n_components) of the latents, float32.

        Raises:
            DiscoveryError: not fitted yet, or images of another shape.
        """
        check_fitted_to(self, images)
        return torch.cat([self.vae_.encode(unit_float(part).float())[0] for part in images.split(BATCH)])

    @torch.inference_mode()
    def inverse_transform(self, latents: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] from latents (n, n_components)."""
        check_latents(self, latents)
        return torch.cat([self.vae_.decode(part) for part in latents.float().split(BATCH)])


def reconstructions(embedding: Embedding, images: Tensor) -> Tensor:
    """Images reduced and restored: what a fitted embedding explains, same shape, in [0, 1]."""
    parts = images.split(BATCH)
    return torch.cat([embedding.inverse_transform(embedding.transform(part)) for part in parts])


def residuals(embedding: Embedding, images: Tensor) -> Tensor:
    """What a fitted embedding does not explain: image minus reconstruction, float32 in [-1, 1]."""
    return unit_float(images).float() - reconstructions(embedding, images)


def check_images(images: Tensor, *, least: int = 1) -> tuple[int, int, int]:
    """Check images, and return their shape (channels, height, width).

    Args:
        images: should be (n, channels, height, width), uint8, or floating point in [0, 1].
        least: least number of images.

    Raises:
        DiscoveryError: they have another form, are too few, or hold values outside [0, 1].
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise DiscoveryError(
            "images must be (n, channels, height, width), uint8 or floating point in [0, 1], "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    if len(images) < least or images.numel() == 0:
        raise DiscoveryError(
            f"this needs at least {least} images with pixels in them, got shape {tuple(images.shape)}; "
            "give more images, or ask for fewer components or clusters"
        )
    if images.dtype != torch.uint8:
        low, high = (float(end) for end in images.aminmax())
        if not 0 <= low <= high <= 1:  # also false for NaN
            raise DiscoveryError(
                f"images must lie in [0, 1], got {low:g} to {high:g}; divide 8-bit pixels by 255, and "
                "leave out images with NaN"
            )
    channels, height, width = images.shape[1:]
    return channels, height, width


def check_fitted_to(embedding: PCAEmbedding | VAEEmbedding, images: Tensor) -> None:
    """Raise DiscoveryError unless `embedding` was fitted on images of this shape."""
    if not hasattr(embedding, "shape_"):
        raise DiscoveryError(f"this {type(embedding).__name__} has seen no images yet; call fit first")
    if check_images(images) != embedding.shape_:
        raise DiscoveryError(
            f"this {type(embedding).__name__} was fitted on images of shape {embedding.shape_} "
            f"(channels, height, width), got {tuple(images.shape[1:])}; fit it on images of this shape"
        )


def check_latents(embedding: PCAEmbedding | VAEEmbedding, latents: Tensor) -> None:
    """Raise DiscoveryError unless these are latents of the fitted `embedding`."""
    if not hasattr(embedding, "shape_"):
        raise DiscoveryError(f"this {type(embedding).__name__} has seen no images yet; call fit first")
    if latents.ndim != 2 or latents.shape[1] != embedding.n_components:
        raise DiscoveryError(
            f"latents must be (n, {embedding.n_components}), got shape {tuple(latents.shape)}; "
            "give what transform returns"
        )
