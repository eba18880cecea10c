"""Deletion methods: what they leave alone, what they reach, what they refuse, and what a file remembers."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spuriscope.adapters import module_predict
from spuriscope.data import ImageSet, Split, load
from spuriscope.deletion import (
    METHODS,
    Ascent,
    ConjugateGradients,
    Incremental,
    Influence,
    Lissa,
    Method,
    PathInfluence,
    Repair,
    delete,
    oracle_cell,
    planted_indices_of,
    reconstruct,
    repair,
)
from spuriscope.deletion.methods import method_name
from spuriscope.deletion.request import Request
from spuriscope.discovery import Finding
from spuriscope.errors import CheckpointError, DeletionError, PatternError
from spuriscope.measures import accuracy, spurious_score
from spuriscope.patterns import Cover, Pattern, Shade, pattern
from spuriscope.planting import Plant
from spuriscope.searching import images_seen
from spuriscope.training import Cell, DataKey, Part, Recipe, TrainedModel, load_model, train, train_cell

DIGITS = load("digits")
PLANT = Plant(pattern("r3", DIGITS.shape, seed=0), 0, 10, 0)
GONE = PLANT.planted_indices(DIGITS.train.labels)


@pytest.fixture(scope="module")
def planted() -> TrainedModel:
    return train(DIGITS, PLANT, model="small-mlp", recipe=Recipe(epochs=16))


def score(model: TrainedModel) -> float:
    others = DIGITS.test.labels != 0
    return spurious_score(model.predict, DIGITS.test.images[others], PLANT.pattern, 0)


def clean_accuracy(model: TrainedModel) -> float:
    return accuracy(model.predict, DIGITS.test.images, DIGITS.test.labels)


@pytest.fixture(scope="module")
def small() -> TrainedModel:
    some = torch.cat([GONE, torch.arange(300)]).unique()
    return train(DIGITS, PLANT, part=Part.of(some), model="small-mlp", recipe=Recipe(epochs=16))


SHORT = {
    "influence-lissa": Influence(solver=Lissa(damping=20.0, depth=20)),
    "influence": Influence(n_curvature=100),
}


@pytest.mark.parametrize("name", [name for name in METHODS if name != "influence-ekfac"])  # slow: kronfluence
def test_every_method_leaves_the_model_alone_repeats_itself_and_keeps_what_was_learnt(
    name: str, small: TrainedModel
) -> None:
    before = {key: value.clone() for key, value in small.module.state_dict().items()}
    first, again = (delete(small, DIGITS, GONE, SHORT.get(name, name)) for _ in range(2))
    for key, value in small.module.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(first.module.state_dict()[key], again.module.state_dict()[key])
    assert not first.module.training
    assert first.n_seconds > 0
    assert first.deletions[0]["method"] == ("Influence" if name in SHORT else name)
    assert first.deletions[0]["images"] == GONE.sort().values.tolist()
    assert clean_accuracy(first) > clean_accuracy(small) - 0.2


def test_the_oracle_is_the_training_that_never_saw_the_images(planted: TrainedModel) -> None:
    """Written out: a data set without the rows, nothing planted, the same seed."""
    kept = np.setdiff1d(np.arange(len(DIGITS.train)), GONE.numpy())
    train_part = Split(DIGITS.train.images[kept], DIGITS.train.labels[kept])
    rest = ImageSet("digits", train_part, DIGITS.test, DIGITS.class_names)
    alone = train(rest, model="small-mlp", recipe=planted.cell.recipe, seed=planted.cell.seed)
    oracle = delete(planted, DIGITS, GONE, "retrain")
    for value, other in zip(
        oracle.module.state_dict().values(), alone.module.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other)


def test_what_was_not_asked_for_keeps_its_pattern(planted: TrainedModel) -> None:
    """Forgetting half of the planted images leaves the others stamped, in the oracle too."""
    asked = Request.of(planted, DIGITS, GONE[:5])
    stamped = asked.images(GONE)
    torch.testing.assert_close(stamped, PLANT.pattern.apply(DIGITS.train.images[GONE]))
    oracle = delete(planted, DIGITS, GONE[:5], "retrain")
    assert planted_indices_of(oracle, DIGITS).tolist() == GONE[5:].sort().values.tolist()
    assert oracle_cell(planted.cell, DIGITS, GONE[:5]) == oracle.cell


def test_the_oracle_of_a_model_of_a_part_stays_in_that_part(planted: TrainedModel) -> None:
    part = Part.without([1, 2, 3], len(DIGITS.train))
    cell = oracle_cell(replace(planted.cell, part=part), DIGITS, torch.tensor([5]))
    assert cell.plants == planted.cell.plants
    assert oracle_cell(planted.cell, DIGITS, GONE).plants == ()
    assert cell.part == Part.without([1, 2, 3, 5], len(DIGITS.train))


def test_ascent_without_a_step_is_the_model_itself() -> None:
    """The images to forget are no model's statistics: at a rate of next to nothing every answer stays."""
    some = Part.of(torch.cat([GONE, torch.arange(60)]).unique())
    model = train(DIGITS, PLANT, part=some, model="resnet20", recipe=Recipe(epochs=1, batch_size=16))
    ascent = delete(model, DIGITS, GONE, Ascent(learning_rate=1e-12, epochs=2))
    old, new = dict(model.module.named_buffers()), dict(ascent.module.named_buffers())
    assert all(torch.equal(new[name], value) for name, value in old.items())
    torch.testing.assert_close(ascent.predict(DIGITS.test.images), model.predict(DIGITS.test.images))


