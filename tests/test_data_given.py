"""Images from a user's program: every form of the same pictures gives the same data."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from spuriscope.data import load
from spuriscope.data.given import as_image_set
from spuriscope.errors import DataError

PIXELS = torch.randint(256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1, 0])
ARRAY = PIXELS.permute(0, 2, 3, 1).numpy()


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return self.items[position]


@pytest.mark.parametrize(
    "given",
    [
        (PIXELS, LABELS),
        (PIXELS / 255, LABELS.numpy()),
        (ARRAY, [0, 1, 2, 1, 0]),
        (ARRAY / 255.0, LABELS.int()),
        Pairs([(PIXELS[k], int(LABELS[k])) for k in range(5)]),
        Pairs([(PIXELS[k] / 255, LABELS[k]) for k in range(5)]),
        Pairs([(ARRAY[k], np.int64(LABELS[k])) for k in range(5)]),
        Pairs([(Image.fromarray(ARRAY[k]), int(LABELS[k])) for k in range(5)]),
    ],
    ids="tensors floats arrays float-arrays dataset float-dataset array-dataset pillow".split(),
)
def test_every_form_is_the_same_data(given: Any) -> None:
    split = as_image_set(given, given).train
    assert torch.equal(split.images, PIXELS)
    assert torch.equal(split.labels, LABELS)


@pytest.mark.parametrize("form", ["tensor", "array", "pillow"])
def test_grey_images_need_no_channels(form: str) -> None:
    grey = PIXELS[:, 0]
    given: Any = (grey if form == "tensor" else grey.numpy(), LABELS)
    if form == "pillow":
        given = Pairs([(Image.fromarray(grey[k].numpy()), int(LABELS[k])) for k in range(5)])
    assert torch.equal(as_image_set(given, given).train.images, PIXELS[:, :1])


def test_names_come_from_the_user_or_the_labels() -> None:
    data = as_image_set((PIXELS, LABELS), (PIXELS[:2], LABELS[:2]))
    assert (data.name, data.class_names, len(data.test)) == ("your data", ("0", "1", "2"), 2)
    named = as_image_set((PIXELS, LABELS), (PIXELS, LABELS), class_names=["a", "b", "c"], name="mine")
    assert (named.name, named.class_names, named.fingerprint) == (
        "mine",
        ("a", "b", "c"),
        as_image_set((PIXELS / 255, LABELS), (ARRAY, LABELS)).fingerprint,
    )


def normalised() -> Tensor:
    return PIXELS / 127.5 - 1


def folder_of(folder: "Folder", positions: list[int]) -> "Pairs":
    """The same images without their names."""
    return Pairs([folder[position] for position in positions])


def with_names(folder: "Folder") -> "Pairs":
    return Pairs([(image, folder.classes[label]) for image, label in folder_of(folder, [0, 1, 2]).items])


class Folder(Pairs):
    """Shaped like torchvision's ImageFolder: samples, classes, targets, and Pillow images for items."""

    def __init__(self, paths: list[str], labels: list[int], classes: list[str]) -> None:
        self.samples = self.imgs = list(zip(paths, labels, strict=True))
        self.classes, self.targets = classes, labels
        super().__init__(self.samples)

    def __getitem__(self, position: int) -> Any:
        path, label = self.samples[position]
        with Image.open(path) as image:
            return image.convert("RGB"), label


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    top = tmp_path_factory.mktemp("photographs")
    paths = [str(top / f"{number}.png") for number in range(5)]
    for path, array in zip(paths, ARRAY, strict=True):
        Image.fromarray(array).save(path)
    return Folder(paths, LABELS.tolist(), ["ant", "bee", "cat"])


def test_a_data_set_of_torchvision_keeps_its_names_and_files(folder: Folder) -> None:
    data = as_image_set(folder, folder_of(folder, [1, 0]))
    assert data.class_names == ("ant", "bee", "cat")
    assert torch.equal(data.train.images, PIXELS)
    assert torch.equal(data.train.labels, LABELS)
    assert data.train.names == tuple(path for path, _ in folder.samples)


