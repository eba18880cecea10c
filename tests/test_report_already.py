"""Is there one already: the headline, the tile, the section and the list for Monday, by what is known."""

from dataclasses import replace
from typing import Any

import pytest

from spuriscope.answers import Audit
from spuriscope.report.front import examples, explanation, headline, quality
from spuriscope.report.monday import monday
from spuriscope.report.page import render
from spuriscope.report.section import QUESTIONS
from spuriscope.report.verdicts import Tile, tiles
from test_report_document import (
    dose_of_cells,
    make_already,
    make_audit,
    make_deletion,
    make_found_again,
    make_membership,
    make_quality,
    put,
)

PICTURE = make_audit().picked_up.dose_response[0].picture  # type: ignore[union-attr]


def with_already(**how: Any) -> Audit:
    return put(make_audit(), "already", make_already(PICTURE, **how))  # type: ignore[no-any-return]


def with_found_again(audit: Audit, n_planted: int = 3, **how: Any) -> Audit:
    return put(audit, "found_again", make_found_again("r3", n_planted, PICTURE, **how))  # type: ignore[no-any-return]


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def tile_of(audit: Audit, anchor: str = "already") -> Tile:
    return next(tile for tile in tiles(audit) if tile.question == QUESTIONS[anchor])


SHARE = "8 images of ‘1’ share something that pulls 91 % of all other test images towards ‘1’"
NONE = "No cue was found in your 1,437 training images"


@pytest.mark.parametrize(
    ("audit", "sentence", "number", "word"),
    [
        (with_already(n_cues=1), f"Yes, there is a cue in your data: {SHARE}.", "8 images", "act"),
        (
            with_already(n_cues=2),
            f"Yes, there is a cue in your data: {SHARE}. And 1 more.",
            "8 images",
            "act",
        ),
        (
            with_already(n_cues=1, proven="not proven"),
            f"There may be a cue in your data: {SHARE}, but that these images caused it is not proved.",
            "8 images",
            "watch",
        ),
        (
            with_already(n_cues=1, proven="seeds disagree"),
            f"There may be a cue in your data: {SHARE}, but that these images caused it is not proved.",
            "8 images",
            "watch",
        ),
        (make_audit(), f"{NONE}; a mark such as r3 on 3 of them would have been.", "nothing found", "fine"),
        (
            with_found_again(make_audit(), 100),
            f"{NONE}; a mark such as r3 on 100 of them would have been.",
            "nothing found",
            "not known",
        ),
        (
            with_found_again(make_audit(), n_found=0),
            f"{NONE}, which says little: r3, planted in 3 images, was not found again either.",
            "nothing found",
            "not known",
        ),
        (
            with_already(n_once=1),
            f"{NONE}; 1 thing to look at; a mark such as r3 on 3 of them would have been.",
            "3 images",
            "watch",
        ),
    ],
    ids=["one", "two", "not proven", "seeds disagree", "none", "only many", "blind", "once"],
)
def test_the_first_question_has_the_headline(audit: Audit, sentence: str, number: str, word: str) -> None:
    assert plain(headline(audit)) == sentence
    assert (plain(tile_of(audit).number), tile_of(audit).word) == (number, word)
    assert "false" not in f"{headline(audit)} {tile_of(audit).detail}"


def test_a_cue_in_the_data_is_shown_on_test_images_with_a_box() -> None:
    shown = examples(with_already(n_cues=1))
    assert shown is not None
    assert "with the cue" in shown.intro
    assert shown.images[0].outline == "M0 0H5V5H0Z"
    assert [bar.text.replace("\u00a0", " ") for bar in shown.images[0].bars] == ["2 %", "97 %"]


def test_models_that_learnt_nothing_are_said_to_and_nothing_else_is() -> None:
    audit = make_audit()
    bare = Audit(conditions=audit.conditions)
    bare = put(bare, "conditions.quality", make_quality(0.37, is_near_chance=True))
    assert plain(headline(bare)) == (
        "These models learnt nothing: they get 37 % of the test images right, and always naming the largest "
        "class gets 36 %."
    )
    assert tiles(bare) == ()
    assert [each.who for each in monday(bare)] == ["whoever trains"]
    page = render(bare)
    assert "<section" not in page
    assert 'class="tiles"' not in page or 'class="tile ' not in page


def test_how_good_the_models_are_stands_on_the_first_screen() -> None:
    assert "get 97 % of the test images right" in plain(quality(make_audit()))
    assert "in mind" not in quality(make_audit())
    poor = put(make_audit(), "conditions.quality", make_quality(0.68))
    assert "get 68 % of the test images right" in plain(quality(poor))
    assert "Read everything below with that in mind" in quality(poor)
    assert render(poor).index("Read everything below") < render(poor).index('class="tiles"')


def test_the_list_for_monday_has_five_lines_at_most_and_follows_from_what_is_known() -> None:
    listed = monday(with_already(n_cues=2))
    assert len(listed) == 5
    assert "Look at the 8 images of ‘1’ below" in plain(listed[0].action)
    assert "without these images 1 %" in plain(listed[0].reason)
    assert listed[0].who == "whoever knows the images"
    assert listed[2].action.startswith("Then train again without them")
    blind = monday(with_found_again(make_audit(), n_found=0))
    assert blind[1].action.startswith("Look through the images of each class")
    seen = make_audit()
    assert seen.picked_up is not None
    fewest = seen.picked_up.headline.n_planted
    for n_planted, is_said in (
        (fewest, False),
        (fewest + 1, True),
    ):  # found in as few as it is learnt from, or not
        listed = monday(with_found_again(seen, n_planted, n_others=40))
        assert any(each.action.startswith("Look through") for each in listed) == is_said
    calm = make_audit(strengths={"r3": 0.0})
    calm = put(calm, "membership", make_membership("r3", 50, score=0.0))
    calm = put(calm, "deletion", make_deletion("r3", 3, before=0.02))
    assert [each.action.partition(" ")[0] for each in monday(calm)] == ["Audit", "Run"]


def test_one_cue_has_one_strength_on_the_first_screen() -> None:
    """What planting did is one number in all that stands there, the score; other measures stay below."""
    audit = make_audit(strengths={"r3": 0.9})
    assert audit.picked_up is not None
    dose = audit.picked_up.dose_response[0]
    cells = [replace(cell, predicted_share=cell.predicted_share / 2) for cell in dose.cells]
    audit = put(audit, "picked_up.dose_response.0", dose_of_cells("r3", cells, dose.picture))
    assert audit.deletion is not None
    others = {0.45, audit.deletion.before.score.mean}  # called with ten planted; moved by other models
    entry = audit.picked_up.dose_response[0].summary[2]
    assert entry.n_planted == audit.picked_up.headline.n_planted == 3
    others.add(entry.predicted_share.mean)
    share = audit.picked_up.headline.score.mean
    first = " ".join(
        [
            headline(audit),
            *explanation(audit)[::2],
            *(f"{each.action} {each.reason}" for each in monday(audit)),
            *(f"{tile.number} {tile.detail}" for tile in tiles(audit)),
        ]
    )
    assert plain(first).count(f"{100 * share:.0f} %") >= 3
    for other in others:
        assert f"{100 * other:.0f} %" not in plain(first)
