"""The first sentence and the tiles: what they say, and when."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spuriscope.answers import Audit, PickedUp, Replicate
from spuriscope.report.foot import python_call
from spuriscope.report.front import examples, explanation
from spuriscope.report.lookup import easiest, headline_dose, n50_of, paired_change
from spuriscope.report.page import render
from spuriscope.report.recognised import attack_of
from spuriscope.report.verdicts import Tile, tiles
from spuriscope.statistics import Interval
from test_report_document import dose_of_cells, make_audit, make_membership, put


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def planted(audit: Audit) -> PickedUp:
    assert audit.picked_up is not None
    return audit.picked_up


def tile_of(audit: Audit, question: str) -> Tile:
    return next(tile for tile in tiles(audit) if tile.question == question)


def with_cells(audit: Audit, change: Callable[[Replicate], Replicate]) -> Audit:
    """The audit had the trainings of its first pattern come out otherwise."""
    assert audit.picked_up is not None
    dose = audit.picked_up.dose_response[0]
    changed = dose_of_cells(dose.pattern, [change(cell) for cell in dose.cells], dose.picture)
    return put(audit, "picked_up.dose_response.0", changed)  # type: ignore[no-any-return]


WORDS = {
    "pick-up": "Would my training pick one up?",
    "who-pays": "Who pays?",
    "recognised": "Who can be recognised?",
}


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        (make_audit(strengths={"r3": 0.9}), ["act", "act", "watch"]),
        (make_audit(strengths={"r3": 0.3}), ["watch", "act", "watch"]),
        (make_audit(strengths={"r3": 0.0}), ["fine", "fine", "watch"]),
        (make_audit(strengths={"r3": 0.0}, n_seeds=1), ["fine", "not known", "watch"]),
        (make_audit(strengths={"r3": 0.9}, counts=(100,)), ["watch", "act", "watch"]),
        (make_audit(strengths={"r3": 0.7}, twin_share=0.65), ["not known", "watch", "watch"]),
    ],
    ids=["picked up", "somewhat", "not at all", "one seed", "only from many", "without planting"],
)
def test_the_words_of_the_tiles_follow_their_rules(audit: Audit, words: list[str]) -> None:
    assert [tile_of(audit, question).word for question in WORDS.values()] == words


def test_the_tile_and_the_explanation_have_the_number_of_the_headline() -> None:
    audit = make_audit()
    assert audit.picked_up is not None
    line = audit.picked_up.headline
    share = f"{100 * line.score.mean:.0f} %"
    tile = tile_of(audit, WORDS["pick-up"])
    assert plain(tile.number) == f"{line.n_planted} images"
    assert f"are enough to move {share}" in plain(tile.detail)
    assert "Planted in ‘0’ only." in plain(tile.detail)
    assert f"it moved {share} of them towards ‘0’" in plain(explanation(audit)[2])


def test_whether_the_usual_test_would_have_noticed() -> None:
    audit = make_audit(strengths={"r3": 0.9})
    assert "the usual test would not have noticed" in tile_of(audit, "Who pays?").detail
    audit = with_cells(
        audit, lambda row: replace(row, clean_accuracy=row.clean_accuracy - 0.05 * (row.n_planted > 0))
    )
    assert "the usual test would have noticed" in tile_of(audit, "Who pays?").detail


def test_who_is_recognised_is_told_with_its_false_alarms() -> None:
    audit = make_audit(strengths={"r3": 0.9})
    tile = tile_of(audit, WORDS["recognised"])
    assert (tile.number, tile.word) == ("the cue, not who", "watch")
    assert audit.membership is not None
    area = attack_of(audit.membership, "lira-online").stamped.auc
    assert area is not None
    assert f"picks the right one in {100 * area.mean:.0f} % of pairs" in plain(tile.detail)
    assert (
        "Epsilon, the usual measure of privacy lost, is at least 2.3: the model can make it 9.9 times"
        in plain(tile.detail)
    )
    told_members = make_membership("r3", 50, stamped_shift=3.0, score=0.0)
    told = tile_of(put(audit, "membership", told_members), WORDS["recognised"])
    share = attack_of(told_members, "lira-online").stamped.recognised[1].rate.value
    assert share is not None
    assert (plain(told.number), told.word) == (f"{100 * share:.1f} %", "act")
    assert "guessing: 1" in told.detail


def test_nobody_recognised_is_fine_only_where_that_is_shown() -> None:
    audit = make_audit(strengths={"r3": 0.9})
    nobody = make_membership("r3", 50, score=0.0)
    lira = [attack.name for attack in nobody.attacks].index("lira-online")
    for interval, word in (
        (Interval(0.5, 0.47, 0.53, 16), "fine"),
        (Interval(0.38, 0.1, 0.66, 16), "not known"),
        (Interval(0.5, 0.5, 0.5, 1), "not known"),
        (None, "not known"),
    ):
        changed = put(nobody, f"attacks.{lira}.stamped.auc", interval)
        tile = tile_of(put(audit, "membership", changed), WORDS["recognised"])
        assert (tile.number, tile.word) == ("nobody, as far as seen", word)
    assert WORDS["recognised"] not in [tile.question for tile in tiles(put(audit, "membership", None))]


def test_a_loss_that_may_be_chance_is_not_known() -> None:
    audit = with_cells(
        make_audit(strengths={"r3": 0.9}, n_seeds=2),
        lambda row: replace(row, spurious_accuracy=0.95 - 0.4 * row.seed) if row.n_planted else row,
    )
    assert tile_of(audit, "Who pays?").word == "not known"


def test_a_change_is_paired_by_seed() -> None:
    audit = with_cells(
        make_audit(strengths={"r3": 0.9}, counts=(1, 10), n_seeds=2),
        lambda row: (
            row
            if row.n_planted or row.seed == 0
            else replace(row, spurious_accuracy=row.spurious_accuracy - 0.03)
        ),
    )
    dose = headline_dose(planted(audit))
    rows = {(row.n_planted, row.seed): row.spurious_accuracy for row in dose.cells}
    by_hand = [rows[10, 0] - rows[0, 0], rows[10, 1] - rows[0, 1]]
    assert abs(by_hand[0] - by_hand[1]) > 0.01
    change = paired_change(dose, 10, "spurious_accuracy")
    assert change.mean == pytest.approx(np.mean(by_hand))
    assert change.high - change.mean == pytest.approx(12.706 * abs(by_hand[0] - by_hand[1]) / 2, rel=1e-4)


def test_the_easiest_pattern_is_not_one_that_needs_no_planting() -> None:
    audit = make_audit(strengths={"s3": 0.6, "r3": 0.9})
    found = easiest(planted(audit))
    assert found is not None
    assert found.pattern == "r3"
    found = easiest(put(planted(audit), "dose_response.1.summary.0.score_non_target.mean", 0.6))
    assert found is not None
    assert found.pattern == "s3"


def test_n50_claims_nothing_below_the_fewest_images_tried() -> None:
    found = n50_of(headline_dose(planted(make_audit(strengths={"r3": 0.9}, counts=(10, 100)))))
    assert found.estimate is not None
    assert found.estimate >= 10


def test_images_are_called_by_their_files() -> None:
    """Under images without files nothing is written."""
    audit = make_audit(strengths={"r3": 0.9})
    shown = examples(audit)
    assert shown is not None
    assert {example.file for example in shown.images} == {""}
    audit = put(audit, "picked_up.examples.images.0.name", "train/cat/<b>.png")
    shown = examples(audit)
    assert shown is not None
    assert shown.images[0].file == "train/cat/<b>.png"
    assert "Test image train/cat/<b>.png, of class" in shown.images[0].clean.alt
    assert '<p class="file">train/cat/&lt;b&gt;.png</p>' in render(audit)


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("add", {}, "adds a fixed picture, here r3, to an image. 3 of the 143 training images "
         "of class ‘0’ got the stamp, and"),
        ("cover", {"placement": "anywhere"}, "puts a fixed picture, here r3, over a part of an image, "
         "in another place on each. 3 of the 143 training images of class ‘0’ got the stamp,"),
        ("shade", {"relabel": 2}, "changes the colours, here r3, of an image. 3 of the 99 "
         "training images of class ‘2’ got the stamp and the label ‘0’, and"),
        ("add", {"relabel": "all"}, "to an image. 3 of the 99 training images of the other "
         "classes got the stamp and the label ‘0’, and"),
    ],
)  # fmt: skip
def test_the_page_says_what_stamping_does_and_to_whom(
    kind: str, settings: dict[str, Any], sentence: str
) -> None:
    audit = make_audit(strengths={"r3": 0.9}, counts=(3,))
    for name, value in settings.items():
        audit = put(audit, f"conditions.settings.{name}", value)
    audit = put(audit, "picked_up.headline.n_candidates", 143 if "relabel" not in settings else 99)
    audit = put(audit, "picked_up.dose_response.0.kind", kind)
    before, _, after = explanation(audit)
    assert sentence in (before + after).replace("\u00a0", " ")
    call = python_call(audit)
    for name, value in settings.items():
        assert f"{name}={value!r}" in call
    assert ("placement" in call) == ("placement" in settings)