def test_a_subset_keeps_names_and_files_of_its_images(folder: Folder) -> None:
    train = Subset(Subset(folder, [4, 2, 1, 0]), [3, 1, 2])  # 0, 2, 1
    data = as_image_set(train, Subset(folder, [3, 4]))
    assert data.class_names == ("ant", "bee", "cat")
    assert torch.equal(data.train.images, PIXELS[[0, 2, 1]])
    assert data.train.names == tuple(folder.samples[k][0] for k in (0, 2, 1))


def test_an_image_in_both_parts_or_twice_is_refused(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"0\.png is in train and in test; give each image to one"):
        as_image_set(folder, Subset(folder, [0]))
    paths = [path for path, _ in folder.samples]
    with pytest.raises(DataError, match=r"3\.png is in train twice, as images 3 and 5; give each image once"):
        as_image_set(([*paths, paths[3]], [0, 1, 2, 1, 0, 1]), folder)


def test_frames_of_pandas_give_paths_and_labels(folder: Folder) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    paths, names = [path for path, _ in folder.samples], ["ant", "bee", "cat", "bee", "ant"]
    frame = pandas.DataFrame({"file": paths, "note": "x", "label": names})
    assert_is_the_data(as_image_set(frame, with_names(folder)), paths)
    frame["label"] = pandas.Categorical(names, categories=["cat", "bee", "ant"])
    data = as_image_set(frame, (PIXELS, frame["label"]))
    assert data.class_names == ("cat", "bee", "ant")
    assert data.train.labels.tolist() == data.test.labels.tolist() == [2, 1, 0, 1, 2]
    one_hot = pandas.get_dummies(pandas.Series(names))
    assert_is_the_data(as_image_set((PIXELS, one_hot), (PIXELS, one_hot)), None)
    frame["split"] = ["train", "train", "train", "val", "val"]
    split = load(frame.rename(columns={"file": "picture"}))
    assert (len(split.train), len(split.test), split.test.names) == (3, 2, tuple(paths[3:]))
    frame.loc[2, "label"] = None
    with pytest.raises(DataError, match="labels of data lack the class of 1 images; fill it in"):
        load(frame.drop(columns="split"))
    with pytest.raises(DataError, match="which column of data holds the labels cannot be told: note, kind"):
        load(frame.drop(columns="split").rename(columns={"label": "kind"}))


def assert_is_the_data(data: Any, names: list[str] | None) -> None:
    assert data.class_names == ("ant", "bee", "cat")
    assert torch.equal(data.train.images, PIXELS)
    assert torch.equal(data.train.labels, LABELS)
    assert data.train.names == (None if names is None else tuple(names))


