"""Would I have noticed: found, found in part, not found, not picked up, and images named besides."""

import pytest
import torch

from spuriscope.answers import Audit
from spuriscope.report import wording
from spuriscope.report.noticed import noticed
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri
from spuriscope.report.section import QUESTIONS, Section
from spuriscope.report.verdicts import Tile, tiles
from test_report_document import explained_image, make_audit, make_found_again, put, usual_page
from test_report_page import Reader


def section_of(audit: Audit) -> Section:
    assert audit.found_again is not None
    return noticed(audit, audit.found_again)


def tile_of(audit: Audit) -> Tile:
    return next(tile for tile in tiles(audit) if tile.question == QUESTIONS["noticed"])


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def with_searches(n_planted: int = 3, **how: object) -> Audit:
    audit = make_audit()
    assert audit.picked_up is not None
    picture = audit.picked_up.dose_response[0].picture
    found = make_found_again("r3", n_planted, picture, **how)  # type: ignore[arg-type]
    return put(audit, "found_again", found)  # type: ignore[no-any-return]


def test_what_was_found_is_counted_over_the_models() -> None:
    audit = make_audit()
    claim = plain(section_of(audit).claim)
    assert claim.startswith(
        "Yes: told nothing, the search found 6 of 6 images in 2 models with 3 each of r3."
    )
    assert "It named no other image." in claim
    assert (plain(tile_of(audit).number), tile_of(audit).word) == ("3 images", "fine")


def test_images_named_besides_are_to_be_looked_at_and_never_called_false() -> None:
    audit = with_searches(n_others=2)
    assert "It also named 2 images in which we planted nothing: look at them." in plain(
        section_of(audit).claim
    )
    assert "It also named 2 images: see below." in plain(tile_of(audit).detail)
    assert tile_of(audit).word == "watch"
    assert "false" not in Reader(render(audit)).text.replace("false alarms", "")


@pytest.mark.parametrize(
    ("how", "number", "word"),
    [
        ({"n_planted": 10}, "10 images", "fine"),
        ({"n_planted": 100}, "100 images", "watch"),
        ({"n_found": 0}, "not found", "act"),
        ({"n_found": 0, "score": 0.02}, "not found", "not known"),
    ],
    ids=["rare", "only many", "missed", "nothing to find"],
)
def test_the_word_follows_from_what_is_known(how: dict[str, int], number: str, word: str) -> None:
    tile = tile_of(with_searches(**how))
    assert (plain(tile.number), tile.word) == (number, word)


def test_suspected_images_stand_beside_what_is_explained_and_what_is_left_over() -> None:
    audit = make_audit()
    gallery = section_of(audit).gallery
    assert gallery is not None
    assert gallery.scale is not None
    assert gallery.scale.high == wording.percent(0.93)
    suspected, ordinary = gallery.triples
    assert [row.title for row in (*suspected.rows, *ordinary.rows)] == ["training image 100", "fresh image 4"]
    texts = [plain(each.text) for row in (*suspected.rows, *ordinary.rows) for each in row.pictures]
    assert texts == ["image", "explained", "left over 41 %", "image", "explained", "left over 5 %"]
    assert [each.outline for each in gallery.pictures] == ["", "", "M0 0H5V5H0Z"]  # around the cue
    page = plain(usual_page())
    assert "an autoencoder that learnt from fresh images" in page
    for value in ("358 fresh images", "<td>8</td><td>300</td><td>32</td><td>0.005</td><td>0</td>", "0.0055"):
        assert value in page


def test_without_an_autoencoder_the_suspected_images_stand_alone() -> None:
    """There were too few fresh images."""
    audit = put(make_audit(), "found_again.embedding", None)
    gallery = section_of(audit).gallery
    assert gallery is not None
    assert gallery.pictures[-1].text == "100"
    assert "autoencoder" not in render(audit)


def test_photographs_in_three_columns_fit_on_the_page() -> None:
    """Noise, which no PNG makes smaller: six suspected and two fresh images of 224 x 224 in colour."""
    audit = make_audit(shape=(3, 224, 224), n_examples=0)
    noise = data_uri(torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0)))
    images = tuple(explained_image(k, noise, left_over_mean=0.1) for k in range(6))
    audit = put(audit, "found_again.doses.0.searches.0.findings.0.images", images)
    audit = put(audit, "found_again.embedding.fresh", images[:2])
    assert len(render(audit)) < 3_000_000


def test_without_a_finding_the_section_says_so() -> None:
    audit = with_searches(n_found=0)
    section = section_of(audit)
    assert section.panels == ()
    assert section.gallery is None
    assert section.claim.startswith("No: told nothing")
    assert "No finding, in 1,437 training images" in plain(section.caption)
    assert "look through the images of each class" in section.advice
    assert "Found, beside what was planted" not in render(audit)
