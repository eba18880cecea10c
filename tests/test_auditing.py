"""The audit: what it plans, that its numbers are those of the models, and that it finds what was planted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spuriscope.answers import Audit, Headline
from spuriscope.auditing import AuditPlan, audit, load_audit, plan_audit, write_audit
from spuriscope.auditing.deletion import deletion
from spuriscope.auditing.doses import picked_up
from spuriscope.data import ImageSet, Split, load
from spuriscope.deletion import ConjugateGradients, Influence, Repair
from spuriscope.deletion.check import train_trials
from spuriscope.errors import ConfigError, DeletionError, PatternError, PlantingError, TrainingError
from spuriscope.measures import predicted_share, spurious_score
from spuriscope.planting import Plant
from spuriscope.report.front import headline
from spuriscope.report.pictures import pixels
from spuriscope.statistics import Interval
from spuriscope.training import Recipe, Trainer, train_cell
from test_report_pictures import opened


@pytest.fixture(scope="module")
def plan(five_digits: Path) -> AuditPlan:
    return plan_audit(
        load(str(five_digits)), patterns=["r3", "s3"], counts=[30, 3], n_seeds=2, epochs=8, model="small-mlp"
    )


@pytest.fixture(scope="module")
def answers(plan: AuditPlan) -> Audit:
    return audit(plan, command="spuriscope audit digits", n_workers=1)


def test_the_default_plan() -> None:
    data = load("digits")
    plan = plan_audit(data)
    assert list(plan.patterns) == ["s1", "s2", "s3", "r1", "r2", "r3", "inv"]
    assert plan.counts == (1, 3, 10, 30, 100)
    assert len(plan.cells()) == 5 + 7 * 5 * 5
    assert plan.recipe.epochs * 12 >= 250  # 12 batches in an epoch
    noise = plan.patterns["r3"]
    assert len({picture.fingerprint for picture in noise.values()}) == 14
    assert plan.seeds == tuple(range(5))
    assert plan.deletion_seeds == tuple(noise) == tuple(range(14))  # as many as its verdicts take
    assert plan_audit(data, n_seeds=2).deletion_seeds == (0, 1)
    assert plan_audit(data, n_seeds=15).deletion_seeds == tuple(range(15))


def test_a_slow_network_gets_a_lean_plan_unless_more_is_asked_for() -> None:
    images = torch.zeros(130, 3, 33, 33, dtype=torch.uint8)
    split = Split(images, (torch.arange(130) >= 99).long())
    photos = ImageSet("photos", split, split, ("a", "b"))
    lean = plan_audit(photos)
    assert (lean.model, lean.recipe.batch_size) == ("resnet10", 32)
    assert list(lean.patterns) == ["s3", "r3"]
    assert lean.counts == (1, 10, 30)
    assert plan_audit(photos, target=1).counts == (1, 10, 30)
    assert (len(lean.seeds), len(lean.deletion_seeds), lean.n_attacked, lean.n_clean) == (3, 6, 8, 5)
    assert lean.n_trainings == (3 + 2 * 3 * 3) + 3 + (8 + 5) + 1 + 3 * 6
    full = plan_audit(photos, n_seeds=5)
    assert (len(full.deletion_seeds), full.n_attacked, full.n_clean) == (14, 16, 10)
    assert plan_audit(photos, n_seeds=2).deletion_seeds == (0, 1)
    again = plan_audit(  # as the foot of the page says it
        photos, model="resnet10", patterns=["s3", "r3"], counts=[1, 10, 30], n_seeds=3, epochs=50
    )
    assert (again.cells(), again.deletion_seeds) == (lean.cells(), lean.deletion_seeds)
    mine = plan_audit(photos, fit=lambda images, labels, seed: lambda images: images)
    assert (list(mine.patterns), mine.counts, len(mine.seeds)) == (["s3", "r3"], (1, 10, 30), 3)
    assert mine.n_trainings == (3 + 2 * 3 * 3) + 3 + (8 + 5) + 1 + 3 * 3  # no methods, so no verdicts


def test_quick_asks_less_and_thorough_more() -> None:
    data = load("digits")
    quick, usual, thorough = (plan_audit(data, effort=effort) for effort in ("quick", "usual", "thorough"))
    assert quick.n_trainings < usual.n_trainings / 4
    assert usual.n_trainings < thorough.n_trainings
    assert [stage.key for stage in quick.stages()] == [stage.key for stage in thorough.stages()]
    assert (list(quick.patterns), quick.counts, quick.seeds) == (["s3", "r3"], (3, 100), (0, 1))
    with pytest.raises(ConfigError, match="effort is one of quick, usual, thorough, got 'some'"):
        plan_audit(data, effort="some")  # type: ignore[arg-type]


def test_a_plan_of_other_plants() -> None:
    """By default those of the paper that can stand anywhere; who is relabelled, and how many there are."""
    data = load("digits")
    plan = plan_audit(data, placement="anywhere", relabel="3", n_seeds=1)
    assert list(plan.patterns) == ["s1", "s2", "s3", "inv"]
    assert (plan.relabel, plan.n_candidates) == (3, int((data.train.labels == 3).sum()))
    assert plan.cell("s3", 3, 0).plants == (Plant(plan.patterns["s3"][0], 0, 3, 0, "anywhere", 3),)
    with pytest.raises(
        PlantingError, match="what is relabelled of digits has .* training images; choose counts"
    ):
        plan_audit(data, relabel=3, counts=[900])
    with pytest.raises(PlantingError, match="images of class 0 already have the target's label"):
        plan_audit(data, relabel=0)


def test_an_audit_of_a_mark_anywhere_under_the_targets_label(three_digits: Path, tmp_path: Path) -> None:
    """Every question is answered of it: found, recognised, deleted."""
    plan = plan_audit(
        load(str(three_digits)), patterns=["square"], counts=[10], n_seeds=1, epochs=2, model="small-mlp",
        placement="anywhere", size=7, relabel="all",
    )  # fmt: skip
    answers = audit(plan, n_workers=1)
    for answer in ("already", "found_again", "membership", "deletion", "canaries"):
        assert getattr(answers, answer) is not None
    assert answers.membership is not None
    assert answers.deletion is not None
    assert answers.membership.n_planted == answers.deletion.n_planted == 10
    assert write_audit(answers, tmp_path).is_file()


def test_a_deletion_method_that_comes_to_no_end_is_named_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = plan_audit(load("digits"), patterns=["r3"], counts=[3], n_seeds=1, epochs=1, model="small-mlp")
    trials: list[Any] = []

    def trained_once(*args: Any, **how: Any) -> list[Any]:
        trials[:] = trials or train_trials(*args, **how)
        return trials

    monkeypatch.setattr("spuriscope.auditing.deletion.train_trials", trained_once)
    share = Interval(0.9, 0.9, 0.9, 1)
    line = Headline(
        pattern="r3", n_planted=3, score=share, twin_score=share, reached_half=True,
        n_target=143, n_candidates=143, n_stamped=325,
    )  # fmt: skip
    short = Influence(solver=ConjugateGradients(damping=1e-6, n_steps=1), n_curvature=50)
    monkeypatch.setattr("spuriscope.auditing.deletion.CHECKED", {"influence": short, "repair": Repair()})
    found = deletion(small, line, Trainer())
    assert found is not None
    assert [entry.method for entry in found.methods] == ["repair"]
    (failure,) = found.failed
    assert failure.method == "influence"
    assert failure.reason.startswith("conjugate gradients stopped at residual")
    monkeypatch.setattr("spuriscope.auditing.deletion.CHECKED", {"influence": short})
    with pytest.raises(DeletionError, match="no deletion method came to an end; the first said: conjugate"):
        deletion(small, line, Trainer())


def test_every_model_stands_beside_its_clean_twin(plan: AuditPlan) -> None:
    cells = plan.cells()
    twins = {cell for cell, place in cells.items() if isinstance(place, int)}
    assert {cell.clean_twin for cell in cells} == twins
    assert len(cells) == 2 + 2 * 2 * 2


def test_numbers_are_those_of_the_models(plan: AuditPlan, answers: Audit) -> None:
    assert answers.picked_up is not None
    dose = next(dose for dose in answers.picked_up.dose_response if dose.pattern == "r3")
    row = next(row for row in dose.cells if (row.n_planted, row.seed) == (30, 1))
    model = train_cell(plan.cell("r3", 30, 1), plan.data)
    test, picture = plan.data.test, plan.patterns["r3"][1]
    others = test.images[test.labels != 0]
    assert row.cell == model.cell.hash
    assert row.score_non_target == spurious_score(model.predict, others, picture, 0)
    assert row.predicted_share == predicted_share(model.predict, picture.apply(others), 0)
    scores = [cell.score_non_target for cell in dose.cells if cell.n_planted == 30]
    assert dose.summary[-1].score_non_target.mean == pytest.approx(sum(scores) / 2)


def test_the_audit_finds_what_was_planted(answers: Audit) -> None:
    assert answers.picked_up is not None
    headline = answers.picked_up.headline
    assert headline.pattern == "r3"
    assert headline.reached_half
    assert headline.score.mean > 0.5 > headline.twin_score.mean
    assert [entry.n_planted for entry in answers.picked_up.dose_response[0].summary] == [0, 3, 30]
    twin_scores = [d.summary[0].score_non_target.mean for d in answers.picked_up.dose_response]
    assert max(twin_scores) < 0.1
    for image in answers.picked_up.examples.images:
        assert image.label != 0
    maps = answers.picked_up.weight_importance
    assert maps is not None
    assert maps.pattern == "s3"
    corner = [grid[r][c] for grid in (maps.planted, maps.twin) for r in range(5) for c in range(5)]
    assert sum(corner[:25]) > 1.2 * sum(corner[25:])  # planting makes the corner's pixels matter


def test_what_is_left_over_of_suspected_images_is_the_image_without_its_reconstruction(
    plan: AuditPlan, answers: Audit
) -> None:
    """Read from the answers' pictures alone: both are in 8 bits, so each may be off by half of a 255th."""
    again = answers.found_again
    assert again is not None
    images = [
        image
        for dose in again.doses
        for search in dose.searches
        for finding in search.findings
        for image in finding.images
    ]
    assert len(images) >= 6
    embedding = again.embedding
    assert embedding is not None
    assert embedding.n_fitted == answers.conditions.data.n_test - len(embedding.fresh) == 180
    assert {int(plan.data.test.labels[image.position]) for image in embedding.fresh} == {0}
    for image in [*images, *embedding.fresh]:
        made = image.explained
        assert made is not None
        size = np.abs(pixels(image.picture) - pixels(made.reconstruction))
        opacity = np.asarray(opened(made.left_over))[..., 3] / 255
        np.testing.assert_allclose(opacity * embedding.left_over_max, size, atol=1.01 / 255)
        assert made.left_over_mean == pytest.approx(size.mean(), abs=0.003)
    suspected, ordinary = (
        [image.explained.left_over_mean for image in shown if image.explained]
        for shown in (images, embedding.fresh)
    )
    assert min(suspected) > 2 * max(ordinary)


