"""Measures against slow obvious versions and cases worked by hand."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from spuriscope.data import Split
from spuriscope.errors import MeasureError
from spuriscope.measures import (
    Predict,
    accuracy,
    empirical_norm,
    measure,
    normalised_spurious_score,
    predicted_share,
    probabilities,
    spurious_accuracy,
    spurious_score,
)
from spuriscope.models import build_model
from spuriscope.patterns import Anywhere, Cover, Kind, Pattern, Shade, pattern
from spuriscope.pixel_measures import pixel_removal_sensitivity, weight_importance
from spuriscope.placement_measures import placement_scores

CORNER = pattern("s1", (1, 2, 2))


def corner_model(images: Tensor) -> Tensor:
    """Two classes; the brightness of the top left pixel is the probability of class 0."""
    p = images[:, 0, 0, 0]
    return torch.stack([p, 1 - p], dim=1)


def images_with_corners(*corners: float) -> Tensor:
    images = torch.zeros(len(corners), 1, 2, 2)
    images[:, 0, 0, 0] = torch.tensor(corners)
    return images


def test_scores_by_hand() -> None:
    # stamped, p rises to 1: by 1, 0.4, 0.05 and 0; of its room it takes all, all, all, and there is none
    images = images_with_corners(0, 0.6, 0.95, 1)
    labels = torch.tensor([1, 0, 1, 0])
    assert spurious_score(corner_model, images, CORNER, 0) == 0.5
    assert spurious_score(corner_model, images, CORNER, 0, threshold=0.01) == 0.75
    assert spurious_score(corner_model, images, CORNER, 1) == 0.0
    assert normalised_spurious_score(corner_model, images, CORNER, 0) == 0.75
    assert accuracy(corner_model, images, labels) == 0.75  # the third is taken for class 0
    assert spurious_accuracy(corner_model, images, labels, CORNER, 0) == 0.0
    assert spurious_accuracy(corner_model, images, labels, CORNER, 1) == 1.0
    assert predicted_share(corner_model, images, 0) == 0.75
    found = measure(corner_model, Split((images * 255).byte(), labels), CORNER, 0)
    assert (found.score_all, found.score_non_target, found.normalised_score) == (0.5, 0.5, 1.0)
    assert (found.clean_accuracy, found.spurious_accuracy) == (0.75, 0.0)
    assert (found.predicted_share, found.clean_predicted_share) == (1.0, 0.5)


@given(seed=st.integers(0, 10_000), target=st.integers(0, 2), threshold=st.sampled_from([0.02, 0.1, 0.3]))
def test_measures_equal_a_loop_over_images(seed: int, target: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(16, 3, generator=generator)
    images = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (30,), generator=generator)
    stamp = Pattern("any", torch.rand(1, 4, 4, generator=generator))

    def predict(batch: Tensor) -> Tensor:
        return (batch.flatten(1) @ weights).softmax(dim=1)

    score, of_others, normalised, others, right, right_stamped, called = 0, 0, 0, 0, 0, 0, 0
    for image, label in zip(images, labels.tolist(), strict=True):
        before = predict(image[None].float() / 255)[0]
        after = predict((image[None].float() / 255 + stamp.pixels).clip(0, 1))[0]
        rise = float(after[target] - before[target])
        score += rise > threshold
        right += int(before.argmax()) == label
        if label != target:
            others += 1
            of_others += rise > threshold
            normalised += rise / float(1 - before[target]) > threshold
            right_stamped += int(after.argmax()) == label
            called += int(after.argmax()) == target
    found = measure(predict, Split(images, labels), stamp, target, threshold=threshold)
    assert found.score_all == score / 30
    assert found.score_all == spurious_score(predict, images, stamp, target, threshold=threshold)
    assert found.clean_accuracy == right / 30 == accuracy(predict, images, labels)
    assert found.score_non_target == of_others / others
    assert found.normalised_score == normalised / others
    kept = images[labels != target]
    assert found.normalised_score == normalised_spurious_score(
        predict, kept, stamp, target, threshold=threshold
    )
    assert found.spurious_accuracy == right_stamped / others
    assert found.spurious_accuracy == spurious_accuracy(predict, images, labels, stamp, target)
    assert found.predicted_share == called / others == predicted_share(predict, stamp.apply(kept), target)


def test_a_model_that_ignores_the_pattern_scores_zero() -> None:
    images = torch.rand(50, 1, 2, 2)

    def constant(batch: Tensor) -> Tensor:
        return torch.full((len(batch), 4), 0.25)

    assert spurious_score(constant, images, CORNER, 0) == 0.0
    assert normalised_spurious_score(constant, images, CORNER, 0) == 0.0


def test_norm_of_a_corner_by_hand() -> None:
    assert empirical_norm(images_with_corners(0, 1, 0.4), CORNER) == pytest.approx((1 + 0 + 0.6) / 3)
    assert empirical_norm(torch.zeros(3, 3, 28, 28), pattern("s3", (3, 28, 28))) == pytest.approx(75**0.5)


def test_weight_importance_is_the_largest_weight_of_each_pixel() -> None:
    module = build_model("small-mlp", (1, 3, 4), 2)
    layer = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    found = weight_importance(module, (1, 3, 4))
    for row in range(3):
        for column in range(4):
            assert found[0, row, column] == max(layer.weight[:, 4 * row + column].tolist())
    with pytest.raises(
        MeasureError, match=r"first layer connects all 784 pixels, such as mlp; this one begins with Conv2d"
    ):
        weight_importance(build_model("cnn", (1, 28, 28), 2), (1, 28, 28))


def test_sensitivity_goes_from_the_whole_image_to_a_black_one() -> None:
    images = torch.rand(40, 3, 8, 8)

    def brightness(batch: Tensor) -> Tensor:
        p = batch.mean(dim=(1, 2, 3))
        return torch.stack([p, 1 - p], dim=1)

    shares, means = pixel_removal_sensitivity(brightness, images, torch.zeros(40, dtype=torch.int64))
    assert shares.tolist() == pytest.approx([k / 50 for k in range(51)])
    assert float(means[0]) == pytest.approx(float(images.mean()), abs=1e-6)
    assert float(means[-1]) == 0.0
    # what is left of the brightness is the share of pixels that stayed
    torch.testing.assert_close(means, images.mean().double() * (1 - shares.double()), atol=0.02, rtol=0)
    assert (means.diff() <= 0).all()
    with pytest.raises(MeasureError, match="lie between 0 and 1"):
        pixel_removal_sensitivity(brightness, images, torch.zeros(40, dtype=torch.int64), shares=[1.5])


def test_answers_that_are_no_probabilities_are_refused() -> None:
    images = torch.rand(3, 1, 2, 2)
    with pytest.raises(MeasureError, match="apply a softmax to logits"):
        probabilities(lambda batch: torch.full((len(batch), 2), 3.0), images)
    with pytest.raises(MeasureError, match="not numbers"):
        probabilities(lambda batch: torch.full((len(batch), 2), float("nan")), images)
    with pytest.raises(MeasureError, match=r"asked about 3 images, it returned shape \(2,\)"):
        probabilities(lambda batch: torch.zeros(2), images)
    with pytest.raises(MeasureError, match="no images"):
        probabilities(corner_model, images[:0])
    with pytest.raises(MeasureError, match="no class 2; its classes are 0 to 1"):
        spurious_score(corner_model, images, CORNER, 2)
    with pytest.raises(MeasureError, match="needs images of others"):
        measure(corner_model, Split((images * 255).byte(), torch.zeros(3, dtype=torch.int64)), CORNER, 0)


def test_a_predict_may_answer_with_numpy_arrays() -> None:
    images = images_with_corners(0, 1)
    found = probabilities(lambda batch: corner_model(batch).numpy(), images)  # type: ignore[arg-type, return-value]
    assert torch.equal(found, corner_model(images))


def one_pixel(row: int, column: int) -> Predict:
    """Two classes; the brightness of one pixel is the probability of class 0."""

    def predict(images: Tensor) -> Tensor:
        p = images[:, 0, row, column]
        return torch.stack([p, 1 - p], dim=1)

    return predict


def square(top: int, left: int, side: int, *, covers: bool) -> Kind:
    pixels = torch.zeros(1, 12, 12)
    pixels[0, top : top + side, left : left + side] = 1
    return Cover("square", pixels, pixels[0]) if covers else Pattern("square", pixels)


@pytest.mark.parametrize("covers", [True, False])
def test_placement_scores_by_hand(covers: bool) -> None:
    images, cue = torch.zeros(5, 1, 12, 12), square(4, 4, 3, covers=covers)
    # the pixel above its middle: one up, left and right it is still there, two up as well, and never else
    found = placement_scores(one_pixel(4, 5), images, cue, 0)
    assert (found.in_place, found.shifted_1, found.shifted_2, found.shifted_4) == (1, 0.75, 0.25, 0)
    assert (found.half_size, found.double_size, found.n_images) == (1, 1, 5)  # rows 4, 5 and rows 2 to 7
    found = placement_scores(one_pixel(6, 6), images, cue, 0)
    assert (found.in_place, found.half_size, found.double_size) == (1, 0, 1)
    # in the corner it goes down and right only
    corner = square(0, 0, 3, covers=covers)
    found = placement_scores(one_pixel(2, 0), images, corner, 0)
    assert (found.in_place, found.shifted_1, found.shifted_2, found.shifted_4) == (1, 0.5, 0.5, 0)
    assert (found.half_size, found.double_size) == (0, 1)
    whole = square(0, 0, 12, covers=covers)  # all four, and what leaves the image is lost
    found = placement_scores(one_pixel(1, 6), images, whole, 0)
    assert (found.shifted_1, found.shifted_2, found.shifted_4) == (1, 0.75, 0.75)


def test_placement_scores_of_what_stands_anywhere_equal_a_loop() -> None:
    images = torch.rand((40, 1, 12, 12), generator=torch.Generator().manual_seed(0)) / 2
    cue = Anywhere(square(4, 4, 3, covers=True), 5)
    predict = one_pixel(5, 6)
    places = cue.places(torch.arange(40)) + 4  # rows and columns of its corner
    found = placement_scores(predict, images, cue, 0)
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    for distance, score in (
        (0, found.in_place),
        (1, found.shifted_1),
        (2, found.shifted_2),
        (4, found.shifted_4),
    ):
        hits = []
        for image, (top, left) in zip(images, places.tolist(), strict=True):
            for down, right in steps if distance else ((0, 0),):
                row, column = top + distance * down, left + distance * right
                if 0 <= row <= 9 and 0 <= column <= 9:
                    is_there = row <= 5 < row + 3 and column <= 6 < column + 3
                    hits.append(is_there and 1 - float(image[0, 5, 6]) > 0.1)
        assert score == pytest.approx(sum(hits) / len(hits))
    assert found.in_place == spurious_score(predict, images, cue, 0)
    for score, side, moved in ((found.half_size, 2, 0), (found.double_size, 6, -2)):  # where it begins beside
        hits = []
        for image, place in zip(images, places.tolist(), strict=True):
            row, column = (min(max(corner + moved, 0), 12 - side) for corner in place)
            is_there = row <= 5 < row + side and column <= 6 < column + side
            hits.append(is_there and 1 - float(image[0, 5, 6]) > 0.1)
        assert score == pytest.approx(sum(hits) / len(hits))


def test_a_shade_has_no_place() -> None:
    inverted = Shade("invert", -torch.eye(1), torch.ones(1), 12, 12)
    found = placement_scores(one_pixel(0, 0), torch.zeros(3, 1, 12, 12), inverted, 0)
    assert found.in_place == 1
    assert [found.shifted_1, found.shifted_2, found.shifted_4, found.half_size, found.double_size] == [
        None
    ] * 5
    with pytest.raises(MeasureError, match="the model has no class 2; its classes are 0 to 1"):
        placement_scores(one_pixel(0, 0), torch.zeros(3, 1, 12, 12), inverted, 2)


@pytest.mark.parametrize("name", ["square", "black-square", "watermark", "frame", "dim", "anywhere"])
def test_measures_of_every_kind_equal_the_single_functions(name: str) -> None:
    """Over a thousand images, so that batches count: an image keeps its place in each of them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1100, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (1100,), generator=generator)
    weights = torch.randn((784, 3), generator=generator) / 8

    def predict(asked: Tensor) -> Tensor:
        return (asked.flatten(1) @ weights).softmax(dim=1)

    kind = pattern("square" if name == "anywhere" else name, (1, 28, 28))
    cue = Anywhere(kind, 3) if name == "anywhere" else kind
    stamped = cue.apply(images)
    found = measure(predict, Split(images, labels), cue, 1)
    before, after = predict(images / 255), predict(stamped)
    rises, others = after[:, 1] - before[:, 1] > 0.1, labels != 1
    assert found.score_all == pytest.approx(float(rises.double().mean()))
    assert found.score_non_target == pytest.approx(float(rises[others].double().mean()))
    assert found.score_all == spurious_score(predict, images, cue, 1)
    assert found.spurious_accuracy == spurious_accuracy(predict, images, labels, cue, 1)
    assert found.spurious_accuracy == pytest.approx(
        float((after.argmax(dim=1) == labels)[others].double().mean())
    )
    slow = [float((a - b / 255).norm()) for a, b in zip(stamped, images, strict=True)]
    assert empirical_norm(images, cue) == pytest.approx(sum(slow) / len(slow), rel=1e-5)
