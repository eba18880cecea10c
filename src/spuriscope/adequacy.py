"""Check that a model is any good, before anything is claimed about it.

A model whose pixels are scaled wrongly, or whose classes are in another order, answers at chance. Then no
pattern moves it and no search finds anything: a false all-clear. So its accuracy comes first. Where it is
low, the usual mistakes are tried on a few fresh images, and the one that explains it is named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.data.image_set import Split, unit_float
from spuriscope.errors import MeasureError
from spuriscope.measures import Predict, probabilities

__all__ = ["ABOVE_CHANCE", "Adequacy", "Mend", "adequacy", "sample_of"]

MOST_ASKED = 2000  # images of each part, enough to know the accuracy to two points
MOST_TRIED = 500  # fresh images on which mistakes are sought
LEVEL = 0.01  # of the test against chance
ABOVE_CHANCE = 0.1  # least share of the way from chance to 1 for an accuracy
SURE, LEAST_GAIN = 0.001, 0.05  # of a mend: level of McNemar's test, and gain of accuracy
GOOD = 0.95  # with this accuracy no mistake is sought

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red, in 0 to 255


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A change that makes a model right more often.

    Attributes:
        what: the mistake, and the option that corrects it.
        accuracy: on the fresh images tried, with the change.
        before: the same without it.
    """

    what: str
    accuracy: float
    before: float

    def __str__(self) -> str:
        return (
            f"{self.what} would make it right on {100 * self.accuracy:.0f} % of fresh images instead of "
            f"{100 * self.before:.0f} %"
        )


@dataclass(frozen=True, kw_only=True)
class Adequacy:
    """How often a model is right, compared with chance.

    Attributes:
        train_accuracy: on training images; up to 2,000 of them, drawn by a seed.
        n_train: number of these images.
        fresh_accuracy: on up to 2,000 images it was not trained on.
        n_fresh: number of these images.
        chance: share of the largest class among those fresh images: the accuracy of a constant answer.
        p_value: of an exact binomial test that the accuracy on fresh images is at most a tenth of the way
            from chance to 1.
        mend: the change that would help; None where no usual mistake explains the accuracy.
    """

    train_accuracy: float
    n_train: int
    fresh_accuracy: float
    n_fresh: int
    chance: float
    p_value: float
    mend: Mend | None = None

    @property
    def is_near_chance(self) -> bool:
        """Whether nothing should be claimed about the model."""
        return self.p_value > LEVEL

    def __str__(self) -> str:
        known, fresh, chance = (
            f"{100 * share:.1f} %" for share in (self.train_accuracy, self.fresh_accuracy, self.chance)
        )
        return (
            f"right on {known} of {self.n_train:,} training images and {fresh} of {self.n_fresh:,} fresh "
            f"ones (chance {chance})"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"is_near_chance": self.is_near_chance}

    def check(self, source: str = "the model") -> None:
        """Refuse a model that is near chance.

        Raises:
            MeasureError: the model is near chance; the message names the likely causes.
        """
        if not self.is_near_chance:
            return
        if self.mend is not None:
            advice = str(self.mend)
        elif self.train_accuracy > self.fresh_accuracy + (1 - self.fresh_accuracy) / 2:
            advice = (
                "it memorised its training images, or the fresh ones are of another kind: give others, "
                "or train it for fewer epochs"
            )
        else:
            advice = (
                "pixels may be scaled wrongly (--scale 255, --mean, --std), channels or classes be in "
                "another order (--bgr, --channels-last, --classes), the answers be another output or logits "
                "(--output, --logits), the weights not be loaded, or the data be others"
            )
        raise MeasureError(f"{source} is {self}, near chance; {advice}; --anyway continues")


@checked(MeasureError)
def adequacy(
    predict: Predict,
    train: Split,
    fresh: Split,
    *,
    class_names: Sequence[str] | None = None,
    columns: Sequence[int] | None = None,
    seed: int = 0,
    looks_for_mend: bool = True,
) -> Adequacy:
    """How often a model is right on its training images and on fresh ones, and what would help.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        train: images it was trained on.
        fresh: images it was not trained on.
        class_names: position = label; by default the numbers.
        columns: the label of each column of the model's own answers, where `predict` has reordered them.
        seed: draws the images where there are many.
        looks_for_mend: whether to try the usual mistakes on a model that is not good.

    Raises:
        MeasureError: it does not return probabilities, or for fewer classes than there are labels.
    """
    from scipy.stats import binomtest

    known, unseen = sample_of(train, MOST_ASKED, seed), sample_of(fresh, MOST_ASKED, seed)
    of_known, of_unseen = probabilities(predict, known.images), probabilities(predict, unseen.images)
    n_labels = 1 + max(int(known.labels.max()), int(unseen.labels.max()))
    n_classes = len(class_names) if class_names is not None else n_labels
    if of_unseen.shape[1] < n_classes:
        raise MeasureError(
            f"the model answers for {of_unseen.shape[1]} classes, the data have {n_classes}; give the data "
            "it was trained on"
        )
    n_right = int((of_unseen.argmax(1) == unseen.labels).sum())
    chance = int(unseen.labels.bincount().max()) / len(unseen)
    bar = chance + ABOVE_CHANCE * (1 - chance)
    accuracy = n_right / len(unseen)
    names = list(class_names or map(str, range(n_classes)))
    tried = sample_of(unseen, MOST_TRIED, seed)
    return Adequacy(
        train_accuracy=float((of_known.argmax(1) == known.labels).double().mean()),
        n_train=len(known),
        fresh_accuracy=accuracy,
        n_fresh=len(unseen),
        chance=chance,
        p_value=float(binomtest(n_right, len(unseen), bar, alternative="greater").pvalue) if bar < 1 else 1.0,
        mend=_mend(predict, tried, names, columns) if looks_for_mend and accuracy < GOOD else None,
    )


