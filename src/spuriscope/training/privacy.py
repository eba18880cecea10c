"""Differential privacy: what a training with noise on clipped gradients promises, and what it costs.

DP-SGD (Abadi et al., 2016): every step draws each image with the same probability (Poisson sampling), clips
the norm of each image's gradient to a bound, and adds normal noise to their sum. Adding or removing one
image then changes what the model reveals only a little, in the sense of (epsilon, delta). The accountant and
clipping by ghost norms are Opacus's.

The promise holds only with noise that nobody can draw again, see `Privacy`.
"""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

from spuriscope.argument_types import checked
from spuriscope.checks import check_number
from spuriscope.errors import ConfigError

__all__ = ["Privacy", "check_opacus"]

Randomness = Literal["system", "seed"]
ORDERS = [1 + step / 50 for step in range(1, 500)] + [*range(11, 64), 80, 128, 256, 512, 1024]  # of Renyi


@checked(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Privacy:
    """How much noise, on gradients of which norm, and where it comes from.

    The promise covers the trained weights. A checkpoint therefore holds neither the losses, computed
    without noise, nor a seed that draws the noise again. The promise does not cover the rest of a checkpoint:
    the fingerprint of the data tells one who has all images but one whether that one was among them, and a
    part says which images were trained on. So give away the weights alone:
    `safetensors.torch.save_file(model.module.state_dict(), "weights.safetensors")`.

    Attributes:
        noise_multiplier: standard deviation of the noise on the sum of gradients, as a multiple of
            `max_grad_norm`.
        max_grad_norm: bound on the norm of each image's gradient.
        delta: probability with which the promise may fail; usually below 1 / (number of images).
        randomness: "system" draws the noise, and the images of each batch, from the system's randomness:
            nobody can draw them again, so no training repeats, and a clean twin has its own draws. "seed"
            draws them from the cell's seed, which is stored in its checkpoint: trainings repeat to the bit,
            for studies and tests, but whoever has the seed can remove the noise. Do not give such a model
            away.

    Raises:
        ConfigError: a setting is out of range.
    """

    noise_multiplier: float
    max_grad_norm: float = 1.0
    delta: float = 1e-5
    randomness: Randomness = "system"

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "max_grad_norm", "delta"):
            check_number(name, getattr(self, name), above=0)
        if self.delta >= 1:
            raise ConfigError(f"delta is a chance below 1, got {self.delta}")
        if self.randomness not in get_args(Randomness):
            raise ConfigError(
                f"randomness must be one of {', '.join(get_args(Randomness))}, got {self.randomness!r}"
            )

    def epsilon(self, *, n_images: int, batch_size: int, epochs: int) -> float:
        """The epsilon of a training, an upper bound from Renyi divergences (Mironov, 2017); 0 without steps.

        It holds for data sets that differ in the presence of one image, and for the sampling that is used:
        epochs * ceil(n_images / batch_size) steps, each of which draws an image with probability
        batch_size / n_images.

        Args:
            n_images: training images.
            batch_size: mean number of images in a batch.
            epochs: passes over the images.

        Raises:
            ConfigError: Opacus is not installed.
        """
        check_opacus()
        from opacus.accountants import RDPAccountant

        n_steps = epochs * -(-n_images // batch_size)
        if n_steps == 0:
            return 0.0
        accountant = RDPAccountant()
        accountant.history = [(self.noise_multiplier, min(1.0, batch_size / n_images), n_steps)]
        with warnings.catch_warnings():  # ignore that another order might give less: the bound still holds
            warnings.filterwarnings("ignore", message="Optimal order is the")
            return float(accountant.get_epsilon(self.delta, alphas=ORDERS))


def check_opacus() -> None:
    """Raise ConfigError unless Opacus is installed."""
    if find_spec("opacus") is None:
        raise ConfigError(
            "differential privacy needs Opacus, which is not installed; pip install 'spuriscope[privacy]'"
        )
