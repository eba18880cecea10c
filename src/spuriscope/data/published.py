"""What the authors published: files, checksums, class names, and the number of images of each class.

One value for each data set that spuriscope knows by name. Loaders compare what they read with it, `fetch`
takes addresses and checksums from it, and `data list` prints it without opening a file.

Sources: LeCun, Cortes and Burges (MNIST, 1998); Xiao, Rasul and Vollgraf (2017, arXiv:1708.07747) for
Fashion-MNIST; Krizhevsky (2009) for CIFAR-10; Li, Yang, Song and Hospedales (ICCV 2017) for PACS, here at 64
x 64 pixels and split by us; Alpaydin and Kaynak (1998, UCI) for the digits, in the
copy that scikit-learn ships.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spuriscope.errors import DataError

__all__ = ["PUBLISHED", "Published", "PublishedFile", "check_labels"]


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file as its authors published it, and the other forms in which it is read.

    Attributes:
        name: its published name.
        url: where it is fetched from; "" where it cannot be.
        md5: checksum of the published file, "" where there is none.
        content_md5: checksum of what it unpacks to, None where none was published.
        other_forms: names under which a repacked or unpacked copy is accepted.
    """

    name: str
    url: str
    md5: str
    content_md5: str | None
    other_forms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set known by name.

    Attributes:
        name: what the user calls it.
        about: what it shows, in a phrase.
        shape: shape of one image: (channels, height, width).
        class_names: one name for each label.
        train_counts: number of training images of each class.
        test_counts: number of test images of each class.
        contexts: the contexts of its images, if any.
        folders: names that its folder may have under a root; the first is where it is fetched to.
        files: its files; empty when the data come with a library.
    """

    name: str
    about: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    contexts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[PublishedFile, ...] = ()

    @property
    def n_train(self) -> int:
        """Number of training images."""
        return sum(self.train_counts)

    @property
    def n_test(self) -> int:
        """Number of test images."""
        return sum(self.test_counts)


def check_labels(labels: NDArray[np.uint8], counts: tuple[int, ...], data: Published, where: object) -> None:
    """Refuse labels (n,) that are not those of `data`; `counts` are the expected numbers of images per class.

    This also tells MNIST from Fashion-MNIST, whose files have the same names and sizes.

    Raises:
        DataError: a label has no class, or a class has another number of images.
    """
    if labels.max(initial=0) >= len(counts):
        raise DataError(
            f"{where} holds the label {labels.max()}, but the labels of {data.name} run from 0 to "
            f"{len(counts) - 1}; the file is damaged: put a good copy there, or delete it to have it fetched"
        )
    found = np.bincount(labels, minlength=len(counts)).tolist()
    for label, (n, expected) in enumerate(zip(found, counts, strict=True)):
        if n != expected:
            raise DataError(
                f"{where} holds {n} images of class {label}, {data.name} has {expected}; give {data.name} "
                f"a folder of its own ({data.folders[0]}), or save other data as .npz and load that file"
            )


def _idx_files(url: str, checksums: dict[str, tuple[str, str]]) -> tuple[PublishedFile, ...]:
    """The four files of MNIST or of its replacement: {stem: (md5 of the .gz, md5 of its content)}."""
    return tuple(
        PublishedFile(
            name=f"{stem}.gz", url=f"{url}{stem}.gz", md5=md5, content_md5=content_md5, other_forms=(stem,)
        )
        for stem, (md5, content_md5) in checksums.items()
    )


_DIGITS = Published(
    name="digits",
    about="handwritten digits that come with scikit-learn, brought from 8x8 to 28x28",
    shape=(1, 28, 28),
    class_names=tuple("0123456789"),
    train_counts=(147, 147, 138, 150, 137, 153, 141, 139, 146, 139),
    test_counts=(31, 35, 39, 33, 44, 29, 40, 40, 28, 41),
)

_MNIST = Published(
    name="mnist",
    about="handwritten digits",
    shape=(1, 28, 28),
    class_names=tuple("0123456789"),
    train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    folders=("mnist",),
    files=_idx_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            "train-labels-idx1-ubyte": (
                "d53e105ee54ea40749a09fcbcd1e9432",
                "a25bea736e30d166cdddb491f175f624",
            ),
            "t10k-images-idx3-ubyte": (
                "9fb629c4189551a2d022fa330f9573f3",
                "2646ac647ad5339dbf082846283269ea",
            ),
            "t10k-labels-idx1-ubyte": (
                "ec29112dd5afa0611ce80d1b7f02629c",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        },
    ),
)

_FASHION_MNIST = Published(
    name="fashion-mnist",
    about="articles of clothing",
    shape=(1, 28, 28),
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    train_counts=(6000,) * 10,
    test_counts=(1000,) * 10,
    folders=("fashion-mnist",),
    files=_idx_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            "train-labels-idx1-ubyte": (
                "25c81989df183df01b3e8a0aad5dffbe",
                "9018921c3c673c538a1fc5bad174d6f9",
            ),
            "t10k-images-idx3-ubyte": (
                "bef4ecab320f06d8554ea6380940ec79",
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
            "t10k-labels-idx1-ubyte": (
                "bb300cfdad3c16e7a12a480ee83cd310",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        },
    ),
)  # fmt: skip

_CIFAR10 = Published(
    name="cifar10",
    about="photographs of animals and vehicles",
    shape=(3, 32, 32),
    class_names=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    train_counts=(5000,) * 10,
    test_counts=(1000,) * 10,
    folders=("cifar-10", "cifar10"),
    files=(
        PublishedFile(
            name="cifar-10-binary.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            content_md5=None,
            other_forms=("cifar-10-batches-bin", "cifar-10-binary.tar.xz"),
        ),
    ),
)  # fmt: skip

_PACS = Published(
    name="pacs",
    about="animals, guitars, houses and people as art, cartoon, photograph and sketch",
    shape=(3, 64, 64),
    class_names=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    train_counts=(1209, 1157, 1095, 779, 1078, 660, 1011),
    test_counts=(520, 497, 471, 334, 462, 283, 435),
    contexts=("art_painting", "cartoon", "photo", "sketch"),
    folders=("pacs-64", "pacs", "PACS"),
    files=(
        PublishedFile(name="pacs-64.tar", url="", md5="", content_md5=None, other_forms=("art_painting",)),
    ),
)

PUBLISHED: dict[str, Published] = {
    data.name: data for data in (_DIGITS, _MNIST, _FASHION_MNIST, _CIFAR10, _PACS)
}
