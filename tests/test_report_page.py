"""The page: its first sentence, its numbers, what it makes of odd documents, and that it stands alone."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spuriscope.answers import Audit, Unanswered
from spuriscope.report.drawing import place
from spuriscope.report.page import render
from spuriscope.report.verdicts import tiles
from spuriscope.report.weight_maps import outline
from test_report_document import make_audit, put, usual_page

HOSTILE = '<script>alert("1")</script> & $x$ {{ 7 * 7 }}'
LONG = [f"a class with a long name, number {k}, {'very ' * 8}long" for k in range(100)]

VOID = {"meta", "link", "img", "br", "input"}


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed, in order; collects text, attributes and ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.found if name in attributes]


def test_the_first_screen_shows_the_numbers_of_the_audit() -> None:
    audit = make_audit()
    assert audit.picked_up is not None
    line = audit.picked_up.headline
    text = Reader(usual_page()).text
    assert line.n_planted == 3
    assert (
        "No cue was found in your 1,437 training images; a mark such as r3 on 3 of them would have been."
        in text
    )
    assert f"it moved {line.score.mean * 100:.0f} % of them towards ‘0’" in text
    low, high = (f"{end * 100:.0f}" for end in (line.score.low, line.score.high))
    assert f"95 % interval {low} % to {high} %; without any stamp 0 % in every seed" in text
    assert "> 99 %" in text  # an example's probability of 0.99998
    assert "twin, stamped 25 %" in text
    for value in ("4094" * 16, "1 min 16 s", "spuriscope audit digits", "torch 2.13.0"):
        assert value in text


def test_every_number_of_a_training_is_in_a_table() -> None:
    audit = make_audit(strengths={"s3": 0.4}, counts=(1, 7), n_seeds=2)
    assert audit.picked_up is not None
    dose, text = audit.picked_up.dose_response[0], Reader(render(audit)).text
    for row in dose.cells:
        assert f"{row.score_non_target * 100:.0f}" in text
    assert f"s3 7 {dose.summary[2].score_non_target.mean * 100:.1f} %" in text


def test_a_question_without_an_answer_is_named_with_its_reason() -> None:
    late = Unanswered(question="deletion", reason="the time limit was reached before it was answered")
    audit = put(put(make_audit(), "deletion", None), "unanswered", (late,))
    text = Reader(render(audit)).text
    assert "Not answered How do I get rid of it? the time limit was reached" in text
    assert 'id="gone"' not in render(audit)


def test_tiles_have_the_titles_of_their_sections() -> None:
    audit = make_audit()
    page = usual_page()
    for tile in tiles(audit):
        assert f'<section id="{tile.anchor}">\n  <h2>{tile.question}</h2>' in page


EDGES: dict[str, tuple[Callable[[], Audit], str]] = {
    "one seed": (lambda: make_audit(n_seeds=1), "One training, so no interval."),
    "one pattern": (lambda: make_audit(strengths={"r3": 0.9}), "Planting r3 in "),
    "one count": (lambda: make_audit(counts=(5,)), "5 of the 143"),
    "one of all": (lambda: make_audit(strengths={"s1": 0.8}, counts=(1,), n_seeds=1), "1 of the 143"),
    "many counts": (lambda: make_audit(counts=(1, 2, 3, 4, 5, 6, 10, 20, 5000)), "5,000"),
    "colour": (lambda: make_audit(shape=(3, 32, 32)), "of 3 × 32 × 32"),
    "64 pixels": (lambda: make_audit(shape=(3, 64, 64)), "all 4,096 pixels"),
    "224 pixels": (lambda: make_audit(shape=(3, 224, 224)), "25 of 50,176 pixels"),
    "two classes": (lambda: make_audit(class_names=("cat", "dog"), n_examples=1), "‘cat’"),
    "long names": (lambda: make_audit(class_names=LONG), LONG[0]),
    "no weights": (lambda: make_audit(has_weights=False), "How sure"),
    "no examples": (lambda: make_audit(n_examples=0), "How sure"),
    "nothing": (
        lambda: make_audit(strengths={"s3": 0.0, "r3": 0.03}),
        "None of the 2 patterns moved half",
    ),
    "one, nothing": (
        lambda: make_audit(strengths={"s3": 0.0}),
        "did not move half",
    ),
    "twin moved": (lambda: make_audit(twin_share=0.7), "cannot tell what was learnt from planting"),
    "from Python": (lambda: make_audit(command=None), "answers = ss.audit(ss.plan_audit("),
    "hostile names": (
        lambda: make_audit(strengths={HOSTILE: 0.9}, class_names=(HOSTILE, "b", "c"), command=HOSTILE),
        HOSTILE,
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_any_document_gives_a_page(name: str) -> None:
    make, expected = EDGES[name]
    page = render(make())
    reader = Reader(page)
    assert expected in reader.text
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", reader.text.replace("None of the", ""))
    assert len(page) < 3_000_000
    ids = reader.attributes("id")
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert reference in ids
    scripts = [attributes for tag, attributes in reader.found if tag == "script"]
    assert len(scripts) == (2 if make().picked_up.player else 0)  # type: ignore[union-attr]
    assert not any("src" in attributes for attributes in scripts)
    for tag, attributes in reader.found:
        if tag == "img" or attributes.get("role") == "img":
            assert attributes.get("alt") or attributes.get("aria-label")


def test_a_users_names_are_text() -> None:
    page = render(EDGES["hostile names"][0]())
    assert page.count("<script") == 2  # ours
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;") > 5


def test_the_same_audit_gives_the_same_page() -> None:
    """In another process, too, where sets have another order."""
    code = "from test_report_document import usual_page; import hashlib; "
    code += "print(hash('s3'), hashlib.sha256(usual_page().encode()).hexdigest())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={
            "PYTHONPATH": ":".join(sys.path),
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    order, digest = run.stdout.split()
    assert int(order) != hash("s3")
    assert digest == hashlib.sha256(usual_page().encode()).hexdigest()


def test_the_page_leaves_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"xtick.major.pad": 30, "font.size": 30}):
        changed = render(make_audit())
    assert changed == usual_page()
    assert dict(matplotlib.rcParams) == before


def test_the_page_needs_nothing_from_elsewhere() -> None:
    reader = Reader(usual_page())
    links = [value for value in reader.attributes("href") if not value.startswith("#")]
    assert sorted(links) == ["audit.json", "data:,", "https://arxiv.org/abs/2202.05189"]
    assert all(source.startswith("data:image/png;base64,") for source in reader.attributes("src"))
    outside = re.findall(r"(?:https?:)?//[\w.]+", usual_page())
    assert outside == ["https://arxiv.org"]
    assert "@import" not in usual_page()


def test_the_script_is_the_one_that_the_page_allows() -> None:
    page = usual_page()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    assert "script-src" not in render(make_audit(n_examples=0))


def test_figures_take_the_colours_of_the_page() -> None:
    page = usual_page()
    drawn = "".join(re.findall(r'<svg class="chart".*?</svg>', page, re.S))
    assert "var(--target)" in drawn
    assert "var(--warning)" in drawn
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)


def test_importing_the_page_imports_neither_matplotlib_nor_jinja() -> None:
    code = (
        "import sys, spuriscope.report.page; print([m for m in ('matplotlib', 'jinja2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_section_is_there_only_when_its_answer_is() -> None:
    assert "Where the model looks" in usual_page()
    assert "Where the model looks" not in render(make_audit(has_weights=False))


def test_zero_has_a_place_on_the_logarithmic_axis() -> None:
    assert place(0) < place(1) < place(3)
    assert place(100) - place(10) == pytest.approx(place(10) - place(1))


def test_an_outline_runs_around_the_pixels() -> None:
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, :2] = True
    assert sorted(re.findall(r"M[^M]+", outline(mask))) == sorted(
        ["M0 0h1", "M1 0h1", "M0 1h1", "M1 1h1", "M0 0v1", "M2 0v1"]
    )