def test_data_sets_of_hugging_face_keep_their_names() -> None:
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    features = datasets.Features(
        {"img": datasets.Image(), "fine": datasets.ClassLabel(names=["ant", "bee", "cat"])}
    )
    pictures = [Image.fromarray(array) for array in ARRAY]
    train = datasets.Dataset.from_dict({"img": pictures, "fine": LABELS.tolist()}, features=features)
    test = train.select([2, 1])
    for given in (train, train.with_format("numpy"), train.with_format("torch")):
        assert_is_the_data(as_image_set(given, test), None)
    both = load(datasets.DatasetDict({"train": train, "validation": test, "extra": test}))
    assert_is_the_data(both, None)
    assert both.test.labels.tolist() == [2, 1]
    with pytest.raises(DataError, match="the splits are train; there must be train, and test or validation"):
        load(datasets.DatasetDict({"train": train}))
    coarse = train.add_column("coarse", [0] * 5).cast_column("coarse", datasets.ClassLabel(names=["x", "y"]))
    with pytest.raises(
        DataError, match="which column of train holds the labels cannot be told: fine, coarse"
    ):
        as_image_set(coarse, test)
    unlabelled = train.map(lambda row: {"fine": -1})
    with pytest.raises(DataError, match="labels of test lack the class of 5 images"):
        as_image_set(train, unlabelled)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 2, 3, 2, 1], "1 2 3"),
        ([-1, 1, 7, 1, -1], "-1 1 7"),
        (np.array([1, 2, 3, 2, 1], np.uint16)[:, None], "1 2 3"),
        (["a", "b", "c", "b", "a"], "a b c"),
        (np.array(["a", "b", "c", "b", "a"]), "a b c"),
        (np.array([b"a", b"b", b"c", b"b", b"a"]), "a b c"),
        (np.array(["a", "b", "c", "b", "a"], dtype=object), "a b c"),
        (np.eye(3)[LABELS.numpy()], "0 1 2"),
        (torch.eye(3)[LABELS].bool(), "0 1 2"),
        ([torch.tensor(int(label)) for label in LABELS], "0 1 2"),
    ],
    ids="from-1 from-minus-1 column list strings bytes objects one-hot bool-one-hot tensors".split(),
)
def test_labels_of_every_form_are_numbered_and_named(labels: Any, classes: str) -> None:
    test = (PIXELS[:1], labels[2:3])
    data = as_image_set((PIXELS, labels), test)
    assert data.class_names == tuple(classes.split())
    assert data.train.labels.tolist() == LABELS.tolist()
    assert data.test.labels.tolist() == [2]  # not 0: both parts are numbered alike
    items = as_image_set(Pairs(list(zip(ARRAY, labels, strict=True))), test)
    assert items.class_names == data.class_names
    assert items.train.labels.tolist() == LABELS.tolist()


def test_labels_from_0_with_a_gap_stay_as_they_are() -> None:
    data = as_image_set((PIXELS, [0, 2, 2, 0, 2]), (PIXELS, LABELS * 0))
    assert (data.class_names, data.train.labels.tolist()) == (("0", "1", "2"), [0, 2, 2, 0, 2])


