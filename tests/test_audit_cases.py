"""What an audit says of data that carry a cue, in one class or in two, and of models that know nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spuriscope.answers import Audit
from spuriscope.auditing import audit, plan_audit
from spuriscope.auditing.already import taken_out
from spuriscope.data import ImageSet, Split, load
from spuriscope.discovery import Finding
from spuriscope.discovery.exhibit import all_carriers
from spuriscope.patterns import Pattern
from spuriscope.report.front import headline
from spuriscope.report.page import render
from spuriscope.report.verdicts import tiles
from test_report_page import Reader

pytestmark = pytest.mark.usefixtures("_faint_pictures")

DIGITS = load("digits")
CLASSES = (3, 5, 8)
N_OF_CLASS = 70
CHECKER = torch.from_numpy(np.indices((8, 8)).sum(axis=0) % 2 * 255).to(torch.uint8)


def few(split: Split, n: int) -> Split:
    """Some images of three classes, labelled 0 to 2."""
    rows = [(split.labels == label).nonzero().flatten()[:n] for label in CLASSES]
    labels = torch.arange(3).repeat_interleave(torch.tensor([len(each) for each in rows]))
    return Split(split.images[torch.cat(rows)], labels)


def carrying(*marked: int) -> tuple[ImageSet, list[list[int]]]:
    """Three digits with a checkerboard in the corner of eight images of some classes, and which these are."""
    train = few(DIGITS.train, N_OF_CLASS)
    images, placed = train.images.clone(), []
    for label in marked:
        rows = (train.labels == label).nonzero().flatten()[5:45:5]
        images[rows, 0, -8:, -8:] = CHECKER
        placed.append(rows.tolist())
    names = tuple(str(label) for label in CLASSES)
    return ImageSet("three", Split(images, train.labels), few(DIGITS.test, 36), names), placed


def audited(data: ImageSet, n_seeds: int) -> Audit:
    return audit(
        plan_audit(
            data, model="small-mlp", patterns=["r3"], counts=[3], epochs=40, n_seeds=n_seeds, effort="quick"
        ),
        n_workers=1,
    )


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


@pytest.mark.parametrize("marked", [(1,), (0, 1)], ids=["in one class", "in two"])
def test_a_cue_in_the_users_images_is_the_headline_and_never_called_false(marked: tuple[int, ...]) -> None:
    """The search names the images that carry it and no other; without them it is gone."""
    data, placed = carrying(*marked)
    answers = audited(data, 3 - len(marked))
    there = answers.already
    assert there is not None
    assert there.cues
    by_class = {cue.cue.target: cue for cue in there.cues}
    for label, rows in zip(marked, placed, strict=True):
        if label in by_class:
            assert set(by_class[label].cue.examples) <= set(rows)
    first = there.cues[0]
    assert first.is_proven == "proven"
    assert len(first.cue.examples) >= 6
    assert first.score.mean > (0.3 if len(marked) == 1 else 0.1)  # of two classes it says either
    assert first.score_without is not None
    assert first.score_without.mean < first.score.mean / 2
    assert set(first.cue.examples) <= set(there.taken_out)
    said = plain(headline(answers))
    target = data.class_names[first.cue.target]
    assert said.startswith(
        f"Yes, there is a cue in your data: {len(first.cue.examples)} images of ‘{target}’"
    )
    assert tiles(answers)[0].word == "act"
    assert "false" not in Reader(render(answers)).text.replace("false alarms", "")
    assert answers.found_again is not None  # planted without the images that were found
    assert answers.found_again.n_train == len(data.train) - len(there.taken_out)


def test_models_that_know_nothing_are_asked_nothing_more() -> None:
    """Labels by chance: there is nothing to learn of fresh images."""
    train = few(DIGITS.train, N_OF_CLASS)
    shuffled = train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    data = ImageSet("shuffled", Split(train.images, shuffled), few(DIGITS.test, 36), ("a", "b", "c"))
    answers = audited(data, 1)
    assert plain(headline(answers)).startswith("These models learnt nothing: they get")
    assert (answers.already, answers.picked_up, answers.found_again, answers.deletion) == (None,) * 4
    assert {each.question for each in answers.unanswered} >= {"already", "picked_up", "deletion"}
    assert "<section" not in render(answers)


def test_images_are_taken_out_only_while_their_class_stays_one() -> None:
    data, _ = carrying()
    few_of_two, most = np.array([1, 2, 100]), np.arange(50)  # of the seventy of its class
    assert taken_out(data, [few_of_two[:2], few_of_two]) == (1, 2, 100)
    assert taken_out(data, [most, few_of_two[2:]]) == (100,)
    assert taken_out(data, []) == ()


def test_all_that_carry_a_cue_are_left_out_for_its_proof() -> None:
    """A search that names three of eight carriers leaves five to teach the cue: they count too."""
    data, ((*marked,),) = carrying(0)
    square = torch.zeros(data.shape)
    square[0, -8:, -8:] = CHECKER / 255
    found = Finding(
        target=0, pattern=Pattern("found", square), examples=np.array(marked[:3]), score=0.5, null=(),
        p_value=0.01, p_group=0.01, p_effect=0.01, source="marks",
    )  # fmt: skip
    assert all_carriers(found, data.train, data.test).tolist() == marked
    everywhere = replace(found, pattern=Pattern("found", torch.full(data.shape, 0.01)))
    assert set(marked[:3]) <= set(all_carriers(everywhere, data.train, data.test).tolist())
