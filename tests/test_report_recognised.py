"""The section on who can be recognised: it says what the numbers say, and no more."""

import re

from spuriscope.report.page import render
from spuriscope.report.recognised import recognised
from test_report_document import make_document, make_membership, usual_page


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_a_leak_of_presence_is_not_called_one_of_membership() -> None:
    document = make_document()
    found = document["membership"]
    section = recognised(document)
    assert "can tell that it was in the training images, even in" in section.claim
    assert "no attack was seen to tell which of the images" in section.claim
    assert "If it is a secret that some image carried the cue" in section.advice
    row = next(a for a in found["attacks"] if a["name"] == "loss")["cells"][1]
    share = f"{100 * row['stamped_members']['value']:.0f} %"
    assert f"it takes for members {share}" in plain(section.sure).replace("more than 99", "100")
    assert "alone proves no recognition" in section.sure


def test_canaries_say_what_they_bound_and_what_chance_may_have_done() -> None:
    document = make_document()
    sure = plain(recognised(document).sure)
    assert "gave away 49 of the 50 tosses that were guessed, so its epsilon" in sure
    assert "is at least 2.3, with 95 % confidence." in sure
    document["canaries"] |= {"n_right": 26, "epsilon": 0.0}
    assert "26 of the 50 tosses that were guessed, which may be chance" in plain(recognised(document).sure)
    del document["canaries"]
    assert "toss" not in recognised(document).sure


def test_recognised_members_are_named_as_such() -> None:
    document = make_document()
    document["membership"] = make_membership("r3", 10, stamped_shift=3.0)
    section = recognised(document)
    assert "can partly be told" in section.claim
    assert "record of the people" in section.advice


def test_nothing_seen_is_not_a_proof() -> None:
    document = make_document()
    document["membership"] = make_membership("r3", 10, score=0.05)
    document["membership"]["presence"][0]["with_pattern"] = [0.0] * 6
    section = recognised(document)
    assert "cannot tell for sure" in section.claim
    assert "nor was an attack seen" in section.claim
    assert "not a proof" in section.advice


def test_a_rate_that_cannot_be_stated_says_why() -> None:
    document = make_document()
    for attack in document["membership"]["attacks"]:
        for row in attack["cells"]:
            for cell in row.values():
                if isinstance(cell, dict):
                    cell |= {
                        "value": None,
                        "low": None,
                        "high": None,
                        "n": 0,
                        "reason": "needs 100 outsiders",
                    }
        attack["stamped"]["auc"] = None
    section = recognised(document)
    assert "needs 100 outsiders" in section.tables[1].rows[0]
    assert "alone proves" not in section.sure
    assert section.panels[0].note == "too few images"


def test_the_page_has_the_section_where_the_document_has_the_answer() -> None:
    document = make_document()
    assert 'id="recognised"' in usual_page()
    document["membership"] = None
    page = render(document)
    assert 'id="recognised"' not in page
    assert not re.search(r"\bLiRA\b", page)
