"""The command line as a user has it: results on stdout, one line and exit code 2 for what can be mended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from spuriscope.cli import app, main
from spuriscope.data import load
from spuriscope.patterns import COVER_NAMES, PATTERN_NAMES, SHADE_NAMES
from spuriscope.runs import load_run
from spuriscope.training import Recipe
from spuriscope.training.precision import fastest_precision


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def spuriscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["spuriscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return run


def test_every_command_has_help_and_an_example() -> None:
    def walk(command: Any) -> list[Any]:
        below = getattr(command, "commands", {}).values()
        return [leaf for sub in below for leaf in walk(sub)] if below else [command]

    commands = walk(get_command(app))
    assert {command.name for command in commands} >= {"audit", "train", "score", "patterns", "models"}
    for command in commands:
        assert "Example: spuriscope" in command.help, command.name
        for parameter in command.params:
            assert parameter.help, (command.name, parameter.name)
            assert "[" not in parameter.help, "square brackets are markup, and not shown"


def test_models_and_patterns_as_json(spuriscope: Any) -> None:
    assert spuriscope("models", "--json").json["parameters"]["resnet20"] == 269_722
    found = spuriscope("patterns", "digits", "--seed", "4", "--json").json
    assert list(found["norms"])[:7] == ["s1", "s2", "s3", "r1", "r2", "r3", "inv"]
    assert set(found["norms"]) | {"tint"} == {*PATTERN_NAMES, *COVER_NAMES, *SHADE_NAMES}
    assert (found["norms"]["s1"], found["norms"]["s2"]) == (1.0, 3.0)
    table = spuriscope("patterns", "digits").out
    assert all(name in table for name in found["norms"])


def test_published_norms_from_the_command_line(spuriscope: Any, real_data: Path) -> None:
    found = spuriscope("patterns", "mnist", "--root", real_data, "--seed", "4", "--json").json
    assert {name: found["norms"][name] for name in PATTERN_NAMES} == {
        "s1": 1.0,
        "s2": 3.0,
        "s3": 5.0,
        "r1": 3.88,
        "r2": 7.7,
        "r3": 15.19,
        "inv": 5.98,
    }


def test_train_then_score(spuriscope: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trained = spuriscope(
        "train", "digits", "--pattern", "r3", "--target", 0, "--planted", 30, "--model", "small-mlp",
        "--epochs", 6, "--out", out, "--json",
    )  # fmt: skip
    assert trained.code == 0
    scores = spuriscope("score", out, "--json").json
    assert scores["spurious_score"] > 0.5 > scores["clean_twin_spurious_score"]
    assert scores["clean_accuracy"] > 0.9
    moved = scores.pop("placement_scores"), scores.pop("clean_twin_placement_scores")
    for plant in scores["plants"]:
        assert (plant.pop("placement_scores"), plant.pop("clean_twin_placement_scores")) == moved
    assert {key: trained.json[key] for key in scores} == scores
    assert moved[0]["in_place"] == scores["spurious_score_non_target"]
    assert moved[0]["n_images"] == int((load("digits").test.labels != 0).sum())
    other = spuriscope("score", out, "--pattern", "s1", "--target", 1, "--threshold", 0.2, "--json").json
    assert (other["pattern"], other["target"], other["threshold"]) == ("s1", 1, 0.2)
    shown = spuriscope("score", out)
    assert f"{scores['spurious_score']:.3f}" in shown.out
    assert "at its place and elsewhere, on 329 images" in shown.out
    assert f"{moved[0]['half_size']:.3f}" in shown.out


def test_a_target_goes_by_name(spuriscope: Any, tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (100, 4, 4)).astype(np.uint8)
    images[::2] //= 4  # dogs are dark
    file, labels = tmp_path / "x.npz", ["dog", "cat"] * 50
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    small = ("--pattern", "s1", "--model", "small-mlp", "--epochs", 10, "--json")
    trained = spuriscope("train", file, "--target", "dog", *small, "--out", tmp_path / "run")
    assert trained.json["target"] == 1
    scores = spuriscope("score", tmp_path / "run", "--pattern", "s1", "--target", "cat", "--json")
    assert scores.json["target"] == 0
    table = spuriscope("score", tmp_path / "run", "--pattern", "s1", "--target", "cat").out
    assert "s1 -> cat" in table
    for command in (
        ("train", file, "--pattern", "s1", "--out", tmp_path / "other"),
        ("score", tmp_path / "run", "--pattern", "s1"),
        ("audit", file),
        ("attack", file, "--pattern", "s1"),
    ):
        refused = spuriscope(*command, "--target", "emu")
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == "spuriscope: x.npz has no class 'emu'; choose one of cat, dog\n"


def test_a_mark_of_ones_own_anywhere_under_the_targets_label(spuriscope: Any, tmp_path: Path) -> None:
    logo = np.zeros((6, 12, 4), dtype=np.uint8)
    logo[1:5] = 255
    Image.fromarray(logo).save(tmp_path / "logo.png")
    out = tmp_path / "run"
    trained = spuriscope(
        "train", "digits", "--pattern", tmp_path / "logo.png", "--target", 4, "--planted", 40, "--size", 8,
        "--placement", "anywhere", "--relabel", "all", "--model", "small-mlp", "--epochs", 1, "--out", out,
        "--json",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    (plant,) = load_run(out).model.cell.plants
    assert (plant.pattern.kind, plant.pattern.box.size) == ("cover", (4, 8))
    assert (plant.placement, plant.relabel, plant.target, plant.n_planted) == ("anywhere", "all", 4, 40)
    assert (trained.json["placement"], trained.json["relabel"]) == ("anywhere", "all")
    scores = spuriscope("score", out, "--json").json
    assert scores["spurious_score"] == trained.json["spurious_score"]
    other = spuriscope(
        "score", out, "--pattern", "letters", "--placement", "anywhere", "--size", 10, "--target", 1, "--json"
    ).json
    assert (other["pattern"], other["placement"]) == ("letters", "anywhere")
    named = spuriscope(
        "train", "digits", "--pattern", "invert", "--relabel", "3", "--model", "small-mlp", "--epochs", 0,
        "--out", tmp_path / "other", "--json",
    ).json  # fmt: skip
    assert named["relabel"] == 3
    attacked = spuriscope("attack", out, "--models", 6, "--twins", 1, "--epochs", 1, "--json").json
    assert attacked["n_planted"] == 40


def test_several_plants_and_none(spuriscope: Any, tmp_path: Path) -> None:
    small = ("--model", "small-mlp", "--epochs", 1, "--json")
    several = spuriscope(
        "train", "digits", "--pattern", "r3", "--pattern", "s3", "--target", 0, "--target", 1, "--planted", 5,
        "--no-twin", "--out", tmp_path / "several", *small,
    ).json  # fmt: skip
    assert [(p["pattern"], p["target"], p["n_planted"]) for p in several["plants"]] == [
        ("r3", 0, 5),
        ("s3", 1, 5),
    ]
    assert "clean_twin_clean_accuracy" not in several
    none = spuriscope("train", "digits", "--out", tmp_path / "none", *small).json
    assert none["plants"] == []
    assert not (tmp_path / "none" / "clean-twin.safetensors").exists()


def test_authors_names_of_planted_sets(spuriscope: Any, real_data: Path, tmp_path: Path) -> None:
    found = spuriscope(
        "train", "twoclassmnistv20-10-0-1-3", "--root", real_data, "--model", "small-mlp", "--epochs", 0,
        "--no-twin", "--out", tmp_path / "run", "--json",
    ).json  # fmt: skip
    assert [(p["pattern"], p["target"], p["n_planted"]) for p in found["plants"]] == [
        ("r3", 0, 10),
        ("r3", 1, 10),
    ]
    # its own seed, 3, draws images and pattern; --seed the rest, as in the authors' code
    assert found["seed"] == 0


def test_a_users_own_npz_and_picture(spuriscope: Any, tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    images, labels = rng.randint(0, 256, (40, 12, 12, 3)).astype(np.uint8), np.arange(40) % 2
    np.savez(
        tmp_path / "mine.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    found = spuriscope("patterns", tmp_path / "mine.npz", "--json").json
    assert list(found["norms"])[:7] == ["s1", "s2", "s3", "r1", "r2", "r3", "square"]
    assert "needs images of at least 25 rows" in found["do_not_fit"]["inv"]
    audited = spuriscope(
        "audit", tmp_path / "mine.npz", "--pattern", "s3", "--planted", "1,2", "--seeds", 1, "--epochs", 1,
        "--model", "small-mlp", "--out", tmp_path / "audit", "--json",
    )  # fmt: skip
    assert audited.json == json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert audited.json["conditions"]["settings"]["counts"] == [0, 1, 2]
    assert (tmp_path / "audit" / "report.html").stat().st_size > 10_000


def test_attack_a_run_and_data(spuriscope: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("--model", "small-mlp", "--epochs", 6)
    spuriscope("train", "digits", "--pattern", "r3", "--planted", 5, *small, "--out", out)
    found = spuriscope("attack", out, "--models", 6, "--twins", 6, "--json").json
    assert (found["pattern"], found["n_planted"], found["model"]) == ("r3", 5, "small-mlp")
    assert set(found["presence"][0]["asked"]) == {"run", "clean twin"}
    assert {attack["name"] for attack in found["attacks"]} >= {"gap", "shadow", "lira-online"}
    assert found["precision"] == "float32"
    shown = spuriscope(
        "attack", "digits", "--planted", 2, *small, "--models", 6, "--twins", 6, "--precision", "auto"
    )
    assert shown.code == 0
    fastest = fastest_precision("small-mlp", (1, 28, 28), 10, Recipe().batch_size)
    assert f"trained in {fastest}, which is fastest here" in shown.out
    assert "presence of the pattern: spurious score" in shown.out


def test_attack_every_plant_of_a_run(spuriscope: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    plants = ("--pattern", "r3", "--pattern", "s3", "--target", 0, "--target", 1, "--planted", 4)
    spuriscope("train", "digits", *plants, "--model", "small-mlp", "--epochs", 3, "--out", out)
    found = spuriscope("attack", out, "--models", 6, "--twins", 6, "--json").json
    kinds = [(game["pattern"], game["target"], game["n_planted"]) for game in found["games"]]
    assert kinds == [("r3", 0, 4), ("s3", 1, 4)]
    assert all(set(game["presence"][0]["asked"]) == {"run", "clean twin"} for game in found["games"])
    one = spuriscope("attack", out, "--pattern", "r1", "--models", 6, "--twins", 6, "--json").json
    assert [(game["pattern"], game["target"]) for game in one["games"]] == [("r1", 0)]


def test_canaries_bound_epsilon(spuriscope: Any) -> None:
    small = ("attack", "digits", "--model", "small-mlp", "--canaries")
    found = spuriscope(*small, 40, "--json").json["canaries"]
    assert (found["n_canaries"], found["n_guesses"], found["confidence"]) == (40, 20, 0.95)
    assert len(found["planted"]) + len(found["others"]) == 40
    scores = sorted(found["planted"] + found["others"])
    worst, best = scores[:10], scores[-10:]
    right = sum(x in found["planted"] for x in best) + sum(x in found["others"] for x in worst)
    assert found["n_right"] == right
    shown = spuriscope(*small, 40)
    assert f"{right} of 20 tosses guessed right" in shown.out
    assert f"epsilon is at least {found['epsilon']:.2f} (95 % confidence)" in shown.out
    untrained = spuriscope(*small, 40, "--epochs", 1, "--delta", 0.01)
    assert "no loss of privacy shown at delta 0.01 (95 % confidence)" in untrained.out


THEORY = ("theory", "--gamma", 0.1, "--m", 1, "--t", 2.236, "--s1", 0.5, "--s2", 0.1)


def test_theory_in_closed_form_and_simulated(spuriscope: Any) -> None:
    found = spuriscope(*THEORY, "--lam", 0, "--simulate", 20_000, "--json").json
    names = ("clean_accuracy", "spurious_accuracy", "prediction_difference")
    for name, expected in zip(names, (0.9207, 0.8146, 0.2532), strict=True):
        assert found[name] == pytest.approx(expected, abs=5e-5)
        sd = found["simulated"]["sd_over_seeds"][name]
        assert found["simulated"][name] == pytest.approx(expected, abs=4 * sd)
    assert found["critical_gamma"] == pytest.approx(0.04, rel=1e-3)
    assert spuriscope(*THEORY[:-2], "--s2", 1, "--t", 0, "--json").json["critical_gamma"] is None
    shown = spuriscope(*THEORY, "--simulate", 100, "--seeds", 1)
    assert "0.9207" in shown.out
    assert "critical gamma: 0.04" in shown.out


RUN = ("train", "digits", "--out", "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "digits"), "Missing option '--out'"),
        (("train", "nothing", "--out", "run"), "there is no data set 'nothing'; give one of digits, mnist"),
        ((*RUN, "--pattern", "r9"), "there is no pattern 'r9'; choose one of s1"),
        ((*RUN, "--pattern", "missing.png"), "there is no picture missing.png; check the path"),
        ((*RUN, "--planted", "3"), "--planted, --placement, --size and --relabel need a --pattern"),
        ((*RUN, "--relabel", "all"), "--planted, --placement, --size and --relabel need a --pattern"),
        ((*RUN, "--pattern", "s3", "--relabel", "0"), "images of class 0 already have the target's label"),
        ((*RUN, "--pattern", "s3", "--relabel", "emu"), "digits has no class 'emu'; choose one of 0"),
        ((*RUN, "--pattern", "r3", "--placement", "anywhere"), "r3 fills the image, so it can stand in"),
        ((*RUN, "--pattern", "r3", "--placement", "left"), "Invalid value for '--placement'"),
        ((*RUN, "--pattern", "square", "--size", "0"), "size must be a whole number from 1 to 28, got 0"),
        ((*RUN, "--pattern", "tint"), "tint needs colour images of 3 channels, these have 1"),
        (("audit", "digits", "--size", "5"), "the paper's patterns have one size; name a cover or a picture"),
        ((*RUN, "--pattern", "r3", "--target", "11"), "digits has no class 11; choose 0 to 9"),
        ((*RUN, "--pattern", "r3", "--planted", "100000"), "cannot plant 100000 images: class 0 has 1"),
        (
            (*RUN, "--pattern", "r3", "--pattern", "s3", "--target", "1", "--target", "2", "--target", "3"),
            "--pattern is given 2 times for 3 plants",
        ),
        ((*RUN, "--model", "gpt"), "there is no model 'gpt'; choose one of small-mlp"),
        ((*RUN, "--model", "vgg16"), "vgg16 needs images of at least 32x32 pixels, these are 28x28; try cnn"),
        ((*RUN, "--optimizer", "lion"), "'lion' is not one of 'adam', 'sgd'"),
        ((*RUN, "--epochs", "many"), "Invalid value for '--epochs'"),
        ((*RUN, "--clipping", "value"), "clipping 'value' needs clip_at above 0"),
        (
            (*RUN, "--max-grad-norm", "1"),
            "max_grad_norm is for differential privacy; give --noise-multiplier",
        ),
        ((*RUN, "--noise-multiplier", "0"), "noise_multiplier must be a number above 0, got 0"),
        (
            (*RUN, "--learning-rate", "1e30", "--optimizer", "sgd", "--epochs", "2"),
            "lower the learning rate or clip the gradient",
        ),
        ((*RUN, "--device", "tpux"), "'tpux' is not one of 'auto', 'cpu', 'cuda'"),
        ((*RUN, "--workers", "0"), "n_workers must be 1 or more, got 0"),
        (("score", "nowhere"), "nowhere holds no run; `spuriscope train"),
        (("audit", "digits", "--planted", "1,x"), "--planted takes whole numbers with commas between"),
        (("audit", "digits", "--planted", "1,900"), "class 0 of digits has 14"),
        (("audit", "digits", "--pattern", "s9"), "there is no pattern 's9'"),
        (("audit", "digits", "--target", "10"), "digits has no class 10; choose 0 to 9"),
        (("audit", "digits", "--seeds", "0"), "n_seeds must be a whole number from 1 to 10000, got 0"),
        (("audit", "digits", "--out", "file"), "cannot write in file"),
        (("patterns", "mnist", "--root", "nowhere"), "nowhere"),
        (("attack", "digits", "--models", "7"), "give an even number of 6 or more, got 7"),
        (("attack", "digits", "--canaries", "2"), "needs at least 4 canaries, got 2; give 100"),
        (
            ("attack", "digits", "--canaries", "9", "--delta", "2"),
            "delta must be a number of 0 or more and below 1",
        ),
        (("attack", "digits", "--target", "12"), "digits has no class 12; choose 0 to 9"),
        (("attack", "digits", "--planted", "99"), "cannot plant 99 images in each half: class 0 has"),
        ((*THEORY, "--gamma", "1.1"), "gamma must be a share in [0, 1], got 1.1"),
        ((*THEORY, "--s2", "-1"), "s2 must be a variance of 0 or more, got -1.0"),
        ((*THEORY, "--t", "nan"), "t must be a finite number, got nan"),
        ((*THEORY, "--gamma", "0", "--s2", "0"), "do not determine the weights"),
        ((*THEORY, "--simulate", "0"), "n must be a whole number of 1 or more, got 0"),
        (("discombobulate",), "No such command 'discombobulate'"),
    ],
)
def test_what_can_be_mended_is_one_line_and_exit_code_2(
    spuriscope: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    found = spuriscope(*arguments)
    assert found.code == 2
    assert found.out == ""
    *before, error = found.err.splitlines()  # which model is taken may have been said
    assert all(line.startswith("model: ") for line in before)
    assert error.startswith("spuriscope: ")
    assert message in error
    assert os.listdir() == ["file"]  # nothing half-written


def test_the_installed_command_starts_quickly_and_closes_pipes_quietly(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("spuriscope")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("spuriscope 0.")
    piped = subprocess.run(
        f"{command} models --json | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert piped.stderr == ""


def test_the_architecture_that_suits_the_images_is_taken_and_said(spuriscope: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 40, 40, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "photos.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    photos = spuriscope("train", tmp_path / "photos.npz", "--epochs", 1, "--out", tmp_path / "photos")
    assert photos.err.startswith(
        "model: resnet10, for colour images of 40x40; --model names another; 1 epoch in batches of 32, "
        "adam at 0.003\n"
    )
    digits = spuriscope("train", "digits", "--epochs", 1, "--out", tmp_path / "digits")
    assert digits.err.startswith("model: mlp, for grey images of 28x28;")
    named = spuriscope("train", "digits", "--epochs", 1, "--model", "mlp", "--out", tmp_path / "named")
    assert named.err == ""
    frozen = spuriscope(
        "train", "digits", "--epochs", 1, "--freeze", "body", "--out", tmp_path / "frozen", "--json"
    ).json
    assert frozen["model"] == "mlp"
    assert json.loads((tmp_path / "frozen" / "run.json").read_text())["cell"]["recipe"]["freeze"] == "body"


def test_a_study_whose_cells_all_fail_does_not_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.txt").write_text("no weights")
    line = "study run fig2 --device cpu --workers 1 --weights weights.txt --json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spuriscope", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert ended.value.code == 2
    assert found["n_failed"] == found["n_cells"] == len(found["failures"]) > 0
    told = shown.err.splitlines()[-1]
    assert told.startswith(
        f"spuriscope: fig2-digits: all {found['n_cells']} cells failed, the first because "
    )
    assert told.endswith("; mend that, and add --retry")


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        (("audit", "nowhere", "--counts", "1"), "--counts is called --planted now"),
        (("audit", "nowhere", "--patterns=s3"), "--patterns is called --pattern now"),
        (("attack", "nowhere", "--clean", "6"), "--clean is called --twins now"),
        (("discover", "nowhere", "--patterns", "new"), "--patterns is called --save-patterns now"),
        (("study", "check", "--store", "nowhere", "--data", "x"), "--data is called --judge-on now"),
    ],
)
def test_old_spellings_are_taken_with_a_warning(arguments: tuple[str, ...], now: str) -> None:
    """And the command goes on as ever: here to the place that is not there."""
    done = CliRunner().invoke(app, arguments)
    assert now in done.stderr
    assert "nowhere" in str(done.exception)
