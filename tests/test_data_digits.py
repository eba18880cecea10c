from fractions import Fraction

import numpy as np
import torch
from sklearn import datasets

from spuriscope.data import load
from spuriscope.data.digits import enlarge


def test_enlarge_is_bilinear_interpolation_by_three() -> None:
    """Held against the definition, in fractions: an image that is 0 outside, sampled at every third."""
    image = np.random.RandomState(1).randint(0, 17, size=(8, 8))

    def pixel(row: int, column: int) -> int:
        return int(image[row, column]) if 0 <= row < 8 and 0 <= column < 8 else 0

    def sample(y: int, x: int) -> int:  # pixel (0, 0) lands on (3, 3)
        (row, down), (column, right) = (divmod(Fraction(k, 3) - 1, 1) for k in (y, x))
        value = sum(
            weight_y * weight_x * pixel(int(row) + i, int(column) + j)
            for i, weight_y in ((0, 1 - down), (1, down))
            for j, weight_x in ((0, 1 - right), (1, right))
        )
        return int(value * 255 / 16 + Fraction(1, 2))

    expected = [[sample(y, x) for x in range(28)] for y in range(28)]
    assert enlarge(image[np.newaxis])[0].tolist() == expected


def test_digits_are_those_of_scikit_learn_each_once() -> None:
    """Every third pixel is an original one, so the originals can be read back in the frozen order."""
    data = load("digits")
    order = np.random.RandomState(0).permutation(1797)
    digits = datasets.load_digits()
    images = torch.cat([data.train.images, data.test.images])
    originals = (images[:, 0, 3:27:3, 3:27:3].double() * 16 / 255).round()
    assert (originals.numpy() == digits.images[order]).all()
    assert torch.cat([data.train.labels, data.test.labels]).tolist() == digits.target[order].tolist()
    assert (len(data.train), len(data.test), data.shape) == (1437, 360, (1, 28, 28))


def test_digits_are_frozen() -> None:
    """Published numbers rest on these bytes: a change here is a change of the data set."""
    fingerprint = "409400bd1c58d3194b74b820b9e5d4a034cbca513aad5baaea36efd0392ec079"
    assert load("digits").fingerprint == fingerprint
