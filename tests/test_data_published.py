import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from spuriscope.data.published import PUBLISHED, check_labels
from spuriscope.errors import DataError


def test_totals_are_the_published_ones() -> None:
    totals = {name: (data.n_train, data.n_test) for name, data in PUBLISHED.items()}
    assert totals == {
        "digits": (1437, 360),
        "mnist": (60000, 10000),
        "fashion-mnist": (60000, 10000),
        "cifar10": (50000, 10000),
        "pacs": (6989, 3002),
    }


def test_every_file_that_is_fetched_has_an_address_and_a_checksum() -> None:
    files = [file for data in PUBLISHED.values() for file in data.files if data.name != "pacs"]
    assert len({file.md5 for file in files}) == len(files) == 9
    for file in files:
        assert file.url.endswith("/" + file.name)
        assert len(bytes.fromhex(file.md5)) == 16


def test_labels_of_the_right_counts_pass() -> None:
    check_labels(np.repeat(np.arange(10, dtype=np.uint8), 1000), (1000,) * 10, PUBLISHED["cifar10"], "x")


def test_labels_without_a_class_are_refused() -> None:
    labels = np.array([0, 10], dtype=np.uint8)
    with pytest.raises(DataError, match="here holds the label 10, but the labels of mnist run from 0 to 9"):
        check_labels(labels, (1,) * 10, PUBLISHED["mnist"], "here")


def test_fashion_mnist_is_not_taken_for_mnist() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 6000)
    mnist = PUBLISHED["mnist"]
    message = "here holds 6000 images of class 0, mnist has 5923; give mnist a folder of its own"
    with pytest.raises(DataError, match=message):
        check_labels(labels, mnist.train_counts, mnist, "here")


def test_published_checksum_comes_back_with_the_published_gzip_header(real_data: Path) -> None:
    """The copy differs from the published file only in the header, which can be put back."""
    file = PUBLISHED["fashion-mnist"].files[3]
    packed = (real_data / "fashion-mnist" / file.name).read_bytes()
    name = file.name.removesuffix(".gz").encode()
    header = bytes.fromhex("1f8b0808") + struct.pack("<I", 1504176627) + packed[8:10] + name + b"\0"
    body = packed[10:] if not packed[3] & 8 else packed[packed.index(b"\0", 10) + 1 :]
    assert hashlib.md5(header + body).hexdigest() == file.md5
    assert hashlib.md5(gzip.decompress(packed)).hexdigest() == file.content_md5