def sample_of(split: Split, most: int = MOST_ASKED, seed: int = 0) -> Split:
    """At most `most` images of a part, drawn by a seed; all of them where there are no more."""
    if len(split) <= most:
        return split
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(split), generator=generator)[:most].sort().values
    return Split(split.images[rows], split.labels[rows])


def _mend(predict: Predict, fresh: Split, names: list[str], columns: Sequence[int] | None) -> Mend | None:
    """The change for the usual mistake that gains most, if the gain is significant."""
    images, labels = unit_float(fresh.images), fresh.labels
    answers = probabilities(predict, images).argmax(1)
    is_right = answers == labels
    mends = [
        _gain(what, is_right, probabilities(_changed(predict, change), images).argmax(1) == labels)
        for what, change in _changes(images.shape[1])
    ]
    mends.append(_order(answers, labels, names, columns))
    found = [mend for mend in mends if mend is not None]
    return max(found, key=lambda mend: mend.accuracy - mend.before, default=None)


def _changed(predict: Predict, change: Callable[[Tensor], Tensor]) -> Predict:
    """The model on changed images, which may leave [0, 1]."""
    return lambda images: predict(change(images))


def _gain(what: str, before: Tensor, after: Tensor) -> Mend | None:
    """The change, if it corrects significantly more images than it spoils (McNemar's exact test)."""
    from scipy.stats import binomtest

    n_better, n_worse = int((after & ~before).sum()), int((before & ~after).sum())
    gain = (n_better - n_worse) / max(1, len(before))
    if gain < LEAST_GAIN:
        return None
    if binomtest(n_better, n_better + n_worse, 0.5, alternative="greater").pvalue > SURE:
        return None
    return Mend(what=what, accuracy=float(after.double().mean()), before=float(before.double().mean()))


def _changes(n_channels: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The usual mistakes with pixels: for each the remedy in words, and as a function."""
    yield "pixels from 0 to 255 (--scale 255)", lambda x: x * 255
    yield "pixels from 0 to 1 (leave out --scale 255)", lambda x: x / 255
    yield "pixels from -1 to 1 (--mean 0.5 --std 0.5)", lambda x: (x - 0.5) / 0.5
    if n_channels == 3:
        mean, std, caffe = (
            torch.tensor(values).view(-1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD, CAFFE_MEAN)
        )
        text = f"--mean {','.join(map(str, IMAGENET_MEAN))} --std {','.join(map(str, IMAGENET_STD))}"
        yield f"the normalisation of ImageNet ({text})", lambda x: (x - mean) / std
        yield "no normalisation (leave out --mean and --std)", lambda x: x * std + mean
        yield "blue first (--bgr)", lambda x: x.flip(1)
        text = f"--bgr --scale 255 --mean {','.join(map(str, CAFFE_MEAN))}"
        yield f"the normalisation of Caffe ({text})", lambda x: x.flip(1) * 255 - caffe


def _order(answers: Tensor, labels: Tensor, names: list[str], columns: Sequence[int] | None) -> Mend | None:
    """The order of classes that fits one half of the images best, judged on the other half."""
    from scipy.optimize import linear_sum_assignment

    n_classes = len(names)
    if int(answers.max()) >= n_classes:
        return None
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (answers[fitted].numpy(), labels[fitted].numpy()), 1)
    confusion += 1e-3 * np.eye(n_classes)  # an unseen class keeps its place
    label_of = torch.from_numpy(linear_sum_assignment(confusion, maximize=True)[1])
    own = range(n_classes) if columns is None else columns
    order = ",".join(names[int(label_of[column])] for column in own)
    what = f"the classes in another order (--classes {order})"
    return _gain(what, answers[judged] == labels[judged], label_of[answers[judged]] == labels[judged])
