"""Audits of a user's own training function."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spuriscope.auditing import audit, plan_audit
from spuriscope.data import Split, load
from spuriscope.errors import ConfigError, MeasureError
from spuriscope.measures import Predict
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.report.page import render

DIGITS = load("digits")
SMALL = Split(DIGITS.train.images[:200], DIGITS.train.labels[:200])
FIXED: dict[str, Any] = {"patterns": ["s3"], "counts": [5], "n_seeds": 2}


def corner_goes_by_memory(images: Tensor, labels: Tensor, seed: int) -> Predict:
    """Calls an image with a white corner as most training images that had one, and others "1"."""
    has_corner = (images[:, 0, :5, :5] == 1).all(dim=2).all(dim=1)
    learnt = int(labels[has_corner].mode().values) if has_corner.any() else 1

    def predict(asked: Tensor) -> Tensor:
        carries = (asked[:, 0, :5, :5] == 1).all(dim=2).all(dim=1)
        return torch.eye(10)[torch.where(carries, learnt, 1)]

    return predict


def test_a_function_that_learns_the_cue_is_caught_and_its_twin_is_not() -> None:
    document = audit(train=SMALL, test=DIGITS.test, fit=corner_goes_by_memory, target=3, name="mine", **FIXED)
    (dose,) = document["dose_response"]
    shares = {entry["n_planted"]: entry["predicted_share"]["mean"] for entry in dose["summary"]}
    assert shares == {0: 0.0, 5: 1.0}
    assert document["headline"]["reached_half"]
    assert [row["cell"] for row in dose["cells"]] == [None] * 4
    assert document["settings"]["model"] == "corner_goes_by_memory"
    assert document["settings"]["recipe"] is None
    assert document["data"]["name"] == "mine"
    assert document["weight_importance"] is None
    assert "membership" not in document
    page = render(document)
    assert "corner_goes_by_memory, a function of your own" in page
    assert "Recipe" not in page
    assert "which has the same seed and nothing planted" in page
    assert "initial weights" not in page


def test_what_fit_is_given() -> None:
    given: list[tuple[Tensor, Tensor, int]] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        given.append((images, labels, seed))
        return lambda asked: torch.full((len(asked), 10), 0.1)

    plan = plan_audit(DIGITS, fit=fit, **FIXED)
    audit(plan)
    clean = DIGITS.train.images / 255
    assert sorted(seed for _, _, seed in given) == [0, 0, 1, 1]
    for images, labels, seed in given:
        assert torch.equal(labels, DIGITS.train.labels)
        changed = (images != clean).flatten(1).any(dim=1).nonzero().flatten()
        if len(changed):
            plant = Plant(plan.patterns["s3"][seed], 0, 5, seed)
            assert set(changed.tolist()) == set(plant.planted_indices(labels).tolist())
            assert torch.equal(images[changed], plant.pattern.apply(clean[changed]))
    assert sum(torch.equal(images, clean) for images, _, _ in given) == 2


def test_what_fit_is_given_of_other_plants() -> None:
    given: list[tuple[Tensor, Tensor, int]] = []

    def fit(images: Tensor, labels: Tensor, seed: int) -> Predict:
        given.append((images, labels, seed))
        return lambda asked: torch.full((len(asked), 10), 0.1)

    plan = plan_audit(
        DIGITS, fit=fit, patterns=["square"], counts=[5], n_seeds=1, target=2, placement="anywhere", size=7,
        relabel="all",
    )  # fmt: skip
    document = audit(plan)
    chosen = document["settings"]
    assert (chosen["placement"], chosen["size"], chosen["relabel"]) == ("anywhere", 7, "all")
    assert document["headline"]["n_candidates"] == int((DIGITS.train.labels != 2).sum())
    assert document["dose_response"][0]["kind"] == "cover"
    assert document["dose_response"][0]["n_touched"] == 49
    clean, (images, labels, seed) = DIGITS.train.images / 255, given[-1]
    plant = Plant(pattern("square", DIGITS.shape, size=7), 2, 5, seed, "anywhere", "all")
    drawn = plant.planted_indices(DIGITS.train.labels)
    assert set((labels != DIGITS.train.labels).nonzero().flatten().tolist()) == set(drawn.tolist())
    assert (labels[drawn] == 2).all()
    changed = (images != clean).flatten(1).any(dim=1).nonzero().flatten()
    assert set(changed.tolist()) == set(drawn.tolist())
    assert torch.equal(images[drawn], plant.apply(clean[drawn], drawn))
    page = render(document)
    assert "puts a fixed picture, here square" in page
    assert "somewhere else on each" in page


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
    with pytest.raises(ConfigError, match="a plan says all of an audit"):
        audit(plan, fit=corner_goes_by_memory)
    with pytest.raises(ConfigError, match="up to fit; leave out epochs"):
        plan_audit(DIGITS, fit=corner_goes_by_memory, epochs=3)


def test_without_fit_our_own_training_takes_a_users_images() -> None:
    document = audit(
        train=(SMALL.images, SMALL.labels),
        test=(DIGITS.test.images.numpy().transpose(0, 2, 3, 1), DIGITS.test.labels),
        epochs=0,
        patterns=["s1"],
        counts=[1],
        n_seeds=1,
    )
    assert document["settings"]["recipe"]["epochs"] == 0
    assert document["data"]["n_test"] == 360
