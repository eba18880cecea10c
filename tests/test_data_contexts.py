import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spuriscope.cli import main
from spuriscope.data import ImageSet, load, verify
from spuriscope.data.contexts import load_contexts, prepare_contexts
from spuriscope.data.duplicates import near_duplicates
from spuriscope.errors import ConfigError, DataError
from spuriscope.reading import Reading

CONTEXTS, CLASSES = ("grass", "rock"), ("bear", "cat", "dog")


def photo(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten photographs of each class in each context; the colour tells context, class and number."""
    for c, context in enumerate(CONTEXTS):
        for k, name in enumerate(CLASSES):
            for number in range(10):
                photo(tmp_path / "mine" / context / name / f"{number}.png", (10 * c, 10 * k, number))
    return tmp_path / "mine"


def colours(data: ImageSet, part: str) -> set[tuple[int, ...]]:
    images = getattr(data, part).images
    return {tuple(pixel) for pixel in images[:, :, 0, 0].tolist()}


def test_contexts_classes_and_a_split_of_seven_to_three(folder: Path) -> None:
    data = load(folder)
    assert data.contexts is not None
    assert (data.name, data.class_names, data.contexts.names) == ("mine", CLASSES, CONTEXTS)
    assert (len(data.train), len(data.test), data.shape) == (42, 18, (3, 6, 6))
    for split, codes in ((data.train, data.contexts.train), (data.test, data.contexts.test)):
        assert torch.equal(split.images[:, 0, 0, 0], (10 * codes).to(torch.uint8))
        assert torch.equal(split.images[:, 1, 0, 0], (10 * split.labels).to(torch.uint8))
    chosen = set(np.random.RandomState(0).permutation(10)[:3].tolist())
    for c in (0, 10):
        for k in (0, 10, 20):
            numbers = {pixel[2] for pixel in colours(data, "test") if pixel[:2] == (c, k)}
            assert numbers == chosen


def test_another_seed_another_split_and_every_image_in_one_part(folder: Path, tmp_path: Path) -> None:
    one, other = load(folder), prepare_contexts(folder, tmp_path / "other", seed=1)
    assert colours(one, "test") != colours(other, "test")
    for data in (one, other):
        assert colours(data, "train") | colours(data, "test") == colours(one, "train") | colours(one, "test")
        assert not colours(data, "train") & colours(data, "test")


def test_nico_as_published_and_a_tar_hold_the_same(folder: Path, tmp_path: Path) -> None:
    nico = tmp_path / "nico" / "train"
    nico.parent.mkdir()
    folder.rename(nico)
    archive = tmp_path / "nico.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(nico, "deep/train")
    (nico / "grass" / ".hidden").touch()
    data = load(nico.parent)
    assert data.fingerprint == load(archive).fingerprint == load(nico).fingerprint
    assert (data.name, load(archive).name) == ("nico", "nico")


def test_a_prepared_folder_is_mapped_and_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    prepared = prepare_contexts(folder, tmp_path / "ready", image_size=4)
    data = load(tmp_path / "ready")
    assert data.shape == (3, 4, 4)
    assert data.images_file == tmp_path / "ready" / "images.u8"
    assert data.fingerprint == prepared.fingerprint
    in_memory = ImageSet("x", data.train, data.test, data.class_names)
    assert in_memory.fingerprint == data.fingerprint
    data.train.images[0] = 255  # in this process alone
    assert verify(tmp_path / "ready").fingerprint == prepared.fingerprint


def test_images_are_cropped_around_their_centre_not_squeezed(tmp_path: Path) -> None:
    for context in CONTEXTS:
        for name in CLASSES[:2]:
            for number in range(2):
                path = tmp_path / "wide" / context / name / f"{number}.png"
                photo(path, (0, 0, 0), size=(24, 8))
                with Image.open(path) as picture:
                    picture.paste((255, 255, 255), (8, 0, 16, 8))
                    picture.save(path)
    data = prepare_contexts(tmp_path / "wide", tmp_path / "out", image_size=8)
    assert int(data.train.images.min()) == 255


def test_all_but_equal_images_are_found_and_moved(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    pictures = random.randint(0, 256, (12, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    seen = set(np.random.RandomState(0).permutation(6)[:2].tolist())  # in the test part
    copied, original = min(seen), min(set(range(6)) - seen)
    noise = random.randint(-12, 13, (8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1)
    pictures[copied] = np.clip(pictures[original] + 20 + noise, 0, 255)  # brighter, and compressed badly
    pictures[max(seen)] = np.clip(pictures[original] + 12 * noise, 0, 255)  # no longer a copy
    for number, pixels in enumerate(pictures):
        path = tmp_path / "mine" / "grass" / CLASSES[number // 6] / f"{number % 6}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    data = prepare_contexts(tmp_path / "mine", tmp_path / "out")
    (found,) = near_duplicates(data)
    test, train = data.test.images[found.test].int(), data.train.images[found.train].int()
    assert 12 < int((test - train).abs().max()) <= 32
    assert 0.97 < found.similarity < 0.9999
    assert verify(tmp_path / "out").near_duplicates == (found.test,)
    moved = prepare_contexts(tmp_path / "mine", tmp_path / "moved", duplicates="move")
    assert near_duplicates(moved) == []
    assert (len(moved.train), len(moved.test)) == (len(data.train) + 1, len(data.test) - 1)
    assert colours(moved, "test") < colours(data, "test")


@pytest.mark.parametrize("harm", ["truncated", "empty", "no image"])
def test_a_damaged_image_is_named_and_refused_or_skipped(folder: Path, tmp_path: Path, harm: str) -> None:
    path = folder / "rock" / "cat" / "3.png"
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-20], "empty": b"", "no image": b"GIF89a"}[harm])
    with pytest.raises(DataError, match=r"rock/cat/3\.png cannot be read as an image \(.*; replace it"):
        load(folder)
    data = prepare_contexts(folder, tmp_path / "out", unreadable="skip")
    assert data.contexts is not None
    assert data.contexts.skipped == ("rock/cat/3.png",)
    assert len(data.train) + len(data.test) == 59
    assert verify(tmp_path / "out").skipped == ("rock/cat/3.png",)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_class_missing_in_a_context_is_refused_or_allowed(folder: Path, tmp_path: Path) -> None:
    (folder / "rock" / "dog").rename(folder / "rock" / "dgo")
    with pytest.raises(DataError, match="the context grass .* has no images of class dgo, and rock has"):
        load(folder)
    data = prepare_contexts(folder, tmp_path / "out", missing="allow")
    assert data.class_names == ("bear", "cat", "dgo", "dog")


def test_what_else_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unreadable must be one of refuse, skip, got 'ask'"):
        prepare_contexts(folder, tmp_path / "out", unreadable="ask")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there is something in .* already"):
        prepare_contexts(folder, folder)
    photo(folder / "rock" / "cat" / "3.png", (0, 0, 0), size=(6, 7))
    with pytest.raises(DataError, match=r"0\.png is 6x6 and .*cat/3\.png is 6x7 .* --image-size 6 "):
        load(folder)


def test_a_tar_that_leads_out_or_is_compressed_is_refused(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(folder, "../out")
    with pytest.raises(DataError, match=r"suspicious member '\.\./out'"):
        load(tmp_path / "evil.tar")
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(folder, "mine")
    with pytest.raises(DataError, match="cannot be read as a .tar of images .*unpack a compressed one"):
        load(tmp_path / "packed.tar")


def test_a_prepared_folder_that_was_changed_is_found_out(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ready"
    prepare_contexts(folder, out)
    images = out / "images.u8"
    content = bytearray(images.read_bytes())
    content[7] ^= 1
    images.write_bytes(content)
    with pytest.raises(DataError, match="mine was changed after it was prepared"):
        verify(out)
    os.truncate(images, 100)
    with pytest.raises(DataError, match=r"images\.u8 has 100 bytes, 60 images need 6480"):
        load(out)
    (out / "contents.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="ready is damaged .*; prepare the images again"):
        load(out)


def test_command_prepares_and_lists_what_it_skipped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rock" / "cat" / "3.png").write_bytes(b"")
    out = tmp_path / "ready"
    line = ["spuriscope", "data", "prepare", str(folder), "--out", str(out), "--unreadable", "skip"]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "skipped: " in printed
    assert "rock/cat/3.png" in printed.replace("\n", "")
    assert load(out).name == "ready"


def test_pacs_is_known_by_name(real_data: Path) -> None:
    data = load("pacs", root=real_data)
    assert data.contexts is not None
    by_hand = {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}  # Li et al., 2017
    both = torch.cat([data.contexts.train, data.contexts.test]).bincount().tolist()
    assert dict(zip(data.contexts.names, both, strict=True)) == by_hand
    assert (len(data.train), len(data.test), data.shape) == (6989, 3002, (3, 64, 64))


def test_other_photographs_under_that_name_are_refused(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "pacs")
    (tmp_path / "pacs" / "grass").rename(tmp_path / "pacs" / "art_painting")
    with pytest.raises(DataError, match="holds the contexts art_painting, rock and classes bear, cat, dog"):
        load("pacs", root=tmp_path)


def test_loading_by_contexts_needs_one_size(folder: Path) -> None:
    assert load_contexts(folder, Reading(image_size=3)).shape == (3, 3, 3)
