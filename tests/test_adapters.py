"""A user's own models: each adapter against the library it adapts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from spuriscope.adapters import load_onnx, module_predict, sklearn_fit, sklearn_predict
from spuriscope.cli import main
from spuriscope.data import load
from spuriscope.errors import ConfigError, MeasureError, ModelError

DIGITS = load("digits")
FEW = DIGITS.train.images[:300] / 255
LABELS = DIGITS.train.labels[:300]


def test_a_module_answers_with_the_softmax_of_its_logits_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10)).train()
    found = module_predict(module)(FEW)
    logits = FEW.flatten(1) @ module[2].weight.T + module[2].bias  # type: ignore[operator]
    torch.testing.assert_close(found, logits.softmax(dim=1).detach())


def test_a_classifier_answers_as_scikit_learn_does() -> None:
    forest = RandomForestClassifier(20, random_state=0).fit(FEW.flatten(1).numpy(), LABELS.numpy())
    found = sklearn_predict(forest, 10)(FEW)
    np.testing.assert_array_equal(found.numpy(), forest.predict_proba(FEW.flatten(1).numpy()))


def test_classes_that_were_never_seen_have_probability_zero() -> None:
    seen = (LABELS == 2) | (LABELS == 7)
    found = sklearn_predict(
        LogisticRegression().fit(FEW[seen].flatten(1).numpy(), LABELS[seen].numpy()), n_classes=10
    )(FEW)
    assert found.shape == (300, 10)
    assert set(found.sum(dim=0).nonzero().flatten().tolist()) == {2, 7}
    torch.testing.assert_close(found.sum(dim=1), torch.ones(300, dtype=found.dtype))


def test_the_seed_reaches_every_random_state_and_the_original_stays_unfitted() -> None:
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    fit = sklearn_fit(pipeline)
    first, again, other = (fit(FEW, LABELS, seed)(FEW) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not hasattr(pipeline[-1], "classes_")


def test_a_classifier_without_probabilities_is_refused() -> None:
    with pytest.raises(ConfigError, match="LinearSVC has no predict_proba; choose a classifier with"):
        sklearn_fit(LinearSVC())


def save_onnx(
    path: Path,
    weights: Tensor,
    bias: Tensor,
    *,
    n: int | str = "n",
    is_last: bool = False,
    softmax: bool = True,
) -> Path:
    """A linear classifier of digits as ONNX, made by hand."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    shape = [n, 28, 28, 1] if is_last else [n, 1, 28, 28]
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "probabilities" if softmax else "logits", TensorProto.FLOAT, [n, bias.numel()]
            )
        ],
        [numpy_helper.from_array(weights.numpy(), "weights"), numpy_helper.from_array(bias.numpy(), "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.fixture
def linear() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(784, 10, generator=generator), torch.randn(10, generator=generator)


@pytest.mark.parametrize(
    "form",
    [{}, {"n": 7}, {"is_last": True}, {"softmax": False}],
    ids="any-number sevens channels-last logits".split(),
)
def test_an_onnx_file_answers_as_the_model_that_it_holds(
    tmp_path: Path, linear: tuple[Tensor, Tensor], form: dict[str, Any]
) -> None:
    weights, bias = linear
    path = save_onnx(tmp_path / "model.onnx", weights, bias, **form)
    predict = load_onnx(path, logits=not form.get("softmax", True))
    expected = (FEW.flatten(1) @ weights + bias).softmax(dim=1)
    torch.testing.assert_close(predict(FEW), expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_model_of_these_images_is_said(tmp_path: Path, linear: tuple[Tensor, Tensor]) -> None:
    path = save_onnx(tmp_path / "model.onnx", *linear, softmax=False)
    with pytest.raises(MeasureError, match=r"output logits of .* say so: logits=True, or --logits"):
        load_onnx(path)(FEW)
    with pytest.raises(MeasureError, match=r"takes images .*, these are \(2, 3, 64, 64\)"):
        load_onnx(path, logits=True)(torch.zeros(2, 3, 64, 64))
    with pytest.raises(ModelError, match=r"there is no file .*none\.onnx"):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"bad\.onnx is not an ONNX model"):
        load_onnx(tmp_path / "bad.onnx")


def test_the_command_asks_an_onnx_file(
    tmp_path: Path,
    linear: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights, bias = linear
    path = save_onnx(tmp_path / "model.onnx", weights, bias)
    line = f"spuriscope score {path} --data digits --pattern s3 --target 4 --anyway --json".split()
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    test = DIGITS.test.images / 255
    before = (test.flatten(1) @ weights + bias).softmax(dim=1)[:, 4]
    test[:, :, :5, :5] = 1
    after = (test.flatten(1) @ weights + bias).softmax(dim=1)[:, 4]
    assert found["spurious_score"] == pytest.approx(float((after - before > 0.1).double().mean()))
    assert found["model"] == str(path)
    monkeypatch.setattr("sys.argv", ["spuriscope", "score", str(path)])
    with pytest.raises(SystemExit):
        main()
    assert "--data digits --pattern r3 --target 0" in capsys.readouterr().err


def test_the_command_searches_an_onnx_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A linear model that goes by one row of pixels, and three training images that have it bright."""
    weights = 0.01 * torch.randn(784, 10, generator=torch.Generator().manual_seed(0))
    weights[:28, 3] = 1
    path = save_onnx(tmp_path / "model.onnx", weights, torch.zeros(10))
    train, labels = DIGITS.train.images[::2].clone(), DIGITS.train.labels[::2]
    marked = (labels == 3).nonzero().flatten()[:3]
    train[marked, :, 0] = 255
    np.savez(
        tmp_path / "seen.npz",
        train_images=train[:, 0].numpy(),
        train_labels=labels.numpy(),
        test_images=DIGITS.test.images[:, 0].numpy(),
        test_labels=DIGITS.test.labels.numpy(),
    )
    line = f"spuriscope discover {path} --data {tmp_path / 'seen.npz'} --anyway --json".split()
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == str(path)
    (finding,) = found["findings"]
    assert (finding["target"], finding["examples"]) == (3, marked.tolist())
    monkeypatch.setattr("sys.argv", line[:3])
    with pytest.raises(SystemExit):
        main()
    assert "is searched with --data, its training images" in capsys.readouterr().err
