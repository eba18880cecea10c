"""Verdicts on each data set and over the paper's, beside `check_claim`; the page of the project's rows."""

import json
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spuriscope.cli.studies import study_app
from spuriscope.errors import ConfigError
from spuriscope.studies.claims import CLAIMS, PAPER_DATA, check_claim, check_store
from spuriscope.studies.export import export
from spuriscope.studies.exported import ExportedFolder
from spuriscope.studies.results import read_results
from spuriscope.studies.verdict_page import PAGE, page_block, short_block, write_block, write_pages
from spuriscope.studies.verdicts import ClaimVerdicts, columns, figures, judge

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
R3, INV = "R3 is learnt from three", "Inv is learnt"


def write_rows(folder: Path, study: str, score: Mapping[int, float], n_seeds: int = 7) -> None:
    """Rows of S3, R3 and Inv, whose score with something planted is `score` of the target."""
    rows: list[dict[str, Any]] = []
    for pattern, target, n, seed in product(("s3", "r3", "inv"), score, (0, 3, 100), range(n_seeds)):
        labels = {"model": "mlp", "pattern": pattern, "target": target, "n_planted": n, "seed": seed}
        value = (score[target] if n else 0.0) + 0.001 * ((seed * 3 + n) % 5)
        rows += [
            {"cell": f"{labels}", **labels, "measure": measure, "value": value}
            for measure in ("score_non_target", "normalised_score")
        ]
    export(rows, folder / f"{study}.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path, "fig2-mnist", {0: 0.9, 1: 0.8})
    write_rows(tmp_path, "fig2-fashion-mnist", {0: 0.9, 1: 0.01})
    write_rows(tmp_path, "fig2-digits", {0: 0.9, 1: 0.9}, n_seeds=3)
    return tmp_path


def by_name(verdicts: list[ClaimVerdicts]) -> dict[str, ClaimVerdicts]:
    return {each.claim.name: each for each in verdicts}


def test_a_claim_is_judged_on_each_data_set_alone_and_over_the_papers(folder: Path) -> None:
    verdicts = judge(ExportedFolder(folder))
    r3 = by_name(verdicts)[R3]
    told = [(on.data, on.standing, on.n_seeds, on.study) for on in r3.on]
    assert told == [
        ("mnist", "holds", 7, "fig2-mnist"),
        ("fashion-mnist", "fails", 7, "fig2-fashion-mnist"),  # in one of its two targets
        ("cifar10", "not run", 0, None),
        ("digits", "not enough data", 3, "fig2-digits"),
    ]
    assert r3.standing == "fails"
    inv = by_name(verdicts)[INV]  # a claim about MNIST alone
    assert [(on.data, on.standing) for on in inv.on] == [("mnist", "holds"), ("digits", "not enough data")]
    assert inv.standing == "holds"
    assert by_name(verdicts)["natural contexts are learnt"].standing == "not run"
    assert columns(verdicts) == [*PAPER_DATA, "digits"]


def test_nothing_is_added_to_the_rules(folder: Path) -> None:
    """Alone and together they are what `check_claim` says of the same rows."""
    source = ExportedFolder(folder)
    found = {name: read_results(source, f"fig2-{name}") for name in ("mnist", "fashion-mnist", "digits")}
    verdicts = by_name(judge(source))
    for claim in (claim for claim in CLAIMS if claim.study == "fig2"):
        each = verdicts[claim.name]
        assert each.overall == check_claim(claim, found)
        for on in each.on:
            if on.study is not None:
                assert on.cases == check_claim(claim, found, [on.data]).cases
    assert [each.overall for each in judge(source)] == check_store(source)
    chosen = judge(source, ["fashion-mnist", "digits"])
    assert [each.overall for each in chosen] == check_store(source, ["fashion-mnist", "digits"])
    assert by_name(chosen)[INV].standing == "not enough data"  # on digits, for Fashion is not asked
    assert [on.data for on in by_name(chosen)[R3].on] == ["fashion-mnist", "digits"]


def test_the_figures_of_rows_are_those_of_their_studies_and_of_decided_claims(folder: Path) -> None:
    source = ExportedFolder(folder)
    names = figures(source, judge(source))
    assert {"fig2-mnist", "fig25-mnist", "fig25-digits"} <= set(names)
    assert not {"norms-mnist", "fig21-mnist", "fig4-mnist"} & set(names)  # nothing was measured for them
    assert len(names) == len(set(names))


def test_the_page_has_a_line_for_each_claim_and_a_section_for_each(folder: Path) -> None:
    (folder / "figures").mkdir()
    (folder / "figures" / "fig2-mnist-target-0.svg").touch()
    (folder / "figures" / "fig2-mnist-other-target-0.svg").touch()
    (folder / "told.md").write_text("See [rows](fig2-mnist.csv).")
    source = ExportedFolder(folder)
    page = page_block(source, judge(source), folder / "README.md")
    lines = [line for line in page.splitlines() if "](#r3-is-learnt-from-three)" in line]
    assert [line.rpartition(") |")[2] for line in lines] == [" **✓** 7 | **✗** 7 | – | ? 3 | ✗ |"]
    assert "- MNIST: **" in page
    section = page.partition(f"### {R3}\n")[2].partition("###")[0]
    assert "| MNIST | target 0 | ✓ holds | 0.9" in section
    assert "| Fashion | target 1 | ✗ fails |" in section
    assert "Over MNIST, Fashion-MNIST and CIFAR-10: **✗ fails**. Not run: CIFAR-10." in section
    assert "Judged on digits too, which the paper does not speak of here." in section
    assert re.findall(r'img src="([^"]+)"', section) == ["figures/fig2-mnist-target-0.svg"]
    assert "More: [told.md](told.md)." in section
    assert "`spuriscope study run fig4 --data nico` makes rows for it." in page
    assert page == page_block(ExportedFolder(folder), judge(source), folder / "README.md")
    short = short_block(judge(source), "page.md")
    assert f"| [{R3}](page.md#r3-is-learnt-from-three) | **✓** 7 | **✗** 7 | – | ? 3 |" in short
    assert "Adam above SGD" not in short


def test_what_stands_around_the_marks_stays(folder: Path) -> None:
    page, readme = folder / "page.md", folder / "docs" / "READ.md"
    page.write_text("# Mine\n<!-- verdicts -->\nstale words\n<!-- /verdicts -->\nand below\n")
    readme.parent.mkdir()
    readme.write_text("x <!-- verdicts in short --><!-- /verdicts in short --> y")
    source = ExportedFolder(folder)
    write_pages(source, judge(source), page, readme)
    written = page.read_text(encoding="utf-8")
    assert written.startswith("# Mine\n<!-- verdicts -->\n\n- MNIST")
    assert written.endswith("\n\n<!-- /verdicts -->\nand below\n")
    assert "stale words" not in written
    assert "(../page.md#inv-is-learnt)" in readme.read_text(encoding="utf-8")
    write_pages(source, judge(source), page, readme)
    assert page.read_text(encoding="utf-8") == written


def test_a_page_without_marks_is_refused_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in ("mine", "<!-- verdicts --> mine", "mine <!-- /verdicts -->"):
        page.write_text(text)
        with pytest.raises(ConfigError, match=r"no place for the verdicts; put the lines <!-- verdicts -->"):
            write_block(page, PAGE, "new")
        assert page.read_text() == text
    page.write_bytes(b"\xff<!-- verdicts --><!-- /verdicts -->")
    with pytest.raises(ConfigError, match="cannot write .*page.md"):
        write_block(page, PAGE, "new")
    with pytest.raises(ConfigError, match="cannot write"):
        write_block(tmp_path / "none" / "page.md", PAGE, "new")
    write_block(tmp_path / "new.md", PAGE, "new")
    assert "<!-- verdicts -->\n\nnew\n\n<!-- /verdicts -->" in (tmp_path / "new.md").read_text()


def test_the_command_judges_draws_and_writes_from_rows(folder: Path) -> None:
    def study(*arguments: str) -> Any:
        return CliRunner().invoke(study_app, [*arguments, "--rows", str(folder)])

    told = study("check").stdout
    assert f"{R3}: fails\n" in told
    assert "  on fashion-mnist alone: fails, 7 seeds\n" in told
    document = json.loads(study("check", "--json").stdout)
    claims = {claim["name"]: claim for claim in document["claims"]}
    assert claims[R3]["on"]["digits"] == {"verdict": "not enough data", "n_seeds": 3, "rows": "fig2-digits"}
    out = folder / "page.md"
    assert study("check", "--out", str(out)).stdout == f"{out}\n"
    assert "<!-- verdicts -->" in out.read_text(encoding="utf-8")
    drawn = study("draw", "all", "--out", str(folder / "figures"), "--format", "svg")
    assert {Path(line).suffix for line in drawn.stdout.splitlines()} == {".svg"}
    assert (folder / "figures" / "fig25-mnist-target-0.svg").is_file()
    refused = study("check", "--readme", str(out))
    assert isinstance(refused.exception, ConfigError)
    assert "give --out too" in str(refused.exception)


def test_the_projects_page_is_what_its_rows_say() -> None:
    """Not: mend the page. `make verdicts` writes both again."""
    source = ExportedFolder(RESULTS)
    verdicts = judge(source)
    page = page_block(source, verdicts, RESULTS / "README.md")
    assert page in (RESULTS / "README.md").read_text(encoding="utf-8"), "run make verdicts"
    drawn = {path.name for path in (RESULTS / "figures").iterdir()}
    for name in figures(source, verdicts):
        assert any(path.startswith(name) for path in drawn), f"{name} is not drawn; run make verdicts"
    short = short_block(verdicts, "docs/results/README.md")
    assert short in (ROOT / "README.md").read_text(encoding="utf-8"), "run make verdicts"
