"""Who can be recognised in a finished model: the question as an audit asks it, keeps it and shows it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from spuriscope.answers import Audit, RecognisedImage, Recognition
from spuriscope.auditing import audit_model, load_audit, write_audit
from spuriscope.auditing.kept import Kept
from spuriscope.auditing.recognition import plan_shadows
from spuriscope.cli import app
from spuriscope.data import ImageSet, Split
from spuriscope.errors import CheckpointError, ConfigError, MembershipError, SpuriscopeError, TrainingError
from spuriscope.measures import Predict
from spuriscope.membership.evaluation import Rate
from spuriscope.membership.one_model import AttackOnModel, SingledOut
from spuriscope.patterns import pattern
from spuriscope.planting import Plant, draw_planted
from spuriscope.report.in_model import recognised_in
from spuriscope.report.monday import monday
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri
from spuriscope.report.verdicts import tiles
from spuriscope.runs import load_run
from spuriscope.training import Recipe, TrainedModel, train
from test_membership_shadows import IMAGES, LABELS, MINE, OTHERS
from test_report_document import make_audit

pytestmark = pytest.mark.usefixtures("_faint_pictures")

FEW = torch.cat([(LABELS[:900] == label).nonzero()[:15, 0] for label in range(10)])  # too few to be searched
DATA = ImageSet(
    "few", Split(IMAGES[FEW], LABELS[FEW]), Split(IMAGES[900:1200], LABELS[900:1200]), MINE.class_names
)


def neighbour(images: Tensor, labels: Tensor, _: int) -> Predict:
    """A training of no time that knows its images by heart: the nearest ones of each class decide."""
    known, classes = images.flatten(1), labels.unique()

    def predict(asked: Tensor) -> Tensor:
        distances = torch.cdist(asked.flatten(1), known)
        nearest = torch.stack([distances[:, labels == label].amin(dim=1) for label in classes], dim=1)
        return (-nearest).softmax(dim=1)

    return predict


NEIGHBOUR = neighbour(DATA.train.images / 255, DATA.train.labels, 0)


@pytest.fixture(scope="module")
def planted() -> TrainedModel:
    plant = Plant(pattern("r3", MINE.shape, seed=0), 0, 6, 0)
    return train(MINE, model="small-mlp", plants=(plant,), recipe=Recipe(epochs=1))


def recognised(fit: Callable[..., Any], kept: Kept | None = None) -> Recognition:
    plan = plan_shadows(NEIGHBOUR, DATA, 8, fit)
    return plan.recognition(kept or Kept(None), device="cpu", n_workers=1, on_progress=lambda _: None)


def test_the_audit_of_a_model_asks_who_can_be_recognised(tmp_path: Path) -> None:
    """A model that knows its images by heart gives away all of them; the page says so, and what to do."""
    told: list[Any] = []
    answers = audit_model(
        NEIGHBOUR, DATA, patterns=[], shadows=8, fit=neighbour, on_progress=told.append, keep=tmp_path
    )
    found = answers.recognition
    assert found is not None
    assert (found.n_shadows, found.n_members, found.n_outsiders + found.n_copies) == (8, 150, 300)
    assert found.n_train == (150 + found.n_outsiders) // 2
    assert max(attack.auc for attack in found.attacks) > 0.95
    best = next(attack for attack in found.attacks if attack.name == found.strongest)
    assert best.recognised[1].rate.value == max(
        attack.recognised[1].rate.value or 0.0 for attack in found.attacks
    )
    assert len({image.position for image in found.images}) == len(found.images) == 12
    assert all(image.label == DATA.train.labels[image.position] for image in found.images)
    assert {image.chance for image in found.images} == {1 / (1 + found.n_outsiders)}
    assert "membership" not in {each.question for each in answers.unanswered}
    assert [progress.title for progress in told[:1] + told[-1:]] == [
        "is there one already", "who can be recognised",
    ]  # fmt: skip
    assert {progress.n_stages for progress in told} == {2}
    assert (told[-1].detail, told[-1].share) == ("8 of 8 trainings", pytest.approx(1))
    assert plan_shadows(NEIGHBOUR, DATA, 8, neighbour).n_left(Kept(next(tmp_path.glob(".unfinished/*")))) == 0
    write_audit(answers, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.json", "report.html"]
    assert load_audit(tmp_path) == answers
    page = render(answers)
    assert "The training images that stand out most" in page
    assert "shadows=8, fit=fit)" in page
    assert tiles(answers)[-1].word == "act"
    assert "Do not publish the model" in monday(answers)[-2].action


def test_the_images_shown_are_those_that_the_model_knows() -> None:
    """A model of every other image is attacked as if it were of all."""
    half = neighbour(DATA.train.images[::2] / 255, DATA.train.labels[::2], 0)
    plan = plan_shadows(half, DATA, 8, neighbour)
    found = plan.recognition(Kept(None), device="cpu", n_workers=1, on_progress=lambda _: None)
    assert [image.position % 2 for image in found.images] == [0] * 12
    assert (
        0.7 < max(attack.auc for attack in found.attacks) < 0.8
    )  # of half of them all, of the others chance


def test_shadow_models_see_the_images_as_the_model_did(planted: TrainedModel) -> None:
    """Stamped where they were; half of the stamped ones in each half."""
    plan = plan_shadows(planted, MINE, 4)
    (drawn,) = draw_planted(planted.cell.plants, MINE.train.labels)
    stamped = planted.cell.plants[0].apply(MINE.train.images[drawn], drawn)
    assert torch.allclose(plan.pool.data.train.images[drawn] / 255, stamped, atol=1 / 500)
    rest = torch.ones(len(MINE.train), dtype=torch.bool)
    rest[drawn] = False
    assert torch.equal(plan.pool.data.train.images[: len(rest)][rest], MINE.train.images[rest])
    assert plan.pool.was_in[:, drawn].sum(dim=1).tolist() == [3, 3, 3, 3]
    assert {cell.plants for cell in plan.cells()} == {()}
    assert {(cell.model, cell.recipe.epochs) for cell in plan.cells()} == {("small-mlp", 1)}
    assert {len(cell.part or ()) for cell in plan.cells()} == {449, 450}


@pytest.mark.parametrize("n_shadows", [0, 1, 2, 7, 258, -4, 10**9])
def test_numbers_of_shadow_models_that_no_attack_can_use(n_shadows: int) -> None:
    with pytest.raises(MembershipError, match=r"even number from 4 to 256|whole number"):
        plan_shadows(NEIGHBOUR, DATA, n_shadows, neighbour)


def test_what_cannot_be_trained_is_refused_before_anything_is(planted: TrainedModel) -> None:
    def refused(error: type[SpuriscopeError], match: str, *arguments: Any, **named: Any) -> None:
        with pytest.raises(error, match=match):
            audit_model(*arguments, **named)

    refused(ConfigError, "give your training, --fit module:function", NEIGHBOUR, DATA, shadows=8)
    refused(ConfigError, "already says how its model was trained", planted, MINE, shadows=8, fit=neighbour)
    refused(ConfigError, "say how many, shadows=8", NEIGHBOUR, DATA, fit=neighbour)
    refused(CheckpointError, "the model was trained on some", planted, OTHERS, shadows=8)
    refused(ConfigError, "shadows", NEIGHBOUR, DATA, shadows="8", fit=neighbour)
    few = replace(DATA, test=Split(DATA.test.images[:9], DATA.test.labels[:9]))
    refused(MembershipError, "there are 150 and 9; give more", NEIGHBOUR, few, shadows=8, fit=neighbour)
    refused(
        MembershipError, "answers for 9 classes, the data have 10", NEIGHBOUR, DATA, patterns=[], shadows=4,
        fit=lambda *_: lambda asked: torch.full((len(asked), 9), 1 / 9),
    )  # fmt: skip


class Failing:
    """Fails in one call, and counts them."""

    def __init__(self, call: int) -> None:
        self.call, self.n_calls = call, 0

    def __call__(self, images: Tensor, labels: Tensor, seed: int) -> Predict:
        self.n_calls += 1
        if self.n_calls == self.call:
            raise ValueError("out of\nmemory")
        return neighbour(images, labels, seed)

    def __repr__(self) -> str:
        return "Failing"


def test_a_fit_that_fails_in_its_third_call_is_told_and_what_was_trained_is_kept(tmp_path: Path) -> None:
    message = r"fit failed in call 3 of 8 \(seed 3, .* images\): ValueError: out of memory"
    with pytest.raises(TrainingError, match=message + "$"):
        recognised(Failing(3))
    fit = Failing(3)
    kept = plan_shadows(NEIGHBOUR, DATA, 8, fit).kept(tmp_path)
    with pytest.raises(TrainingError, match=message + "; trained models are kept: call it again"):
        recognised(fit, kept)
    again = Failing(0)
    assert plan_shadows(NEIGHBOUR, DATA, 8, again).n_left(kept) == 6
    assert recognised(again, kept) == recognised(neighbour)
    assert again.n_calls == 6
    assert plan_shadows(NEIGHBOUR, DATA, 6, again).n_left(kept) == 0  # the first six of the eight


def told(*arguments: str) -> str:
    """What a command prints that ends well, or the message of its error."""
    done = CliRunner().invoke(app, list(arguments))
    return done.stdout + done.stderr if done.exit_code == 0 else str(done.exception)


def test_the_command_attacks_a_run_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name it with --run" in told("audit", "digits", "--shadows", "8")
    Path("three.py").write_text("from test_audit_shadows import neighbour\n")
    parts = {
        f"{name}_{of}": getattr(split, of).numpy()
        for name, split in (("train", DATA.train), ("test", DATA.test))
        for of in ("images", "labels")
    }
    np.savez("few.npz", **parts)
    trained = ["--model", "small-mlp", "--epochs", "20", "--pattern", "s3", "--workers", "1"]
    assert "run" in told("train", "few.npz", *trained, "--out", "run")
    torch.save(load_run("run").model.module.state_dict(), "mine.pt")
    asked = ["audit", "few.npz", "--run", "mine.pt", "--model", "small-mlp", "--pattern", "s3"]
    assert "which only a run records" in told(*asked, "--shadows", "8")
    fit = ["--fit", "three:neighbour"]
    assert "even number from 4 to 256, such as 8, got 7" in told(*asked, "--shadows", "7", *fit)
    assert "leave out --fit" in told(*asked, *fit)
    assert "time: 4 calls of fit" in told(*asked, "--shadows", "4", *fit, "--out", "page")
    said = told("audit", "few.npz", "--run", "run", "--pattern", "s3", "--shadows", "4", "--workers", "1")
    assert re.search("time: 4 trainings of about .* s on 1 core, plus a search", said)
    for folder, n_epochs in (("page", None), ("audit-run", 20)):
        answers = load_audit(folder)
        assert answers.recognition is not None
        assert answers.recognition.n_shadows == 4
        recipe = answers.conditions.settings.recipe
        assert (recipe and recipe.epochs) == n_epochs


def made(*, rate: float | None, p_value: float, auc: float, reach: float = 0.03) -> Recognition:
    """What would be found, with a loss that says nothing."""

    def attack(name: str, area: float, share: float | None, p: float) -> AttackOnModel:
        reason = "" if share is not None else "needs 99 outsiders, there are 50"
        given = Rate(share, None if share is None else 0.0, None if share is None else 1.0, 1000, reason)
        rare = SingledOut(0.001, Rate(None, None, None, 1000, "needs 999 outsiders, there are 50"), None)
        common = SingledOut(0.01, given, None if share is None else p)
        ends = {"auc_low": max(0.0, area - reach), "auc_high": min(1.0, area + reach)}
        curve = ((0.0, 0.0), (1.0, 1.0))
        return AttackOnModel(name=name, auc=area, recognised=(rare, common), roc=curve, **ends)

    none = None if rate is None else 0.0
    image = RecognisedImage(
        position=3, name="<b>3.png", label=1, picture=data_uri(MINE.train.images[3]), chance=0.01
    )
    return Recognition(
        attacks=(attack("lira-offline", auc, rate, p_value), attack("rmia", 0.5, none, 1.0),
                 attack("loss", 0.5, none, 1.0)),
        strongest="lira-offline", images=(image,), n_shadows=8, n_train=600, n_members=1000,
        n_outsiders=200, n_copies=0,
    )  # fmt: skip


def attacked(found: Recognition) -> Audit:
    """An audit of a finished model that found this."""
    base = make_audit()
    return replace(
        base,
        conditions=replace(base.conditions, settings=replace(base.conditions.settings, target=None)),
        picked_up=None,
        found_again=None,
        membership=None,
        canaries=None,
        deletion=None,
        recognition=found,
    )


@pytest.mark.parametrize(
    ("found", "word", "number"),
    [
        (made(rate=0.08, p_value=1e-6, auc=0.6), "act", "8.0 %"),
        (made(rate=0.08, p_value=0.01, auc=0.6), "watch", "60 %"),  # over three attacks it may be chance
        (made(rate=0.015, p_value=1e-9, auc=0.52), "watch", "52 %"),
        (made(rate=0.01, p_value=0.5, auc=0.51), "fine", "nobody, as far as seen"),
        (made(rate=0.01, p_value=0.5, auc=0.51, reach=0.2), "not known", "cannot be told"),
        (made(rate=None, p_value=0.5, auc=0.51), "not known", "cannot be told"),
        (made(rate=None, p_value=0.5, auc=0.7), "watch", "70 %"),
    ],
    ids=["act", "by chance", "hardly more", "fine", "wide", "few outsiders", "few outsiders, much told"],
)
def test_the_tile_says_what_is_known(found: Recognition, word: str, number: str) -> None:
    audit = attacked(found)
    tile = tiles(audit)[-1]
    assert (tile.word, tile.number.replace("\u00a0", " ")) == (word, number)
    assert tile.question == "Who can be recognised?"
    page = render(audit)
    assert "<b>3.png" not in page
    assert ("&lt;b&gt;3.png" in page) == (word in ("act", "watch"))
    assert recognised_in(found).claim in page.replace("&#39;", "'")
    whose = [each.action for each in monday(audit) if each.who == "whoever releases the model"]
    assert len(whose) == (word != "fine")
