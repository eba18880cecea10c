"""A small convolutional variational autoencoder, for images of any size.

Two strided convolutions down to a Gaussian over latents, two transposed ones back (Kingma and Welling, 2014).
The decoder's Gaussian has one spread for all pixels, which is fitted: its optimum is the mean squared error
(Rybkin, Daniilidis and Levine, 2021), so no weight between the two terms needs tuning.
"""

from collections.abc import Sequence
from math import log, pi, prod

from torch import Tensor, nn

__all__ = ["VAE", "negative_elbo"]

LEAST_SPREAD = 1 / 255 / 12**0.5  # of rounding to 8 bits, a lower bound on the error of any image


class VAE(nn.Module):
    """Encoder and decoder, trained on `negative_elbo`.

    Args:
        shape: (channels, height, width) of the images; any size.
        n_latents: dimension of the latent space.
        width: channels of the outer convolutions; the inner ones have twice as many.
    """

    def __init__(self, shape: Sequence[int], n_latents: int, *, width: int = 16) -> None:
        super().__init__()
        channels, *self.size = shape
        inner = 2 * width, *(-(-side // 4) for side in self.size)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(prod(inner), 2 * n_latents),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(n_latents, prod(inner)), nn.ReLU(), nn.Unflatten(1, inner),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of each image's latents, both (n, n_latents)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1] for latents (n, n_latents)."""
        height, width = self.size
        images: Tensor = self.decoder(latents)
        return images[:, :, :height, :width]

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions from latents drawn with standard normal `noise` (n, n_latents), and `encode`."""
        mean, log_variance = self.encode(images)
        return self.decode(mean + noise * (log_variance / 2).exp()), mean, log_variance


def negative_elbo(
    images: Tensor, reconstructions: Tensor, mean: Tensor, log_variance: Tensor, *, kl_weight: float = 1.0
) -> Tensor:
    """The training loss: negative evidence lower bound in nats per image, averaged over the batch.

    Args:
        images: (n, channels, height, width) in [0, 1].
        reconstructions: the decoder's, same shape.
        mean, log_variance: (n, n_latents), the encoder's.
        kl_weight: of the divergence from the standard normal prior; below 1 while it warms up.

    Source: Kingma and Welling (2014), Eq. 10 and Appendix B; the spread after Rybkin et al. (2021), Eq. 8.
    """
    variance = (reconstructions - images).square().mean().clamp(min=LEAST_SPREAD**2)
    reconstruction_term = images[0].numel() / 2 * (variance.log() + log(2 * pi) + 1)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
    return reconstruction_term + kl_weight * divergence
