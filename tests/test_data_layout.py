"""What folders are taken for. The slow twin goes by the paths alone."""

import itertools
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from spuriscope.data import load
from spuriscope.errors import DataError


def save(top: Path, *names: str) -> None:
    """Grey images, each of its own level, in the order of their names."""
    for level, name in enumerate(sorted(names)):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3), level).save(path, "PNG")


def names_in(*parts: str, classes: tuple[str, ...] = ("cat", "dog"), n: int = 5) -> list[str]:
    return [f"{part}/{name}/{k}.png" for part, name, k in itertools.product(parts, classes, range(n))]


@pytest.mark.parametrize(
    ("train", "fresh"),
    [
        ("train", "test"), ("train", "val"), ("train", "valid"), ("train", "validation"), ("train", "dev"),
        ("train", "eval"), ("train", "holdout"), ("Train", "Test"), ("TRAIN", "Validation"),
        ("Training", "Testing"),
    ],
)  # fmt: skip
def test_parts_are_never_mixed(tmp_path: Path, train: str, fresh: str) -> None:
    """No image of the training part is among the fresh ones, whatever the parts are called."""
    save(tmp_path, *names_in(train, fresh))
    data = load(tmp_path)
    assert data.contexts is None
    assert data.class_names == ("cat", "dog")
    assert data.train.names == tuple(names_in(train))
    assert data.test.names == tuple(names_in(fresh))
    assert data.origin is not None
    assert str(data.origin) == f"2 parts, 2 classes; {train}/ to train on, {fresh}/ as fresh images"


def test_with_test_and_validation_the_test_part_is_the_fresh_one_and_it_is_said(tmp_path: Path) -> None:
    save(tmp_path, *names_in("train", "test", "validation"), "extra/x.png")
    (tmp_path / "labels.csv").touch()
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    data = load(tmp_path)
    assert data.test.names == tuple(names_in("test"))
    assert data.origin is not None
    assert data.origin.notes == (
        "train/ to train on, test/ as fresh images",
        "extra/, validation/ are not used",
        "2 other files passed over",
    )


def test_contexts_are_what_cannot_be_read_as_parts(tmp_path: Path) -> None:
    save(tmp_path, *names_in("grass", "rock", "train", n=4))
    (tmp_path / "grass" / "README").write_text("BMI of bears")
    data = load(tmp_path)
    assert data.contexts is not None
    assert data.contexts.names == ("grass", "rock", "train")
    assert str(data.origin) == "3 contexts, 2 classes; 1 other file passed over"
    for split, codes in ((data.train, data.contexts.train), (data.test, data.contexts.test)):
        assert split.names is not None
        by_name = [name.split("/")[:2] for name in split.names]
        assert [data.contexts.names[code] for code in codes] == [context for context, _ in by_name]
        assert [data.class_names[label] for label in split.labels] == [name for _, name in by_name]


@given(
    parts=st.sampled_from(
        [("train", "val"), ("Train", "dev"), ("train", "TEST", "val"), ("grass", "rock"), ()]
    ),
    classes=st.lists(st.sampled_from(["a", "b", "c d", "é", "10", "9"]), min_size=2, max_size=4, unique=True),
    n=st.integers(2, 6),
    around=st.sampled_from(["", "mine/", "deep/er/"]),
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folders_and_tars_hold_each_image_once_under_its_own_name(
    tmp_path_factory: pytest.TempPathFactory, parts: tuple[str, ...], classes: list[str], n: int, around: str
) -> None:
    top = tmp_path_factory.mktemp("data")
    names = sorted(names_in(*parts or ("",), classes=tuple(classes), n=n))
    names = [name.removeprefix("/") for name in names]
    save(top / around if around else top, *names)
    data = load(top)
    archive = top.parent / f"{top.name}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(top, arcname="any")
    packed = load(archive)
    assert packed.fingerprint == data.fingerprint
    used = [name for name in names if name.split("/")[0] != "val" or "TEST" not in parts]
    train, test = data.train.names or (), data.test.names or ()
    assert sorted([*train, *test]) == [around + name for name in used]
    assert sorted([*(packed.train.names or ()), *(packed.test.names or ())]) == used
    level = {around + name: value for value, name in enumerate(names)}
    for split in (data.train, data.test):
        assert split.names is not None
        assert split.images[:, 0, 0, 0].tolist() == [level[name] for name in split.names]
        assert [data.class_names[label] for label in split.labels] == [
            Path(name).parent.name for name in split.names
        ]
    if "train" in parts or "Train" in parts:
        assert {name.removeprefix(around).split("/")[0].lower() for name in train} == {"train"}
        assert "train" not in {name.removeprefix(around).split("/")[0].lower() for name in test}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Cat/1.png", "Cat/2.png", "cat/1.png"], "classes of .* include 'Cat' and 'cat', which"),
        (["train/Cat/1.png", "test/cat/1.png"], "classes of .* include 'Cat' and 'cat', which"),
        (["train/a/1.png", "Train/a/1.png", "test/a/1.png"], "the parts of .* include 'Train' and 'train'"),
        (["Grass/a/1.png", "grass/a/1.png"], "the contexts of .* include 'Grass' and 'grass', which differ"),
        (["grass/a/1.png", "rock/A/1.png"], "classes of .* include 'A' and 'a', which differ in case only"),
        (["a/1.png", "a/2.png", "b/1.png"], "b has one image, and a class needs two"),
        (["train/1.png", "test/2.png"], "train has no class folders; put the images of each class"),
        (["train/x/a/1.png", "test/x/a/1.png"], "train/x should hold the images of one class, but holds"),
        (["mine/a/1.png", "mine/a/2.png"], "has 1 class; a classifier needs two or more"),
        (["x/y/a/1.png", "x/z/a/1.png", "w/z/a/1.png"], "should hold the images of one class in one context"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_told_in_one_line(tmp_path: Path, names: list[str], message: str) -> None:
    save(tmp_path, *names)
    with pytest.raises(DataError, match=message) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_every_row_of_the_documentation_names_a_test_that_is_there() -> None:
    tests = Path(__file__).parent
    text = (tests.parent / "docs" / "data.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 20
    for file, name in named:
        assert f"\ndef {name}(" in (tests / file).read_text(encoding="utf-8"), (file, name)


@pytest.mark.parametrize("where", ["", "images/"])
def test_images_beside_a_table_are_read_by_the_table(tmp_path: Path, where: str) -> None:
    save(tmp_path, f"{where}1.png", f"{where}2.png")
    (tmp_path / "labels.csv").touch()
    with pytest.raises(DataError, match=r"and the table labels\.csv; give the table: /.*/labels\.csv"):
        load(tmp_path)


def test_files_around_the_folder_that_has_all_are_counted(tmp_path: Path) -> None:
    save(tmp_path, *names_in("mine/deep"))
    (tmp_path / "README").touch()
    (tmp_path / "mine" / "labels.csv").touch()
    assert str(load(tmp_path).origin).endswith("; 2 other files passed over")


def test_an_empty_class_in_one_part_is_named(tmp_path: Path) -> None:
    save(tmp_path, *names_in("train", "val"))
    (tmp_path / "val" / "emu").mkdir()
    with pytest.raises(DataError, match="the class folder .*val/emu has no images; fill it, or remove it"):
        load(tmp_path)
