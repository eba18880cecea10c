"""What is of the wrong type is told in one line: every public name is asked with every wrong value."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import spuriscope as ss
from spuriscope.argument_types import checked
from spuriscope.errors import ConfigError, MeasureError, SpuriscopeError

SPLIT = ss.Split(torch.zeros(4, 1, 6, 6, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
DATA = ss.ImageSet("tiny", SPLIT, SPLIT, class_names=("cat", "dog"))
CORNER = ss.pattern("s1", DATA.shape)
PLANT = ss.Plant(CORNER, 0, 1)
RECIPE = ss.Recipe(epochs=0)
MODEL = ss.train(DATA, PLANT, model="small-mlp", recipe=RECIPE)
PREDICT = MODEL.predict
API: Any = ss  # to call it wrongly
PREDICT_ANY: Any = PREDICT
TABLE = {"predict": PREDICT, "images": DATA.test.images, "pattern": CORNER, "target": 0}
LABELLED = {"predict": PREDICT, "images": DATA.test.images, "labels": DATA.test.labels}
HALF = torch.full((6, 6), 0.5)
CELL = {"data": ss.DataKey.of(DATA), "model": "small-mlp", "recipe": RECIPE}

VALID: dict[str, dict[str, Any]] = {  # one call of each that goes through, but for those that take long
    "Anywhere": {"pattern": CORNER, "seed": 0},
    "Cover": {"name": "x", "pixels": CORNER.picture, "alpha": HALF},
    "Shade": {"name": "x", "matrix": torch.eye(1), "offset": HALF[0, :1], "height": 6, "width": 6},
    "Cell": {**CELL, "plants": (), "seed": 0},
    "DataKey": {"name": "x", "fingerprint": "f", "shape": (1, 6, 6), "class_names": ("a", "b")},
    "Game": {"data": DATA, "pattern": CORNER, "target": 0, "n_planted": 1, "model": "mlp", "recipe": RECIPE},
    "Knowledge": {
        "target_logits": torch.zeros(2, 3),
        "labels": torch.tensor([0, 1]),
        "shadow_logits": torch.zeros(1, 2, 3),
        "was_in": torch.zeros(1, 2, dtype=torch.bool),
    },
    "Part": {"positions": torch.tensor([0, 1])},
    "Pattern": {"name": "x", "pixels": CORNER.picture},
    "Plant": {"pattern": CORNER, "target": 0, "n_planted": 1, "seed": 0},
    "Privacy": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5},
    "RareContext": {"context": "x", "target": 0, "n_planted": 1},
    "Recipe": {"optimizer": "adam", "learning_rate": 0.1, "epochs": 1, "batch_size": 2, "momentum": 0.9},
    "Split": {"images": DATA.test.images, "labels": DATA.test.labels},
    "ModelForm": {"channels": 3, "image_size": 8, "scale": 1.0, "mean": (0.5,), "std": (0.5,)},
    "accuracy": LABELLED,
    "adequacy": {"predict": PREDICT, "train": DATA.train, "fresh": DATA.test},
    "attack_game": {"game": None},
    "audit": {"plan": None, "train": None, "test": None, "n_seeds": 1},
    "audit_model": {"model": PREDICT, "data": DATA, "patterns": ["s1"], "threshold": 0.1, "shadows": 4},
    "build_model": {"name": "mlp", "shape": (1, 6, 6), "n_classes": 2, "seed": 0},
    "check_answers": {"predict": PREDICT, "images": DATA.test.images},
    "delete": {"model": MODEL, "data": DATA, "planted_indices": [0], "method": "ascent"},
    "deletion_check": {"method": "none", "data": DATA, "n_planted": 1},
    "discover": {"predict": PREDICT, "train": DATA.train, "holdout": DATA.test, "level": 0.05},
    "missing_contexts": {"train": DATA.train, "holdout": DATA.test, "level": 0.05, "seed": 0},
    "draw_planted": {"plants": [PLANT], "labels": DATA.train.labels},
    "empirical_norm": {"images": DATA.test.images, "pattern": CORNER},
    "load": {"source": "digits", "root": None},
    "load_audit": {"folder": "nowhere"},
    "load_model": {"path": "nowhere"},
    "load_onnx": {"path": "nowhere"},
    "load_run": {"folder": "nowhere"},
    "measure": {"predict": PREDICT, "split": DATA.test, "pattern": CORNER, "target": 0, "threshold": 0.1},
    "measure_context": {"predict": PREDICT, "data": DATA, "context": "x", "target": "cat"},
    "module_predict": {"module": MODEL.module},
    "normalised_spurious_score": {**TABLE, "threshold": 0.1},
    "open_model": {"path": "nowhere"},
    "paper_recipe": {"data": "mnist", "model": "mlp", "optimizer": "adam", "epochs": 1},
    "parse_planted_set": {"name": "mnistv8-3-0-0"},
    "pattern": {"name": "s1", "shape": (1, 6, 6), "seed": 0},
    "pixel_removal_sensitivity": {**LABELLED, "shares": [0.5], "seed": 0},
    "placement_scores": {**TABLE, "threshold": 0.1},
    "plan_audit": {"data": DATA, "model": "mlp", "target": "dog", "patterns": ["s1"], "counts": [1]},
    "predicted_share": {"predict": PREDICT, "images": DATA.test.images, "target": 0},
    "prepare_contexts": {"source": "nowhere", "out": "nowhere-else"},
    "probabilities": {"predict": PREDICT, "images": DATA.test.images},
    **{
        f"register_{kind}": {"name": "x"}
        for kind in (
            *("architecture", "attack", "data", "deletion", "embedding", "measure", "pattern", "transplant"),
        )
    },
    "repair": {"model": MODEL, "data": DATA, "cue": PLANT},
    "save_run": {"folder": "pyproject.toml", "run": None},
    "sklearn_predict": {"classifier": None, "n_classes": 2},
    "spurious_accuracy": {**TABLE, "labels": DATA.test.labels},
    "spurious_score": {**TABLE, "threshold": 0.1},
    "train": {"data": DATA, "plants": PLANT, "model": "small-mlp", "recipe": RECIPE, "seed": 0},
    "train_cell": {"cell": MODEL.cell, "data": DATA},
    "train_many": {"cells": [], "data": DATA, "n_workers": 1},
    "write_audit": {"answers": None, "folder": "pyproject.toml"},
    "weight_importance": {"module": MODEL.module, "shape": (1, 6, 6)},
}
NOT_CALLED = {
    *("ATTACKS", "METHODS", "PATTERN_NAMES", "Predict", "Fit", "Attack"),  # values and kinds
    *("COVER_NAMES", "SHADE_NAMES", "PlacementScores"),
    *(
        "Adequacy",
        "Audit",
        "ContextMeasures",
        "FailedCell",
        "Finding",
        "Measures",
        "Run",
        "TrainedModel",
    ),  # results
    *("ImageSet", "SpuriscopeError"),  # tested beside their module
    "RidgeModel",  # takes what numpy takes; tested with theory
    "sklearn_fit",  # takes any object
}
WRONG = [None, "r3", 7, 1.5, [1, "x"], np.zeros((3, 2)), torch.zeros(2), object(), {"a": 1}, b"x"]


def test_every_public_name_is_asked() -> None:
    assert set(VALID) | NOT_CALLED == set(ss.__dir__())


def refusal(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """What a call is refused with; other errors go through."""
    try:
        function(**arguments)
    except SpuriscopeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", sorted(VALID))
def test_wrong_values_are_one_line_and_no_other_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where nothing lies that a string might name
    function, valid = getattr(ss, name), VALID[name]
    for argument in valid:
        n_refused = 0
        for wrong in WRONG:
            told = refusal(function, {**valid, argument: wrong})
            assert "\n" not in told
            n_refused += bool(told)
        assert n_refused > len(WRONG) // 2, argument


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: API.spurious_score(PREDICT, DATA.test.images, "r3", 0),
            r"^spurious_score: pattern must be a Pattern or .*, got str 'r3'; ss\.pattern\(name, shape\)",
        ),
        (
            lambda: API.spurious_score(PREDICT, DATA.test.images, CORNER, "cat"),
            r"target must be a whole number, got str 'cat'; .* data\.label\(name\) has it",
        ),
        (
            lambda: API.accuracy(MODEL, DATA.test.images, [0]),
            r"must be a function, got TrainedModel; give its \.pr",
        ),
        (lambda: API.accuracy(PREDICT, [[0]], [0]), r"images must be a Tensor or an array, got list"),
        (
            lambda: API.accuracy(PREDICT, DATA.test.images, [0]),
            r"labels must be one whole number for each of the 4",
        ),
        (lambda: API.Plant("r3", 0, 3), r"Plant: pattern must be a Pattern or .*, got str 'r3'; ss\.pattern"),
        (lambda: API.train("mnist", PLANT), r"train: data must be an ImageSet, got str 'mnist'; ss\.load"),
        (lambda: API.plan_audit(DATA, patterns="s3"), r"patterns must be a sequence of .* got str 's3'"),
        (lambda: API.load_run(None), r"load_run: folder must be a string or a path, got None"),
        (
            lambda: API.Pattern("x", np.zeros((6, 6), np.uint8)),
            r"got uint8 of shape \(6, 6\); .*float\(\) / 255",
        ),
        (
            lambda: API.Pattern("x", "logo.png"),
            r"pattern x: pixels must be .*, got str; ss\.pattern\(name, shape\)",
        ),
        (lambda: API.pattern("s1", (28, 28)), r"shape must be \(channels, height, width\) .*got \(28, 28\)"),
        (
            lambda: API.audit(DATA, n_sees=3),
            r"an audit has no setting 'n_sees'; choose from model, target, patterns",
        ),
        (lambda: API.train(DATA, API.Plant(CORNER, 77, 1)), r"tiny has no class 77; choose 0 to 1"),
        (
            lambda: PREDICT_ANY(torch.zeros(2, 1, 5, 6)),
            r"trained on images of shape \(1, 6, 6\) .* \(1, 5, 6\)",
        ),
        (lambda: PREDICT_ANY("x"), r"images must be a tensor .* or an array .*, got str"),
        (
            lambda: API.accuracy(PREDICT, DATA.test.images * 1.0 + 9, [0] * 4),
            r"lie in \[0, 1\], got 9 to 9; divide",
        ),
    ],
)
def test_messages_say_what_to_give(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SpuriscopeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Settings:
    """Something to check."""

    n: int
    share: float = 0.5
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"


def test_what_is_right_passes_and_numbers_become_pythons_own() -> None:
    kept = checked(ConfigError)(Settings)
    assert kept is Settings
    for number in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)):
        made = Settings(number, share=number, names=("x",))  # type: ignore[arg-type]
        assert (type(made.n), made.n, type(made.share)) == (int, 3, int)
    for share in (0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)):
        assert type(Settings(1, share).share) is float  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Settings: n must be a whole number, got float 1.5"):
        Settings(1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="names must be a tuple of items that are a string, got tuple"):
        Settings(1, names=(1,))  # type: ignore[arg-type]
    assert inspect.signature(ss.accuracy).parameters.keys() == {"predict", "images", "labels"}


def test_a_missing_argument_stays_a_type_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'target'"):
        ss.predicted_share(PREDICT, DATA.test.images)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'target'"):
        ss.predicted_share(None, DATA.test.images)  # type: ignore[call-arg, arg-type]


def test_measures_take_arrays_with_channels_last(tmp_path: Path) -> None:
    """The same pictures as a tensor and as an array give the same numbers, and reach `predict` as tensors."""
    pixels = torch.randint(256, (5, 3, 7, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = ss.pattern("r3", (3, 7, 9), seed=0)
    labels = torch.tensor([0, 1, 0, 1, 1])
    weights = torch.randn(3 * 7 * 9, 2, generator=torch.Generator().manual_seed(1))

    def predict(images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1:] == (3, 7, 9)
        return (images.float().flatten(1) @ weights).softmax(dim=1)

    for array in (
        pixels.permute(0, 2, 3, 1).numpy(),
        pixels.permute(0, 2, 3, 1).numpy() / 255,
        pixels.numpy(),
    ):
        assert ss.spurious_score(predict, array, picture, 1) == ss.spurious_score(predict, pixels, picture, 1)
        assert ss.accuracy(predict, array, labels.tolist()) == ss.accuracy(predict, pixels, labels)
        assert ss.empirical_norm(array, picture) == pytest.approx(ss.empirical_norm(pixels, picture))
        torch.testing.assert_close(picture.apply(array), picture.apply(pixels))


def test_predict_of_a_model_takes_arrays_and_tensors() -> None:
    images = torch.randint(256, (3, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = MODEL.predict(images)
    for same in (images[:, 0].numpy(), images.permute(0, 2, 3, 1).numpy(), images[:, 0].numpy() / 255.0):
        torch.testing.assert_close(MODEL.predict(same), found)
    torch.testing.assert_close(MODEL.predict(images.permute(0, 2, 3, 1)), found)


def test_a_pattern_may_be_an_array() -> None:
    array = np.random.RandomState(0).rand(6, 5, 3)
    expected = torch.from_numpy(array.transpose(2, 0, 1).astype(np.float32))
    assert torch.equal(API.Pattern("x", array).pixels, expected)
    assert torch.equal(API.Pattern("x", array[..., 0]).pixels, expected[:1])


@pytest.mark.parametrize("make", [str, Path])
def test_a_string_does_wherever_a_path_does(make: Callable[[Path], Any], tmp_path: Path) -> None:
    run = ss.Run(MODEL, None, "digits", None)
    ss.save_run(make(tmp_path / "run"), run)
    assert ss.load_run(make(tmp_path / "run")).model.cell == MODEL.cell
    MODEL.save(make(tmp_path / "model"))
    assert ss.load_model(make(tmp_path / "model")).cell == MODEL.cell
    assert ss.load("digits", root=make(tmp_path)).name == "digits"
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with pytest.raises(SpuriscopeError, match="there is no"):
        ss.load_onnx(make(tmp_path / "x.onnx"))


def test_every_path_of_a_public_function_may_be_a_string() -> None:
    """No annotation of a public function says Path alone."""
    for name in ss.__dir__():
        function = getattr(ss, name)
        if inspect.isfunction(function):
            for parameter in inspect.signature(function).parameters.values():
                words = str(parameter.annotation)
                assert "Path" not in words or "str" in words, (name, parameter.name)


def test_classes_go_by_number_or_name() -> None:
    assert [DATA.label(target) for target in (1, np.int64(1), "dog", "1")] == [1] * 4
    digits = ss.ImageSet("turned", DATA.train, DATA.test, ("1", "0"))
    assert digits.label("1") == 0  # a name comes before a number
    for target, message in (
        ("emu", "tiny has no class 'emu'; choose one of cat, dog"),
        (2, "choose 0 to 1"),
        (None, "a class is a name or a whole number, got NoneType"),
    ):
        with pytest.raises(SpuriscopeError, match=message):
            DATA.label(target)  # type: ignore[arg-type]
    assert ss.plan_audit(DATA, target="dog", patterns=["s1"]).target == 1


def test_wrong_types_of_a_measure_are_measure_errors() -> None:
    with pytest.raises(MeasureError):
        ss.probabilities(PREDICT, None)  # type: ignore[arg-type]
