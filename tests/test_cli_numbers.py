"""Every number that a command takes, on the command line as a user has it."""

import json
import sys
from inspect import unwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.main import get_command

from spuriscope.cli import app, main

# What a command needs besides the number in question. Files are not there: numbers are refused before.
NEEDED = {
    "audit": ["digits"],
    "train": ["digits", "--out", "run"],
    "score": ["run"],
    "discover": ["run"],
    "attack": ["digits"],
    "forget": ["run"],
    "theory": ["--gamma", "0.1", "--m", "1", "--t", "2", "--s1", "0.5", "--s2", "0.1"],
    "patterns": ["digits"],
    "prepare": ["photographs", "--out", "ready"],
    "run": ["fig2"],
    "verify": ["digits"],
}
FLOATS = ("nan", "inf", "-inf")
WHOLES = ("nan", "-1", str(10**30))


def parts(declared: Any) -> set[Any]:
    """The types that an annotation is made of, as `float` and `None` of `float | None`."""
    return {declared}.union(*map(parts, get_args(declared)))


def numbers(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str, str]]:
    """(path, option, value) for each number that a command or one below it takes, and each bad value."""
    below = getattr(command, "commands", {})
    found = [case for name, leaf in below.items() for case in numbers(leaf, (*path, name))]
    hints = get_type_hints(unwrap(command.callback)) if command.callback and not below else {}
    for parameter in command.params:
        declared = hints.get(parameter.name, str)
        bad = FLOATS if float in parts(declared) else WHOLES if int in parts(declared) else ()
        found += [(path, parameter.opts[0], value) for value in bad]
    return found


CASES = numbers(get_command(app))


def test_the_numbers_are_found() -> None:
    options = {(*path, option) for path, option, _ in CASES}
    assert {("discover", "--threshold"), ("theory", "--lam"), ("study", "run", "--workers")} < options
    assert len(options) >= 45
    assert {path[-1] for path, _, _ in CASES} == set(NEEDED)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_number_that_is_none_ends_the_command_in_one_line(
    case: tuple[tuple[str, ...], str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path, option, value = case
    monkeypatch.chdir(tmp_path)
    arguments = [*path, *NEEDED[path[-1]], f"{option}={value}"]
    monkeypatch.setattr(sys, "argv", ["spuriscope", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2, arguments
    assert out == ""
    assert err.startswith("spuriscope: ")
    assert option in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit", "digits", "--seeds", "100000000"), "n_seeds must be a whole number from 1 to 10000"),
        (("audit", "digits", "--threshold", "1"), "threshold must be a number above 0 and below 1, got 1"),
        (("attack", "digits", "--models", "4000000000"), "n_models must be a whole number from 0 to 999"),
        (("attack", "digits", "--canaries", "400000000"), "n_canaries must be a whole number from 0 to 1437"),
        (("attack", "digits", "--canaries", "9", "--delta", "1"), "delta must be a number of 0 or more and"),
        (
            ("prepare", "x", "--image-size", "9999999"),
            "image_size is a number of pixels, 1 to 1024, got 9999999",
        ),
        (
            ("theory", "--simulate", "9", "--seeds", "9999999"),
            "n_seeds must be a whole number from 1 to 10000",
        ),
        (("train", "digits", "--learning-rate", "-1"), "learning_rate must be a number of 0 or more, got -1"),
        (
            ("train", "digits", "--noise-multiplier", "-1"),
            "noise_multiplier must be a number above 0",
        ),
    ],
)
def test_a_number_out_of_its_range_ends_the_command_at_once(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = [part for part in NEEDED[arguments[0]] if part not in ("digits", "photographs")]
    before = ["data"] if arguments[0] == "prepare" else []
    monkeypatch.setattr(sys, "argv", ["spuriscope", *before, *arguments, *needed])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert f"spuriscope: {message}" in err.splitlines()[-1]


def test_what_a_command_prints_is_strict_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a cue there is no critical gamma: null, not Infinity."""
    arguments = ["theory", "--gamma", "0.1", "--m", "1", "--t", "0", "--s1", "0.5", "--s2", "0.1", "--json"]
    monkeypatch.setattr(sys, "argv", ["spuriscope", *arguments])
    with pytest.raises(SystemExit):
        main()

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(capsys.readouterr().out, parse_constant=refuse)["critical_gamma"] is None
