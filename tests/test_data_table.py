"""Tables of images and labels: `.csv`, and `.parquet` as Hugging Face lays it out."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spuriscope.data import load
from spuriscope.errors import ConfigError, DataError


def png(level: int, size: tuple[int, int] = (4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("L", size, level).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images; the level of each is its number."""
    (tmp_path / "images").mkdir()
    for k in range(10):
        (tmp_path / "images" / f"{k}.png").write_bytes(png(k))
    return tmp_path


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def levels(split: Any) -> list[int]:
    return [int(image[0, 0, 0]) for image in split.images]


def test_files_labels_and_parts(folder: Path) -> None:
    lines = [f"images/{k}.png,{'dog' if k % 2 else 'cat'},{'train' if k < 6 else 'Val'}" for k in range(10)]
    data = load(write(folder / "labels.csv", "file,label,split", *lines))
    assert data.name == "labels"
    assert data.class_names == ("cat", "dog")
    assert levels(data.train) == [0, 2, 4, 1, 3, 5]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert levels(data.test) == [6, 8, 7, 9]
    assert data.train.names == tuple(f"images/{k}.png" for k in (0, 2, 4, 1, 3, 5))
    assert str(data.origin) == "2 parts, 2 classes; train to train on, Val as fresh images"


@pytest.mark.parametrize(
    ("header", "delimiter", "suffix"),
    [("Filename,Class", ",", ".png"), ("image_id;dx", ";", ""), ("\ufeffpath\ttarget", "\t", ".png")],
)
def test_usual_names_other_delimiters_and_names_without_suffix(
    folder: Path, header: str, delimiter: str, suffix: str
) -> None:
    lines = [f"images\\{k}{suffix}{delimiter}{10 if k % 2 else 9}" for k in range(10)]
    data = load(write(folder / "labels.csv", header, *lines))
    assert data.class_names == ("9", "10")  # whole numbers in their order
    drawn = int(np.random.RandomState(0).permutation(5)[0])  # a fifth of each class, as in folders
    assert levels(data.test) == [2 * drawn, 2 * drawn + 1]
    assert sorted([*levels(data.train), *levels(data.test)]) == list(range(10))