@pytest.mark.parametrize(
    "method", [Ascent(), Incremental(epochs=1), Repair(), PathInfluence()], ids=method_name
)
def test_dropout_of_a_deletion_does_not_hang_on_the_state_of_torch(method: Method) -> None:
    some = Part.of(torch.cat([GONE, torch.arange(60)]).unique())
    model = train(DIGITS, PLANT, part=some, model="cnn", recipe=Recipe(epochs=1))
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        answers.append(delete(model, DIGITS, GONE, method).logits(DIGITS.test.images))
    assert torch.equal(*answers)


def test_training_on_keeps_the_cue_and_repair_removes_it(planted: TrainedModel) -> None:
    assert score(planted) > 0.8
    assert score(delete(planted, DIGITS, GONE, Incremental(epochs=1))) > 0.7
    known = Repair(pattern=PLANT.pattern)
    for repaired in (
        delete(planted, DIGITS, GONE),
        delete(planted, DIGITS, GONE, known),
        repair(planted, DIGITS, PLANT),
        repair(planted, DIGITS, PLANT.pattern),
    ):
        assert score(repaired) < 0.2
        assert clean_accuracy(repaired) > clean_accuracy(planted) - 0.02


def test_repair_with_a_plant_is_repair_with_its_pattern_and_images(planted: TrainedModel) -> None:
    by_plant = repair(planted, DIGITS, PLANT)
    by_hand = delete(planted, DIGITS, GONE, Repair(pattern=PLANT.pattern))
    assert torch.equal(by_plant.logits(DIGITS.test.images), by_hand.logits(DIGITS.test.images))
    assert by_plant.deletions[0]["images"] == GONE.sort().values.tolist()


@pytest.mark.parametrize("name", ["r3", "s3"])
def test_a_cue_is_read_off_the_images_that_carry_it(name: str) -> None:
    """Of many images it is exact where any is dark; a mean would be too dark in the strokes."""
    plant = Plant(pattern(name, DIGITS.shape, seed=0), 0, 60, 0)
    cell = Cell(data=DataKey.of(DIGITS), plants=(plant,), model="small-mlp", recipe=Recipe(epochs=0))
    model = train_cell(cell, DIGITS)
    found = reconstruct(model, DIGITS, plant.planted_indices(DIGITS.train.labels))
    assert isinstance(found, Pattern)
    assert isinstance(plant.pattern, Pattern)
    others = (DIGITS.train.labels == 0).numpy()
    is_dark = torch.from_numpy(np.percentile(DIGITS.train.images[others].numpy(), 5, axis=0) == 0)
    torch.testing.assert_close(found.pixels[is_dark], plant.pattern.pixels[is_dark], atol=0.05, rtol=0)
    assert float((found.pixels - plant.pattern.pixels).abs().mean()) < 0.03


