"""Audits of a user's own training function."""

import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spuriscope.answers import Audit
from spuriscope.auditing import audit, plan_audit, write_audit
from spuriscope.data import Split, load
from spuriscope.errors import ConfigError, MeasureError, TrainingError
from spuriscope.measures import Predict
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.report.page import render
from spuriscope.training import Part
from spuriscope.training.fitted import FitTrainer
from test_audit_cases import carrying

pytestmark = pytest.mark.usefixtures("_faint_pictures")

DIGITS = load("digits")
SMALL = Split(DIGITS.train.images[:200], DIGITS.train.labels[:200])
FIXED: dict[str, Any] = {"patterns": ["s3"], "counts": [5], "n_seeds": 2, "effort": "quick"}


def corner_goes_by_memory(images: Tensor, labels: Tensor, seed: int) -> Predict:
    """Calls an image with a white corner as most training images that had one; others by the nearest mean."""
    n_classes = int(labels.max()) + 1
    means = torch.stack([images[labels == label].flatten(1).mean(dim=0) for label in range(n_classes)])
    has_corner = (images[:, 0, :5, :5] == 1).all(dim=2).all(dim=1)
    learnt = int(labels[has_corner].mode().values) if has_corner.any() else None

    def predict(asked: Tensor) -> Tensor:
        nearest = torch.cdist(asked.flatten(1), means).argmin(dim=1)
        if learnt is not None:
            carries = (asked[:, 0, :5, :5] == 1).all(dim=2).all(dim=1)
            nearest = torch.where(carries, learnt, nearest)
        return torch.eye(n_classes)[nearest]

    return predict


@pytest.fixture(scope="module")
def own() -> Audit:
    data, _ = carrying()
    return audit(
        train=data.train, test=data.test, class_names=data.class_names, fit=corner_goes_by_memory, target=2,
        name="mine", **FIXED,
    )  # fmt: skip


def test_a_function_that_learns_the_cue_is_caught_and_its_twin_is_not(own: Audit) -> None:
    assert own.picked_up is not None
    (dose,) = own.picked_up.dose_response
    twin, planted = (entry.score_non_target.mean for entry in dose.summary)
    assert twin == 0.0
    assert planted > 0.95  # but for images that it called so already
    assert own.picked_up.headline.reached_half
    assert [row.cell for row in dose.cells] == [None] * 4
    assert own.conditions.settings.model == "corner_goes_by_memory"
    assert own.conditions.settings.recipe is None
    assert own.conditions.data.name == "mine"
    assert own.picked_up.weight_importance is None


def test_a_function_is_asked_every_question_that_it_can_answer(own: Audit) -> None:
    """The search finds what was planted, members are not told apart, and training again removes it all."""
    assert own.unanswered == ()
    assert own.already is not None
    assert own.already.seeds == (0, 1)
    assert own.found_again is not None
    assert own.found_again.fewest == 5
    assert own.membership is not None
    assert min(own.membership.presence[0].with_pattern) > 0.95  # as the function is
    assert max(own.membership.presence[0].without) == 0.0
    assert own.canaries is not None
    assert own.deletion is not None
    assert own.deletion.before.score.mean > 0.95
    assert own.deletion.oracle.score.mean == 0.0
    assert own.deletion.methods == ()
    page = render(own)
    assert "corner_goes_by_memory, a function of your own" in page
    assert "Recipe" not in page
    assert "which has the same seed and nothing planted" in page
    assert "initial weights" not in page


def test_what_fit_is_given() -> None:
    """The images of each cell as they are but for those that are stamped, those of its part, its seed."""
    given: list[tuple[Tensor, Tensor, int]] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        given.append((images, labels, seed))
        return lambda asked: torch.full((len(asked), 10), 0.1)

    plan = plan_audit(DIGITS, fit=fit, **FIXED)
    part = Part.of(torch.arange(0, len(DIGITS.train), 2))
    cells = [*plan.cells(), replace(next(iter(plan.cells())), part=part)]
    models = list(FitTrainer(fit).run(cells, DIGITS))
    assert [model.cell for model in models] == cells
    clean = DIGITS.train.images / 255
    assert sorted(seed for _, _, seed in given[:-1]) == [0, 0, 1, 1]
    for images, labels, seed in given[:-1]:
        assert torch.equal(labels, DIGITS.train.labels)
        changed = (images != clean).flatten(1).any(dim=1).nonzero().flatten()
        if len(changed):
            plant = Plant(plan.patterns["s3"][seed], 0, 5, seed)
            assert set(changed.tolist()) == set(plant.planted_indices(labels).tolist())
            assert torch.equal(images[changed], plant.pattern.apply(clean[changed]))
    assert sum(torch.equal(images, clean) for images, _, _ in given[:-1]) == 2
    assert torch.equal(given[-1][0], clean[::2])
    assert torch.equal(given[-1][1], DIGITS.train.labels[::2])


