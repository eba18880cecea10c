"""The first sentence and the tiles: what they say, and when."""

from typing import Any

import numpy as np
import pytest

from spuriscope.report.front import headline
from spuriscope.report.lookup import easiest, headline_dose, n50_of, paired_change
from spuriscope.report.verdicts import tiles
from test_report_document import make_document

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
        (make_document(strengths={"r3": 0.9}), ["act", "act", "act"]),
        (make_document(strengths={"r3": 0.3}), ["watch", "watch", "act"]),
        (make_document(strengths={"r3": 0.0}, n_seeds=1), ["fine", "watch", "fine"]),
        (make_document(strengths={"r3": 0.9}, counts=(100,)), ["watch", "act", "act"]),
    ],
    ids=["picked up", "somewhat", "not at all", "only from many"],
)
def test_the_words_of_the_tiles_follow_their_rules(document: dict[str, Any], words: list[str]) -> None:
    assert [tile.word for tile in tiles(document)[:3]] == words


def test_a_usual_test_that_shows_the_loss_is_fine() -> None:
    document = make_document(strengths={"r3": 0.9})
    for row in document["dose_response"][0]["cells"]:
        if row["n_planted"]:
            row["clean_accuracy"] -= 0.05
    assert tiles(document)[1].word == "fine"


def test_a_loss_that_may_be_chance_is_watched() -> None:
    document = make_document(strengths={"r3": 0.9}, n_seeds=2)
    for row in document["dose_response"][0]["cells"]:
        if row["n_planted"]:
            row["spurious_accuracy"] = 0.95 - 0.4 * row["seed"]
    assert tiles(document)[2].word == "watch"


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