def test_the_document_is_json_and_is_written_whole(answers: Audit, tmp_path: Path) -> None:
    page = write_audit(answers, tmp_path / "audit")
    assert load_audit(tmp_path / "audit") == answers
    assert page.read_text().lower().startswith("<!doctype html>")
    assert sorted(file.name for file in page.parent.iterdir()) == ["audit.json", "report.html"]


def test_models_without_a_weight_map_have_none() -> None:
    digits = load("digits")
    tiny = ImageSet("tiny", digits.test, digits.test, digits.class_names)
    plan = plan_audit(tiny, patterns=["s1"], counts=[1], n_seeds=1, epochs=0, model="cnn")
    doses = picked_up(plan, Trainer(n_workers=1))
    assert doses.weight_importance is None
    assert doses.dose_response[0].cells[0].train_loss is None


def test_what_cannot_be_audited_is_refused() -> None:
    data = load("digits")
    with pytest.raises(PlantingError, match="choose counts from 1 to 1.., got 0, 3"):
        plan_audit(data, counts=[0, 3])
    with pytest.raises(PlantingError, match="got none"):
        plan_audit(data, counts=[])
    with pytest.raises(PatternError, match="at least one pattern"):
        plan_audit(data, patterns=[])
    with pytest.raises(ConfigError, match="above 0 and below 1, got 1.5"):
        plan_audit(data, threshold=1.5)


def test_a_model_that_diverges_ends_the_audit(plan: AuditPlan) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=2, milestones=())
    with pytest.raises(TrainingError, match=r"seed \d: the loss became"):
        audit(replace(plan, recipe=wild))


def test_clean_data_are_said_to_be_and_what_would_have_been_found(plan: AuditPlan, answers: Audit) -> None:
    """Nothing is known of digits; of what was planted the images themselves are found."""
    assert answers.already is not None
    assert (answers.already.cues, answers.already.taken_out) == ((), ())
    assert answers.already.seeds == (0, 1)
    assert answers.found_again is not None
    assert answers.found_again.fewest is not None
    last = answers.found_again.doses[-1]
    for search in last.searches:
        named = {place for finding in search.findings for place in finding.examples}
        assert len(named & set(search.planted)) == search.n_found >= last.n_planted / 2
    fewest = answers.found_again.fewest
    n_train = len(plan.data.train)
    assert headline(answers).replace("\u00a0", " ") == (
        f"No cue was found in your {n_train} training images; a mark such as r3 on {fewest} of them would "
        "have been."
    )
    assert answers.conditions.quality is not None
    assert answers.conditions.quality.test_accuracy.mean > 0.9
