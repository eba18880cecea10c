"""The default data set: 1,797 handwritten digits that come with scikit-learn; no network needed.

The 8x8 images (values 0 to 16) are enlarged to 28x28 in integer arithmetic, so every machine and library
version gives the same bytes. The split is fixed as well.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part, as
in `sklearn.datasets.load_digits`).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.data.published import PUBLISHED

__all__ = ["enlarge", "load_digits"]


def enlarge(images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Enlarge images (n, 8, 8) with values 0 to 16 to (n, 28, 28) with values 0 to 255.

    Bilinear interpolation by three: along each axis a pixel spreads with the weights 1/3, 2/3, 1, 2/3,
    1/3, and beyond the border the image is 0. The 26x26 result is centred with one row of zeros around
    it. Products of thirds are kept as integer ninths until the one rounding at the end.
    """
    spread = np.zeros((28, 8), dtype=np.int64)
    for pixel in range(8):
        spread[3 * pixel + 1 : 3 * pixel + 6, pixel] = 1, 2, 3, 2, 1
    ninths = spread @ images @ spread.T  # 0 to 16 * 9
    return ((255 * ninths + 72) // 144).astype(np.uint8)


def load_digits() -> ImageSet:
    """The digits: 1,437 training and 360 test images, (1, 28, 28).

    The split is `numpy.random.RandomState(0).permutation(1797)`, which numpy has frozen: the first 1,437
    positions are for training, the others for testing.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = torch.from_numpy(enlarge(digits.images.astype(np.int64))).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)).astype(np.int64))
    train, test = order[:1437], order[1437:]
    data = PUBLISHED["digits"]
    return ImageSet(
        data.name,
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        class_names=data.class_names,
    )
