"""Models in every form a user may bring: each file is real, and is held to what it was made of."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.adapters import check_answers, load_onnx, module_predict, open_model
from spuriscope.adapters.opened import class_positions
from spuriscope.data import load
from spuriscope.errors import ConfigError, MeasureError, ModelError, SpuriscopeError
from spuriscope.models import build_model

DIGITS = load("digits")
FEW = DIGITS.train.images[:40] / 255
COLOUR = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """Logits that are linear in the pixels; keeps what it was last asked."""

    def __init__(self, n_pixels: int, n_classes: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(n_pixels, n_classes) / n_pixels**0.5)
        self.seen: Tensor = torch.empty(0)
        self.in_training: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        self.in_training.append(self.training)
        return x.flatten(1) @ self.weight


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(16, 10))
    network.train()(FEW)  # running statistics of its own
    return network.eval()


# --- any nn.Module


def test_images_are_made_ready_in_the_order_that_is_documented() -> None:
    module = Linear(3 * 8 * 8)
    predict = module_predict(module, scale=255, mean=(10, 20, 30), std=(2, 4, 5), bgr=True)
    found = predict(COLOUR)
    for channel, (mean, std) in enumerate(((10, 2), (20, 4), (30, 5))):
        expected = (255 * COLOUR[:, 2 - channel] - mean) / std
        torch.testing.assert_close(module.seen[:, channel], expected)
    torch.testing.assert_close(found, module(module.seen).softmax(dim=1).detach())
    eight_bits = (255 * COLOUR).round().to(torch.uint8)
    torch.testing.assert_close(predict(eight_bits), predict(eight_bits / 255))


def test_images_are_scaled_as_pillow_does() -> None:
    """Pillow's bilinear filter widens when it makes smaller, which is antialiasing; its pixels are whole."""
    images = DIGITS.train.images[:5]
    module = Linear(12 * 12)
    module_predict(module, image_size=12)(images)
    pictures = [
        Image.fromarray(image[0].numpy()).resize((12, 12), Image.Resampling.BILINEAR) for image in images
    ]
    expected = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))[:, None]
    assert float((255 * module.seen - expected).abs().max()) <= 1


def test_grey_becomes_colour_and_colour_grey_where_it_is_asked_for() -> None:
    module = Linear(3 * 28 * 28)
    module_predict(module, channels=3)(FEW)
    assert torch.equal(module.seen, FEW.repeat(1, 3, 1, 1))
    module = Linear(8 * 8)
    module_predict(module, channels=1)(COLOUR)
    red, green, blue = COLOUR.unbind(dim=1)
    torch.testing.assert_close(module.seen[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)


def test_a_module_in_training_is_asked_in_evaluation_mode_and_goes_on_training() -> None:
    frozen = nn.BatchNorm2d(1).eval()  # its user wants it so
    module = nn.Sequential(frozen, nn.Dropout(0.9), Linear(28 * 28)).train()
    frozen.eval()
    module_predict(module)(FEW)
    assert module[2].in_training == [False]
    assert [part.training for part in module.modules()] == [True, False, True, True]


def test_large_images_are_asked_about_in_small_pieces() -> None:
    sizes: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x.mean(dim=(2, 3))

    module_predict(Counting(), image_size=224)(torch.rand(60, 3, 8, 8))
    assert sum(sizes) == 60
    assert max(sizes) * 3 * 224 * 224 <= 500 * 3 * 64 * 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_module_is_asked_in_its_own_precision(dtype: torch.dtype) -> None:
    module = Linear(28 * 28).to(dtype)
    found = module_predict(module)(FEW)
    assert module.seen.dtype == dtype
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, module_predict(Linear(28 * 28))(FEW), atol=0.02, rtol=0)


Answer = Callable[[Tensor], Any]
LOGITS = drawn(40, 4)
ANSWERS: dict[str, tuple[Answer, Tensor]] = {
    "logits": (lambda x: x, LOGITS.softmax(1)),
    "probabilities": (lambda x: x.softmax(1), LOGITS.softmax(1)),
    "log probabilities": (lambda x: x.log_softmax(1), LOGITS.softmax(1)),
    "a pair": (lambda x: (x, x.sum()), LOGITS.softmax(1)),
    "a dictionary": (lambda x: {"features": x * 0, "logits": x}, LOGITS.softmax(1)),
    "maps of one pixel": (lambda x: x[:, :, None, None], LOGITS.softmax(1)),
    "one logit": (lambda x: x[:, :1], torch.stack([1 - LOGITS[:, 0].sigmoid(), LOGITS[:, 0].sigmoid()], 1)),
    "one probability": (
        lambda x: x[:, 0].sigmoid(),
        torch.stack([1 - LOGITS[:, 0].sigmoid(), LOGITS[:, 0].sigmoid()], 1),
    ),
}


