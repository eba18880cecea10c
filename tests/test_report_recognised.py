"""The section on who can be recognised: it says what the numbers say, and no more."""

import re

from spuriscope.answers import Audit
from spuriscope.membership.evaluation import AlarmRow, Rate
from spuriscope.report.page import render
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.recognised import recognised
from spuriscope.report.section import Section
from test_report_document import make_audit, make_canaries, make_membership, put, usual_page


def section_of(audit: Audit) -> Section:
    assert audit.membership is not None
    assert audit.picked_up is not None
    picture = pattern_picture(audit.picked_up.dose_response[0])
    return recognised(audit.membership, audit.canaries, picture)


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_a_leak_of_presence_is_not_called_one_of_membership() -> None:
    audit = make_audit()
    found = audit.membership
    assert found is not None
    section = section_of(audit)
    assert "can tell that it was in the training images, even in" in section.claim
    assert "no attack was shown to tell which of the images" in section.claim
    assert "If it is a secret that some image carried the cue" in section.advice
    value = next(a for a in found.attacks if a.name == "loss").cells[1].stamped_members.value
    assert value is not None
    share = f"{100 * value:.0f} %"
    assert f"it takes for members {share}" in plain(section.sure).replace("more than 99", "100")
    assert "alone proves no recognition" in section.sure


def test_canaries_say_what_they_bound_and_what_chance_may_have_done() -> None:
    audit = make_audit()
    sure = plain(section_of(audit).sure)
    assert "gave away 49 of the 50 tosses that were guessed, so its epsilon" in sure
    assert "is at least 2.3, with 95 % confidence: what the model reveals can make it 9.9 times as" in sure
    audit = put(audit, "canaries", make_canaries(n_right=26, epsilon=0.0))
    assert "26 of the 50 tosses that were guessed, which may be chance" in plain(section_of(audit).sure)
    audit = put(audit, "canaries", None)
    assert "toss" not in section_of(audit).sure


def test_recognised_members_are_named_as_such() -> None:
    audit = put(make_audit(), "membership", make_membership("r3", 10, stamped_shift=3.0))
    section = section_of(audit)
    assert "can partly be told" in section.claim
    assert "record of the people" in section.advice


def test_nothing_seen_is_not_a_proof() -> None:
    audit = put(make_audit(), "membership", make_membership("r3", 10, score=0.05))
    audit = put(audit, "membership.presence.0.with_pattern", (0.0,) * 6)
    section = section_of(audit)
    assert "cannot tell for sure" in section.claim
    assert "nor was an attack shown" in section.claim
    assert "not a proof" in section.advice


def test_a_rate_that_cannot_be_stated_says_why() -> None:
    audit = make_audit()
    assert audit.membership is not None
    none = Rate(None, None, None, 0, "needs 100 outsiders")
    attacks = audit.membership.attacks
    for k, attack in enumerate(attacks):
        rows = tuple(AlarmRow(row.false_alarms, none, none, none, none) for row in attack.cells)
        attacks = put(put(attacks, f"{k}.cells", rows), f"{k}.stamped.auc", None)
    audit = put(audit, "membership.attacks", attacks)
    section = section_of(audit)
    assert "needs 100 outsiders" in section.tables[1].rows[0]
    assert "alone proves" not in section.sure
    assert section.panels[0].note == "too few images"


def test_the_page_has_the_section_where_the_document_has_the_answer() -> None:
    audit = make_audit()
    assert 'id="recognised"' in usual_page()
    audit = put(audit, "membership", None)
    page = render(audit)
    assert 'id="recognised"' not in page
    assert not re.search(r"\bLiRA\b", page)
