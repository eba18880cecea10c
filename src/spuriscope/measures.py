"""The effect of a cue on a model: the measures of Yang et al. (2022).

Each calls a model's `predict`, which maps images (n, channels, height, width) in [0, 1] to class
probabilities (n, n_classes), so a model of any framework can be measured. Images may be tensors with the
channels first or arrays with the channels last; `predict` gets tensors. `placement_measures` has measures of
how much a cue depends on its place, `pixel_measures` of the pixels that a model uses.

`measure` gives all numbers for one model and one pattern from two passes over the test images; the functions
give one number each. A score depends on the images it is taken over, so reports name them: "all" test images,
or "non-target" ones, which are not of the target class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_share
from spuriscope.data.image_set import Split, unit_float
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import MeasureError
from spuriscope.patterns import AnyPattern, put_on

__all__ = [
    "Measures",
    "Predict",
    "accuracy",
    "check_class",
    "checked_labels",
    "empirical_norm",
    "fitting_images",
    "measure",
    "normalised_spurious_score",
    "predicted_share",
    "probabilities",
    "spurious_accuracy",
    "spurious_score",
]

Predict = Callable[[Tensor], Tensor]
Labels: TypeAlias = Tensor | NDArray[Any] | Sequence[int]

THRESHOLD = 0.1  # epsilon in Eq. 1, as in the paper
BATCH = 1000
SLACK = 1e-3  # for rounding in scaled images


@checked(MeasureError)
def probabilities(predict: Predict, images: Images) -> Tensor:
    """The model's answers: class probabilities (n, n_classes), float32, checked.

    Args:
        predict: maps images (n, channels, height, width) in [0, 1] to probabilities (n, n_classes).
        images: a tensor (n, channels, height, width) or an array (n, height, width, channels), uint8, or
            floating point in [0, 1].

    Raises:
        MeasureError: there are no images, they leave [0, 1], or the answers are not probabilities.
    """
    images = as_asked(images, error=MeasureError)
    if len(images) == 0:
        raise MeasureError("there are no images to ask the model about; give at least one")
    _check_range(images)
    parts = []
    for part in images.split(BATCH):
        answer = torch.as_tensor(predict(unit_float(part)))
        if answer.ndim != 2 or len(answer) != len(part):
            raise MeasureError(
                f"predict must return one row of class probabilities for each image: asked about {len(part)} "
                f"images, it returned shape {tuple(answer.shape)}"
            )
        parts.append(answer.detach().float().cpu())
    answers = torch.cat(parts)
    if not answers.isfinite().all():
        raise MeasureError("predict returned values that are not numbers (NaN or infinity)")
    worst = float((answers.sum(dim=1) - 1).abs().max())
    if worst > 1e-3 or float(answers.min()) < -1e-6:
        raise MeasureError(
            f"predict must return probabilities: rows should sum to 1 and hold nothing negative, but a sum "
            f"is off by {worst:.3g} and the least value is {float(answers.min()):.3g}; "
            "apply a softmax to logits"
        )
    return answers


@checked(MeasureError)
def spurious_score(
    predict: Predict, images: Images, pattern: AnyPattern, target: int, *, threshold: float = THRESHOLD
) -> float:
    """Share of images that the pattern alone pulls towards the target class.

    An image counts when stamping the pattern on it raises its probability of `target` by more
    than `threshold`. A model that ignores the pattern scores exactly 0.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        images: as for `probabilities`, uint8 or in [0, 1]. The caller decides whether images
            of class `target` take part, and reports say which.
        pattern: what is stamped, of any kind; for a plant use `plant.placed`.
        target: a class.
        threshold: least rise that counts, a difference of probabilities.

    Raises:
        MeasureError: there are no images, no such class, `predict` does not return probabilities, or
            `threshold` leaves [0, 1].

    Source: Yang, Chou and Chaudhuri (2022), Eq. 1; 0.1 as in their notebooks.
    """
    check_share("threshold", threshold, error=MeasureError)
    clean, stamped = _of_target(predict, images, pattern, target)
    return _score(clean, stamped, threshold)


@checked(MeasureError)
def normalised_spurious_score(
    predict: Predict, images: Images, pattern: AnyPattern, target: int, *, threshold: float = THRESHOLD
) -> float:
    """Share of images where the pattern takes more than `threshold` of the possible rise.

    The rise is divided by 1 - p(target | clean). An image that is certain to be of the target class cannot
    rise and does not count. Arguments and errors as for `spurious_score`.

    Source: Yang, Chou and Chaudhuri (2022), Eq. 5, restored.
    """
    check_share("threshold", threshold, error=MeasureError)
    clean, stamped = _of_target(predict, images, pattern, target)
    return _normalised_score(clean, stamped, threshold)


@checked(MeasureError)
def accuracy(predict: Predict, images: Images, labels: Labels) -> float:
    """Share of images whose likeliest class is their label.

    Args:
        predict: maps images to class probabilities.
        images: as for `probabilities`, uint8 or in [0, 1].
        labels: (n,) classes.

    Raises:
        MeasureError: there are no images, or `predict` does not return probabilities.
    """
    images = as_asked(images, error=MeasureError)
    return _accuracy(probabilities(predict, images), checked_labels(labels, images))


@checked(MeasureError)
def spurious_accuracy(
    predict: Predict, images: Images, labels: Labels, pattern: AnyPattern, target: int
) -> float:
    """Accuracy on stamped images whose label is not the target class (those of the target are left out).

    Arguments and errors as for `accuracy`; `pattern` is stamped on the images.

    Source: Yang, Chou and Chaudhuri (2022), Section 4, "spurious test accuracy".
    """
    images = fitting_images(images, pattern)
    labels = checked_labels(labels, images)
    others = labels != target
    stamped = _ask_stamped(predict, images, pattern, others.nonzero().flatten())
    return _accuracy(stamped, labels[others])


@checked(MeasureError)
def predicted_share(predict: Predict, images: Images, target: int) -> float:
    """Share of images whose likeliest class is `target`.

    Raises:
        MeasureError: there are no images, or `predict` does not return probabilities.
    """
    answers = probabilities(predict, images)
    check_class(answers, target)
    return _share(answers, target)


@dataclass(frozen=True)
class Measures:
    """All measures of one model under one pattern, taken over one part of a data set.

    Attributes:
        score_all: spurious score over all images.
        score_non_target: spurious score over images that are not of the target class.
        normalised_score: normalised spurious score over the non-target images.
        clean_accuracy: over all images, unstamped.
        spurious_accuracy: over the non-target images, stamped.
        predicted_share: share of the stamped non-target images that the model calls the target class.
        clean_predicted_share: the same share before stamping.
    """

    score_all: float
    score_non_target: float
    normalised_score: float
    clean_accuracy: float
    spurious_accuracy: float
    predicted_share: float
    clean_predicted_share: float


@checked(MeasureError)
def measure(
    predict: Predict, split: Split, pattern: AnyPattern, target: int, *, threshold: float = THRESHOLD
) -> Measures:
    """All measures of a model under a pattern, from two passes over the images.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        split: the images to measure on, usually `data.test`.
        pattern: what is stamped.
        target: the class it was planted in.
        threshold: least rise that counts for the scores.

    Raises:
        MeasureError: there are no images besides those of the target class, no such class, or
            `predict` does not return probabilities.
    """
    check_share("threshold", threshold, error=MeasureError)
    return measure_each(predict, split, [(pattern, target)], threshold=threshold)[0]


def measure_each(
    predict: Predict,
    split: Split,
    cues: Sequence[tuple[AnyPattern, int]],
    *,
    threshold: float = THRESHOLD,
) -> tuple[Measures, ...]:
    """`measure` under several patterns, each with its target, from one clean pass and one pass per pattern.

    Arguments and errors as for `measure`; at least one cue.
    """
    for _, target in cues:
        if not (split.labels != target).any():
            raise MeasureError(
                f"all {len(split)} images are of class {target}; a score needs images of others"
            )
    clean = probabilities(predict, split.images)
    for _, target in cues:
        check_class(clean, target)
    stamped = {
        pattern: _ask_stamped(predict, split.images, pattern) for pattern in dict.fromkeys(p for p, _ in cues)
    }
    return tuple(_measures(clean, stamped[pattern], split, target, threshold) for pattern, target in cues)


def _measures(clean: Tensor, stamped: Tensor, split: Split, target: int, threshold: float) -> Measures:
    """All measures, from a model's answers before and after stamping: (n, n_classes) each."""
    others = split.labels != target
    before, after = clean[:, target], stamped[:, target]
    return Measures(
        score_all=_score(before, after, threshold),
        score_non_target=_score(before[others], after[others], threshold),
        normalised_score=_normalised_score(before[others], after[others], threshold),
        clean_accuracy=_accuracy(clean, split.labels),
        spurious_accuracy=_accuracy(stamped[others], split.labels[others]),
        predicted_share=_share(stamped[others], target),
        clean_predicted_share=_share(clean[others], target),
    )