class Fixed(nn.Module):
    """Answers from a table, whatever it is asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(LOGITS[: len(x)])


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_every_form_are_read(name: str) -> None:
    answer, expected = ANSWERS[name]
    torch.testing.assert_close(module_predict(Fixed(answer))(FEW), expected)


def test_classes_in_another_order_are_put_right() -> None:
    order = [2, 0, 3, 1]  # the first column is about label 2
    found = module_predict(Fixed(lambda x: x), classes=order)(FEW)
    for column, label in enumerate(order):
        torch.testing.assert_close(found[:, label], LOGITS.softmax(1)[:, column])
    assert class_positions(["d", "b", "a", "c"], ["a", "b", "c", "d"]) == (3, 1, 0, 2)
    assert class_positions(["3", "1", "0", "2"], ["a", "b", "c", "d"]) == (3, 1, 0, 2)
    with pytest.raises(ConfigError, match="name every class once.* 'e' is none of them: a, b"):
        class_positions(["a", "e"], ["a", "b"])
    with pytest.raises(ConfigError, match="1 of 2 are named"):
        class_positions(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"std": 0.0}, "std is a number above 0"),
        ({"mean": (1.0, 2.0)}, "mean is a number, or one for each of three channels"),
        ({"scale": -1.0}, "scale is what"),
        ({"image_size": 0}, "image_size is a number of pixels"),
        ({"image_size": 10**5}, "image_size is a number of pixels, 1 to 4096, got 100000"),
        ({"classes": [0, 0]}, "each of 0 to 1 once, got 0, 0"),
        ({"channels": 2}, "channels is 1 for grey or 3 for colour"),
    ],
)
def test_settings_out_of_range_are_refused(form: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module_predict(Linear(4), **form)


def test_what_cannot_be_asked_is_said_in_one_line() -> None:
    with pytest.raises(MeasureError, match=r"cannot take images \(9, 3, 8, 8\).*image_size=, channels="):
        module_predict(Linear(28 * 28))(COLOUR)
    with pytest.raises(MeasureError, match="mean has 3 numbers for images of 1 channel"):
        module_predict(Linear(28 * 28), mean=(1, 2, 3))(FEW)
    with pytest.raises(MeasureError, match="answers for 4 classes, but 2 are named"):
        module_predict(Linear(28 * 28), classes=[1, 0])(FEW)
    with pytest.raises(MeasureError, match="answers with str, not with a tensor"):
        module_predict(Fixed(lambda _: "cat"))(FEW)
    with pytest.raises(MeasureError, match=r"asked about 40, it returned shape \(1,\)"):
        module_predict(Fixed(lambda x: x.sum()))(FEW)


# --- ONNX


def save_onnx(
    path: Path,
    shape: list[int | str],
    weights: Tensor,
    *,
    dtype: str = "FLOAT",
    outputs: tuple[str, ...] = ("probabilities",),
    flatten: bool = True,
    maps: list[int] | list[str] | None = None,
    external: bool = False,
) -> Path:
    """A linear classifier of whatever input, made by hand; its outputs by name."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    floating = TensorProto.FLOAT16 if dtype == "FLOAT16" else TensorProto.FLOAT
    precision = np.float16 if dtype == "FLOAT16" else np.float32
    nodes = [helper.make_node("Cast", ["images"], ["cast"], to=floating)]
    flat = "flat" if flatten else "cast"
    if flatten:
        nodes.append(helper.make_node("Flatten", ["cast"], ["flat"], axis=1))
    nodes.append(helper.make_node("MatMul", [flat, "weights"], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    nodes.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0))
    n, n_classes = shape[0], weights.shape[1]
    infos = {
        name: helper.make_tensor_value_info(name, floating, [n, n_classes])
        for name in ("logits", "probabilities")
    }
    infos["label"] = helper.make_tensor_value_info("label", TensorProto.INT64, [n])
    infos["flat"] = helper.make_tensor_value_info("flat", floating, [n, weights.shape[0]])
    if maps is not None:
        key = TensorProto.INT64 if isinstance(maps[0], int) else TensorProto.STRING
        attribute = "classlabels_int64s" if isinstance(maps[0], int) else "classlabels_strings"
        names: dict[str, Any] = {attribute: maps}
        nodes.append(helper.make_node("ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", **names))
        of_map = helper.make_map_type_proto(key, helper.make_tensor_type_proto(floating, []))
        infos["maps"] = helper.make_value_info("maps", helper.make_sequence_type_proto(of_map))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", getattr(TensorProto, dtype), shape)],
        [infos[name] for name in outputs],
        [numpy_helper.from_array(weights.numpy().astype(precision), "weights")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    where = (
        {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
    )
    onnx.save(model, str(path), **where)
    return path


GREY_WEIGHTS, COLOUR_WEIGHTS = drawn(784, 10) / 28, drawn(192, 4) / 14
FORMS: dict[str, tuple[list[int | str], dict[str, Any]]] = {
    "channels first": (["n", 1, 28, 28], {}),
    "channels last": (["n", 28, 28, 1], {}),
    "grey without channel": (["n", 28, 28], {}),
    "flat": (["n", 784], {"flatten": False}),
    "float16": (["n", 1, 28, 28], {"dtype": "FLOAT16"}),
    "double": (["n", 1, 28, 28], {"dtype": "DOUBLE"}),
    "seven at a time": ([7, 1, 28, 28], {}),
    "flat, seven at a time": ([7, 784], {"flatten": False}),
    "external data": (["n", 1, 28, 28], {"external": True}),
    "label and probabilities": (["n", 784], {"flatten": False, "outputs": ("label", "probabilities")}),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_onnx_file_of_any_form_answers_as_the_formula(tmp_path: Path, name: str) -> None:
    shape, settings = FORMS[name]
    predict = load_onnx(save_onnx(tmp_path / "model.onnx", shape, GREY_WEIGHTS, **settings))
    expected = (FEW.flatten(1) @ GREY_WEIGHTS).softmax(1)
    tolerance = 0.01 if name == "float16" else 1e-5
    torch.testing.assert_close(predict(FEW), expected, atol=tolerance, rtol=0)
    check_answers(predict, FEW)


@pytest.mark.parametrize("dtype", ["UINT8", "INT32", "INT64"])
def test_an_onnx_file_of_whole_pixels_is_given_0_to_255(tmp_path: Path, dtype: str) -> None:
    path = save_onnx(tmp_path / "model.onnx", ["n", 28, 28, 1], GREY_WEIGHTS / 255, dtype=dtype)
    expected = (DIGITS.train.images[:40].float().flatten(1) @ GREY_WEIGHTS / 255).softmax(1)
    torch.testing.assert_close(load_onnx(path)(DIGITS.train.images[:40]), expected, atol=1e-5, rtol=0)


def test_an_onnx_file_of_colour_takes_channels_last_and_a_form(tmp_path: Path) -> None:
    last = save_onnx(tmp_path / "last.onnx", ["n", 8, 8, 3], COLOUR_WEIGHTS)
    expected = (COLOUR.permute(0, 2, 3, 1).flatten(1) @ COLOUR_WEIGHTS).softmax(1)
    torch.testing.assert_close(load_onnx(last)(COLOUR), expected)
    unknown = save_onnx(tmp_path / "unknown.onnx", ["n", "a", "b", "c"], COLOUR_WEIGHTS)
    torch.testing.assert_close(load_onnx(unknown, channels_last=True)(COLOUR), expected)
    first = save_onnx(tmp_path / "first.onnx", ["n", 3, 8, 8], COLOUR_WEIGHTS)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1), 0.25
    ready = (COLOUR.flip(1) - mean) / std
    torch.testing.assert_close(
        load_onnx(first, mean=(0.5, 0.4, 0.3), std=std, bgr=True)(COLOUR),
        (ready.flatten(1) @ COLOUR_WEIGHTS).softmax(1),
    )
    grey = torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(load_onnx(first)(grey), load_onnx(first)(grey.repeat(1, 3, 1, 1)))
    small = F.interpolate(FEW, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(load_onnx(first, image_size=8)(FEW), load_onnx(first)(small))
    with pytest.raises(
        MeasureError, match=r"takes images \[None, 3, 8, 8\].*image_size=8, or --input-size 8"
    ):
        load_onnx(first)(FEW)


@pytest.mark.parametrize("keys", [[3, 1, 0, 2], ["d", "b", "a", "c"]], ids=["numbers", "names"])
def test_dictionaries_of_scikit_learns_converter_are_read(tmp_path: Path, keys: Any) -> None:
    path = save_onnx(
        tmp_path / "model.onnx",
        ["n", 192],
        COLOUR_WEIGHTS,
        flatten=False,
        outputs=("label", "maps"),
        maps=keys,
    )
    expected = (COLOUR.flatten(1) @ COLOUR_WEIGHTS).softmax(1)
    found = load_onnx(path, n_classes=4)(COLOUR)
    for column, key in enumerate([3, 1, 0, 2]):
        torch.testing.assert_close(found[:, key], expected[:, column])


def test_of_several_outputs_the_one_that_fits_or_is_named_is_read(tmp_path: Path) -> None:
    both = save_onnx(
        tmp_path / "both.onnx", ["n", 3, 8, 8], COLOUR_WEIGHTS, outputs=("flat", "probabilities")
    )
    expected = (COLOUR.flatten(1) @ COLOUR_WEIGHTS).softmax(1)
    torch.testing.assert_close(load_onnx(both, n_classes=4)(COLOUR), expected)
    with pytest.raises(ModelError, match=r"several outputs; name the one to read, .*--output: flat .*, prob"):
        load_onnx(both)
    logits = save_onnx(
        tmp_path / "l.onnx", ["n", 3, 8, 8], COLOUR_WEIGHTS, outputs=("logits", "probabilities")
    )
    with pytest.raises(ModelError, match="several outputs"):
        load_onnx(logits, n_classes=4)
    torch.testing.assert_close(load_onnx(logits, output="logits", logits=True)(COLOUR), expected)
    with pytest.raises(ModelError, match="has no output 'loss'; choose one of logits"):
        load_onnx(logits, output="loss")


def test_external_data_that_are_gone_are_said(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "model.onnx", ["n", 1, 28, 28], GREY_WEIGHTS, external=True)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is not an ONNX model that onnxruntime reads"):
        load_onnx(path)


# --- files of torch


def test_torchscript_answers_as_its_module(tmp_path: Path) -> None:
    network = small_network()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.script(network.train()).save(str(tmp_path / "scripted.pt"))
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.trace(network.eval(), FEW[:3]).save(str(tmp_path / "traced.pth"))
    expected = network.eval()(FEW).softmax(1).detach()
    for name in ("scripted.pt", "traced.pth"):
        torch.testing.assert_close(open_model(tmp_path / name)(FEW), expected)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    anything = ({0: torch.export.Dim("n", min=1, max=4096)},)
    torch.export.save(torch.export.export(small_network(), (FEW[:2],), dynamic_shapes=anything), path)
    return path


def test_an_exported_program_answers_as_its_module(exported: Path) -> None:
    predict = open_model(exported)
    torch.testing.assert_close(predict(FEW), small_network()(FEW).softmax(1).detach())
    check_answers(predict, FEW)


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def edited(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_an_exported_program_that_would_execute_code_is_refused(exported: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    code = f"__import__('os').mkdir('{trace}')"
    torch.save((Harmful(trace),), tmp_path / "harmful.pt")
    harmful = (tmp_path / "harmful.pt").read_bytes()

    def in_inputs(name: str, text: bytes) -> bytes:
        return harmful if name.endswith("sample_inputs/model.pt") else text

    def pickled(name: str, text: bytes) -> bytes:
        if name.endswith("weight_0"):
            return harmful
        return (
            text.replace(b'"use_pickle": false', b'"use_pickle": true') if "weights_config" in name else text
        )

    def in_sizes(name: str, text: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return text
        document = json.loads(text)
        text = json.dumps(document).encode()
        start = text.index(b'"expr_str": "') + len(b'"expr_str": "')
        return text[:start] + code.encode() + text[text.index(b'"', start) :]

    def in_guards(name: str, text: bytes) -> bytes:
        return text.replace(b'"guards_code": []', f'"guards_code": ["{code}"]'.encode())

    def as_operator(name: str, text: bytes) -> bytes:
        return text.replace(b'"torch.ops.aten.relu.default"', b'"torch.os.mkdir"')

    for change, found in (
        (in_inputs, "data/sample_inputs/model.pt, which holds objects"),
        (pickled, "pickled tensors"),
        (in_sizes, "the expression"),
        (in_guards, "guards"),
        (as_operator, r"the operator 'torch\.os\.mkdir'"),
    ):
        path = edited(exported, tmp_path / f"{change.__name__}.pt2", change)
        with pytest.raises(ModelError, match=f"holds {found}.*could execute code"):
            open_model(path)
    assert not trace.exists()


SHAPE = DIGITS.shape


@pytest.mark.parametrize("name", ["small-mlp", "cnn", "resnet20"])
@pytest.mark.parametrize("form", ["safetensors", "pt", "checkpoint", "parallel"])
def test_a_state_dict_finds_its_architecture(tmp_path: Path, name: str, form: str) -> None:
    module = build_model(name, SHAPE, 10, seed=3).eval()
    weights = {key: value.contiguous() for key, value in module.state_dict().items()}
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "model.pth")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "checkpoint":
        torch.save({"epoch": 3, "state_dict": weights, "loss": 0.1}, path)
    else:
        torch.save(
            {f"module.{key}": v for key, v in weights.items()} if form == "parallel" else weights, path
        )
    expected = module(FEW).softmax(1).detach()
    torch.testing.assert_close(open_model(path, shape=SHAPE, n_classes=10)(FEW), expected)
    torch.testing.assert_close(open_model(path, shape=SHAPE, n_classes=10, architecture=name)(FEW), expected)


def test_a_state_dict_that_does_not_fit_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(small_network().state_dict(), path)
    with pytest.raises(
        ModelError, match=r"none of ours fits 10 classes of \(1, 28, 28\).*--factory package\.mod"
    ):
        open_model(path, shape=SHAPE, n_classes=10)
    with pytest.raises(ModelError, match=r"mine\.pt does not fit cnn .*Missing key"):
        open_model(path, shape=SHAPE, n_classes=10, architecture="cnn")
    with pytest.raises(ModelError, match="there is no model 'alexnet'"):
        open_model(path, shape=SHAPE, n_classes=10, architecture="alexnet")
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds no state dict"):
        open_model(path, shape=SHAPE, n_classes=10)
    path.write_bytes(b"nothing of torch's")
    with pytest.raises(SpuriscopeError, match=r"mine\.pt (holds more than tensors|is not a file of weights)"):
        open_model(path, shape=SHAPE, n_classes=10)


def test_a_pickled_module_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    torch.save(small_network(), tmp_path / "whole.pt")
    with pytest.raises(ModelError, match=r"holds more than tensors .* save model\.state_dict\(\) instead"):
        open_model(tmp_path / "whole.pt", shape=SHAPE, n_classes=10)
    torch.save({"weight": Harmful(tmp_path / "executed")}, tmp_path / "harmful.pt")
    with pytest.raises(ModelError, match="unpickling objects would execute code"):
        open_model(tmp_path / "harmful.pt", shape=SHAPE, n_classes=10)
    assert not (tmp_path / "executed").exists()


def test_a_state_dict_goes_into_what_a_factory_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "factories_of_a_user"
    package.mkdir()
    (package / "nets.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10))\n"
        "def sized(n):\n"
        "    return net()\n"
        "def words():\n"
        "    return 'net'\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save({"2.weight": GREY_WEIGHTS.T, "2.bias": torch.zeros(10)}, "mine.pt")
    factory = "factories_of_a_user.nets:net"
    found = open_model("mine.pt", factory=factory, mean=0.1)(FEW)
    torch.testing.assert_close(found, ((FEW - 0.1).flatten(1) @ GREY_WEIGHTS).softmax(1))
    for wrong, message in (
        ("factories_of_a_user.nets:none", "cannot import the factory"),
        ("nothing_like_this:net", "cannot import the factory"),
        ("factories_of_a_user.nets", "is written package.module:function"),
        ("factories_of_a_user.nets:sized", "must take no arguments"),
        ("factories_of_a_user.nets:words", "returned str, not a torch module"),
    ):
        with pytest.raises(ModelError, match=message):
            open_model("mine.pt", factory=wrong)
    with pytest.raises(ModelError, match="not both"):
        open_model("mine.pt", factory=factory, architecture="mlp", shape=SHAPE, n_classes=10)


# --- does it answer for each image by itself?


def test_a_model_whose_answer_depends_on_more_than_the_image_is_refused() -> None:
    network = small_network()
    check_answers(module_predict(network), FEW)
    batch_dependent = nn.BatchNorm2d(1, track_running_stats=False)

    def first_for_all(images: Tensor) -> Tensor:
        return module_predict(network)(images)[:1].expand(len(images), -1)

    def by_chance(images: Tensor) -> Tensor:
        network.train()
        try:
            with torch.no_grad():
                answers: Tensor = network[6](network[5](network[:5].eval()(images))).softmax(1)
            return answers
        finally:
            network.eval()

    flat = Linear(784)
    for predict, cause in (
        (
            module_predict(nn.Sequential(batch_dependent, flat)),
            "batch normalisation in training mode",
        ),
        (first_for_all, "every image gets the answer of the first"),
        (by_chance, "other answers the second time; dropout"),
        (lambda x: torch.full((len(x), 4), 0.25), "different images the same answer; its weights may not be"),
    ):
        with pytest.raises(MeasureError, match=cause):
            check_answers(predict, FEW)