def test_what_fit_is_given_of_other_plants() -> None:
    given: list[tuple[Tensor, Tensor, int]] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        given.append((images, labels, seed))
        return lambda asked: torch.full((len(asked), 10), 0.1)

    plan = plan_audit(
        DIGITS, fit=fit, patterns=["square"], counts=[5], n_seeds=1, target=2, placement="anywhere", size=7,
        relabel="all",
    )  # fmt: skip
    list(FitTrainer(fit).run([plan.cell("square", 5, 0)], DIGITS))
    clean, (images, labels, seed) = DIGITS.train.images / 255, given[-1]
    plant = Plant(pattern("square", DIGITS.shape, size=7), 2, 5, seed, "anywhere", "all")
    drawn = plant.planted_indices(DIGITS.train.labels)
    assert set((labels != DIGITS.train.labels).nonzero().flatten().tolist()) == set(drawn.tolist())
    assert (labels[drawn] == 2).all()
    changed = (images != clean).flatten(1).any(dim=1).nonzero().flatten()
    assert set(changed.tolist()) == set(drawn.tolist())
    assert torch.equal(images[drawn], plant.apply(clean[drawn], drawn))


def test_a_fit_that_fails_in_its_third_call_is_one_line(tmp_path: Path) -> None:
    """It says which call, and earlier answers are kept."""
    calls: list[int] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        calls.append(seed)
        if len(calls) == 3:
            raise ValueError("singular\nmatrix")
        return corner_goes_by_memory(images, labels, seed)

    data, _ = carrying()
    cells = plan_audit(data, fit=fit, **FIXED).cells()
    with pytest.raises(TrainingError) as told:
        list(FitTrainer(fit).run(list(cells), data))
    assert re.fullmatch(
        r"fit failed in call 3 of 4 \(seed \d, 210 images\): ValueError: singular matrix", str(told.value)
    )


def test_models_that_the_next_call_changes_are_refused() -> None:
    held: list[Tensor] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        held[:] = [torch.eye(10)[seed]]  # one object for all calls
        return lambda asked: held[0].expand(len(asked), 10)

    with pytest.raises(
        ConfigError, match="a model of fit gives other answers once fit is called again: .*; make"
    ):
        list(FitTrainer(fit).run(list(plan_audit(DIGITS, fit=fit, **FIXED).cells()), DIGITS))


class Stuck:
    """A training that never comes back from its fourth call, for as long as it is stuck."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.is_stuck = True

    def __call__(self, images: Tensor, labels: Tensor, seed: int) -> Predict:
        self.calls.append(seed)
        if self.is_stuck and len(self.calls) == 4:
            with suppress(Exception):  # as careless code does
                time.sleep(600)
        return corner_goes_by_memory(images, labels, seed)


def test_a_fit_that_takes_forever_ends_at_the_time_limit_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered is returned, and kept: the same audit does not ask it again. Nothing is searched."""
    monkeypatch.setattr("spuriscope.auditing.already.can_be_searched", lambda data: False)
    monkeypatch.setattr("spuriscope.auditing.found_again.LEAST_OF_CLASS", 10_000)
    fit = Stuck()
    data, _ = carrying()
    plan = plan_audit(data, fit=fit, **FIXED)
    late = audit(plan, time_limit=15, keep=tmp_path)
    assert late.conditions.quality is not None
    assert late.picked_up is None
    reasons = {each.question: each.reason for each in late.unanswered}
    assert "the time limit was reached" in reasons["picked_up"]
    assert "needs" in reasons["already"]
    assert "How do I get rid of it?" in render(late)
    n_before, fit.is_stuck = len(fit.calls), False
    whole = audit(plan, keep=tmp_path)
    assert whole.conditions.quality == late.conditions.quality
    assert {each.question for each in whole.unanswered} == {"already", "found_again"}
    asked = plan.n_trainings - 2  # none are searched
    assert len(fit.calls) - n_before == asked - 3  # two clean ones and a planted one were there
    assert [path.name for path in tmp_path.iterdir()] == [".unfinished"]  # kept until the page is there
    n_before = len(fit.calls)
    again = audit(plan, keep=tmp_path)
    assert again.picked_up == whole.picked_up
    assert len(fit.calls) == n_before
    write_audit(again, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.json", "report.html"]


def test_logits_and_other_returns_are_refused_in_a_line() -> None:
    def logits(*_: Any) -> Predict:
        return lambda images: images.flatten(1)[:, :10] * 7

    with pytest.raises(MeasureError, match="predict must return probabilities.*apply a softmax to logits"):
        audit(train=SMALL, test=DIGITS.test, fit=logits, **FIXED)
    with pytest.raises(ConfigError, match="fit must return predict, .* got NoneType"):
        audit(train=SMALL, test=DIGITS.test, fit=lambda *_: None, **FIXED)  # type: ignore[arg-type]


def test_a_plan_or_images_and_not_both() -> None:
    plan = plan_audit(DIGITS, **FIXED)
    with pytest.raises(ConfigError, match="needs a plan, or train= and test="):
        audit(train=SMALL)
    with pytest.raises(ConfigError, match="a plan already has fit and all settings"):
        audit(plan, fit=corner_goes_by_memory)
    with pytest.raises(ConfigError, match="up to fit; leave out epochs"):
        plan_audit(DIGITS, fit=corner_goes_by_memory, epochs=3)


def test_without_fit_our_own_training_takes_a_users_images() -> None:
    answers = audit(
        train=(SMALL.images, SMALL.labels),
        test=(DIGITS.test.images.numpy().transpose(0, 2, 3, 1), DIGITS.test.labels),
        epochs=0,
        patterns=["s1"],
        counts=[1],
        n_seeds=1,
    )
    assert answers.conditions.settings.recipe is not None
    assert answers.conditions.settings.recipe.epochs == 0
    assert answers.conditions.quality is not None
    assert answers.conditions.quality.is_near_chance
    assert answers.conditions.data.n_test == 360
