"""A finished model is asked what needs no training: a run, a function, a file; and says what is not asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spuriscope.adapters.stored import state_dict_module
from spuriscope.auditing import audit_model, load_audit
from spuriscope.cli import app
from spuriscope.data import ImageSet
from spuriscope.errors import CheckpointError, PatternError
from spuriscope.measures import spurious_score
from spuriscope.patterns import pattern
from spuriscope.report.front import headline
from spuriscope.report.page import render
from spuriscope.report.verdicts import tiles
from spuriscope.training import Recipe, TrainedModel, train
from test_audit_cases import carrying

pytestmark = pytest.mark.usefixtures("_faint_pictures")

DATA, ((*MARKED,),) = carrying(1)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return train(DATA, model="small-mlp", recipe=Recipe(epochs=40))


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_a_model_of_ours_is_searched_and_its_cue_proved(model: TrainedModel) -> None:
    told: list[Any] = []
    answers = audit_model(model, DATA, patterns=["s3", "r3"], on_progress=told.append)
    assert answers.already is not None
    cue, *others = answers.already.cues  # the proven ones come first
    assert set(cue.cue.examples) <= set(MARKED)
    assert cue.is_proven == "proven"
    assert "proven" not in {other.is_proven for other in others}
    assert plain(headline(answers)).startswith(
        f"Yes, there is a cue in your data: {len(cue.cue.examples)} images"
    )
    assert {each.question for each in answers.unanswered} == {
        "picked_up", "found_again", "membership", "canaries", "deletion",
    }  # fmt: skip
    for reaction in answers.reactions:
        fresh = DATA.test.images[DATA.test.labels != reaction.target]
        stamp = pattern(reaction.pattern, DATA.shape)
        asked = [
            spurious_score(model.predict, DATA.test.images[DATA.test.labels != label], stamp, label)
            for label in range(3)
        ]
        assert reaction.score == max(asked)
        assert reaction.n_asked == len(fresh)
    page = render(answers)
    assert "How does it take to patterns?" in page
    assert "a finished model was given: audit the data themselves" in page
    assert told[-1].share == pytest.approx(1)


def test_of_a_function_nothing_is_proved(model: TrainedModel) -> None:
    answers = audit_model(model.predict, DATA, name="mine", patterns=[])
    assert answers.already is not None
    assert {(cue.is_proven, cue.score_without) for cue in answers.already.cues} == {("not tried", None)}
    assert any(set(cue.cue.examples) <= set(MARKED) for cue in answers.already.cues)
    assert plain(headline(answers)).startswith("There may be a cue in your data")
    assert tiles(answers)[0].word == "watch"
    assert (answers.reactions, answers.conditions.settings.target) == ((), None)
    assert "spuriscope audit of three, mine" in render(answers)


def test_a_model_that_knows_nothing_or_other_data_is_told(model: TrainedModel) -> None:
    answers = audit_model(lambda images: torch.full((len(images), 3), 1 / 3), DATA)
    assert answers.conditions.quality is not None
    assert answers.conditions.quality.is_near_chance
    assert plain(headline(answers)).startswith("These models learnt nothing")
    other = ImageSet("other", DATA.test, DATA.train, DATA.class_names)
    with pytest.raises(CheckpointError, match="the model was trained on three with fingerprint"):
        audit_model(model, other)
    with pytest.raises(PatternError, match="r9"):
        audit_model(model, DATA, patterns=["r9"])


@pytest.fixture
def saved(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data and the weights in files of the current folder; the options that say what they are."""
    monkeypatch.chdir(tmp_path)
    np.savez(
        "three.npz",
        train_images=DATA.train.images[:, 0].numpy(),
        train_labels=DATA.train.labels.numpy(),
        test_images=DATA.test.images[:, 0].numpy(),
        test_labels=DATA.test.labels.numpy(),
    )
    torch.save(model.module.state_dict(), "mine.pt")
    return ["--model", "small-mlp"]


def told(*arguments: str) -> str:
    """What a command that ends well prints, or the message of its error."""
    done = CliRunner().invoke(app, list(arguments))
    return plain(done.stdout) if done.exit_code == 0 else str(done.exception)


def test_the_command_takes_a_file_and_refuses_what_needs_training(saved: list[str], tmp_path: Path) -> None:
    asked = ["audit", "three.npz", "--run", "mine.pt", *saved, "--pattern", "s3"]
    assert "There may be a cue in your data" in told(*asked, "--out", "page")
    answers = load_audit(tmp_path / "page")
    assert answers.already is not None
    assert any(set(cue.cue.examples) <= set(MARKED) for cue in answers.already.cues)
    assert "leave out --epochs" in told(*asked, "--epochs", "3")
    assert "leave out --fit" in told(*asked, "--fit", "mine:fit")
    assert "name it with --run" in told("audit", "three.npz", "--mean", "0.5")
    assert "--quick or --thorough, not both" in told("audit", "three.npz", "--quick", "--thorough")
    assert "written as 90s, 10m or 2h; got 'soon'" in told("audit", "three.npz", "--time-limit", "soon")
    assert "a fit is written package.module:function, got 'mine'" in told(
        "audit", "three.npz", "--fit", "mine"
    )
    assert "cannot import the fit nowhere:fit" in told("audit", "three.npz", "--fit", "nowhere:fit")


def test_weights_are_mended_of_what_a_search_finds(
    saved: list[str], model: TrainedModel, tmp_path: Path
) -> None:
    said = told("forget", "mine.pt", "--data", "three.npz", *saved, "--out", "mended.safetensors", "--json")
    found = json.loads(said)
    cue = next(cue for cue in found["cues"] if set(cue["examples"]) <= set(MARKED))
    assert cue["after"] < 0.7 * cue["before"]
    assert found["clean_accuracy"] > found["clean_accuracy_before"] - 0.05
    module = state_dict_module(
        tmp_path / "mended.safetensors", architecture="small-mlp", shape=DATA.shape, n_classes=3
    )
    weights = [parameter.detach() for parameter in module.parameters()]
    old = [parameter.detach() for parameter in model.module.parameters()]
    assert not all(torch.equal(new, before) for new, before in zip(weights, old, strict=True))
    assert "say what mine.pt was trained on" in told("forget", "mine.pt", *saved)
    assert "--oracle is for a run, and mine.pt is a file of weights" in told(
        "forget", "mine.pt", "--data", "three.npz", *saved, "--oracle"
    )
    Path("mine.onnx").write_bytes(b"")
    assert "mine.onnx cannot be trained on; give its weights" in told(
        "forget", "mine.onnx", "--data", "three.npz"
    )


def test_weights_forget_images_that_are_named(saved: list[str], tmp_path: Path) -> None:
    """Nothing is looked for then; the images are less the model's own afterwards."""
    given = ["forget", "mine.pt", "--data", "three.npz", *saved, "--images", "0,1,2"]
    found = json.loads(told(*given, "--method", "ascent", "--out", "new.safetensors", "--json"))
    assert (found["images"], found["cues"], found["method"]) == ([0, 1, 2], [], "ascent")
    assert found["confidence"] < found["confidence_before"]
    assert (tmp_path / "new.safetensors").is_file()
    assert "ascent: 3 images; mean probability of their own class" in told(*given, "--method", "ascent")
    assert "retrain must know how a model was trained" in told(*given, "--method", "retrain")
    assert "has no training image 999999" in told(*given[:-1], "999999", "--method", "ascent")