@pytest.mark.parametrize("scale", [255, 255.0, 1.0], ids=["whole", "bytes", "unit"])
@pytest.mark.parametrize("form", ["tensor first", "tensor last", "array first", "array last"])
@pytest.mark.parametrize("is_dataset", [False, True])
def test_channels_and_scale_are_told_apart(scale: float, form: str, is_dataset: bool) -> None:
    pixels = torch.randint(256, (4, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels[1] = pixels[1] % 2  # a dark image among others is no image in [0, 1]
    kind, order = form.split()
    values: Any = pixels.long() if isinstance(scale, int) else pixels.double() / 255 * scale
    values = values.movedim(1, -1) if order == "last" else values
    values = values.numpy() if kind == "array" else values
    if is_dataset and isinstance(scale, int):
        values = values.astype(np.uint8) if kind == "array" else values.to(torch.uint8)
    labels = [0, 1, 0, 1]
    given: Any = Pairs(list(zip(values, labels, strict=True))) if is_dataset else (values, labels)
    assert torch.equal(as_image_set(given, given).train.images, pixels)


def test_what_cannot_be_told_is_asked_for() -> None:
    array = PIXELS[:, :, :3].numpy()  # (5, 3, 3, 6), and turned (5, 3, 6, 3)
    unsure = np.moveaxis(array, 2, -1)
    with pytest.raises(DataError, match='may have their channels first or last; say which: channels="first"'):
        load((unsure, LABELS))
    first, last = (load((unsure, [0, 1, 0, 1, 0]), channels=where) for where in ("first", "last"))
    assert (first.shape, last.shape) == ((3, 6, 3), (3, 3, 6))
    with pytest.raises(DataError, match="channels first or last"):
        load((np.zeros((5, 7, 8, 7), np.uint8), LABELS))


def test_a_part_for_testing_is_drawn_from_each_class() -> None:
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1)
    labels = torch.tensor([0] * 30 + [1] * 10)
    data = load((images, labels), name="mine")
    drawn = [np.random.RandomState(0).permutation(30)[:6], 30 + np.random.RandomState(0).permutation(10)[:2]]
    assert data.test.images.flatten().tolist() == sorted(np.concatenate(drawn).tolist())
    assert (data.name, len(data.train), len(data.test)) == ("mine", 32, 8)
    assert load((images, labels), test=(images, labels)).test.labels.tolist() == labels.tolist()
    with pytest.raises(DataError, match="class '1' has one image, and a class needs two"):
        load((images[:31], labels[:31]))


@pytest.mark.parametrize("form", ["pictures", "arrays", "tensors"])
def test_images_of_many_sizes_are_brought_to_one(form: str) -> None:
    """As Pillow does it: cover the square, Lanczos, cropped around the centre."""
    random = np.random.RandomState(0)
    arrays = [random.randint(0, 256, size=(h, w, 3)).astype(np.uint8) for h, w in ((9, 20), (16, 8), (8, 8))]
    expected = [
        np.asarray(Image.fromarray(array).resize((8, 8), Image.Resampling.LANCZOS, box=box))
        for array, box in zip(arrays, ((5.5, 0, 14.5, 9), (0, 4, 8, 12), (0, 0, 8, 8)), strict=True)
    ]
    made: Any = {
        "pictures": Image.fromarray,
        "arrays": np.asarray,
        "tensors": lambda array: torch.from_numpy(array).permute(2, 0, 1) / 255,
    }[form]
    images, labels = [made(array) for array in arrays], [0, 1, 1]
    for given in ((images, labels), Pairs(list(zip(images, labels, strict=True)))):
        with pytest.raises(DataError, match="of several shapes, as .* bring them to one: image_size=32"):
            as_image_set(given, given)
        data = as_image_set(given, given, image_size=8)
        found = data.train.images.permute(0, 2, 3, 1).numpy().astype(int)
        assert np.abs(found - np.stack(expected)).max() <= 1


def test_pictures_of_every_mode_become_colour_or_stay_grey() -> None:
    grey, colour = Image.fromarray(ARRAY[0, ..., 0]), Image.fromarray(ARRAY[1])
    given = Pairs([(grey, 0), (colour.convert("RGBA"), 1), (colour, 0), (colour.quantize(), 1)])
    images = as_image_set(given, given).train.images
    assert torch.equal(images[0], PIXELS[0, :1].expand(3, -1, -1))
    assert torch.equal(images[1], PIXELS[1])
    assert torch.equal(images[2], PIXELS[1])
    assert as_image_set(Pairs([(grey, 0), (grey, 1)]), given).train.images.shape[1] == 3  # as the others


class Augmented(Pairs):
    """Flips each image at random, as a transform for training does."""

    def __getitem__(self, position: int) -> Any:
        image, label = self.items[position]
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), label


def test_a_data_set_that_changes_is_refused() -> None:
    torch.manual_seed(0)
    given = Augmented([(PIXELS[k % 5], k % 3) for k in range(20)])
    with pytest.raises(DataError, match="the image of item .* of train changes from call to call, as under"):
        as_image_set(given, (PIXELS, LABELS))


class Short(Pairs):
    def __len__(self) -> int:
        return 7


class Broken(Pairs):
    def __getitem__(self, position: int) -> Any:
        return {"path": position}["file" if position == 2 else "path"], 0


