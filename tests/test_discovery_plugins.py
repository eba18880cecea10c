"""Embeddings and transplants of plugins: what they see, and what is said where they fail."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spuriscope as ss
from spuriscope.data import Split
from spuriscope.discovery import EMBEDDINGS, TRANSPLANTS, Deviation, PCAEmbedding, Trace
from spuriscope.discovery.embeddings import chosen_embedding
from spuriscope.discovery.exhibit import exhibit
from spuriscope.discovery.marks import Pool
from spuriscope.discovery.suspects import suspected_marks
from spuriscope.discovery.transplants import _compared, find_transplants, how_much_carried
from spuriscope.errors import ConfigError, DiscoveryError, PatternError, SpuriscopeError
from spuriscope.patterns import Transplanted, put_on
from spuriscope.placement_measures import placement_scores
from spuriscope.report.findings import carried

pytestmark = pytest.mark.usefixtures("own_plugins")

SIDE, N_TRAIN, N_FRESH, N_GRAINY, STRENGTH = 12, 80, 30, 8, 0.1


def level_of(donor: Tensor, images: Tensor) -> Tensor:
    """The mean of the donor, whatever else."""
    return images - images.mean(dim=(1, 2, 3), keepdim=True) + donor.mean()


def grain(donor: Tensor, images: Tensor) -> Tensor:
    """The strength of what is finer than three pixels."""
    smooth = torch.nn.functional.avg_pool2d(donor, 3, 1, 1, count_include_pad=False)
    noise = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0))
    return images + (donor - smooth).std() * noise


def ramps(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth images of two classes: a wave of any length, direction and phase, and their labels."""
    draws = torch.rand(n, 4, 1, 1, generator=torch.Generator().manual_seed(seed))
    x, y = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="xy")
    wave = torch.sin(6 * (draws[:, 0] * x + draws[:, 1] * y) + 6 * draws[:, 2])
    return (0.5 + 0.3 * draws[:, 3] * wave)[:, None], torch.arange(n) % 2


def roughness(images: Tensor) -> Tensor:
    smooth = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return (images - smooth).std(dim=(1, 2, 3))


def predict(images: Tensor) -> Tensor:
    """A model that has learnt the cue alone: what is grainy is of class 0, and what is bright a little."""
    logit = 4 * images.mean(dim=(1, 2, 3)) - 9 + 100 * roughness(images.float())
    return torch.stack([logit.sigmoid(), 1 - logit.sigmoid()], dim=1)