@checked(MeasureError)
def empirical_norm(images: Images, pattern: AnyPattern) -> float:
    """Mean L2 distance between an image and its stamped copy: how visible the pattern is.

    Pixels lie in [0, 1]. A pattern adds less where the image is already bright.

    Args:
        images: as for `probabilities`, uint8 or in [0, 1].
        pattern: what is stamped.

    Raises:
        MeasureError: there are no images.

    Source: Yang, Chou and Chaudhuri (2022), Table 1 and Appendix B.2.
    """
    images = fitting_images(images, pattern)
    if len(images) == 0:
        raise MeasureError("a norm needs at least one image, got none")
    total = 0.0
    for positions in torch.arange(len(images)).split(BATCH):
        part = images[positions]
        distances = (put_on(pattern, part, positions) - unit_float(part)).flatten(1).norm(dim=1)
        total += float(distances.double().sum())
    return total / len(images)


def fitting_images(images: Images, pattern: AnyPattern) -> Tensor:
    """Images as tensors; the pattern tells which axis of an array holds the channels.

    Raises:
        MeasureError: they are not of the pattern's shape, or leave [0, 1].
    """
    found = as_asked(images, shape=pattern.shape, error=MeasureError)
    _check_range(found)
    return found


def _check_range(images: Tensor) -> None:
    if images.dtype == torch.uint8 or images.numel() == 0:
        return
    low, high = float(images.min()), float(images.max())
    if not -SLACK <= low <= high <= 1 + SLACK:
        raise MeasureError(
            f"images in floating point must lie in [0, 1], got {low:.3g} to {high:.3g}; divide by 255, or "
            "leave out the normalisation, and normalise inside the model"
        )