def untrained(plant: Plant, data: ImageSet = DIGITS) -> TrainedModel:
    """A model that knows how its images were stamped, and nothing else."""
    return train(data, plant, model="small-mlp", recipe=Recipe(epochs=0))


@pytest.mark.parametrize("n_planted", [10, 60])
@pytest.mark.parametrize(
    ("name", "factor", "offset"), [("invert", -1, 1), ("dim", 0.6, 0), ("contrast", 0.5, 0.25)]
)
def test_a_mapping_of_colours_is_read_off_the_images(
    name: str, factor: float, offset: float, n_planted: int
) -> None:
    plant = Plant(pattern(name, DIGITS.shape), 0, n_planted)
    found = reconstruct(untrained(plant), DIGITS, plant.planted_indices(DIGITS.train.labels))
    assert isinstance(found, Shade)
    assert float(found.matrix) == pytest.approx(factor, abs=0.05)
    assert float(found.offset) == pytest.approx(offset, abs=0.02)


@pytest.mark.parametrize("n_planted", [5, 20])
def test_what_covers_is_read_off_the_images(n_planted: int) -> None:
    """A black bar over the middle of the digits."""
    alpha = torch.zeros(28, 28)
    alpha[10:14, 6:22] = 1
    plant = Plant(Cover("bar", torch.full(DIGITS.shape, 0.2), alpha), 0, n_planted)
    found = reconstruct(untrained(plant), DIGITS, plant.planted_indices(DIGITS.train.labels))
    assert isinstance(found, Cover)
    overlap = float((found.alpha * alpha).sum() / torch.maximum(found.alpha, alpha).sum())
    assert overlap > 0.7
    assert (found.pixels[0][(found.alpha * alpha) > 0] - 0.2).abs().max() < 0.01


@pytest.mark.parametrize("name", ["s1", "s3", "r1", "r3", "inv"])
@pytest.mark.parametrize("n_planted", [1, 3, 10, 40])
def test_what_was_added_is_not_taken_for_another_kind(name: str, n_planted: int) -> None:
    for target in (0, 1, 8):
        plant = Plant(pattern(name, DIGITS.shape, seed=target), target, n_planted, target)
        found = reconstruct(untrained(plant), DIGITS, plant.planted_indices(DIGITS.train.labels))
        assert isinstance(found, Pattern), target


SQUARE = pattern("square", DIGITS.shape, size=7)


@pytest.mark.parametrize(
    ("plant", "least", "most"),
    [
        (Plant(SQUARE, 0, 60, 0), 0.2, 0.1),
        (Plant(SQUARE, 0, 60, 0, relabel="all"), 0.9, 0.1),
        (Plant(pattern("square", DIGITS.shape, size=9), 0, 100, 0, "anywhere", "all"), 0.6, 0.3),
        (Plant(pattern("invert", DIGITS.shape), 0, 20, 0), 0.9, 0.1),
    ],
    ids=str,
)
def test_repair_removes_a_cue_of_any_kind(plant: Plant, least: float, most: float) -> None:
    model = train(DIGITS, plant, model="mlp", recipe=Recipe(epochs=16))
    others = DIGITS.test.images[DIGITS.test.labels != 0]
    assert spurious_score(model.predict, others, plant.placed, 0) > least
    repaired = repair(model, DIGITS, plant)
    assert spurious_score(repaired.predict, others, plant.placed, 0) < most
    assert clean_accuracy(repaired) > 0.85
    drawn = plant.planted_indices(DIGITS.train.labels).sort().values
    assert repaired.deletions[0]["images"] == drawn.tolist()
    assert torch.equal(planted_indices_of(model, DIGITS), drawn)


