"""The pages: their code runs, and their links lead somewhere."""

import ast
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import spuriscope as ss
from spuriscope.cli import app
from spuriscope.models import ARCHITECTURES
from spuriscope.studies import Store, read_grid, run_study
from spuriscope.training import Trainer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.slow
@pytest.mark.usefixtures("own_plugins")
def test_the_examples_of_extending_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one module, as the page says; and its study."""
    path = tmp_path / "my_plugin.py"
    path.write_text("\n".join(blocks("extending.md", "python")), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    my_plugin = importlib.import_module("my_plugin")
    monkeypatch.setitem(sys.modules, "my_plugin", my_plugin)

    assert my_plugin.findings == []
    assert [cue.examples.tolist() for cue in my_plugin.cues] == [my_plugin.grainy.tolist()]
    seen = my_plugin.seen
    assert ss.discover(my_plugin.noticing.predict, train=seen.train, holdout=seen.test) == []
    (study,) = blocks("extending.md", "yaml")
    (tmp_path / "own.yaml").write_text(study)
    data = ss.load("noise")
    with Store(tmp_path / "store") as store:
        run_study(read_grid(tmp_path / "own.yaml").expand(data), data, store, Trainer("cpu", 1))
        measures = {row["measure"] for row in store.rows("own")}
    assert {name.partition("@")[0] for name in measures if "@" in name} == {
        "after_three-epochs",
        "largest-rise",
    }
    game = ss.Game(
        data=data, pattern=ss.pattern("stripe", data.shape), target=0, n_planted=1, model="tanh-net",
        recipe=ss.Recipe(epochs=0), n_models=6,
    )  # fmt: skip
    found = ss.attack_game(game, n_clean=1, attacks=["largest-logit"], n_workers=1)
    assert found.attacks[-1].name == "largest-logit"
    assert ARCHITECTURES.plugin("tanh-net") == "my_plugin"


PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.M)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`|^    .*$", "", FENCE.sub("", text), flags=re.M)


def anchors(page: Path) -> set[str]:
    """What links into a page may name: its headings, as Python-Markdown and GitHub make anchors of them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files that are there, headings that are there."""
    for found in LINK.findall(without_code(text_of(page))):
        target, _, anchor = "".join(found).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_on_the_pages_is_code(page: Path) -> None:
    """Python compiles, what it takes of `ss` is public, and commands have the options they are shown with."""
    for language, text in FENCE.findall(text_of(page)):
        if language == "python":
            used = {
                node.attr
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "ss"
            }
            assert used <= set(ss.__dir__()), used - set(ss.__dir__())
    shown = re.findall(r"^ *(spuriscope .*)$", text_of(page), re.M)
    for line in shown:
        check_command(line)


def check_command(line: str) -> None:
    """Parse a line that runs spuriscope, without running it."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["spuriscope"]:
        return
    command: Any = typer.main.get_command(app)
    words = words[1:]
    while hasattr(command, "commands"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - options
    assert not unknown, f"{line}: {unknown}"


def test_the_reference_has_every_command_and_every_public_name() -> None:
    hooks = runpy.run_path(str(DOCS / "site" / "hooks.py"))
    commands = hooks["command_reference"]()
    for name in ("audit", "train", "study run", "data list"):
        assert f"## spuriscope {name}\n" in commands
    assert "| `--plugin` | Import a module" in commands
    listed = {line.rpartition(".")[2] for line in hooks["api_reference"]().splitlines() if line[:3] == ":::"}
    assert listed | hooks["VALUES"] == set(ss.__dir__())


def test_the_menu_of_the_site_has_every_page() -> None:
    menu = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(menu) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
