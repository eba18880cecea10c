"""Is this model any good? Asked before anything is claimed about it.

A model whose pixels are scaled wrongly, or whose classes are in another order, answers at chance, and then
no pattern moves it and no search finds anything: a false all-clear. So its accuracy comes first. Where it is
low, the usual mistakes are tried on a few fresh images, and the one that would mend it is named.
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

MOST_ASKED = 2000  # images of each part: the accuracy is known to two points then
MOST_TRIED = 500  # fresh images on which mistakes are looked for
LEVEL = 0.01  # of the test against chance
ABOVE_CHANCE = 0.1  # how far towards 1 an accuracy must be, seen from chance
SURE, LEAST_GAIN = 0.001, 0.05  # of a mend: level of McNemar's test, and gain of accuracy
GOOD = 0.95  # no mistake is looked for in a model that is right so often

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red, in 0 to 255


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A change that makes a model right more often.

    Attributes:
        what: the mistake, and the option that mends it.
        accuracy: on the fresh images tried, with the change.
        before: without it.
    """

    what: str
    accuracy: float
    before: float

    def __str__(self) -> str:
        return (
            f"{self.what} would make it right on {100 * self.accuracy:.0f} % of fresh images in place of "
            f"{100 * self.before:.0f} %"
        )


@dataclass(frozen=True, kw_only=True)
class Adequacy:
    """How often a model is right, beside chance.

    Attributes:
        train_accuracy: on training images; up to 2,000 of them, drawn by a seed.
        n_train: how many.
        fresh_accuracy: on images it was not trained on; likewise.
        n_fresh: how many.
        chance: share of the largest class among those fresh images: what a constant answer reaches.
        p_value: of an exact binomial test that the accuracy on fresh images is no more than a tenth of the
            way from chance to 1.
        mend: what would make it better, None where no usual mistake would.
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
            MeasureError: it is; the message names the likely causes.
        """
        if not self.is_near_chance:
            return
        if self.mend is not None:
            advice = str(self.mend)
        elif self.train_accuracy > self.fresh_accuracy + (1 - self.fresh_accuracy) / 2:
            advice = (
                "it knows its training images by heart, or the fresh ones are of another kind: give others, "
                "or train it less long"
            )
        else:
            advice = (
                "pixels may be scaled otherwise (--scale 255, --mean, --std), channels or classes be in "
                "another order (--bgr, --channels-last, --classes), the answers be another output or logits "
                "(--output, --logits), the weights not be loaded, or the data be others"
            )
        raise MeasureError(f"{source} is {self}, near chance; {advice}; --anyway goes on")


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
    """How often a model is right on images it was trained on and on fresh ones, and what would mend it.

    Args:
        predict: maps images to class probabilities, shape (n, n_classes).
        train: images it was trained on.
        fresh: images it was not trained on.
        class_names: position = label; by default the numbers.
        columns: the label of each column of the model's own answers, where `predict` has put them in order.
        seed: draws the images where there are many.
        looks_for_mend: try the usual mistakes of files on a model that is not good.

    Raises:
        MeasureError: it does not return probabilities, or of fewer classes than there are labels.
    """
    from scipy.stats import binomtest

    known, asked = sample_of(train, MOST_ASKED, seed), sample_of(fresh, MOST_ASKED, seed)
    of_known, of_asked = probabilities(predict, known.images), probabilities(predict, asked.images)
    n_labels = 1 + max(int(known.labels.max()), int(asked.labels.max()))
    n_classes = len(class_names) if class_names is not None else n_labels
    if of_asked.shape[1] < n_classes:
        raise MeasureError(
            f"the model answers for {of_asked.shape[1]} classes, the data have {n_classes}; give the data it "
            "was trained on"
        )
    n_right = int((of_asked.argmax(1) == asked.labels).sum())
    chance = int(asked.labels.bincount().max()) / len(asked)
    bar = chance + ABOVE_CHANCE * (1 - chance)
    accuracy = n_right / len(asked)
    names = list(class_names or map(str, range(n_classes)))
    tried = sample_of(asked, MOST_TRIED, seed)
    return Adequacy(
        train_accuracy=float((of_known.argmax(1) == known.labels).double().mean()),
        n_train=len(known),
        fresh_accuracy=accuracy,
        n_fresh=len(asked),
        chance=chance,
        p_value=float(binomtest(n_right, len(asked), bar, alternative="greater").pvalue) if bar < 1 else 1.0,
        mend=_mend(predict, tried, names, columns) if looks_for_mend and accuracy < GOOD else None,
    )


def sample_of(split: Split, most: int = MOST_ASKED, seed: int = 0) -> Split:
    """At most so many images of a part, drawn by a seed; all of them where there are no more."""
    if len(split) <= most:
        return split
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(split), generator=generator)[:most].sort().values
    return Split(split.images[rows], split.labels[rows])


def _mend(predict: Predict, fresh: Split, names: list[str], columns: Sequence[int] | None) -> Mend | None:
    """The usual mistake whose mend gains most, where that is no accident."""
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
    """The model asked about changed images, which may leave [0, 1] as no image does."""
    return lambda images: predict(change(images))


def _gain(what: str, before: Tensor, after: Tensor) -> Mend | None:
    """The mend, where it puts right significantly more images than it puts wrong (McNemar's exact test)."""
    from scipy.stats import binomtest

    n_better, n_worse = int((after & ~before).sum()), int((before & ~after).sum())
    gain = (n_better - n_worse) / max(1, len(before))
    if gain < LEAST_GAIN:
        return None
    if binomtest(n_better, n_better + n_worse, 0.5, alternative="greater").pvalue > SURE:
        return None
    return Mend(what=what, accuracy=float(after.double().mean()), before=float(before.double().mean()))


def _changes(n_channels: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The usual mistakes of pixels: what mends each in words, and as a function."""
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
    confusion += 1e-3 * np.eye(n_classes)  # a class that was never seen stays where it is
    label_of = torch.from_numpy(linear_sum_assignment(confusion, maximize=True)[1])
    own = range(n_classes) if columns is None else columns
    order = ",".join(names[int(label_of[column])] for column in own)
    what = f"the classes in another order (--classes {order})"
    return _gain(what, answers[judged] == labels[judged], label_of[answers[judged]] == labels[judged])
