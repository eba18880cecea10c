"""What comes from outside and is made to harm: archives, arrays, documents, names and numbers, kind by kind.

The fuzzer (`benchmarks/fuzz.py`) finds such cases; those that were answered badly once stand here.
"""

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import spuriscope as ss
from spuriscope.adapters import open_model
from spuriscope.adapters.form import ModelForm
from spuriscope.checks import check_path
from spuriscope.cli import main
from spuriscope.data.catalog import verify
from spuriscope.data.contexts import prepare_contexts
from spuriscope.data.layout import arrange
from spuriscope.data.npz import load_npz
from spuriscope.data.photographs import write_photographs
from spuriscope.data.prepared import load_prepared
from spuriscope.data.tar_headers import TAR_DAMAGE, open_tar
from spuriscope.data.tree import read_tree
from spuriscope.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModelError,
    PatternError,
    PlantingError,
    SpuriscopeError,
    StoreError,
)
from spuriscope.limits import LONGEST_MESSAGE, is_packed_too_well
from spuriscope.models.tensors import read_tensors
from spuriscope.planting import parse_planted_set
from spuriscope.reading import Reading
from spuriscope.runs import Run, load_run, save_run
from spuriscope.sealing import checksum
from spuriscope.studies.checksums import check_study
from spuriscope.studies.results import distinct, own_settings, results
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Weights, load_model
from spuriscope.training.checkpoint import to_file, to_parts
from spuriscope.training.loop import initial_model

ZERO_BLOCKS = bytes(1024)


