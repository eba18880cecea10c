"""The section on deletion: it recommends what the document says, and hides no verdict."""

from spuriscope.report.gone import gone
from spuriscope.report.page import render
from spuriscope.report.verdicts import tiles
from test_report_document import make_deletion, make_document


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_the_recommended_method_is_named_with_what_it_leaves_and_costs() -> None:
    document = make_document()
    section = gone(document)
    claim = plain(section.claim)
    assert claim.startswith("Repair takes r3 out of the model in 0.2 s, 10 % of a training")
    assert "it moves 1 %, where it moved 90 %" in claim
    assert section.panels[0].title == "repair (recommended)"
    assert "cue gone" in section.panels[0].note or "as if never seen" in section.panels[0].note
    assert "cue stays" in section.panels[1].note
    assert "more than never having seen it" in section.advice
    rows = [row[0] for row in section.tables[0].rows]
    assert rows == ["repair", "influence at the end", "before", "training again without them"]
    tile = tiles(document)[-1]
    assert (tile.question, tile.word, tile.anchor) == ("Gone again?", "fine", "gone")
    assert plain(tile.number) == "1.1 %"


def test_without_a_good_method_the_page_says_to_train_again() -> None:
    document = make_document()
    document["deletion"] = make_deletion("r3", 3, left={"incremental": 0.8}, recommended=None)
    section = gone(document)
    assert "Each quicker method leaves r3 in the model or costs accuracy" in section.claim
    assert section.advice.startswith("Train again without the images")
    assert (tiles(document)[-1].number, tiles(document)[-1].word) == ("train again", "watch")


def test_too_few_seeds_are_said_and_a_cue_that_was_not_learnt_too() -> None:
    document = make_document()
    document["deletion"] = make_deletion("r3", 3, n_seeds=1)
    section = gone(document)
    assert plain("“Cue stays”, in more than half of trainings, needs 6 seeds") in plain(section.sure)
    assert (
        plain(section.sure).count(
            "need 14 seeds that all agree. With 1 seed there is no verdict; audit with --seeds 5"
        )
        == 1
    )
    assert "not shown to be learnt in the first place: that takes 5 seeds." in section.sure
    assert "cannot be told" in section.panels[0].note
    assert "How do I get rid of it?" in render(document)


def test_a_recommended_method_that_is_not_shown_to_work_is_watched() -> None:
    document = make_document()
    document["deletion"] = make_deletion("r3", 3, n_seeds=13)
    section, tile = gone(document), tiles(document)[-1]
    assert (
        "With 13 seeds it can be shown that a cue stays, not that it is gone; audit with --seeds 5 "
        in plain(section.sure)
    )
    assert (tile.word, document["deletion"]["recommended"]) == ("watch", "repair")
    assert "it cannot be told that the cue is gone" in tile.detail
    assert ", 0 of 13, cannot be told" in section.tables[1].rows[0][1]


def test_what_was_left_out_is_said() -> None:
    document = make_document()
    document["deletion"] = make_deletion("r3", 3, n_seeds=6)
    assert "was left out" not in gone(document).sure
    document["deletion"]["left_out"] = ["influence"]
    assert (
        "Influence at the end was left out: with a network like this it takes longer" in gone(document).sure
    )


def test_verdicts_of_an_earlier_version_are_shown_and_not_relied_on() -> None:
    document = make_document()
    found = document["deletion"]
    del found["seeds_needed"]
    for comparison in (each for entry in found["methods"] for each in entry["comparisons"]):
        del comparison["n_above"], comparison["n_below"]
    assert "The verdicts are an earlier version's" in gone(document).sure
    assert tiles(document)[-1].word == "watch"
    assert "audit again before you rely on one" in render(document)


def test_a_document_without_the_question_has_no_section_and_no_tile() -> None:
    document = make_document()
    document["deletion"] = None
    assert "How do I get rid of it?" not in render(document)
    assert "Gone again?" not in {tile.question for tile in tiles(document)}


def test_a_method_that_came_to_no_end_is_named() -> None:
    document = make_document()
    document["deletion"] = make_deletion("r3", 3, left={"repair": 0.01})
    document["deletion"]["failed"] = [{"method": "influence", "reason": "stopped at residual 0.3"}]
    assert "Influence at the end came to no end: stopped at residual 0.3." in gone(document).sure
