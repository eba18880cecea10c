"""The section on finding a cue without being told: found, found in part, not found, and false alarms."""

import re

import torch

from spuriscope.report import wording
from spuriscope.report.found import found
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri
from spuriscope.report.verdicts import tiles
from test_report_document import explained_image, make_discovery, make_document, usual_page


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_what_was_found_is_counted_over_the_models() -> None:
    document = make_document()
    n = document["discovery"]["n_planted"]
    section = found(document)
    assert f"found {2 * n} of the {2 * n} images planted in 2 models, and named no other image" in plain(
        section.claim
    )
    assert "On the clean twins it reported nothing" in section.claim
    tile = next(tile for tile in tiles(document) if tile.question == "Found again?")
    assert (tile.number, tile.word) == (f"{2 * n} of {2 * n}", "fine")
    page = usual_page()
    assert "Has the model picked one up?" in page
    assert "training image 100" in page


def test_a_finding_on_a_twin_is_not_called_false() -> None:
    document = make_document()
    picture = document["dose_response"][0]["picture"]
    document["discovery"] = make_discovery("r3", 3, picture, n_on_twins=1)
    assert "in which we planted nothing, it reported 2 findings: look at these" in found(document).claim
    assert "false" not in found(document).claim
    tile = next(tile for tile in tiles(document) if tile.question == "Found again?")
    assert tile.word == "watch"
    assert "2 findings, to be looked at, on clean twins" in tile.detail
    assert "false" not in tile.detail


def test_suspected_images_stand_beside_what_is_explained_and_what_is_left_over() -> None:
    document = make_document()
    gallery = found(document).gallery
    assert gallery is not None
    assert gallery.scale is not None
    assert gallery.scale.high == wording.percent(0.93)
    suspected, ordinary = gallery.triples
    assert [row.title for row in (*suspected.rows, *ordinary.rows)] == ["training image 100", "fresh image 4"]
    texts = [plain(each.text) for row in (*suspected.rows, *ordinary.rows) for each in row.pictures]
    assert texts == ["image", "explained", "left over 41 %", "image", "explained", "left over 5 %"]
    page = plain(usual_page())
    assert "an autoencoder that learnt from fresh images" in page
    for value in ("358 fresh images", "<td>8</td><td>300</td><td>32</td><td>0.005</td><td>0</td>", "0.0055"):
        assert value in page
    alts = re.findall(r'alt="([^"]*image (?:100|4)[^"]*)"', page)
    assert len(alts) == len(set(alts)) == 6


def test_without_an_autoencoder_the_suspected_images_stand_alone() -> None:
    """Too few fresh images, or a document of an older version."""
    document = make_document()
    document["discovery"]["embedding"] = None
    older = make_document()
    del older["discovery"]["embedding"]
    page = render(older)
    assert render(document) == page
    gallery = found(older).gallery
    assert gallery is not None
    assert gallery.pictures[-1].text == "training image 100"
    assert "autoencoder" not in page


def test_photographs_in_three_columns_fit_on_the_page() -> None:
    """Noise, which no PNG makes smaller: six suspected and two fresh images of 224 x 224 in colour."""
    document = make_document(shape=(3, 224, 224), n_examples=0)
    noise = data_uri(torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0)))
    images = [explained_image(k, noise, left_over_mean=0.1) for k in range(6)]
    document["discovery"]["searches"][0]["findings"][0]["images"] = images
    document["discovery"]["embedding"]["fresh"] = images[:2]
    assert len(render(document)) < 3_000_000


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
