"""The worked examples run, and show what they say."""

import ast
import json
import runpy
import warnings
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_scikit_learn_on_digits(tmp_path: Path) -> None:
    found = runpy.run_path(str(EXAMPLES / "scikit_learn_digits.py"))["answers"]
    shares = [entry.predicted_share.mean for entry in found.picked_up.dose_response[0].summary]
    assert shares[0] < 0.05
    assert shares[-1] > 0.2
    page = (tmp_path / "audit-scikit-learn" / "report.html").read_text()
    assert "LogisticRegression, a function of your own" in page


def test_a_torch_module_on_fashion(tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPURISCOPE_DATA", str(real_data))
    found = runpy.run_path(str(EXAMPLES / "torch_fashion.py"))["answers"]
    dose = found.picked_up.dose_response[0]
    assert dose.summary[0].clean_accuracy.mean > 0.6
    assert dose.summary[-1].predicted_share.mean > dose.summary[0].predicted_share.mean
    assert (tmp_path / "audit-torch" / "report.html").is_file()


def test_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter that needs no onnxscript
        names = runpy.run_path(str(EXAMPLES / "onnx_file.py"))
    own = names["model"].predict(names["digits"].test.images)
    theirs = names["predict"](names["digits"].test.images / 255)
    assert float((own - theirs).abs().max()) < 1e-4
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("r3: ")
    assert int(lines[1].split()[1].rstrip("%")) > 50 > int(lines[2].split()[1].rstrip("%"))
    best = names["findings"][0]
    assert best.target == 0
    assert set(best.examples.tolist()) <= set(names["planted"].tolist())


def test_the_notebook() -> None:
    """Its cells in order, each with what it shows, as a notebook does."""
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert "1,437 training and 360 test images" in shown[0]
    assert all("data:image/png;base64," in html for html in shown[:2])
    assert names["before"] > 0.8
    assert names["after"] < 0.3
