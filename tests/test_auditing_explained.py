"""What is left over of images: the square that was planted, and of ordinary ones nothing much."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spuriscope.answers import Explained
from spuriscope.auditing.explained import Explainer, explain, left_over, steps_for
from spuriscope.data.image_set import Split
from spuriscope.training import Progress
from test_report_pictures import opened

SQUARE = slice(0, 3)  # rows and columns that are bright in suspected images


def blobs(n: int, seed: int) -> Tensor:
    """Soft spots of random place and tint: images (n, 3, 16, 16), uint8, dark in the corner."""
    rng = np.random.RandomState(seed)
    at = np.arange(16)
    rows, columns = (np.exp(-((at - rng.uniform(7, 11, (n, 1))) ** 2) / 8) for _ in range(2))
    tints = rng.uniform(0.4, 0.9, (n, 3, 1, 1))
    return torch.from_numpy(
        (255 * tints * (rows[:, None, :, None] * columns[:, None, None, :])).astype(np.uint8)
    )


@pytest.fixture(scope="module")
def fresh() -> Split:
    return Split(blobs(150, seed=0), torch.arange(150) % 3)


@pytest.fixture(scope="module")
def suspected() -> Tensor:
    images = blobs(4, seed=1)
    images[:, :2, SQUARE, SQUARE] = 230
    return images


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def explainer(fresh: Split, suspected: Tensor, told: list[Progress]) -> Explainer:
    found = explain(fresh, suspected, 1, on_progress=told.append)
    assert found is not None
    return found


def parts(explainer: Explainer, images: Tensor) -> list[Explained]:
    shown = explainer.pictures(images, range(len(images)), [""] * len(images))
    return [each.explained for each in shown if each.explained is not None]


def test_the_brightest_of_what_is_left_over_lies_in_the_planted_square(
    explainer: Explainer, suspected: Tensor
) -> None:
    opacities = [np.asarray(opened(each.left_over))[..., 3] for each in parts(explainer, suspected)]
    for opacity in opacities:
        row, column = np.unravel_index(int(opacity.argmax()), opacity.shape)
        assert max(row, column) < 3
    assert max(int(opacity.max()) for opacity in opacities) == 255  # the scale ends at the largest
    for each in explainer.explanation().fresh:
        assert each.explained is not None
        opacity = np.asarray(opened(each.explained.left_over))[..., 3]
        assert opacity[SQUARE, SQUARE].max() < 0.1 * 255


def test_left_over_is_the_size_of_the_difference_mean_over_channels(
    explainer: Explainer, suspected: Tensor
) -> None:
    left = left_over(explainer.embedding, suspected).numpy()
    for image, rest, each in zip(suspected, left, parts(explainer, suspected), strict=True):
        made = np.asarray(opened(each.reconstruction)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(rest, np.abs(image.numpy() / 255 - made).mean(axis=0), atol=0.51 / 255)


def test_images_to_compare_are_of_the_class_and_not_learnt_from(explainer: Explainer, fresh: Split) -> None:
    """Changing them changes nothing of the autoencoder."""
    assert explainer.compared == (1, 4)
    assert explainer.n_fitted == 148
    changed = fresh.images.clone()
    changed[[1, 4]] = 255
    again = explain(Split(changed, fresh.labels), fresh.images[:1], 1)
    assert again is not None
    assert again.embedding.losses_ == explainer.embedding.losses_
    assert again.mean_square_error == explainer.mean_square_error


def test_the_error_is_that_of_the_images_it_learnt_from(explainer: Explainer, fresh: Split) -> None:
    learnt = fresh.images[[k for k in range(150) if k not in (1, 4)]]
    made = explainer.embedding.inverse_transform(explainer.embedding.transform(learnt))
    error = float((learnt / 255 - made).square().mean())
    assert explainer.mean_square_error == pytest.approx(error, rel=0.006)  # three digits
    assert error < 0.2 * float((learnt / 255).var(dim=0).mean())


def test_progress_begins_at_once_and_ends_complete(explainer: Explainer, told: list[Progress]) -> None:
    assert (told[0].models_done, told[0].epochs_done) == (0, 0)
    assert (told[-1].models_done, told[-1].epochs_done) == (1, told[-1].n_epochs)
    assert told[-1].n_epochs == 65  # 300 steps of 32 images, of 148
    assert [progress.n_models for progress in told] == [1] * 4


def test_too_few_fresh_images_explain_nothing(fresh: Split, suspected: Tensor) -> None:
    assert explain(Split(fresh.images[:19], fresh.labels[:19]), suspected, 1) is None


@pytest.mark.parametrize(
    ("side", "n_steps"), [(8, 300), (28, 300), (64, 300), (128, 75), (224, 60), (500, 60)]
)
def test_large_images_get_fewer_steps(side: int, n_steps: int) -> None:
    assert steps_for(side**2) == n_steps