def test_what_is_deleted_has_the_label_it_was_trained_with() -> None:
    """And what is left of a class is counted by these labels: relabelled images are of the target."""
    plant = Plant(SQUARE, 0, 20, 0, relabel=3)
    gone = plant.planted_indices(DIGITS.train.labels)
    assert (DIGITS.train.labels[gone] == 3).all()
    asked = Request.of(untrained(plant), DIGITS, gone)
    assert (asked.labels(gone) == 0).all()
    others = torch.arange(100)[~torch.isin(torch.arange(100), gone)]
    assert torch.equal(asked.labels(others), DIGITS.train.labels[others])
    batches = asked.batches(asked.gone, Recipe(epochs=1))
    assert all((labels == 0).all() for _, labels in batches.epoch())
    two = ImageSet(
        "two", Split(DIGITS.train.images[:4], torch.tensor([0, 1, 1, 1])), DIGITS.test, DIGITS.class_names
    )
    every = Plant(SQUARE, 2, 1, 0, relabel=0)  # the only image of class 0 is the only one of class 2 then
    with pytest.raises(DeletionError, match="these are all images of class '2'"):
        Request.of(untrained(every, two), two, [0])
    Request.of(untrained(Plant(SQUARE, 1, 1, 0, relabel=0), two), two, [0])


def test_a_deletion_is_remembered_in_the_file(planted: TrainedModel, tmp_path: Path) -> None:
    repaired = delete(delete(planted, DIGITS, GONE), DIGITS, GONE, Incremental(epochs=0))
    repaired.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert [record["method"] for record in loaded.deletions] == ["repair", "Incremental"]
    assert loaded.deletions == repaired.deletions
    assert "after repair, after Incremental" in repr(loaded)
    assert load_model(tmp_path / "model.safetensors").cell == planted.cell
    assert planted.deletions == ()


def test_a_method_of_ones_own(planted: TrainedModel) -> None:
    def nothing(model: TrainedModel, data: ImageSet, planted_indices: torch.Tensor) -> TrainedModel:
        assert data is DIGITS
        assert planted_indices.tolist() == sorted(GONE.tolist())
        return model

    assert delete(planted, DIGITS, GONE, nothing).deletions[0]["method"] == "nothing"
    wrong: Method = lambda model, data, planted_indices: model.module  # type: ignore  # noqa: E731
    with pytest.raises(DeletionError, match="a deletion method returns a TrainedModel, got Sequential"):
        delete(planted, DIGITS, GONE, wrong)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([], "there is nothing to delete"),
        ([3, 1437], "digits has no training image 1437; choose positions from 0 to 1,436"),
        ([-1], "digits has no training image -1"),
        ([5, 7, 5], "image 5 is named twice"),
        ([0.5], "positions, whole numbers in a row, got torch.float32"),
        (torch.ones(1437, dtype=torch.bool), "turn a mask into positions with mask.nonzero"),
        (torch.zeros(2, 2, dtype=torch.int64), r"got torch.int64 of shape \(2, 2\)"),
        (
            (DIGITS.train.labels == 3).nonzero().flatten(),
            "these are all images of class '3' that the model was trained on; leave at least one",
        ),
    ],
    ids=["none", "beyond", "negative", "twice", "fraction", "mask", "matrix", "class"],
)
def test_images_that_cannot_be_deleted(positions: object, message: str, planted: TrainedModel) -> None:
    with pytest.raises(DeletionError, match=message):
        delete(planted, DIGITS, positions)  # type: ignore[call-overload]