def test_columns_are_chosen_where_two_would_do(folder: Path) -> None:
    lines = [f"images/{k}.png,{k % 2},{'ab'[k // 5]}" for k in range(10)]
    table = write(folder / "labels.csv", "file,label,category", *lines)
    with pytest.raises(
        DataError, match="2 columns that may be the label: label, category; choose .* --columns label=label"
    ):
        load(table)
    assert load(table, columns={"label": "category"}).class_names == ("a", "b")
    with pytest.raises(DataError, match=r"no column kind \(it has file, label, category\); name one with"):
        load(table, columns={"label": "kind"})
    with pytest.raises(ConfigError, match="a column must be one of image, label, split, got 'labels'"):
        load(table, columns={"labels": "kind"})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file", "images/0.png"], r"has no column for the label \(it has file\); name one"),
        (["file,label", "images/0.png,a,b"], "line 2 of .* has 3 fields, its header 2; correct it"),
        (["file,label", ",a"], "line 2 of .* names no image; fill it in"),
        (["file,label", "images/0.png,"], r"has no label for images/0\.png; fill it in, or remove the line"),
        (["file,label", "../0.png,a"], r"names \.\./0\.png, which leads out of"),
        (["file,label", "/etc/passwd,a"], "names /etc/passwd, which leads out of"),
        (["file,label", "images/0.png,a", "images/0.png,b"], r"the image images/0\.png twice; keep one"),
        (["file,label", "images/0.png,0.5", "images/1.png,1"], "are numbers with fractions, such as 0.5"),
        (["file,label", "images/0.png,a", "images/1.png,A"], "labels of .* include 'A' and 'a', which"),
        (["file,label,split", "images/0.png,a,x", "images/1.png,a,y"], "parts in .* are 'x', 'y'; call them"),
        (["file,label"], "has 0 class; a classifier needs two or more"),
        ([], "has no column for the image"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_told(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(folder / "labels.csv", *lines))


def test_a_table_that_is_no_text_or_not_there(folder: Path) -> None:
    (folder / "labels.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match=r"labels\.csv is not text in UTF-8"):
        load(folder / "labels.csv")
    with pytest.raises(DataError, match=r"other\.csv cannot be read \(No such file or directory\)"):
        load(folder / "other.csv")


def test_an_image_that_is_not_there_is_refused_or_skipped(folder: Path) -> None:
    lines = [f"images/{k}.png,{'ab'[k % 2]}" for k in range(12)]
    table = write(folder / "labels.csv", "file,label", *lines)
    with pytest.raises(DataError, match=r"images/10\.png cannot be read as an image .*No such file"):
        load(table)
    data = load(table, unreadable="skip")
    assert data.origin is not None
    assert set(data.origin.skipped) == {"images/10.png", "images/11.png"}
    assert sorted([*levels(data.train), *levels(data.test)]) == list(range(10))


# Parquet


def parquet(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    table = pa.table(columns)
    if names is not None:
        feature = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": feature}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=3)


def images(numbers: range, *, name: str | None = "{}.png") -> list[dict[str, Any]]:
    return [{"bytes": png(k), "path": name and name.format(k)} for k in numbers]


def test_parquet_as_hugging_face_lays_it_out(tmp_path: Path) -> None:
    """Labels are numbers, whose names the library wrote into the file, in their order and not by name."""
    for part, numbers in (("train-00000-of-00002", range(6)), ("train-00001-of-00002", range(6, 10))):
        columns = {"image": images(numbers), "label": [k % 2 for k in numbers]}
        parquet(tmp_path / "pets" / "data" / f"{part}.parquet", columns, ["dog", "cat"])
    columns = {"image": images(range(20, 24)), "label": [0, 1, 0, 1]}
    parquet(tmp_path / "pets" / "data" / "validation-00000-of-00001.parquet", columns, ["dog", "cat"])
    data = load(tmp_path / "pets")
    assert (data.name, data.class_names) == ("pets", ("dog", "cat"))
    assert levels(data.train) == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5
    assert levels(data.test) == [20, 22, 21, 23]
    assert data.train.names is not None
    assert data.train.names[:2] == ("0.png", "2.png")
    assert str(data.origin) == "2 parts, 2 classes; train to train on, validation as fresh images"
    again = load(tmp_path / "pets")  # from the cache
    assert (again.fingerprint, again.train.names) == (data.fingerprint, data.train.names)


@pytest.mark.parametrize("form", ["no paths", "one path for all", "plain bytes", "files"])
def test_one_parquet_file_with_a_column_of_parts(folder: Path, form: str) -> None:
    column: list[Any] = images(range(10), name={"no paths": None}.get(form, "x.png"))
    if form == "plain bytes":
        column = [image["bytes"] for image in column]
    elif form == "files":
        column = [f"images/{k}.png" for k in range(10)]
    label = ["dog" if k % 2 else "cat" for k in range(10)]
    parquet(folder / "t.parquet", {"image": column, "label": label, "split": ["train"] * 6 + ["test"] * 4})
    data = load(folder / "t.parquet")
    assert (levels(data.train), levels(data.test)) == ([0, 2, 4, 1, 3, 5], [6, 8, 7, 9])
    name = "images/{}.png" if form == "files" else "t/{}"
    assert data.train.names == tuple(name.format(k) for k in (0, 2, 4, 1, 3, 5))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [1, 2], "label": [0, 1]}, "column image of .* holds int64, neither images as bytes"),
        ({"image": [b"", b""], "label": [0.5, 1.0]}, "column label of .* holds double, and a class has"),
        ({"image": [b"", b""], "label": [[0], [1, 2]]}, "holds several labels for each image, and a"),
        ({"image": [b"", b""], "label": [0, None]}, "has no label for t/1; fill it in"),
        ({"picture": [b"", b""], "label": [0, 1]}, "has no column for the image"),
        ({"image": [b"", b"", b"", b""], "label": [0, 1, 0, 1]}, "t/0 in .* cannot be read as an image"),
    ],
)  # fmt: skip
def test_parquet_of_another_kind_is_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    parquet(tmp_path / "t.parquet", columns)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "t.parquet")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet(tmp_path / "t.parquet", {"image": images(range(4)), "label": [0, 1, 0, 1]})
    whole = (tmp_path / "t.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[:4] + bytes(200) + whole[204:]):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"t\.parquet") as raised:
            load(tmp_path / "t.parquet")
        assert "\n" not in str(raised.value)
