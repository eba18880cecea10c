"""The pages: their code runs, and their links lead somewhere."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import spuriscope as ss
from spuriscope.models import ARCHITECTURES
from spuriscope.studies import Store, read_grid, run_study
from spuriscope.training import Trainer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.usefixtures("own_plugins")
def test_the_examples_of_extending_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one module, as the page says; and its study."""
    path = tmp_path / "my_plugin.py"
    path.write_text("\n".join(blocks("extending.md", "python")), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    my_plugin = importlib.import_module("my_plugin")
    monkeypatch.setitem(sys.modules, "my_plugin", my_plugin)

    assert my_plugin.findings == []
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
