import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spuriscope.data import load
from spuriscope.errors import DataError


def save(
    path: Path, colour: int | tuple[int, ...], *, mode: str = "RGB", size: tuple[int, int] = (4, 3)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with five images each: cats are red, dogs are blue, the number is in the green."""
    for k in range(5):
        save(tmp_path / "mine" / "dog" / f"{k}.png", (0, k, 255))
        save(tmp_path / "mine" / "cat" / f"{k}.png", (255, k, 0))
    return tmp_path / "mine"


def test_class_folders_are_split_within_each_class(folder: Path) -> None:
    data = load(folder)
    assert (data.name, data.class_names, data.shape) == ("mine", ("cat", "dog"), (3, 3, 4))
    chosen = int(np.random.RandomState(0).permutation(5)[0])
    for label, (red, blue) in enumerate([(255, 0), (0, 255)]):
        train = data.train.images[data.train.labels == label][:, :, 0, 0]
        test = data.test.images[data.test.labels == label][:, :, 0, 0]
        assert train.tolist() == [[red, k, blue] for k in range(5) if k != chosen]
        assert test.tolist() == [[red, chosen, blue]]


@pytest.mark.parametrize(("n", "n_test"), [(2, 1), (3, 1), (7, 1), (8, 2), (20, 4)])
def test_a_fifth_is_for_testing_but_at_least_one(tmp_path: Path, n: int, n_test: int) -> None:
    for k in range(n):
        save(tmp_path / "a" / f"{k:02}.png", k, mode="L")
        save(tmp_path / "b" / f"{k:02}.png", k, mode="L")
    data = load(tmp_path)
    assert data.test.labels.bincount().tolist() == [n_test, n_test]
    for label in (0, 1):
        train, test = (
            part.images[part.labels == label, 0, 0, 0].tolist() for part in (data.train, data.test)
        )
        assert sorted(train + test) == list(range(n))
        assert train == sorted(train)
        assert test == sorted(test)


def test_a_class_keeps_its_split_when_another_one_grows(folder: Path) -> None:
    before = load(folder).test
    for k in range(5, 12):
        save(folder / "cat" / f"{k}.png", (255, k, 0))
    after = load(folder).test
    assert after.images[after.labels == 1].tolist() == before.images[before.labels == 1].tolist()


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for part, value in (("train", 10), ("test", 20), ("val", 30)):
        for k, name in enumerate(("cat", "dog")):
            save(tmp_path / part / name / "x.png", value + k, mode="L")
    data = load(tmp_path)
    assert data.train.images[:, 0, 0, 0].tolist() == [10, 11]
    assert data.test.images[:, 0, 0, 0].tolist() == [20, 21]
    assert data.class_names == ("cat", "dog")


def test_pixels_keep_their_place(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, size=(3, 4, 3)).astype(np.uint8)
    for name in ("train/a", "train/b", "test/a", "test/b"):
        save(tmp_path / name / "x.png", 0)
        Image.fromarray(pixels).save(tmp_path / name / "x.png")
    assert load(tmp_path).train.images[0].tolist() == pixels.transpose(2, 0, 1).tolist()


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("LA", (7, 255)), ("1", 1)])
def test_grey_images_stay_grey_until_one_has_colour(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...]
) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        save(tmp_path / f"{name}.png", colour, mode=mode)
    assert load(tmp_path).shape == (1, 3, 4)
    assert sorted(set(load(tmp_path).train.images.flatten().tolist())) == [255 if mode == "1" else 7]
    save(tmp_path / "b/2.png", (1, 2, 3))
    assert load(tmp_path).shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("CMYK", "jpg"), ("RGB", "JPEG")]
)
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = tmp_path / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        image = Image.new("RGB", (8, 8), (250, 0, 0)).convert(mode)
        if mode == "P":
            image.info["transparency"] = b"\x00\x10"
        image.save(path)
    assert load(tmp_path).shape == (3, 8, 8)
    red, green, blue = load(tmp_path).train.images[0, :, 0, 0].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_what_operating_systems_leave_behind_is_passed_over(folder: Path) -> None:
    before = load(folder).fingerprint
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "LICENSE.txt"):
        (folder / name).write_bytes(b"\0")
    for name in (".git", "__MACOSX", "cat/.ipynb_checkpoints"):
        (folder / name).mkdir()
    assert load(folder).fingerprint == before


def test_two_sizes_are_named(folder: Path) -> None:
    save(folder / "dog" / "3.png", 0, size=(5, 9))
    message = (
        r"cat/0\.png is 4x3 and .*dog/3\.png is 5x9 \(width x height\); bring all to one size with "
        r"--image-size 3 \(in Python image_size=3\)"
    )
    with pytest.raises(DataError, match=message):
        load(folder)


def test_cut_and_broken_images_are_named(folder: Path) -> None:
    path = folder / "cat" / "2.png"
    noise = np.random.RandomState(0).randint(0, 256, size=(3, 4, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for n in range(len(whole) - 4):  # at the end stands the checksum of an empty chunk
        path.write_bytes(whole[:n])
        with pytest.raises(
            DataError, match=r"cat/2\.png cannot be read as an image .*; replace it, or remove it"
        ):
            load(folder)


def test_changed_bytes_raise_nothing_else(folder: Path) -> None:
    random = np.random.RandomState(0)
    for suffix in ("png", "jpg"):
        path = folder / "cat" / f"2.{suffix}"
        Image.fromarray(random.randint(0, 256, size=(3, 4, 3)).astype(np.uint8)).save(path)
        whole = path.read_bytes()
        for _ in range(60):
            changed = bytearray(whole)
            changed[random.randint(len(whole))] ^= random.randint(1, 256)
            path.write_bytes(changed)
            try:
                load(folder)
            except DataError as error:
                assert f"cat/2.{suffix}" in str(error)  # noqa: PT017
        path.write_bytes(whole)


def test_a_picture_that_unpacks_to_too_much_is_refused(folder: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    for side in (10_000, 60_000):  # above the warning, and above the error of Pillow
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (folder / "cat" / "0.png").write_bytes(bomb)
        with pytest.raises(DataError, match=r"cat/0\.png is too large .*; resize the images"):
            load(folder)


def test_sixteen_bits_are_scaled_with_a_note(folder: Path) -> None:
    save(folder / "cat" / "1.png", 65535, mode="I;16")
    data = load(folder)
    assert data.train.images[1].unique().tolist() == [255]
    assert data.origin is not None
    assert "1 image of 16 bits scaled to 8 (65535 becomes 255)" in data.origin.notes


def test_twelve_bits_in_files_of_sixteen_are_said_to_come_out_dark(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        Image.fromarray(np.full((4, 4), 4095, dtype=np.uint16)).save(path)
    data = load(folder)
    assert int(data.train.images.max()) == 16
    assert data.origin is not None
    assert data.origin.notes[-1].endswith(
        "(65535 becomes 255), whose brightest pixel is only 16 of 255: if they hold 12 bits, multiply them "
        "by 16 first"
    )
    bright = next(folder.rglob("*.png"))
    Image.fromarray(np.full((4, 4), 65535, dtype=np.uint16)).save(bright)
    again = load(folder).origin
    assert again is not None
    assert again.notes[-1].endswith("(65535 becomes 255)")


def test_links_must_stay_in_the_folder(folder: Path) -> None:
    save(folder.parent / "outside" / "x.png", (0, 0, 0))
    (folder / "cat" / "9.png").symlink_to(folder / "cat" / "0.png")
    assert len(load(folder).train) == 4 + 5
    (folder / "dog" / "9.png").symlink_to(folder.parent / "outside" / "x.png")
    with pytest.raises(
        DataError, match=r"dog/9\.png is a link that leads out of .*; put a copy in its place"
    ):
        load(folder)
    (folder / "dog" / "9.png").unlink()
    (folder / "zebra").symlink_to(folder.parent / "outside")
    with pytest.raises(DataError, match="zebra is a link that leads out of"):
        load(folder)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "cat/x.bmp",
            r"cat/x\.bmp cannot be read as an image .*; replace it, or remove it, or leave out all",
        ),
        ("cat/x.heic", r"cat/x\.heic cannot be read as an image .*; replace it, or remove it"),
        (
            "cat/inner/x.png",
            "should hold the images of one class, but holds the folder inner; give the folder",
        ),
        ("emu/.hidden", "the class folder .*emu has no images; fill it, or remove it"),
        ("emu/x.png", "emu has one image, and a class needs two"),
    ],
)
def test_a_strange_file_is_named(folder: Path, wrong: str, message: str) -> None:
    (folder / wrong).parent.mkdir(exist_ok=True)
    (folder / wrong).write_bytes(b"")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_pipes_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is neither an image nor a folder; move it away"):
        load(folder)


def test_a_folder_of_images_is_not_a_data_set(folder: Path) -> None:
    with pytest.raises(DataError, match="cat has no class folders; put the images of each class"):
        load(folder / "cat")


def test_one_class_is_not_enough(folder: Path) -> None:
    (folder / "dog").rename(folder / ".dog")
    with pytest.raises(DataError, match="mine has 1 class; a classifier needs two or more"):
        load(folder)


def test_parts_must_have_the_same_classes(tmp_path: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/c"):
        save(tmp_path / name / "x.png", 0)
    with pytest.raises(
        DataError, match=r"train/ has the class b, test/ does not; give both parts the same classes"
    ):
        load(tmp_path)