def checked_labels(labels: Labels, images: Tensor) -> Tensor:
    """Labels (n,) as int64, one for each image.

    Raises:
        MeasureError: they are not whole numbers, or not one for each image.
    """
    found = torch.as_tensor(labels)
    if found.ndim != 1 or len(found) != len(images) or found.is_floating_point() or found.is_complex():
        raise MeasureError(
            f"labels must be one whole number for each of the {len(images)} images, got {found.dtype} of "
            f"shape {tuple(found.shape)}"
        )
    return found.to(torch.int64)


def _of_target(predict: Predict, images: Images, pattern: AnyPattern, target: int) -> tuple[Tensor, Tensor]:
    """Probability (n,) of the target class before and after stamping."""
    images = fitting_images(images, pattern)
    clean = probabilities(predict, images)
    check_class(clean, target)
    return clean[:, target], _ask_stamped(predict, images, pattern)[:, target]


def _ask_stamped(
    predict: Predict, images: Tensor, pattern: AnyPattern, positions: Tensor | None = None
) -> Tensor:
    """Answers on stamped images, at some positions or all; images are stamped a batch at a time."""
    positions = torch.arange(len(images)) if positions is None else positions
    if len(positions) == 0:
        return probabilities(predict, images[positions])  # raises that there are none
    parts = positions.split(BATCH)
    return torch.cat([probabilities(predict, put_on(pattern, images[part], part)) for part in parts])


def check_class(answers: Tensor, target: int) -> None:
    """Raise MeasureError unless a model that answers (n, n_classes) knows a class."""
    if not 0 <= target < answers.shape[1]:
        raise MeasureError(f"the model has no class {target}; its classes are 0 to {answers.shape[1] - 1}")


def _score(before: Tensor, after: Tensor, threshold: float) -> float:
    return float((after - before > threshold).double().mean())


def _normalised_score(before: Tensor, after: Tensor, threshold: float) -> float:
    room = 1 - before
    return float(((after - before > threshold * room) & (room > 0)).double().mean())


def _accuracy(answers: Tensor, labels: Tensor) -> float:
    return float((answers.argmax(dim=1) == labels).double().mean())


def _share(answers: Tensor, target: int) -> float:
    return float((answers.argmax(dim=1) == target).double().mean())
