"""Photographs that differ in size: brought to one, skipped where unreadable, and decoded once."""

import json
import multiprocessing
import os
import shutil
import struct
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import spuriscope as ss
from spuriscope.data import ImageSet, load, verify
from spuriscope.data.cache import cache_folder, cache_state, clear_cache
from spuriscope.data.catalog import read_unlabelled
from spuriscope.errors import ConfigError, DataError
from spuriscope.reading import Reading
from spuriscope.studies.results import Result, images_of
from spuriscope.training import Cell, DataKey, Recipe


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPURISCOPE_CACHE", str(tmp_path / "cache"))


def picture(name: str, width: int, height: int) -> Image.Image:
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return Image.fromarray(random.randint(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts, two classes, three images in each; all differ in size."""
    for number, name in enumerate(
        f"{part}/{kind}/{k}" for part in ("train", "val") for kind in "ab" for k in "012"
    ):
        path = tmp_path / "mine" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(name, 10 + number, 30 - number).save(path)
    return tmp_path / "mine"


def by_pillow(folder: Path, data: ImageSet, part: str, image_size: int) -> NDArray[np.uint8]:
    """Slow: each image on its own, the largest square in its middle, resized by Pillow."""
    pixels = []
    for name in getattr(data, part).names:
        with Image.open(folder / name) as image:
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box = (left, top, left + side, top + side)
            pixels.append(np.asarray(image.resize((image_size,) * 2, Image.Resampling.LANCZOS, box=box)))
    return np.stack(pixels).transpose(0, 3, 1, 2)


def test_images_of_any_size_are_brought_to_one(folder: Path) -> None:
    data = load(folder, image_size=8)
    assert data.shape == (3, 8, 8)
    for part in ("train", "test"):
        assert np.array_equal(getattr(data, part).images.numpy(), by_pillow(folder, data, part, 8))
    assert data.train.names == tuple(f"train/{kind}/{k}.png" for kind in "ab" for k in "012")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert ImageSet("x", data.train, data.test, data.class_names).fingerprint == data.fingerprint


def test_without_a_size_the_error_names_the_option_and_a_size_that_suits(tmp_path: Path) -> None:
    for side, suggested in ((300, 64), (70, 64), (50, 48), (33, 32), (20, 16), (9, 9)):
        top = tmp_path / str(side)
        for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (side, side + number)).save(f"{top / name}.png")
        with pytest.raises(
            DataError, match=rf"bring all to one size with --image-size {suggested} \(in Python"
        ):
            load(top)
        assert load(top, image_size=suggested).shape == (1, suggested, suggested)


@pytest.mark.parametrize("image_size", [0, 1025, -3])
def test_sizes_that_no_image_has(folder: Path, image_size: int) -> None:
    with pytest.raises(ConfigError, match="image_size is a number of pixels, 1 to 1024"):
        load(folder, image_size=image_size)
    assert not cache_folder().exists()


def test_a_small_folder_of_before_has_the_pixels_and_fingerprint_of_before(tmp_path: Path) -> None:
    """The fingerprints are those that version 0.1 gave before images could be resized."""
    for mode, shape, known in (("L", (5, 6), GREY_BEFORE), ("RGB", (5, 6, 3), COLOUR_BEFORE)):
        random = np.random.RandomState(1)
        for name in (f"{kind}/{k}" for kind in "ab" for k in range(7)):
            path = tmp_path / mode / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, shape).astype(np.uint8)).save(path)
        assert load(tmp_path / mode).fingerprint == known


GREY_BEFORE = "1cd7d91ef6703a3593d484e7d9c96723e7146649373ecb210a581a57ecd6afac"
COLOUR_BEFORE = "3ecf3741a2c5035503cb42e4ea054f970ccaec5b92a4e22accca07facff2663b"


def test_unreadable_images_are_refused_or_skipped_and_named_never_counted(folder: Path) -> None:
    (folder / "train/a/1.png").write_bytes(b"no image")
    (folder / "val/b/2.png").write_bytes((folder / "val/b/2.png").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"train/a/1\.png cannot be read .* with --unreadable skip"):
        load(folder, image_size=8)
    data = load(folder, image_size=8, unreadable="skip")
    assert data.origin is not None
    assert data.origin.skipped == ("train/a/1.png", "val/b/2.png")
    assert str(data.origin).endswith("2 unreadable images skipped: train/a/1.png, val/b/2.png")
    assert (len(data.train), len(data.test)) == (5, 5)
    assert "train/a/1.png" not in (data.train.names or ())
    assert np.array_equal(data.train.images.numpy(), by_pillow(folder, data, "train", 8))
    again = load(folder, image_size=8, unreadable="skip")  # from the cache
    assert again.origin == data.origin


def test_a_class_of_which_nothing_is_left_is_refused(folder: Path) -> None:
    for k in "012":
        (folder / f"val/b/{k}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no image of the class b in the test part could be read"):
        load(folder, image_size=8, unreadable="skip")
    assert cache_state().n_entries == 0


def bomb(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_bomb_is_refused_or_skipped_with_a_size_too(folder: Path, side: int) -> None:
    (folder / "train/a/1.png").write_bytes(bomb(side))
    with pytest.raises(DataError, match=r"train/a/1\.png is too large"):
        load(folder, image_size=8)
    origin = load(folder, image_size=8, unreadable="skip").origin
    assert origin is not None
    assert origin.skipped == ("train/a/1.png",)


def test_grey_images_turn_to_rgb_when_a_later_one_has_colour(tmp_path: Path) -> None:
    levels = np.random.RandomState(0).randint(0, 256, (6, 5, 5)).astype(np.uint8)
    for number, name in enumerate(("a/1", "a/2", "a/3", "b/1", "b/2", "b/3")):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels[number]).save(tmp_path / "mine" / f"{name}.png")
    assert load(tmp_path / "mine").shape == (1, 5, 5)
    Image.new("RGB", (5, 5), (1, 2, 3)).save(tmp_path / "mine" / "b/3.png")
    data = load(tmp_path / "mine")
    for split in (data.train, data.test):
        for image, name in zip(split.images, split.names or (), strict=True):
            with Image.open(tmp_path / "mine" / name) as source:
                by_hand = np.asarray(source.convert("RGB")).transpose(2, 0, 1)
            assert np.array_equal(image.numpy(), by_hand)


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0)])
def test_the_background_is_chosen(tmp_path: Path, background: str, level: int) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(tmp_path / "mine" / f"{name}.png")
    data = load(tmp_path / "mine", background=background)  # type: ignore[arg-type]
    assert data.train.images.unique().tolist() == [level]


# the cache


def entry() -> Path:
    (found,) = [path for path in cache_folder().iterdir() if path.is_dir()]
    return found


def test_the_second_start_takes_the_pixels_from_the_cache(folder: Path) -> None:
    """The kept pixels are changed behind its back, with the old time: they are what is read."""
    before = load(folder, image_size=8).train.images.clone()
    images = entry() / "images.u8"
    status = images.stat()
    content = bytearray(images.read_bytes())
    content[0] ^= 255
    images.write_bytes(content)
    os.utime(images, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert int((load(folder, image_size=8).train.images != before).sum()) == 1
    folder.rename(folder.with_name("moved"))
    moved = load(folder.with_name("moved"), image_size=8)
    assert int((moved.train.images != before).sum()) == 1  # it is known by its files, not by its place
    assert moved.name == "moved"


@pytest.mark.parametrize(
    "change", ["content", "same size and time", "renamed", "added", "size", "background"]
)
def test_what_has_changed_is_decoded_anew(folder: Path, change: str) -> None:
    path = folder / "train/a/1.png"
    picture("one", 20, 20).save(path, "BMP")
    before = load(folder, image_size=8)
    status = path.stat()
    how: dict[str, object] = {"image_size": 8}
    if change == "content":
        picture("other", 20, 20).save(path)
    elif change == "same size and time":  # as an archive that sets back the time unpacks over it
        picture("other", 20, 20).save(path, "BMP")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "renamed":
        path.rename(folder / "train/a/9.png")
    elif change == "added":
        picture("new", 20, 20).save(folder / "train/a/9.png")
    elif change == "size":
        how["image_size"] = 9
    else:
        how["background"] = "black"
    after = load(folder, **how)  # type: ignore[arg-type]
    assert cache_state().n_entries == 2
    assert (after.fingerprint != before.fingerprint) == (change != "background")


@pytest.mark.parametrize(
    "harm", ["truncated", "changed", "no contents", "bad contents", "no images", "partial"]
)
def test_a_damaged_entry_is_made_anew(folder: Path, harm: str) -> None:
    before = load(folder, image_size=8)
    known, pixels = before.fingerprint, before.train.images.clone()
    made = entry()
    if harm == "truncated":
        os.truncate(made / "images.u8", 100)
    elif harm == "changed":
        content = bytearray((made / "images.u8").read_bytes())
        content[5] ^= 1
        (made / "images.u8").write_bytes(content)
    elif harm == "no contents":
        (made / "contents.safetensors").unlink()
    elif harm == "bad contents":
        (made / "contents.safetensors").write_bytes(b"\xff" * 200)
    elif harm == "no images":
        (made / "images.u8").unlink()
    else:  # of a process that was killed
        shutil.rmtree(made)
        (made.parent / f".{made.name}.999.partial").mkdir()
    after = load(folder, image_size=8)
    assert after.fingerprint == known
    assert torch.equal(after.train.images, pixels)
    assert [path.name for path in cache_folder().iterdir() if path.is_dir()] == [made.name]


def _fingerprint(folder: Path) -> str:
    return load(folder, image_size=8).fingerprint


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_processes_at_once_make_one_entry(folder: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(_fingerprint, [folder] * 4, chunksize=1)
    assert set(found) == {load(folder, image_size=8).fingerprint}
    assert cache_state().n_entries == 1
    assert [path for path in cache_folder().iterdir() if path.name.endswith(".partial")] == []


def test_where_no_cache_can_be_written_images_are_decoded_each_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load(folder, image_size=8).fingerprint
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPURISCOPE_CACHE", str(tmp_path / "file" / "cache"))
    data = load(folder, image_size=8)
    assert data.fingerprint == known
    assert int(data.train.images.sum()) > 0


def test_clearing_the_cache_deletes_its_own_only(folder: Path) -> None:
    load(folder, image_size=8)
    load(folder, image_size=9)
    kept = cache_folder() / "mine.txt"
    kept.touch()
    state = clear_cache()
    assert state.n_entries == 2
    assert state.n_bytes > 12 * 3 * (64 + 81)
    assert list(cache_folder().iterdir()) == [kept]
    assert load(folder, image_size=8).shape == (3, 8, 8)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    peaks = []
    for n in (150, 600):
        for name in ("a", "b"):
            (tmp_path / str(n) / name).mkdir(parents=True)
            for k in range(n // 2):
                Image.new("RGB", (96, 96), (k % 256, 0, 0)).save(tmp_path / str(n) / name / f"{k}.bmp")
        tracemalloc.start()
        load(tmp_path / str(n))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] < 600 * 96 * 96 * 3


def test_images_without_classes_are_for_the_probe(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    shutil.copytree(folder / "train/a", flat)
    found = read_unlabelled(flat, Reading(image_size=8))
    assert str(found.origin) == "3 images without classes"
    assert [*(found.train.names or ()), *(found.test.names or ())] == ["0.png", "1.png", "2.png"]
    for part in ("train", "test"):
        assert np.array_equal(getattr(found, part).images.numpy(), by_pillow(flat, found, part, 8))
    with_classes = read_unlabelled(folder, Reading(image_size=8))
    assert with_classes.fingerprint == load(folder, image_size=8).fingerprint
    assert read_unlabelled("digits", Reading()).name == "digits"
    with pytest.raises(DataError, match="flat has no class folders"):
        load(flat, image_size=8)


def test_rows_of_a_store_find_their_images_at_the_size_they_had() -> None:
    data = load("digits", image_size=16)
    cell = Cell(data=DataKey.of(data), model="small-mlp", recipe=Recipe())

    class OneCell:
        def content(self, _: str) -> str:
            return json.dumps(cell.to_json())

    found = images_of(OneCell(), [Result("0", {}, {})])  # type: ignore[arg-type]
    assert found.fingerprint == data.fingerprint


# other forms, and the rest of the package


def test_a_data_set_with_a_name_is_brought_to_another_size_too() -> None:
    digits, larger = load("digits"), load("digits", image_size=32)
    assert larger.shape == (1, 32, 32)
    by_hand = Image.fromarray(digits.train.images[3, 0].numpy()).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(larger.train.images[3, 0].numpy(), np.asarray(by_hand))
    assert load("digits", image_size=28).fingerprint == digits.fingerprint


def test_a_prepared_folder_has_its_size(folder: Path, tmp_path: Path) -> None:
    for context in ("x", "y"):
        shutil.copytree(folder / "train", tmp_path / "contexts" / context)
    ss.prepare_contexts(tmp_path / "contexts", tmp_path / "ready", image_size=8)
    assert load(tmp_path / "ready", image_size=8).train.names is not None
    with pytest.raises(
        DataError, match="was prepared with images of 8x8 pixels; prepare it again with --image-size 9"
    ):
        load(tmp_path / "ready", image_size=9)


def test_verify_says_what_was_skipped(folder: Path) -> None:
    (folder / "val/b/2.png").write_bytes(b"")
    reading = ss.data.Reading(image_size=8, unreadable="skip")
    assert verify(folder, reading=reading).skipped == ("val/b/2.png",)


def test_clothing_from_its_tar_and_its_folder(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "photographs" / "clothing.tar"
    if not archive.is_file():
        pytest.skip("no photographs")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    packed, folder = load(archive, image_size=16), load(tmp_path / "clothing", image_size=16)
    assert packed.fingerprint == folder.fingerprint
    assert packed.train.names == folder.train.names
    assert (len(folder.train), len(folder.test)) == (3068, 372)
    assert str(folder.origin).startswith(
        "2 parts, 10 classes; train/ to train on, test/ as fresh images; validation/"
    )
    for name, label in zip(folder.train.names or (), folder.train.labels.tolist(), strict=True):
        assert name.split("/")[:2] == ["train", folder.class_names[label]]
