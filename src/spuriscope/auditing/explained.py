"""What is ordinary in the suspected images, and what is left over, by an autoencoder of fresh images.

The autoencoder draws what images have in common. A rare cue is not part of that, so it remains as residual.
This is for the eye: the search itself does not use it. One autoencoder serves all models, because they share
the data; it is fitted only where there is something to show.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spuriscope.answers import Explained, Explanation, ShownImage
from spuriscope.data.image_set import Split
from spuriscope.discovery import VAEEmbedding, residuals
from spuriscope.discovery.embed import reconstructions
from spuriscope.report.pictures import ORANGE, data_uri, tinted_uri
from spuriscope.training import OnProgress, Progress

__all__ = ["Explainer", "explain", "left_over", "steps_for"]

N_COMPONENTS = 8  # few, so that it draws a digit even where noise was planted on one
BATCH = 32
MOST_STEPS, LEAST_STEPS = 300, 60
PIXEL_STEPS = MOST_STEPS * 64 * 64  # larger images get fewer steps: 224 x 224 pixels take 40 seconds
LEARNING_RATE = 5e-3
SEED = 0
LEAST_FRESH = 20
N_COMPARED = 2  # ordinary images to look at beside the suspected ones
N_MEASURED = 500


@dataclass(frozen=True, eq=False)
class Explainer:
    """An autoencoder of the fresh images, and images to judge it by.

    Attributes:
        embedding: fitted on fresh images.
        n_fitted: number of images it was fitted on.
        mean_square_error: per pixel of these, in [0, 1].
        compared: positions of some fresh images that it was not fitted on.
        compared_images: (len(compared), channels, height, width).
        largest: residual that is drawn in full colour, the same for all images.
    """

    embedding: VAEEmbedding
    n_fitted: int
    mean_square_error: float
    compared: tuple[int, ...]
    compared_names: tuple[str, ...]
    compared_images: Tensor
    largest: float

    def pictures(self, images: Tensor, positions: Sequence[int], names: Sequence[str]) -> list[ShownImage]:
        """The autoencoder's version of each image, and a heat map of the residual."""
        left = left_over(self.embedding, images)
        return [
            ShownImage(
                position=int(position),
                name=name,
                picture=data_uri(image),
                explained=Explained(
                    reconstruction=data_uri(made),
                    left_over=tinted_uri(
                        rest.double().numpy(), np.array([ORANGE, ORANGE]), largest=self.largest
                    ),
                    left_over_mean=round(float(rest.mean()), 4),
                ),
            )
            for position, name, image, made, rest in zip(
                positions, names, images, reconstructions(self.embedding, images), left, strict=True
            )
        ]

    def explanation(self) -> Explanation:
        """Its conditions, and the fresh images to compare with."""
        images, names = self.compared_images, self.compared_names
        return Explanation(
            components=self.embedding.n_components,
            steps=self.embedding.n_steps,
            batch_size=self.embedding.batch_size,
            learning_rate=self.embedding.learning_rate,
            seed=self.embedding.seed,
            n_fitted=self.n_fitted,
            mean_square_error=self.mean_square_error,
            left_over_max=self.largest,
            fresh=tuple(self.pictures(images, self.compared, names) if self.compared else ()),
        )


def explain(
    fresh: Split, suspected: Tensor, target: int, *, on_progress: OnProgress | None = None
) -> Explainer | None:
    """Fit an autoencoder on fresh images, to look at suspected ones through it.

    The first images of class `target` are kept out of the fit, so their residual can be compared with that of
    the suspected ones, which it has not seen either.

    Args:
        fresh: images that no model was trained on.
        suspected: (n, channels, height, width), all that will be shown; they and the compared ones set the
            scale of the heat maps.
        target: class of the images to compare with.
        on_progress: called at the start and every hundred steps; the autoencoder counts as one model.

    Returns:
        None where there are too few fresh images to learn anything from.
    """
    if len(fresh) < LEAST_FRESH:
        return None
    compared = (fresh.labels == target).nonzero().flatten()[:N_COMPARED]
    n_steps = steps_for(fresh.images[0, 0].numel())
    order = torch.randperm(len(fresh), generator=torch.Generator().manual_seed(SEED))
    rows = order[~torch.isin(order, compared)][: n_steps * BATCH]  # to save memory, no more than it can see
    images = fresh.images[rows]
    embedding = VAEEmbedding(
        N_COMPONENTS, n_steps=n_steps, batch_size=BATCH, learning_rate=LEARNING_RATE, seed=SEED
    )
    embedding.fit(images, on_step=_Steps(on_progress, n_steps, len(images)))
    parts = images[:N_MEASURED].split(BATCH)
    errors = torch.cat([residuals(embedding, part).square().flatten(1).mean(dim=1) for part in parts])
    all_shown = torch.cat([suspected, fresh.images[compared]])
    return Explainer(
        embedding=embedding,
        n_fitted=len(images),
        mean_square_error=float(f"{float(errors.mean()):.3g}"),
        compared=tuple(compared.tolist()),
        compared_names=tuple(fresh.called(position) for position in compared.tolist()),
        compared_images=fresh.images[compared],
        largest=round(float(left_over(embedding, all_shown).max()), 4),
    )


def steps_for(n_pixels: int) -> int:
    """Number of steps of the autoencoder on images of so many pixels: fewer on large ones."""
    return min(MOST_STEPS, max(LEAST_STEPS, PIXEL_STEPS // n_pixels))


def left_over(embedding: VAEEmbedding, images: Tensor) -> Tensor:
    """What the autoencoder does not explain (n, height, width): absolute residual, mean over channels."""
    return residuals(embedding, images).abs().mean(dim=1)


class _Steps:
    """Reports the steps of the autoencoder as the epochs of one more model."""

    def __init__(self, on_progress: OnProgress | None, n_steps: int, n_images: int) -> None:
        self.on_progress, self.n_images = on_progress, n_images
        self.n_epochs = -(-n_steps * BATCH // n_images)
        self.start = time.perf_counter()
        self.tell(0, is_done=False)

    def __call__(self, step: int, n_steps: int, loss: float) -> None:
        self.tell(step, is_done=step == n_steps)

    def tell(self, step: int, *, is_done: bool) -> None:
        if self.on_progress is not None:
            n_seen = step * BATCH
            epochs = self.n_epochs if is_done else n_seen // self.n_images
            rate = n_seen / max(time.perf_counter() - self.start, 1e-9)
            self.on_progress(Progress(int(is_done), 1, epochs, self.n_epochs, rate))