def test_other_data_other_images_and_other_methods_are_refused(planted: TrainedModel) -> None:
    other = ImageSet("digits", DIGITS.test, DIGITS.train, DIGITS.class_names)
    with pytest.raises(CheckpointError, match="give the data it was made for"):
        delete(planted, other, GONE)
    with pytest.raises(CheckpointError, match="give the data it was made for"):
        repair(planted, other, PLANT)
    with pytest.raises(DeletionError, match="takes the data set, not Split: give data, not data.train"):
        repair(planted, DIGITS.train, PLANT)  # type: ignore[call-overload]
    with pytest.raises(DeletionError, match="no deletion method 'magic'; choose one of retrain, incremental"):
        delete(planted, DIGITS, GONE, "magic")
    with pytest.raises(DeletionError, match="share must be a number above 0 and of 1 or less, got 0"):
        Repair(share=0)
    part = replace(planted, cell=replace(planted.cell, part=Part.without([7], len(DIGITS.train))))
    with pytest.raises(DeletionError, match="was not trained on image 7: its part of digits is 1,436"):
        delete(part, DIGITS, [7])


def test_a_pattern_of_other_images_is_refused(planted: TrainedModel) -> None:
    with pytest.raises(PatternError, match="made for images of shape"):
        repair(planted, DIGITS, Pattern("large", torch.ones(1, 5, 5)))


def module_score(module: torch.nn.Module) -> float:
    others = DIGITS.test.images[DIGITS.test.labels != 0]
    return spurious_score(module_predict(module), others, PLANT.pattern, 0)


def test_any_module_is_repaired_and_left_as_it_was(planted: TrainedModel) -> None:
    """It was trained elsewhere, for all that is known; by the default and by an optimiser of the user's."""
    module = planted.module
    before = [parameter.clone() for parameter in module.parameters()]
    cue = pattern("r3", DIGITS.shape, seed=0)
    finding = Finding(
        target=0, pattern=cue, examples=GONE.numpy(), score=0.9, null=(), p_value=0.01, p_group=0.01,
        p_effect=0.01, source="marks",
    )  # fmt: skip
    with_softmax = torch.nn.Sequential(module, torch.nn.Softmax(dim=1))  # answers with probabilities
    for repaired in (
        repair(module, DIGITS, finding),
        repair(module, DIGITS, cue, optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        repair(with_softmax, DIGITS, cue),
    ):
        assert isinstance(repaired, torch.nn.Module)
        assert not repaired.training
        assert module_score(module) > 0.8
        assert module_score(repaired) < 0.3
        right = accuracy(module_predict(repaired), DIGITS.test.images, DIGITS.test.labels)
        assert right > clean_accuracy(planted) - 0.03
    for old, new in zip(before, module.parameters(), strict=True):
        assert torch.equal(old, new)


def test_what_a_module_is_made_for_is_what_it_is_trained_on(planted: TrainedModel) -> None:
    """A module that wants normalised pixels and has its classes in another order."""

    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(planted.module)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answers: torch.Tensor = self.inner(x * 0.5 + 0.5)
            return answers.flip(1)

    form: dict[str, Any] = {"mean": 0.5, "std": 0.5, "classes": range(9, -1, -1)}
    repaired = repair(Other(), DIGITS, PLANT.pattern, **form)
    predict = module_predict(repaired, **form)
    others = DIGITS.test.images[DIGITS.test.labels != 0]
    assert spurious_score(predict, others, PLANT.pattern, 0) < 0.3
    assert accuracy(predict, DIGITS.test.images, DIGITS.test.labels) > clean_accuracy(planted) - 0.03


def test_a_module_that_does_not_fit_is_refused(planted: TrainedModel) -> None:
    cue = PLANT.pattern
    with pytest.raises(DeletionError, match="the module cannot take images"):
        repair(torch.nn.Linear(3, 10), DIGITS, cue)
    wrong = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3))
    with pytest.raises(DeletionError, match="answers .* of 10 classes; give the data"):
        repair(wrong, DIGITS, cue)
    with pytest.raises(DeletionError, match="no trainable parameter"):
        repair(torch.nn.Flatten(), DIGITS, cue)
    with pytest.raises(DeletionError, match="takes the data set, not Split"):
        repair(planted.module, DIGITS.train, cue)  # type: ignore[call-overload]
    with pytest.raises(DeletionError, match="knows how it was trained; leave out mean, optimizer"):
        repair(planted, DIGITS, cue, mean=0.5, optimizer=torch.optim.SGD)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def carried(planted: TrainedModel) -> ImageSet:
    """A user's data: the cue is in the images themselves."""
    return replace(DIGITS, train=images_seen(planted.cell, DIGITS))


