"""The first sentence and the tiles: what they say, and when."""

import json
from typing import Any

import numpy as np
import pytest

from spuriscope.adequacy import ABOVE_CHANCE
from spuriscope.report import front
from spuriscope.report.foot import python_call
from spuriscope.report.front import examples, explanation, headline
from spuriscope.report.lookup import easiest, headline_dose, n50_of, paired_change
from spuriscope.report.page import render
from spuriscope.report.verdicts import Tile, tiles
from test_report_document import make_document, make_membership, usual_page


def tile_of(document: dict[str, Any], question: str) -> Tile:
    return next(tile for tile in tiles(document) if tile.question == question)


ENOUGH = "of 1,437 training images were enough to make this model call"
ENOUGH_ONE = ENOUGH.replace("images were", "images was")
EVEN = "Even 100 of 1,437 training images made this model call"
ALL = "of all stamped images ‘0’."
STAMPED = "With 1 of 1,437 training images stamped, this model"
NO_PATTERN = (
    "With up to 100 of 1,437 training images stamped, no pattern made this model call half of all stamped "
    "images ‘0’;"
)


@pytest.mark.parametrize(
    ("n_planted", "share", "twin", "reached", "sentence"),
    [
        (3, 0.84, 0.0, True, f"3 {ENOUGH} 84 % {ALL} Its clean twin: 0 %."),
        (100, 1.0, 0.002, True, f"100 {ENOUGH} 100 % {ALL} Its clean twin: less than 1 %."),
        (1, 0.997, 0.3, True, f"1 {ENOUGH_ONE} more than 99 % {ALL} Its clean twin: 30 %."),
        (100, 0.12, 0.0, False, f"{EVEN} only 12 % {ALL} Its clean twin: 0 %."),
        (100, 0.0, 0.0, False, f"{EVEN} 0 % {ALL} Its clean twin: 0 %."),
        (100, 0.004, 0.003, False, f"{EVEN} less than 1 % {ALL} Its clean twin: less than 1 %."),
        (3, 0.12, 0.0, False, f"{NO_PATTERN} the strongest, with 3, only 12 %. Its clean twin: 0 %."),
        (1, 0.8, 0.7, False, f"{STAMPED} calls 80 % {ALL} Its clean twin already: 70 %."),
    ],
)
def test_the_headline(n_planted: int, share: float, twin: float, reached: bool, sentence: str) -> None:
    document = make_document(strengths={"r3": 0.9}, counts=(1, 3, 100))
    document["headline"] |= {"n_planted": n_planted, "reached_half": reached}
    document["headline"]["predicted_share"]["mean"] = share
    document["headline"]["twin_predicted_share"]["mean"] = twin
    assert headline(document).replace("\u00a0", " ") == sentence


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (make_document(strengths={"r3": 0.9}), ["act", "act", "watch"]),
        (make_document(strengths={"r3": 0.3}), ["watch", "act", "watch"]),
        (make_document(strengths={"r3": 0.0}, n_seeds=1), ["fine", "fine", "watch"]),
        (make_document(strengths={"r3": 0.9}, counts=(100,)), ["watch", "act", "watch"]),
    ],
    ids=["picked up", "somewhat", "not at all", "only from many"],
)
def test_the_words_of_the_tiles_follow_their_rules(document: dict[str, Any], words: list[str]) -> None:
    assert [tile_of(document, q).word for q in ("Picked up?", "Who pays?", "Leaked?")] == words


def test_whether_the_usual_test_would_have_noticed() -> None:
    document = make_document(strengths={"r3": 0.9})
    assert "the usual test would not have noticed" in tile_of(document, "Who pays?").detail
    for row in document["dose_response"][0]["cells"]:
        if row["n_planted"]:
            row["clean_accuracy"] -= 0.05
    assert "the usual test would have noticed" in tile_of(document, "Who pays?").detail


def test_who_is_recognised_is_told_with_its_false_alarms() -> None:
    document = make_document(strengths={"r3": 0.9})
    found = document["membership"]
    stamped = next(a for a in found["attacks"] if a["name"] == "lira-online")["stamped"]
    tile = tile_of(document, "Leaked?")
    assert stamped["n_outsiders"] < 100
    assert tile.number.replace("\u00a0", " ") == f"{100 * stamped['auc']['mean']:.0f} %"
    assert "needs 100 outsiders" in tile.detail
    assert "But every model gives away" in tile.detail
    document["membership"] = make_membership("r3", 50, stamped_shift=3.0, score=0.0)
    told = tile_of(document, "Leaked?")
    rate = next(a for a in document["membership"]["attacks"] if a["name"] == "lira-online")
    share = rate["stamped"]["recognised"][1]["rate"]["value"]
    assert told.word == "act"
    assert told.number.replace("\u00a0", " ") == f"{100 * share:.1f} %"
    assert "guessing: 1" in told.detail
    document["membership"] = make_membership("r3", 50, score=0.0)
    assert tile_of(document, "Leaked?").word == "fine"
    assert "Leaked?" not in [tile.question for tile in tiles(document | {"membership": None})]
    nobody = make_membership("r3", 50, score=0.0)
    lira = next(a for a in nobody["attacks"] if a["name"] == "lira-online")["stamped"]
    lira["auc"] = None
    lira["recognised"][1]["rate"] |= {"value": None, "reason": "needs 100 outsiders, there are 0"}
    none = tile_of(document | {"membership": nobody}, "Leaked?")
    assert (none.number, none.word) == ("cannot be told", "watch")