@pytest.fixture(scope="module")
def splits() -> tuple[Split, Split]:
    """Training images of which the first eight of class 0 are grainy, each with a grain of its own; fresh."""
    images, labels = ramps(2 * N_TRAIN, 0)
    noise = torch.randn(N_GRAINY, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    images[: 2 * N_GRAINY : 2] += STRENGTH * noise
    fresh, fresh_labels = ramps(2 * N_FRESH, 2)
    as_bytes = [(255 * each.clamp(0, 1)).round().to(torch.uint8) for each in (images, fresh)]
    return Split(as_bytes[0], labels), Split(as_bytes[1], fresh_labels)


@pytest.fixture
def pool(splits: tuple[Split, Split]) -> Pool:
    return Pool.of(*splits, 0)


def test_a_transplant_finds_what_ours_do_not(splits: tuple[Split, Split]) -> None:
    """No two grains agree in a pixel, so nothing of ours sees them; their strength they have in common."""
    ss.register_transplant("grain")(grain)
    train, holdout = splits
    grainy = list(range(0, 2 * N_GRAINY, 2))
    assert ss.discover(predict, train=train, holdout=holdout) == []
    (found,) = ss.discover(predict, train=train, holdout=holdout, transplants=["grain"])
    assert found.examples.tolist() == grainy
    assert (found.target, found.source, found.carriers and found.carriers.n_fresh) == (0, "marks", 0)
    assert found.to_json()["transplant"] == TRANSPLANTS.key("grain")
    assert carried(found).startswith(
        "transplant grain takes the same in 8 of 76 training images, in none of 29"
    )
    seen = exhibit(found, predict, train, holdout)
    assert sorted(seen.examples.tolist()) == grainy
    assert (seen.boxes, seen.carried.min() > 0.7) == ((None,) * N_GRAINY, True)


def test_images_are_as_far_apart_as_what_is_taken_of_them(pool: Pool) -> None:
    """Of a transplant of the mean the hybrids of two images differ by the difference of their means."""
    ss.register_transplant("level")(level_of)
    donors = pool.images[:6].clamp(100, 160)  # so that no hybrid is clipped
    ground = torch.rand(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 4 + 0.4
    hybrids = _compared("level", donors, ground)
    squares = (hybrids[:, None] - hybrids).square().mean(dim=2)
    means = donors.float().mean(dim=(1, 2, 3)) / 255
    torch.testing.assert_close(squares, (means[:, None] - means).square(), atol=1e-6, rtol=1e-3)


def test_hybrids_of_one_mean_have_that_mean(pool: Pool) -> None:
    donor = pool.images[0] / 255
    pattern = Transplanted("level", donor, level_of, "0123")
    images = pool.others[:5]
    torch.testing.assert_close(pattern.apply(images).mean(dim=(1, 2, 3)), donor.mean().expand(5))
    assert torch.equal(put_on(pattern, images, torch.arange(5)), pattern.apply(images))
    assert (pattern.kind, pattern.key, pattern.shape) == ("transplant", "level@0123", (1, SIDE, SIDE))
    assert pattern.touched.all()
    assert pattern == Transplanted("level", donor.clone(), level_of, "0123")
    assert pattern != Transplanted("level", donor, level_of, "4567")
    scores = placement_scores(predict, images, pattern, 0)
    assert (scores.in_place, scores.half_size) == (ss.spurious_score(predict, images, pattern, 0), None)


def test_how_much_an_image_carries_lies_between_fresh_ones_and_the_donor(
    splits: tuple[Split, Split],
) -> None:
    ss.register_transplant("grain")(grain)
    train, holdout = (split.images / 255 for split in splits)
    pattern = Transplanted("grain", train[0], grain)
    share = how_much_carried(pattern, torch.stack([train[0], train[2], holdout[1]]), holdout)
    assert share[0] == 1
    assert 0.9 < share[1] < 1
    assert abs(share[2]) < 0.3


def test_a_natural_crowd_has_few_marks(splits: tuple[Split, Split]) -> None:
    """Class 1 carries nothing."""
    ss.register_transplant("grain")(grain)
    suspects = [
        each for each in suspected_marks(Pool.of(*splits, 1), ["grain"]) if each.group.look == "transplant"
    ]
    assert all(suspect.p_group > 0.01 for suspect in suspects)


ODD_TRANSPLANTS: dict[str, tuple[Any, str]] = {
    "shape": (
        lambda donor, images: images[:, :, 1:],
        r"returned torch.float32 of shape \(8, 1, 11, 12\); return",
    ),
    "whole": (lambda donor, images: images.int(), "returned torch.int32 of shape"),
    "none": (lambda donor, images: None, "returned NoneType; return floats of shape"),
    "nan": (lambda donor, images: images / 0 * 0, "returned values that are not finite"),
    "raise": (
        lambda donor, images: 1 / 0,
        r"failed: ZeroDivisionError: division by zero \(test_disc.*; correct it",
    ),
    "chance": (
        lambda donor, images: torch.rand_like(images),
        "gives other hybrids .* when it is called again",
    ),
}


@pytest.mark.parametrize("odd", ODD_TRANSPLANTS)
def test_a_transplant_that_fails_is_one_line(odd: str, pool: Pool) -> None:
    transplant, said = ODD_TRANSPLANTS[odd]
    ss.register_transplant("odd")(transplant)
    with pytest.raises(SpuriscopeError, match=f"transplant odd {said}") as caught:
        find_transplants("odd", pool, 3)
    assert "\n" not in str(caught.value)


def test_a_transplant_changes_nothing_and_may_return_an_array(pool: Pool) -> None:
    def rude(donor: Tensor, images: Tensor) -> np.ndarray:
        images += donor
        donor.zero_()
        return images.numpy()

    before = pool.others.clone()
    pattern = Transplanted("rude", pool.images[0] / 255, rude)  # type: ignore[arg-type]
    images = before[:3] / 255
    first = pattern.apply(images)
    assert torch.equal(first, pattern.apply(images))
    assert torch.equal(images, before[:3] / 255)
    with pytest.raises(
        PatternError, match=r"transplant rude has a donor of shape \(1, 12, 12\) .*, got images"
    ):
        pattern.apply(torch.zeros(2, 1, 5, 5))


class Mean:
    """One latent, the mean of an image."""

    def fit(self, images: Tensor) -> "Mean":
        self.shape = images.shape[1:]
        return self

    def transform(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(1, 2, 3))[:, None] / (255 if images.dtype == torch.uint8 else 1)

    def inverse_transform(self, latents: Tensor) -> Tensor:
        return latents[:, :, None, None].expand(-1, *self.shape)


def test_an_embedding_has_a_name(splits: tuple[Split, Split]) -> None:
    """Asked by name it is what it is as an object, and ours are what they are without a name."""
    ss.register_embedding("mean")(Mean)
    train, holdout = splits

    def search(**how: Any) -> list[dict[str, Any]]:
        found = ss.discover(lambda images: (1 - predict(images)).flip(1), train=train, holdout=holdout, **how)
        return [finding.to_json() for finding in found]

    assert search(embedding="mean") == search(trace=Trace(Deviation(Mean())))
    assert search(embedding="pca") == search()
    assert EMBEDDINGS.key("mean").startswith("mean@")
    deviation = Deviation(chosen_embedding("mean")).fit(holdout.images)
    assert deviation.transform(train.images[:3]).shape == (3, 1 + SIDE * SIDE)
    own = PCAEmbedding(3)
    assert chosen_embedding(own) is own


ODD_EMBEDDINGS: dict[str, tuple[dict[str, Any], str]] = {
    "latents": (
        {"transform": lambda self, images: images / 255},
        r"transform returned shape \(60, 1, 12, 12\) for 60 i",
    ),
    "few": (
        {"transform": lambda self, images: torch.zeros(2, 3)},
        r"transform returned shape \(2, 3\) for 60 im",
    ),
    "list": ({"transform": lambda self, images: [1.0]}, "transform returned list; return floats"),
    "nan": ({"transform": lambda self, images: torch.full((len(images), 1), torch.nan)}, "not finite"),
    "back": (
        {"inverse_transform": lambda self, latents: latents},
        r"inverse_transform returned shape \(60, 1\)",
    ),
    "raise": ({"fit": lambda self, images: 1 / 0}, "failed: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("odd", ODD_EMBEDDINGS)
def test_an_embedding_that_fails_is_one_line(odd: str, splits: tuple[Split, Split]) -> None:
    methods, said = ODD_EMBEDDINGS[odd]
    ss.register_embedding("odd")(type("Odd", (Mean,), methods))
    train, holdout = splits
    with pytest.raises(DiscoveryError, match=f"embedding odd.* {said}") as caught:
        ss.discover(predict, train=train, holdout=holdout, embedding="odd")
    assert "\n" not in str(caught.value)


def test_names_that_are_not_there_are_told_with_those_that_are(splits: tuple[Split, Split]) -> None:
    train, holdout = splits
    ss.register_embedding("seven")(lambda: 7)  # type: ignore[type-var]
    for how, said in (
        ({"embedding": "umap"}, "there is no embedding 'umap'; choose one of pca, vae, seven"),
        (
            {"embedding": "seven"},
            "embedding seven returned int, which has no fit and no transform and no inv",
        ),
        ({"embedding": PCAEmbedding}, "embedding .* failed: TypeError"),
        ({"transplants": ["grain"]}, "there is no transplant 'grain'"),
    ):
        with pytest.raises(DiscoveryError, match=said):
            ss.discover(predict, train=train, holdout=holdout, **how)
    with pytest.raises(ConfigError, match="give trace or embedding"):
        ss.discover(predict, train=train, holdout=holdout, trace=Trace(), embedding="pca")
