import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spuriscope.data import list_data, load, verify
from spuriscope.data.catalog import compare_published
from spuriscope.data.published import PUBLISHED
from spuriscope.errors import DataError


def class_folders(folder: Path) -> Path:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(path)
    return folder


def test_a_name_wins_and_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits").shape == (1, 28, 28)
    for source in ("./digits", "digits/", Path("digits"), tmp_path / "digits"):
        assert load(source).shape == (1, 2, 2)


def test_aliases_mean_the_same(tmp_path: Path) -> None:
    for alias, name in (("fashion", "fashion-mnist"), ("cifar-10", "cifar10")):
        messages = []
        for source in (alias, name):
            with pytest.raises(DataError, match=f"^{name}: .* is not in ") as caught:
                load(source, root=tmp_path, download=False)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


@pytest.mark.parametrize("source", ["mnst", "no/such/folder", "notes.txt", ""])
def test_an_unknown_source_lists_what_there_is(source: str) -> None:
    message = (
        f"there is no data set '{source}'; give one of digits, mnist, fashion-mnist, cifar10, "
        "pacs, fashion, cifar-10, or a folder of class folders, or an .npz file"
    )
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        load(source)


def test_a_mistyped_root_is_an_error_even_where_none_is_needed(tmp_path: Path) -> None:
    for call in (lambda root: load("digits", root=root), list_data, lambda root: verify("digits", root)):
        with pytest.raises(DataError, match=r"nowhere \(--root\) does not exist"):
            call(tmp_path / "nowhere")


def test_list_tells_what_was_found(tmp_path: Path) -> None:
    assert [item.found is not None for item in list_data(tmp_path)] == [True, False, False, False, False]
    for file in PUBLISHED["mnist"].files:
        (tmp_path / file.name).touch()
    (tmp_path / "cifar10" / "cifar-10-batches-bin").mkdir(parents=True)
    digits, mnist, fashion, cifar10, _ = list_data(tmp_path)
    assert digits.found is not None
    assert (mnist.found, fashion.found, cifar10.found) == (tmp_path, tmp_path, tmp_path / "cifar10")
    assert (cifar10.name, cifar10.n_train, cifar10.n_test, cifar10.shape) == (
        "cifar10",
        50000,
        10000,
        (3, 32, 32),
    )


def test_verify_counts_what_it_reads(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "x.npz",
        train_images=np.zeros((3, 2, 2), np.uint8),
        train_labels=[0, 1, 1],
        test_images=np.zeros((1, 2, 2), np.uint8),
        test_labels=[1],
        class_names=["cat", "dog"],
    )
    result = verify(tmp_path / "x.npz")
    assert result.train_counts == {"cat": 1, "dog": 2}
    assert result.test_counts == {"cat": 0, "dog": 1}
    assert (result.name, result.shape, result.files) == ("x.npz", (1, 2, 2), ())
    assert result.fingerprint == load(tmp_path / "x.npz").fingerprint


def test_verify_does_not_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mnist: train-images-idx3-ubyte\.gz is not in "):
        verify("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_compared_with_the_published_one(tmp_path: Path) -> None:
    packed, repacked = gzip.compress(b"content", mtime=1), gzip.compress(b"content", mtime=2)
    file = replace(
        PUBLISHED["mnist"].files[0],
        md5=hashlib.md5(packed).hexdigest(),
        content_md5=hashlib.md5(b"content").hexdigest(),
    )
    path = tmp_path / "file"
    for stored, is_identical, has_content in (
        (packed, True, True),
        (repacked, False, True),
        (b"content", False, True),
        (b"other", False, False),
    ):
        path.write_bytes(stored)
        result = compare_published(file, path)
        assert (result.is_identical, result.has_published_content) == (is_identical, has_content)


def test_where_no_checksum_was_published_none_is_claimed(tmp_path: Path) -> None:
    file = replace(PUBLISHED["cifar10"].files[0], md5=hashlib.md5(b"archive").hexdigest())
    path = tmp_path / "archive"
    path.write_bytes(b"archive")
    assert compare_published(file, path).has_published_content is True
    path.write_bytes(b"repacked")
    assert compare_published(file, path).has_published_content is None
    assert compare_published(file, tmp_path).has_published_content is None


def test_verify_tells_repacked_files_from_changed_ones(real_data: Path) -> None:
    result = verify("mnist", real_data)
    assert result.train_counts["1"] == 6742
    assert result.test_counts["1"] == 1135
    assert [file.is_identical for file in result.files] == [False] * 4
    assert [file.has_published_content for file in result.files] == [False, True, True, True]
