"""The section on deletion: it recommends what the document says, and hides no verdict."""

from spuriscope.answers import Audit, FailedMethod
from spuriscope.report.gone import gone
from spuriscope.report.page import render
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.section import Section
from spuriscope.report.verdicts import tiles
from test_report_document import make_audit, make_deletion, put


def section_of(audit: Audit) -> Section:
    assert audit.deletion is not None
    assert audit.picked_up is not None
    return gone(audit.deletion, pattern_picture(audit.picked_up.dose_response[0]))


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_the_recommended_method_is_named_with_what_it_leaves_and_costs() -> None:
    audit = make_audit()
    section = section_of(audit)
    claim = plain(section.claim)
    assert claim.startswith("Repair takes r3 out of the model in 0.2 s, 10 % of a training")
    assert "stamping then moves 1 % of the test images, and 2 % in a model trained without the" in claim
    assert section.panels[0].title == "repair (recommended)"
    assert "cue gone" in section.panels[0].note or "as if never seen" in section.panels[0].note
    assert "cue stays" in section.panels[1].note
    assert "more than never having seen it" in section.advice
    rows = [row[0] for row in section.tables[0].rows]
    assert rows == ["repair", "influence at the end", "before", "training again without them"]
    tile = tiles(audit)[-1]
    assert (tile.question, tile.word, tile.anchor) == ("How do I get rid of it?", "fine", "gone")
    assert plain(tile.number) == "1.1 %"


def test_without_a_good_method_the_page_says_to_train_again() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, left={"incremental": 0.8}, recommended=None))
    section = section_of(audit)
    assert "Each quicker method leaves r3 in the model or costs accuracy" in section.claim
    assert section.advice.startswith("Train again without the images")
    assert (tiles(audit)[-1].number, tiles(audit)[-1].word) == ("train again", "watch")


def test_too_few_seeds_are_said_and_a_cue_that_was_not_learnt_too() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, n_seeds=1))
    section = section_of(audit)
    assert plain("“Cue stays”, in more than half of trainings, needs 6 seeds") in plain(section.sure)
    assert (
        plain(section.sure).count(
            "need 14 seeds that all agree. With 1 seed there is no verdict; audit with --seeds 5"
        )
        == 1
    )
    assert "It was not shown that the cue was learnt in the first place: that takes 5 seeds." in section.sure
    assert "cannot be told" in section.panels[0].note
    assert "How do I get rid of it?" in render(audit)


def test_a_recommended_method_that_is_not_shown_to_work_is_not_known() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, n_seeds=13))
    section, tile = section_of(audit), tiles(audit)[-1]
    assert (
        "With 13 seeds it can be shown that a cue stays, not that it is gone; audit with --seeds 5 "
        in plain(section.sure)
    )
    assert (tile.word, audit.deletion and audit.deletion.recommended) == ("not known", "repair")
    assert "it cannot be told that the cue is gone" in tile.detail
    assert ", 0 of 13, cannot be told" in section.tables[1].rows[0][1]


def test_what_was_left_out_is_said() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, n_seeds=6))
    assert "was left out" not in section_of(audit).sure
    audit = put(audit, "deletion.left_out", ("influence",))
    assert (
        "Influence at the end was left out: with a network like this it takes longer"
        in section_of(audit).sure
    )


def test_a_document_without_the_question_has_no_section_and_no_tile() -> None:
    audit = put(make_audit(), "deletion", None)
    assert "How do I get rid of it?" not in render(audit)
    assert "How do I get rid of it?" not in {tile.question for tile in tiles(audit)}


def test_a_method_that_came_to_no_end_is_named() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, left={"repair": 0.01}))
    failed = FailedMethod(method="influence", reason="stopped at residual 0.3")
    audit = put(audit, "deletion.failed", (failed,))
    assert "Influence at the end failed: stopped at residual 0.3." in section_of(audit).sure


def test_a_cue_that_was_not_learnt_is_not_removed_and_nothing_recommended() -> None:
    audit = put(make_audit(), "deletion", make_deletion("r3", 3, before=0.02))
    section, tile = section_of(audit), tiles(audit)[-1]
    assert section.claim.startswith("That cannot be told")
    assert not any("recommended" in panel.title for panel in section.panels)
    assert (tile.number, tile.word) == ("cannot be told", "not known")
    assert "Take repair" not in section.advice


def test_of_a_training_of_ones_own_only_training_again_is_asked() -> None:
    audit = put(make_audit(), "deletion.methods", ())
    section, tile = section_of(audit), tiles(audit)[-1]
    assert (
        plain(section.claim)
        == "Train again without the 3 images: then stamping moves 2 % of the test images."
    )
    assert section.panels == ()
    assert [row[0] for row in section.tables[0].rows] == ["before", "training again without them"]
    assert (tile.number, tile.word) == ("train again", "watch")
    assert "How do I get rid of it?" in render(audit)
