"""Embeddings by name: ours, and those that plugins add, whose output is checked.

An embedding tells what images have in common, see `embed`; the search uses its latents and residuals.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.discovery.embed import Embedding, PCAEmbedding, VAEEmbedding
from spuriscope.errors import DiscoveryError, SpuriscopeError
from spuriscope.registry import Registry, told_failure

__all__ = ["EMBEDDINGS", "chosen_embedding", "register_embedding"]

MakeEmbedding = Callable[[], Embedding | None]
AnyMakeEmbedding = TypeVar("AnyMakeEmbedding", bound=Callable[[], Embedding])

BUILT_IN: dict[str, MakeEmbedding] = {
    "pca": lambda: None,  # as many components as the images allow, see `Deviation`
    "vae": VAEEmbedding,
}
EMBEDDINGS: Registry[MakeEmbedding] = Registry("embedding", BUILT_IN, DiscoveryError)


@checked(DiscoveryError)
def register_embedding(name: str) -> Callable[[AnyMakeEmbedding], AnyMakeEmbedding]:
    """Register an embedding of your own under a name, for `discover` and the command line.

    Decorate a class or a function without arguments. It is called once per search, and makes an object with
    the methods of `Embedding`: `fit` learns from fresh images (n, channels, height, width), `transform`
    returns latents (n, n_components) of images, and `inverse_transform` images of latents.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        DiscoveryError: the name is taken by us or by another module, or the decorated object is no function.
    """
    return EMBEDDINGS.registering(name)


def chosen_embedding(embedding: str | Embedding | None) -> Embedding | None:
    """The embedding of this name, or the given one; None for the default.

    Raises:
        DiscoveryError: the name is unknown, or its function failed or returned something else.
    """
    if embedding is None or isinstance(embedding, PCAEmbedding | VAEEmbedding):
        return embedding
    if not isinstance(embedding, str):
        return _Checked(type(embedding).__name__, embedding)
    EMBEDDINGS.check(embedding)
    make = EMBEDDINGS[embedding]
    if embedding in EMBEDDINGS.built_in:
        return make()
    made: Any = _asked(embedding, make)
    lacking = [name for name in ("fit", "transform", "inverse_transform") if not hasattr(made, name)]
    if lacking:
        raise DiscoveryError(
            f"the function of embedding {embedding} returned {type(made).__name__}, which has no "
            f"{' and no '.join(lacking)}; return an object with fit, transform and inverse_transform"
        )
    return _Checked(embedding, made)


@dataclass(eq=False)
class _Checked:
    """An embedding that is not ours: its output is checked, and its errors are reported in one line.

    Attributes:
        name: its name in messages.
        embedding: the embedding itself.
        shape_: (channels, height, width) of the images it was fitted on.
    """

    name: str
    embedding: Embedding
    shape_: tuple[int, ...] = field(init=False, repr=False)

    def fit(self, images: Tensor) -> Self:
        _asked(self.name, self.embedding.fit, images)
        self.shape_ = tuple(images.shape[1:])
        return self

    def transform(self, images: Tensor) -> Tensor:
        latents = self._floats("transform", self.embedding.transform, images)
        if latents.ndim != 2 or len(latents) != len(images) or latents.shape[1] == 0:
            raise DiscoveryError(
                f"embedding {self.name}: transform returned shape {tuple(latents.shape)} for {len(images)} "
                f"images; return latents of shape ({len(images)}, n_components)"
            )
        return latents

    def inverse_transform(self, latents: Tensor) -> Tensor:
        images = self._floats("inverse_transform", self.embedding.inverse_transform, latents)
        if images.shape != (len(latents), *self.shape_):
            raise DiscoveryError(
                f"embedding {self.name}: inverse_transform returned shape {tuple(images.shape)} for "
                f"{len(latents)} latents; return images of shape {(len(latents), *self.shape_)}"
            )
        return images

    def _floats(self, method: str, function: Callable[[Tensor], Any], values: Tensor) -> Tensor:
        made = _asked(self.name, function, values)
        found = torch.from_numpy(made) if isinstance(made, np.ndarray) else made
        if not isinstance(found, Tensor) or not found.is_floating_point():
            told = found.dtype if isinstance(found, Tensor) else type(made).__name__
            raise DiscoveryError(f"embedding {self.name}: {method} returned {told}; return floats")
        if not found.isfinite().all():
            raise DiscoveryError(
                f"embedding {self.name}: {method} returned values that are not finite; correct it, or learn "
                "from more images"
            )
        return found.detach().float().cpu()


def _asked(name: str, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except SpuriscopeError:
        raise
    except Exception as error:
        raise DiscoveryError(f"embedding {name} failed: {told_failure(error)}; correct it") from error
