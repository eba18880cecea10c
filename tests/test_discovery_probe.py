"""The probe on images whose cue is known, its counts against a slow loop, and what it refuses."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from spuriscope.discovery.embed import PCAEmbedding, reconstructions
from spuriscope.discovery.probe import Clustering, LookAt, RankBy, probe
from spuriscope.errors import ConfigError, DiscoveryError, MeasureError

N, N_NOISY = 600, 60


class World:
    """Smooth images of three shapes; the model calls those with faint noise "1", and most of shape 0, too."""

    def __init__(self, seed: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.shapes = torch.nn.functional.interpolate(torch.rand(3, 1, 3, 3, generator=rng), 12) * 0.7
        self.noise = 0.25 * torch.rand(1, 12, 12, generator=rng)
        self.samples, _ = self.draw(300, rng)
        self.unrelated, self.kind = self.draw(N, rng)
        self.unrelated[:N_NOISY] = (self.unrelated[:N_NOISY] + self.noise).clamp(0, 1)

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        kind = torch.randint(3, (n,), generator=rng)
        grain = 0.02 * torch.rand(n, 1, 12, 12, generator=rng)
        return self.shapes[kind] * torch.rand(n, 1, 1, 1, generator=rng) + grain, kind

    def predict(self, images: Tensor) -> Tensor:
        """Class 1 for the noise and for look-alikes; the others 0 or 2 by their brightness."""
        direction = self.noise - self.noise.mean()
        carries = (images * direction).sum(dim=(1, 2, 3)) > 0.5 * direction.square().sum()
        slope = (images[:, :, :4, :4] - images[:, :, 8:, 8:]).mean(dim=(1, 2, 3))
        is_alike = (slope - slope.median()) > 0.05
        label = torch.where(carries | is_alike, 1, torch.where(images.mean(dim=(1, 2, 3)) > 0.2, 0, 2))
        return torch.nn.functional.one_hot(label, 3).float()


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def embedding(world: World) -> PCAEmbedding:
    return PCAEmbedding(n_components=3).fit(world.samples)


@pytest.mark.parametrize("by", ["density", "contrast"])
@pytest.mark.parametrize("clustering", ["hdbscan", "k-means"])
def test_the_strongest_group_is_the_noise(
    world: World, embedding: PCAEmbedding, clustering: Clustering, by: RankBy
) -> None:
    found = probe(world.predict, world.unrelated, embedding, clustering=clustering, n_clusters=5).groups(by)
    first = found[0]
    assert (first.target, first.source) == (1, "probe")
    assert first.positions.max() < N_NOISY
    assert len(first) > 0.9 * N_NOISY
    strengths = [group.strength for group in found]
    assert strengths == sorted(strengths, reverse=True)


def test_latents_lose_the_noise_that_residuals_keep(world: World, embedding: PCAEmbedding) -> None:
    found = probe(world.predict, world.unrelated, embedding, look_at="latents")
    assert max(np.sum(group.positions < N_NOISY) for group in found.groups()) < 0.5 * N_NOISY


def test_contrast_puts_natural_look_alikes_at_the_end(world: World, embedding: PCAEmbedding) -> None:
    """The model goes on calling them "1" when their residual is gone; what is noisy it does not."""
    found = probe(world.predict, world.unrelated, embedding)
    by_density, by_contrast = (
        [group for group in found.groups(by) if group.target == 1] for by in get_args(RankBy)
    )
    assert [group.positions.max() < N_NOISY for group in by_contrast] == [True, False]
    assert by_density[1].strength > 1.5
    assert by_contrast[1].strength < 0 < by_contrast[0].strength


@pytest.mark.parametrize("look_at", ["residual", "latents"])
def test_shares_are_counted_as_a_loop_counts_them(
    world: World, embedding: PCAEmbedding, look_at: LookAt
) -> None:
    found = probe(world.predict, world.unrelated, embedding, look_at=look_at, clustering="k-means")
    predicted = world.predict(world.unrelated).argmax(dim=1)
    explained = world.predict(reconstructions(embedding, world.unrelated)).argmax(dim=1)
    assert found.predicted.tolist() == predicted.tolist()
    for region in range(len(found.shares)):
        inside = [k for k in range(N) if found.regions[k] == region]
        for label in range(3):
            share = sum(int(predicted[k]) == label for k in inside) / len(inside)
            remains = sum(int(explained[k]) == label for k in inside) / len(inside)
            assert found.shares[region, label] == pytest.approx(share)
            assert found.contrasts[region, label] == pytest.approx(share - remains)
    for group in found.groups("density"):
        region = found.regions[group.positions[0]]
        assert group.positions.tolist() == [
            k for k in range(N) if found.regions[k] == region and int(predicted[k]) == group.target
        ]
        n, share = int((found.regions == region).sum()), found.shares[region, group.target]
        middle, reach = share + 1.96**2 / (2 * n), 1.96 * np.sqrt(share * (1 - share) / n + (0.98 / n) ** 2)
        low = (middle - reach) / (1 + 1.96**2 / n)  # Wilson (1927)
        assert group.strength == pytest.approx(
            low / float((predicted == group.target).double().mean()), rel=1e-3
        )


def test_a_class_without_parts_is_one_cluster(world: World, embedding: PCAEmbedding) -> None:
    """Only the noisy images are "1", and HDBSCAN sees no parts in them."""

    def noise_alone(images: Tensor) -> Tensor:
        direction = world.noise - world.noise.mean()
        carries = (images * direction).sum(dim=(1, 2, 3)) > 0.5 * direction.square().sum()
        return torch.nn.functional.one_hot(carries.long(), 2).float()

    found = probe(noise_alone, world.unrelated, embedding)
    assert found.is_cluster[found.owners == 1].tolist() == [True]
    assert found.groups()[0].positions.tolist() == list(range(N_NOISY))


def test_a_class_with_few_images_is_no_group(world: World, embedding: PCAEmbedding) -> None:
    def rarely(images: Tensor) -> Tensor:
        answers = torch.zeros(len(images), 2)
        answers[torch.arange(len(images)), (torch.arange(len(images)) < 5).long()] = 1
        return answers

    groups = probe(rarely, world.unrelated, embedding, clustering="k-means").groups()
    assert {group.target for group in groups} <= {0}


def test_what_cannot_be_probed_says_so(world: World, embedding: PCAEmbedding) -> None:
    def always(images: Tensor) -> Tensor:
        return torch.tensor([[0.2, 0.8]]).expand(len(images), 2)

    with pytest.raises(DiscoveryError, match="gives all 600 unrelated images the class 1, so nothing can be"):
        probe(always, world.unrelated, embedding)
    with pytest.raises(DiscoveryError, match="at least 50 images with pixels in them, got shape"):
        probe(world.predict, world.unrelated[:49], embedding)
    with pytest.raises(DiscoveryError, match=r"images must be \(n, channels, height, width\)"):
        probe(world.predict, world.unrelated.flatten(1), embedding)
    with pytest.raises(DiscoveryError, match=r"must lie in \[0, 1\], got nan"):
        probe(world.predict, world.unrelated * torch.nan, embedding)
    with pytest.raises(DiscoveryError, match=r"fitted on images of shape \(1, 12, 12\)"):
        probe(lambda images: world.predict(images[:, :, :12, :12]), torch.rand(60, 1, 14, 14), embedding)
    with pytest.raises(MeasureError, match="apply a softmax to logits"):
        probe(lambda images: 9 * world.predict(images), world.unrelated, embedding)
    with pytest.raises(ConfigError, match="clustering must be one of hdbscan, k-means, got 'dbscan'"):
        probe(world.predict, world.unrelated, embedding, clustering="dbscan")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="by must be one of density, contrast, got 'size'"):
        probe(world.predict, world.unrelated, embedding).groups("size")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_clusters must be 1 or more and least 2 or more, got 0 and 25"):
        probe(world.predict, world.unrelated, embedding, n_clusters=0)