def test_a_loss_that_may_be_chance_is_watched() -> None:
    document = make_document(strengths={"r3": 0.9}, n_seeds=2)
    for row in document["dose_response"][0]["cells"]:
        if row["n_planted"]:
            row["spurious_accuracy"] = 0.95 - 0.4 * row["seed"]
    assert tile_of(document, "Who pays?").word == "watch"


def test_a_change_is_paired_by_seed() -> None:
    document = make_document(strengths={"r3": 0.9}, counts=(1, 10), n_seeds=2)
    dose = headline_dose(document)
    dose["cells"][1]["spurious_accuracy"] -= 0.03  # the clean twin of seed 1
    rows = {(row["n_planted"], row["seed"]): row["spurious_accuracy"] for row in dose["cells"]}
    by_hand = [rows[10, 0] - rows[0, 0], rows[10, 1] - rows[0, 1]]
    change = paired_change(dose, 10, "spurious_accuracy")
    assert change.mean == pytest.approx(np.mean(by_hand))
    assert change.high - change.mean == pytest.approx(12.706 * abs(by_hand[0] - by_hand[1]) / 2, rel=1e-4)


def test_the_easiest_pattern_is_not_one_that_needs_no_planting() -> None:
    document = make_document(strengths={"s3": 0.6, "r3": 0.9})
    found = easiest(document)
    assert found is not None
    assert found["pattern"] == "r3"
    document["dose_response"][1]["summary"][0]["score_non_target"]["mean"] = 0.6
    found = easiest(document)
    assert found is not None
    assert found["pattern"] == "s3"


def test_n50_claims_nothing_below_the_fewest_images_tried() -> None:
    found = n50_of(headline_dose(make_document(strengths={"r3": 0.9}, counts=(10, 100))))
    assert found.estimate is not None
    assert found.estimate >= 10


def test_the_page_says_how_often_the_clean_twins_are_right() -> None:
    document = make_document(strengths={"r3": 0.9})
    said = explanation(document)[2].replace("\u00a0", " ")
    assert "are right on 99.8 % of the training images and 97." in said
    assert "largest class would be right on 36.0 %." in said
    assert "near chance" not in said
    for entry in document["dose_response"][0]["summary"]:
        entry["clean_accuracy"]["mean"] = 0.42  # chance, and a tenth of the way from there to 1, is 0.424
    assert front.ABOVE_CHANCE == ABOVE_CHANCE
    assert "That is near chance" in explanation(document)[2]
    del document["data"]["largest_share"]  # an older document
    assert "are right on" not in explanation(document)[2]


def test_images_are_called_by_their_files() -> None:
    """Of images without files, and of older documents, nothing is written under them."""
    document = make_document(strengths={"r3": 0.9})
    assert {example.file for example in examples(document)} == {""}
    first = document["examples"]["images"][0]
    first["name"] = "train/cat/<b>.png"
    assert examples(document)[0].file == "train/cat/<b>.png"
    assert "Test image train/cat/<b>.png, of class" in examples(document)[0].clean.alt
    assert '<p class="file">train/cat/&lt;b&gt;.png</p>' in render(document)
    del first["name"]
    assert examples(document)[0].file == ""


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("add", {}, "adds a fixed picture, here r3, to an image. For this audit 3 of the 143 training images "
         "of class ‘0’ got the stamp, and"),
        ("cover", {"placement": "anywhere"}, "puts a fixed picture, here r3, over a part of an image, "
         "somewhere else on each. For this audit 3 of the 143 training images of class ‘0’ got the stamp,"),
        ("shade", {"relabel": 2}, "changes the colours, here r3, of an image. For this audit 3 of the 99 "
         "training images of class ‘2’ got the stamp and the label ‘0’, and"),
        ("add", {"relabel": "all"}, "to an image. For this audit 3 of the 99 training images of the other "
         "classes got the stamp and the label ‘0’, and"),
    ],
)  # fmt: skip
def test_the_page_says_what_stamping_does_and_to_whom(
    kind: str, settings: dict[str, Any], sentence: str
) -> None:
    document = make_document(strengths={"r3": 0.9}, counts=(3,))
    document["settings"] |= settings
    document["headline"]["n_candidates"] = 143 if "relabel" not in settings else 99
    headline_dose(document)["kind"] = kind
    before, _, after = explanation(document)
    assert sentence in (before + after).replace("\u00a0", " ")
    call = python_call(document)
    for name, value in settings.items():
        assert f"{name}={value!r}" in call
    assert ("placement" in call) == ("placement" in settings)


def test_a_page_of_an_older_document_is_as_it_was() -> None:
    old = json.loads(json.dumps(make_document()))
    for name in ("placement", "size", "relabel"):
        del old["settings"][name]
    del old["headline"]["n_candidates"]
    for dose in old["dose_response"]:
        del dose["kind"], dose["n_touched"]
    assert render(old) == usual_page()