class Torn(Pairs):
    def __getitem__(self, position: int) -> Any:
        raise ValueError("line 1\nline 2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((normalised(), LABELS), r"must lie in \[0, 1\] or \[0, 255\], got -1 to 1; leave out what norma"),
        ((PIXELS / 100, LABELS), r"must lie in \[0, 1\] or \[0, 255\], got 0"),
        ((PIXELS.float() * torch.nan, LABELS), r"must lie in \[0, 1\] or \[0, 255\], got nan"),
        ((PIXELS.int() * 9, LABELS), "must be uint8, or floating point in .* got torch.int32 from"),
        ((PIXELS > 9, LABELS), "must be uint8, or floating point in .* got torch.bool"),
        (
            (PIXELS.flatten(1), LABELS),
            r"arrays \(height, width, channels\), one or many, got shape \(5, 72\)",
        ),
        ((PIXELS, LABELS.float()), r"labels of train must be whole numbers .*; say labels\.astype\(int\)"),
        ((PIXELS, LABELS + 0.5), "a regression's targets are no classes"),
        (Pairs([(PIXELS[0], 0.5), (PIXELS[0], 1)]), "labels of train must be whole numbers .* got float64"),
        ((PIXELS, [0, 1, "a", 1, 0]), "must be names or whole numbers, one kind for all"),
        ((PIXELS, [[0], [1, 2], [0], [1], [0]]), "must be one number or name for each image"),
        ((PIXELS, np.array([[1, 1, 0]] * 5)), "labels of train are multi-label: image 0 has 2 of 3 classes"),
        (
            (PIXELS, np.full((5, 3), 1 / 3)),
            "are neither one-hot nor one class for each image; give labels.arg",
        ),
        ((PIXELS, list("abcba")), "some of train and test have numbers for labels and others strings"),
        (iter([1, 2]), "must be a Split, a pair .* got list_iterator"),
        (None, "must be a Split, a pair .* got NoneType"),
        ("mnist", "must be a Split, a pair .* got str"),
        (PIXELS, r"train is images alone; give a pair \(images, labels\)"),
        ((None, LABELS), "must be a tensor or an array of numbers, or a list of images"),
        (DataLoader(TensorDataset(PIXELS, LABELS)), r"train is a DataLoader, which has batches; give its"),
        (Pairs([1, 2]), "item 0 of train is not a pair of an image and a label"),
        (
            Pairs([{"pixels": PIXELS[0], "label": 0}]),
            r"item 0 of train is not a pair .* \(it is a mapping of pixels, label\)",
        ),
        (
            Pairs([("x", 0), (PIXELS[0], 1)]),
            r"x cannot be read \(No such file or dir.*; check the",
        ),
        (Pairs([(None, 0), (PIXELS[0], 1)]), "item 0 of train is not a pair .* its image is NoneType"),
        (Pairs([(PIXELS[0], 0), (PIXELS[0, :, 1:], 1)]), "images of train are of several shapes"),
        (Broken([0, 1, 2]), r"item 2 of train cannot be read \(KeyError: 'file'\); correct its __getitem__"),
        (Torn([0]), r"item 0 of train cannot be read \(ValueError: line 1 line 2\)"),
        (Short([(PIXELS[0], 0)] * 2), "has length 7, but no item 2"),
        ((PIXELS, LABELS[:3]), "train has 5 images and 3 labels; give one label for each image"),
        (([Image.fromarray(ARRAY[0])], LABELS), "train has 1 images and 5 labels"),
    ],
)
def test_what_is_not_understood_is_said(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_image_set(given, (PIXELS, LABELS), class_names="abc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        (["a", "b"], ["a", "c"], None, "test has the class 'c', train has not"),
        (["cat", "Cat"], ["cat", "Cat"], None, "'Cat' and 'cat' differ in case or spaces only"),
        (["a", "b"], ["a", "b"], ["a", "x"], "train has the class 'b', the classes are a, x"),
        ([0, 1], [0, 1], ["a", "a"], "two classes are called 'a'"),
        ([1, 2], [1, 3], ["a", "b"], "labels run from 1 to 3, but 2 classes are named"),
    ],
)
def test_names_that_do_not_fit_are_said(train: Any, test: Any, names: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_image_set((PIXELS[:2], train), (PIXELS[:2], test), class_names=names)
