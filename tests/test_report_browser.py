"""The page as a browser shows it. Skipped where there is no Chromium."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spuriscope.answers import Audit
from spuriscope.report.page import render
from test_audit_shadows import attacked, made
from test_report_document import make_audit

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONG = [f"class_{k}_{'with_a_name_without_any_space_' * 3}" for k in range(100)]
DOCUMENTS: dict[str, Callable[[], Audit]] = {
    "usual": lambda: make_audit(strengths={"s1": 0.1, "s3": 0.4, "r3": 0.9}, n_examples=4),
    "long names": lambda: make_audit(
        strengths={"a_pattern_from_a_file_with_a_very_long_name_indeed": 0.9},
        class_names=LONG,
        n_examples=4,
        command="spuriscope audit " + "a-folder/" * 30,
    ),
    "large images": lambda: make_audit(shape=(3, 224, 224), n_examples=4, n_seeds=1, command=None),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip("no chromium in PATH or at /usr/bin/chromium")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=DOCUMENTS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(DOCUMENTS[request.param]()), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The page, opened; closing it checks that it asked for nothing else and complained of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]


def test_the_page_fits_windows_of_every_width(page: Any) -> None:
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for is_open in (False, True):
            page.eval_on_selector_all(
                "details", f"all => all.forEach(one => one.open = {str(is_open).lower()})"
            )
            assert page.evaluate("document.documentElement.scrollWidth") == width
        bars = page.eval_on_selector_all(".bars", "all => all.map(one => one.getBoundingClientRect().width)")
        assert min(bars) >= 100
        heading = page.locator("h1").bounding_box()
        assert heading["y"] < 200
        assert heading["x"] + heading["width"] <= width


def test_all_pictures_are_decoded_and_scaled_by_whole_numbers(page: Any) -> None:
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(one => [one.naturalWidth, one.width, one.closest('.inline') !== null])"
    )
    assert len(sizes) >= 8
    for natural, displayed, is_inline in sizes:
        assert natural > 0
        assert is_inline or displayed % natural == 0 or natural % displayed == 0


def test_fold_outs_open(page: Any) -> None:
    more = page.locator("#pick-up details.more")
    assert not more.locator("table").first.is_visible()
    more.locator("summary").click()
    assert more.locator("table").first.is_visible()


def test_dark_mode_changes_page_and_figures(page: Any) -> None:
    def colours() -> Any:
        return page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('.chart text')).fill]"
        )

    light = colours()
    page.emulate_media(color_scheme="dark")
    dark = colours()
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_text_in_figures_is_large_enough_to_read(page: Any) -> None:
    page.eval_on_selector_all("details.body", "all => all.forEach(one => one.open = true)")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        heights = page.eval_on_selector_all(
            ".chart text", "all => all.map(one => one.getBoundingClientRect().height)"
        )
        assert min(heights) >= 11


def test_print_shows_the_fold_outs(page: Any) -> None:
    page.emulate_media(media="print")
    assert page.locator("#pick-up details.more table").first.is_visible()


def test_the_page_plays(page: Any) -> None:
    """More planted and a harder stamp raise the bar; the picture and the answer follow."""
    play = page.locator("#play")
    assert play.is_visible()

    def choose(name: str, value: str) -> None:
        page.locator(f"#play-{name}").evaluate(
            "(one, value) => { one.value = value; one.dispatchEvent(new Event('input')); }", value
        )

    choose("count", "0")
    assert page.locator("#play-target").inner_text() == "0 %"
    choose("count", "1000")  # the largest there is
    largest = int(page.locator("#play-target").inner_text().split()[0])
    assert largest >= 50
    choose("strength", "1")
    assert page.locator("#play-share").inner_text() == "50 %"
    assert int(page.locator("#play-target").inner_text().split()[0]) < largest
    choose("strength", "0")
    assert page.locator("#play-target").inner_text() == "0 %"
    assert page.locator("#play-says").inner_text() != ""


def test_without_scripts_the_page_is_complete(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("h1").is_visible()
    assert not page.locator("#play").is_visible()
    context.close()


def test_a_phone_folds_the_sections(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    summary = page.locator("#pick-up details.body > summary").first
    assert summary.is_visible()
    panels = page.locator("#pick-up .panels")
    assert not panels.is_visible()
    folded = page.evaluate("document.documentElement.scrollHeight")
    assert folded < 9000
    summary.click()
    assert panels.is_visible()
    page.set_viewport_size({"width": 1280, "height": 900})
    assert not summary.is_visible()
    assert page.locator("#gone .panels").is_visible()


def test_who_can_be_recognised_in_a_finished_model_fits_a_phone(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(attacked(made(rate=0.08, p_value=1e-6, auc=0.6))), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".tile.act .number").last.is_visible()
        sizes = page.eval_on_selector_all("#recognised .maps img", "all => all.map(one => one.width)")
        assert min(sizes) >= 28
    page.close()