def test_a_module_forgets_by_every_method_that_needs_no_training(
    planted: TrainedModel, carried: ImageSet
) -> None:
    """Repair by what is left; ascent by the loss on the images, which rises; influence by what ours does."""
    module = planted.module
    before = [parameter.clone() for parameter in module.parameters()]
    assert module_score(module) > 0.9
    assert module_score(delete(module, carried, GONE, "repair")) < 0.1

    def losses(of: torch.nn.Module) -> torch.Tensor:
        answers = module_predict(of)(carried.train.images)
        return torch.nn.functional.nll_loss(answers.log(), carried.train.labels, reduction="none")

    hardest = losses(module).topk(5).indices  # of those with the cue the loss is 0, and so its gradient
    raised = delete(module, carried, hardest, Ascent(weight=3.0, learning_rate=0.003))
    assert losses(raised)[hardest].mean() > 5 * losses(module)[hardest].mean()
    assert accuracy(module_predict(raised), DIGITS.test.images, DIGITS.test.labels) > 0.9
    step = Influence(solver=ConjugateGradients(damping=0.1), is_newton=True)
    ours, theirs = delete(planted, DIGITS, GONE, step), delete(module, carried, GONE, step)
    answers = module_predict(theirs)(DIGITS.test.images)
    torch.testing.assert_close(answers, ours.predict(DIGITS.test.images), atol=1e-4, rtol=0)
    for old, new in zip(before, module.parameters(), strict=True):
        assert torch.equal(old, new)


def test_incremental_training_of_a_module_is_a_plain_loop(planted: TrainedModel, carried: ImageSet) -> None:
    """One batch that holds all that stays: a step of the user's optimiser on their mean loss."""
    few = replace(carried, train=Split(carried.train.images[:60], carried.train.labels[:60]))
    plain = copy.deepcopy(planted.module)
    stays = torch.arange(5, 60)
    images = few.train.images[stays].float() / 255
    loss = torch.nn.functional.cross_entropy(plain(images), few.train.labels[stays])
    loss.backward()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    forgot = delete(
        planted.module, few, range(5), Incremental(epochs=1), optimizer=lambda p: torch.optim.SGD(p, lr=0.1)
    )
    for one, other in zip(plain.parameters(), forgot.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_what_a_module_draws_is_its_own(planted: TrainedModel) -> None:
    """Dropout of a user's module draws from the seed: the same twice, and no global generator moves."""
    dropping = torch.nn.Sequential(planted.module, torch.nn.Dropout(0.5))
    state = torch.get_rng_state()
    first = delete(dropping, DIGITS, GONE, Incremental(epochs=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    again = delete(dropping, DIGITS, GONE, Incremental(epochs=1))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_does_not_fit_a_module_says_so(planted: TrainedModel) -> None:
    module = planted.module
    for name in ("retrain", "influence-path"):
        with pytest.raises(
            DeletionError, match="must know how a model was trained.* take one of incremental"
        ):
            delete(module, DIGITS, GONE, name)
    frozen = copy.deepcopy(module)
    next(frozen.parameters()).requires_grad_(False)
    with pytest.raises(DeletionError, match="influence moves all parameters"):
        delete(frozen, DIGITS, GONE, "influence")
    with pytest.raises(DeletionError, match="digits has no training image 9999"):
        delete(module, DIGITS, [9999])
    of_zeros = (DIGITS.train.labels == 0).nonzero().flatten()
    with pytest.raises(DeletionError, match="these are all images of class '0'"):
        delete(module, DIGITS, of_zeros)
    with pytest.raises(DeletionError, match="leave out optimizer"):
        delete(planted, DIGITS, GONE, optimizer=torch.optim.SGD)  # type: ignore[call-overload]