# --- archives ------------------------------------------------------------------------------------------


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header of 512 bytes as GNU tar writes sizes that need it: base 256, negative ones too."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % 256**11).to_bytes(11, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def pictures(archive: Path, *more: bytes, at_end: bytes = ZERO_BLOCKS) -> Path:
    """A `.tar` of two classes of two images each, with more blocks behind them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            content = io.BytesIO()
            Image.new("L", (4, 4), len(name)).save(content, "PNG")
            member = tarfile.TarInfo(name)
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
        end = tar.offset
    archive.write_bytes(stream.getvalue()[:end] + b"".join(more) + at_end)
    return archive


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((header("notes.txt", -512),), "has a negative size"),
        ((header("notes.txt", -1024), header("more.txt", 0)), "has a negative size"),
        ((header("x", 3 << 30, tarfile.GNUTYPE_LONGNAME), bytes(512)), "attribute has 3,221,225,472 bytes"),
        ((header("x", 3 << 30, tarfile.XHDTYPE), bytes(512)), "attribute has 3,221,225,472 bytes"),
        ((header("x", -512, tarfile.XGLTYPE), bytes(512)), "has a negative size"),
        ((header("a/3.png", 60 << 30, tarfile.GNUTYPE_SPARSE),), "is sparse"),
        ((header("a/3.png", 60 << 30),), "ends before its member 'a/3.png' does|unexpected end of data"),
        (
            (header("x", 13, tarfile.XHDTYPE), b"13 size=-512\n".ljust(512, b"\0"), header("n", 0)),
            "ends before its member",
        ),
    ],
)
def test_headers_of_a_tar_that_lie_are_refused_at_once(
    blocks: tuple[bytes, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        ss.load(pictures(tmp_path / "data.tar", *blocks))


def test_a_damaged_header_is_no_end_of_a_tar(tmp_path: Path) -> None:
    """tarfile stops there without a word, and the images behind it are missing."""
    content = bytearray(pictures(tmp_path / "data.tar").read_bytes())
    assert len(ss.load(tmp_path / "data.tar").train) == 2
    starts = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    content[starts[2] + 3] ^= 1
    (tmp_path / "data.tar").write_bytes(content)
    with pytest.raises(DataError, match="a header is damaged: bad checksum"):
        ss.load(tmp_path / "data.tar")


def test_headers_are_checked_in_a_stream_too() -> None:
    """CIFAR-10 is read so."""
    stream = io.BytesIO(header("notes.txt", -512) + ZERO_BLOCKS)
    with pytest.raises(TAR_DAMAGE, match="negative size"), open_tar(stream, "r|") as archive:
        list(archive)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(shape: tuple[int, ...], body: bytes = b"", descr: str = "|u1") -> bytes:
    told = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told + body


def test_the_header_of_an_array_is_looked_at_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {
        "train_labels": npy((2,), b"01"),
        "test_images": npy((2, 2, 2), bytes(8)),
        "test_labels": npy((2,), b"01"),
    }
    path = npz(tmp_path / "data.npz", train_images=npy((3, 9, 9), bytes(1 << 22)), **members)
    unpacked: list[object] = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: unpacked.append(name))
    with pytest.raises(
        DataError, match="train_images in .* should hold 243 bytes after its header, but holds 41"
    ):
        load_npz(path)
    assert unpacked == []


def test_what_unpacks_to_nothing_but_zeros_is_refused_unpacked_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spuriscope.limits.LARGEST_FILE", 1 << 16)
    assert is_packed_too_well(10, 1 << 17)
    assert not is_packed_too_well(1 << 17, 1 << 20)
    zeros = npy((2, 1 << 10, 1 << 10), bytes(1 << 21))
    path = npz(
        tmp_path / "data.npz",
        train_images=zeros,
        train_labels=npy((2,), b"01"),
        test_images=zeros,
        test_labels=npy((2,), b"01"),
    )
    with pytest.raises(DataError, match="train_images in .* unpacks from 0 to 2 MB, which no images do"):
        load_npz(path)
    torch.save({"weights": torch.zeros(1 << 18)}, tmp_path / "model.pth")
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as archive,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    with pytest.raises(ModelError, match=r"packed\.pth unpacks to 1 MB, which no model does"):
        open_model(tmp_path / "packed.pth", shape=(1, 8, 8), n_classes=2)


def test_a_compressed_cifar10_does_not_unpack_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spuriscope.data import cifar10

    monkeypatch.setattr(cifar10, "MOST_PADDING", 1 << 12)
    (tmp_path / "cifar.tar.gz").write_bytes(
        gzip.compress(header("readme.html", 1 << 20) + bytes(1 << 20) + ZERO_BLOCKS)
    )
    with pytest.raises(DataError, match="unpacks to more than .* MB"):
        list(cifar10._read_archive(tmp_path / "cifar.tar.gz", size=100))


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + b"x" * 40, b"PK\x05\x06" + b"\xff" * 18, b"\x80" * 9, b""]
)
@pytest.mark.parametrize("suffix", [".pth", ".pt2", ".onnx", ".safetensors"])
def test_a_damaged_file_of_a_model_is_one_line(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="model"):
        open_model(path, shape=(1, 8, 8), n_classes=2)


def test_a_picture_of_absurd_size_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 20), 200).save(tmp_path / "logo.png")
    monkeypatch.setattr("spuriscope.patterns.named.MOST_PIXELS", 500)
    with pytest.raises(PatternError, match="has 30x20 pixels; give a smaller picture"):
        ss.pattern(tmp_path / "logo.png", (1, 8, 8))


# --- messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\nc", "a b c"),
        ("a\x1b[31m\0\udcff", "a\\x1b[31m\\x00\\udcff"),
        ("é: choose", "é: choose"),
        (
            "x" * 10**7 + "; mend it",
            "x" * (LONGEST_MESSAGE // 2) + " ... " + "x" * (LONGEST_MESSAGE // 2 - 9) + "; mend it",
        ),
    ],
)
def test_a_message_is_one_printable_line_that_ends_with_what_to_do(text: str, shown: str) -> None:
    assert str(SpuriscopeError(text)) == str(DataError(text)) == shown


# --- prepared folders ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["classes", "contexts"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    random = np.random.RandomState(0)
    for context in ("photo", "sketch"):
        for name in ("cats", "dogs"):
            (folder / "mine" / context / name).mkdir(parents=True)
            for number in range(4):
                pixels = random.randint(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "mine" / context / name / f"{number}.png")
    if request.param == "contexts":
        prepare_contexts(folder / "mine", folder / "ready")
    else:
        write_photographs(arrange(read_tree(folder / "mine" / "photo")), folder / "ready", "mine", Reading())
    return folder / "ready"


def changed(
    prepared: Path,
    out: Path,
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None],
    *,
    seal: bool | None,
) -> Path:
    """A copy of a prepared folder with changed contents; sealed anew, or of a version without a checksum."""
    from safetensors import safe_open

    out.mkdir()
    (out / "images.u8").write_bytes((prepared / "images.u8").read_bytes())
    with safe_open(prepared / "contents.safetensors", framework="pt") as file:
        texts = dict(file.metadata())
    tensors = load_file(prepared / "contents.safetensors")
    about = json.loads(texts["about"])
    change(about, tensors)
    texts["about"] = json.dumps(about)
    if seal is not None:
        sealed = {"spuriscope": texts["spuriscope"], "about": texts["about"]}
        texts = sealed | ({"checksum": checksum(sealed, tensors)} if seal else {})
    save_file(tensors, out / "contents.safetensors", metadata=texts)
    return out


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]] = {
    "a label": lambda about, tensors: tensors["train_labels"].__setitem__(0, 1),
    "a label beyond the classes": lambda about, tensors: tensors["train_labels"].__setitem__(0, 9),
    "a label less": lambda about, tensors: tensors.update(train_labels=tensors["train_labels"][:-1].clone()),
    "the shape": lambda about, tensors: about.update(shape=[3, 4, 9]),
    "a shape that is none": lambda about, tensors: about.update(shape=[-3, -6, 6]),
    "a shape of text": lambda about, tensors: about.update(shape="3x6x6"),
    "no fingerprint": lambda about, tensors: about.pop("fingerprint"),
    "class names": lambda about, tensors: about.update(class_names=5),
    "a context": lambda about, tensors: tensors["test_contexts"].__setitem__(0, 77),
    "names": lambda about, tensors: tensors.update(train_names=torch.zeros(3, dtype=torch.uint8)),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("seal", [None, False])
def test_what_was_changed_in_a_prepared_folder_is_one_error(
    what: str, seal: bool | None, prepared: Path, tmp_path: Path
) -> None:
    """With a checksum that does not fit any more; and of a version that had none, as far as can be told."""
    if what == "a context" and load_prepared(prepared).contexts is None:
        pytest.skip("the folder has none")
    out = changed(prepared, tmp_path / "out", CHANGES[what], seal=seal)
    message = "its checksum differs" if seal is None else "prepare the images again|labels run from"
    with pytest.raises(DataError, match=message):
        verify(out)


def test_a_pixel_of_a_prepared_folder_is_found_out_by_verify(prepared: Path, tmp_path: Path) -> None:
    out = changed(prepared, tmp_path / "out", lambda about, tensors: None, seal=True)
    assert verify(out).fingerprint == verify(prepared).fingerprint
    content = bytearray((out / "images.u8").read_bytes())
    content[7] ^= 1
    (out / "images.u8").write_bytes(content)
    with pytest.raises(DataError, match="was changed after it was prepared; prepare the images again"):
        verify(out)


# --- documents -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    data = ss.load("digits")
    plant = ss.Plant(ss.pattern("s1", data.shape), 0, 2)
    cell = Cell(data=DataKey.of(data), plants=(plant,), model="small-mlp", recipe=Recipe(epochs=1))
    return TrainedModel(cell, initial_model(cell).eval(), (0.5,), 1.0)


DEEP = "[" * 3000 + "]" * 3000
TEXTS = {
    "cell": ("5", "null", "[]", "{}", DEEP, '{"data": 3}', "nonsense"),
    "losses": ("5", '["a"]', "null", DEEP, "[1e400]"),
    "n_seconds": ('"x"', "[]", "1e999", "NaN"),
    "deletions": ("5", "[3]", '[{"method": 3}]', '[{"method": "x", "settings": "", "images": ["a"]}]'),
    "epsilon": ('"x"', "[1]"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TEXTS for text in TEXTS[name]])
def test_a_checkpoint_whose_texts_are_of_the_wrong_type_is_one_line(
    name: str, text: str, model: TrainedModel
) -> None:
    texts, tensors = to_parts(model.to_bytes(), "x")
    del texts["spuriscope"]
    with pytest.raises(CheckpointError, match=f"^it: {name}"):
        TrainedModel.from_bytes(to_file(texts | {name: text}, tensors), source="it")


SHAPES = ([1, -8, 28], [1, 0, 28], [1, 2**20, 2**20], [1, 2**40, 2**40], [1, 28], [1, 28, 10**30])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_checkpoint_makes_no_model_that_is_larger_than_its_weights(
    shape: list[int], model: TrainedModel
) -> None:
    clean = TrainedModel(model.cell.clean_twin, model.module, (0.5,), 1.0)
    texts, tensors = to_parts(clean.to_bytes(), "x")
    del texts["spuriscope"]
    cell = json.loads(texts["cell"])
    cell["data"]["shape"] = shape
    with pytest.raises(CheckpointError):
        TrainedModel.from_bytes(to_file(texts | {"cell": json.dumps(cell)}, tensors), source="it")


@pytest.mark.parametrize("metadata", ["null", "3", '["a"]', '{"cell": 3}', DEEP])
def test_a_header_whose_metadata_are_none_is_one_line(metadata: str, tmp_path: Path) -> None:
    text = f'{{"__metadata__": {metadata}}}'.encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_model(tmp_path / "x.safetensors")


CELL_CHANGES: tuple[dict[str, Any], ...] = (
    {"weights": 5}, {"seed": 1e30}, {"seed": "0"}, {"plants": None}, {"plants": [[]]}, {"model": ["mlp"]},
    {"recipe": 3}, {"recipe": {"privacy": []}}, {"recipe": {"milestones": [["a"]]}}, {"part": {"x": 1}},
    {"recipe": {"batch_size": 1e30}}, {"data": {"name": 1}}, {"model": "no-such"}, {"seed": 10**400},
)  # fmt: skip


@pytest.mark.parametrize("change", CELL_CHANGES, ids=str)
def test_a_cell_of_the_wrong_type_is_one_line(change: dict[str, Any], model: TrainedModel) -> None:
    with pytest.raises(CheckpointError):
        Cell.from_json(model.cell.to_json() | change, model.cell.patterns)


@pytest.mark.parametrize(
    "text",
    [
        DEEP, "null", "[]", "3", '{"format": 2}', '{"format": [2]}',
        '{"format": 2, "source": ["x"], "root": null, "cell": {}}',
        '{"format": 2, "source": "x", "root": 5, "cell": {}}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "reading": "no"}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "reading": {"image_size": -1}}',
        '{"format": 1, "source": "x", "root": null, "cell": 5}',
        '{"format": 2, "source": "x", "root": null, "cell": {}, "files": {"a": 3}}',
    ],
)  # fmt: skip
def test_a_run_whose_document_is_of_the_wrong_type_is_one_line(
    text: str, model: TrainedModel, tmp_path: Path
) -> None:
    save_run(tmp_path / "run", Run(model, None, "digits", None))
    (tmp_path / "run" / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="train the run again"):
        load_run(tmp_path / "run")


def test_the_source_of_a_run_may_have_a_name_that_is_no_text(model: TrainedModel, tmp_path: Path) -> None:
    save_run(tmp_path / "run", Run(model, None, "photos-\udcff", None))
    assert load_run(tmp_path / "run").source == "photos-\udcff"


def test_two_files_of_runs_exchanged_and_every_byte_of_a_checkpoint_are_noticed(
    model: TrainedModel, tmp_path: Path
) -> None:
    twin = TrainedModel(model.cell.clean_twin, initial_model(model.cell.clean_twin).eval(), (0.5,), 1.0)
    save_run(tmp_path / "run", Run(model, twin, "digits", None))
    one, other = (tmp_path / "run" / name for name in ("model.safetensors", "clean-twin.safetensors"))
    content, exchanged = one.read_bytes(), other.read_bytes()
    one.write_bytes(exchanged)
    other.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file that was written with this run"):
        load_run(tmp_path / "run")
    for at in (*range(0, 3000, 37), *range(3000, len(content), len(content) // 40)):
        broken = bytearray(content)
        broken[at] ^= 4
        with pytest.raises(CheckpointError):
            TrainedModel.from_bytes(bytes(broken))


# --- names and numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "mnistv8-3-0-99999999999",
        f"mnistv8-3-0-{'9' * 5000}",
        f"cifar10v20-{'9' * 5000}-0-0",
        "fashion-3-0-4294967296",
    ],
)
def test_a_planted_set_with_a_number_that_nothing_takes_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(PlantingError, match="must be a whole number from 0 to"):
        parse_planted_set(name)


LONG = "x" * 300


@pytest.mark.parametrize(
    "call",
    [
        lambda: load_run(LONG),
        lambda: load_model(LONG),
        lambda: open_model(LONG),
        lambda: ss.load(LONG),
        lambda: ss.load(f"{LONG}.npz"),
        lambda: ss.load("a\0b.csv"),
        lambda: Weights.of("a\0b.pth"),
        lambda: read_tensors("a\0b.pth"),
        lambda: ss.pattern(LONG, (1, 8, 8)),
        lambda: check_path("--store", Path("a") / LONG),
    ],
)
def test_a_name_longer_than_files_have_is_one_line(call: Callable[[], object]) -> None:
    with pytest.raises(SpuriscopeError):
        call()


@pytest.mark.parametrize(
    "line",
    [
        ["study", "status", f"--store={LONG}"],
        ["study", "export", "x", "--out=x.csv", f"--store={LONG}"],
        ["score", LONG],
    ],
)
def test_a_path_that_is_none_ends_a_command_in_one_line(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["spuriscope", *line])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert "is no path: a name in it has 300 bytes, files' have at most 255" in err


@pytest.mark.parametrize(
    "number", [np.int64, np.uint8, np.array, torch.tensor], ids=["int64", "uint8", "array", "tensor"]
)
def test_a_cell_of_numpys_numbers_is_the_cell_of_pythons(number: Callable[[Any], Any]) -> None:
    real = np.float64 if number in (np.int64, np.uint8) else number
    data = ss.load("digits")

    def cell(whole: Callable[[int], Any], share: Callable[[float], Any]) -> Cell:
        plant = ss.Plant(ss.pattern("r3", data.shape, seed=whole(3)), whole(0), whole(3), whole(1))
        recipe = Recipe(
            learning_rate=share(0.5),
            epochs=whole(2),
            milestones=(whole(1),),
            clipping="norm",
            clip_at=share(0.25),
        )
        return Cell(data=DataKey.of(data), plants=(plant,), model="mlp", recipe=recipe, seed=whole(4))

    assert cell(number, real).hash == cell(int, float).hash
    assert cell(number, real).to_json() == cell(int, float).to_json()


@pytest.mark.parametrize("mean", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)], ids=repr)
def test_the_form_of_a_model_takes_numbers_of_any_kind(mean: Any) -> None:
    form = ModelForm(mean=mean, std=mean)
    assert torch.equal(form.prepare(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))


def test_a_message_of_what_cannot_be_shown_is_no_longer_than_others() -> None:
    assert len(str(DataError("\0" * 10**6))) <= LONGEST_MESSAGE + len(" ... ")


def test_rows_whose_recipes_differ_in_their_milestones_are_told_apart() -> None:
    rows = [
        {"cell": str(number), "seed": 0, "milestones": [number], "measure": "score_all", "value": 0.5}
        for number in (1, 2)
    ]
    found = results(json.loads(json.dumps(rows)))
    assert distinct(found, "milestones") == [(1,), (2,)]
    assert own_settings(found)["milestones"] == (1,)


def test_settings_that_are_no_lists_and_no_mappings_are_one_line() -> None:
    bad: list[tuple[str, Any]] = [("milestones", 5), ("milestones", "12"), ("milestones", [["a"]])]
    for name, value in [*bad, ("privacy", []), ("privacy", 3), ("clip_at", 10**400)]:
        with pytest.raises(ConfigError):
            Recipe(**{name: value})


def test_a_label_beyond_all_classes_is_one_line() -> None:
    """Or each class up to it would get a name, and a small file fill the memory."""
    images, labels = np.zeros((4, 8, 8), dtype=np.uint8), np.array([0, 1, 0, 2**40])
    with pytest.raises(DataError, match="a label is 1099511627776, and there are at most 100,000 classes"):
        ss.audit(train=(images, labels), test=(images, labels))


def test_null_stands_for_what_is_left_out_of_a_cell() -> None:
    cell = Cell(data=DataKey.of(ss.load("digits")), model="small-mlp", recipe=Recipe())
    assert Cell.from_json({**cell.to_json(), "part": None, "weights": None}, ()) == cell


def test_a_study_that_is_in_one_index_alone_is_told() -> None:
    class Nothing:
        def fetchone(self) -> None:
            return None

        def fetchall(self) -> list[tuple[Any, ...]]:
            return []

    with pytest.raises(StoreError, match="the study 'x' was changed in its store"):
        check_study(lambda *_: Nothing(), "x")  # type: ignore[arg-type]
