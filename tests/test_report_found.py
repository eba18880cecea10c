"""The section on finding a cue without being told: found, found in part, not found, and false alarms."""

from spuriscope.report.found import found
from spuriscope.report.page import render
from spuriscope.report.verdicts import tiles
from test_report_document import make_discovery, make_document


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_what_was_found_is_counted_over_the_models() -> None:
    document = make_document()
    n = document["discovery"]["n_planted"]
    section = found(document)
    assert f"found {2 * n} of the {2 * n} images planted in 2 models, and accused no other image" in plain(
        section.claim
    )
    assert "On the clean twins it reported nothing" in section.claim
    tile = next(tile for tile in tiles(document) if tile.question == "Found again?")
    assert (tile.number, tile.word) == (f"{2 * n} of {2 * n}", "fine")
    page = render(document)
    assert "Has the model picked one up?" in page
    assert "training image 100" in page


def test_a_finding_on_a_twin_is_called_false() -> None:
    document = make_document()
    picture = document["dose_response"][0]["picture"]
    document["discovery"] = make_discovery("r3", 3, picture, n_on_twins=1)
    assert "On the clean twins it reported 2 findings, all false" in found(document).claim
    tile = next(tile for tile in tiles(document) if tile.question == "Found again?")
    assert tile.word == "watch"


def test_without_a_finding_it_is_said_what_could_be_seen() -> None:
    document = make_document()
    picture = document["dose_response"][0]["picture"]
    document["discovery"] = make_discovery("r3", 3, picture, n_found=0)
    section = found(document)
    assert section.panels == ()
    assert section.gallery is None
    assert "No finding. Searched were all 1,437 training images" in plain(section.caption)
    assert "cannot be seen" in section.caption
    tile = next(tile for tile in tiles(document) if tile.question == "Found again?")
    assert (tile.number, tile.word) == ("0 of 6", "act")
    assert "What the first card rests on" not in render(document)
