"""Training against torch's own parts put together in the slow obvious way."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError, ConfigError, DivergenceError, PatternError, PlantingError
from spuriscope.models import build_model
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, train, train_cell
from spuriscope.training.batches import Batches, crop_and_flip
from spuriscope.training.cell import STREAMS, seeded_generator
from spuriscope.training.gradient import set_gradient
from spuriscope.training.loop import weights_seed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits")


@pytest.fixture(scope="module")
def small(digits: ImageSet) -> ImageSet:
    """300 digits, so that a training takes a moment."""
    train_part = Split(digits.train.images[:300], digits.train.labels[:300])
    test_part = Split(digits.test.images[:100], digits.test.labels[:100])
    return ImageSet("small", train_part, test_part, digits.class_names)


def planted(data: ImageSet, n: int = 3) -> Plant:
    return Plant(pattern("r3", data.shape, seed=1), target=0, n_planted=n, seed=1)


def equal_weights(first: TrainedModel, second: TrainedModel) -> bool:
    pairs = zip(first.module.state_dict().values(), second.module.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_equals_a_loop_as_tutorials_write_it(small: ImageSet, optimizer: Any) -> None:
    """Same initial weights, same order; stamped copies, torch's plain optimisers and scheduler."""
    plant = planted(small)
    recipe = Recipe(
        optimizer=optimizer,
        epochs=6,
        batch_size=64,
        weight_decay=1e-3,
        milestones=(2, 4),
    )
    found = train(small, plant, recipe=recipe, seed=5)

    images = small.train.images.float() / 255
    indices = plant.planted_indices(small.train.labels)
    images[indices] = (images[indices] + plant.pattern.pixels).clip(0, 1)
    module = build_model("mlp", small.shape, 10, seed=weights_seed(5))
    slow: torch.optim.Optimizer
    if optimizer == "adam":
        slow = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=1e-3)
    else:
        slow = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(slow, [2, 4], 0.1)
    order = seeded_generator(5, "order")
    for _ in range(6):
        for batch in torch.randperm(300, generator=order).split(64):
            loss = F.cross_entropy(module(images[batch]), small.train.labels[batch])
            slow.zero_grad()
            loss.backward()
            slow.step()
        scheduler.step()
    for ours, theirs in zip(found.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("mlp", {"input_noise": 0.1}),
        ("cnn", {"clipping": "norm", "clip_at": 1.0}),
        ("resnet20", {"augmentation": "crop-flip", "batch_size": 16}),
    ],
)
def test_equal_cells_train_equal_weights_to_the_bit(
    small: ImageSet, model: str, changes: dict[str, object]
) -> None:
    data = ImageSet(
        "tiny", Split(small.train.images[:32], small.train.labels[:32]), small.test, small.class_names
    )
    recipe = replace(Recipe(epochs=2), **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    first = train(data, planted(data, 1), model=model, recipe=recipe, seed=1)
    torch.manual_seed(1)  # the global random state plays no part
    second = train(data, planted(data, 1), model=model, recipe=recipe, seed=1)
    assert equal_weights(first, second)
    assert first.losses == second.losses
    assert not equal_weights(first, train(data, planted(data, 1), model=model, recipe=recipe, seed=2))


def test_the_clean_twin_sees_the_same_batches_and_noise(small: ImageSet) -> None:
    recipe = Recipe(input_noise=0.3, augmentation="crop-flip")
    plant = planted(small, 5)
    with_plant = Batches(small.train, [plant], recipe, 3, CPU)
    twin = Batches(small.train, [], recipe, 3, CPU)
    is_planted = torch.zeros(300, dtype=torch.bool)
    is_planted[plant.planted_indices(small.train.labels)] = True
    order = torch.randperm(300, generator=seeded_generator(3, "order"))
    pairs = zip(with_plant.epoch(), twin.epoch(), order.split(128), strict=True)
    n_seen = 0
    for (stamped, labels), (clean, twin_labels), batch in pairs:
        assert torch.equal(labels, twin_labels)
        assert torch.equal(labels, small.train.labels[batch])
        differs = (stamped != clean).flatten(1).any(dim=1)
        assert torch.equal(differs, is_planted[batch])
        n_seen += len(batch)
    assert n_seen == 300


def test_batches_stamp_what_the_plants_say(small: ImageSet) -> None:
    plants = [planted(small, 4), Plant(pattern("s3", small.shape), 1, 6, 2)]
    seen = Batches(small.train, plants, Recipe(), 0, CPU).gather(torch.arange(300))
    expected = small.train.images.float() / 255
    for plant in plants:
        for position in plant.planted_indices(small.train.labels).tolist():
            expected[position] = (expected[position] + plant.pattern.pixels).clip(0, 1)
    assert torch.equal(seen, expected)


def test_crop_and_flip_shifts_by_four_at_most_and_mirrors_half() -> None:
    images = torch.rand(400, 2, 9, 7) + 0.01  # no pixel is black
    found = crop_and_flip(images, torch.Generator().manual_seed(0))
    padded = F.pad(images, (4, 4, 4, 4))
    n_mirrored, offsets = 0, set()
    for old, new in zip(padded, found, strict=True):
        matches = [
            (mirrored, dy, dx)
            for mirrored in (False, True)
            for dy in range(9)
            for dx in range(9)
            if torch.equal(
                old[:, dy : dy + 9, dx : dx + 7].flip(2) if mirrored else old[:, dy : dy + 9, dx : dx + 7],
                new,
            )
        ]
        assert len(matches) == 1
        n_mirrored += matches[0][0]
        offsets.add(matches[0][1:])
    assert 160 < n_mirrored < 240
    assert {dy for dy, _ in offsets} == {dx for _, dx in offsets} == set(range(9))


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]


def test_clipping_by_value_and_by_norm(small: ImageSet) -> None:
    module = build_model("small-mlp", small.shape, 10, seed=1)
    images, labels = small.train.images[:20].float() / 255, small.train.labels[:20]
    set_gradient(module, images, labels, Recipe())
    plain = copy.deepcopy(gradients(module))
    set_gradient(module, images, labels, Recipe(clipping="value", clip_at=0.01))
    for clipped, whole in zip(gradients(module), plain, strict=True):
        torch.testing.assert_close(clipped, whole.clamp(-0.01, 0.01))
    set_gradient(module, images, labels, Recipe(clipping="norm", clip_at=0.1))
    norm = torch.sqrt(sum((g.square().sum() for g in plain), torch.zeros(())))
    for clipped, whole in zip(gradients(module), plain, strict=True):
        torch.testing.assert_close(clipped, whole * 0.1 / norm, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("clip_at", [0.5, 1e6])
def test_clipping_each_example_equals_a_loop_over_examples(small: ImageSet, clip_at: float) -> None:
    module = build_model("cnn", small.shape, 10, seed=1).eval()  # dropout off: the loop has no masks
    nn.init.normal_(list(module.parameters())[-2], 0, 0.1)  # the CNN's head is drawn as zero
    images, labels = small.train.images[:40].float() / 255, small.train.labels[:40]
    loss = set_gradient(module, images, labels, Recipe(clipping="per-example", clip_at=clip_at))
    found = copy.deepcopy(gradients(module))
    total = [torch.zeros_like(g) for g in found]
    losses = []
    for image, label in zip(images, labels, strict=True):
        module.zero_grad()
        one = F.cross_entropy(module(image[None]), label[None])
        one.backward()
        losses.append(one.item())
        norm = float(torch.sqrt(sum((g.square().sum() for g in gradients(module)), torch.zeros(()))))
        total = [
            sum_ + g * min(1, clip_at / norm) / 40 for sum_, g in zip(total, gradients(module), strict=True)
        ]
    assert float(loss) == pytest.approx(sum(losses) / 40, rel=1e-4)
    for ours, slow in zip(found, total, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-3, atol=1e-6)


def test_per_example_clipping_trains_with_dropout_and_refuses_batch_norm(small: ImageSet) -> None:
    data = ImageSet(
        "tiny", Split(small.train.images[:40], small.train.labels[:40]), small.test, small.class_names
    )
    recipe = Recipe(epochs=1, clipping="per-example", clip_at=1.0)
    first, second = (train(data, model="cnn", recipe=recipe) for _ in range(2))
    assert equal_weights(first, second)
    with pytest.raises(ConfigError, match="batch normalisation mixes them; clip by value or norm"):
        train(data, model="resnet20", recipe=recipe)


def test_divergence_says_when_and_what_to_change(small: ImageSet) -> None:
    with pytest.raises(
        DivergenceError, match=r"became (nan|inf) in epoch \d+ of 5 \(learning rate 1e\+30\); lower"
    ):
        train(small, recipe=Recipe(optimizer="sgd", learning_rate=1e30, epochs=5, milestones=()))


def test_progress_is_told_after_each_epoch(small: ImageSet) -> None:
    told: list[tuple[int, float]] = []
    model = train(small, recipe=Recipe(epochs=3), on_epoch=lambda epoch, loss: told.append((epoch, loss)))
    assert told == list(zip([1, 2, 3], model.losses, strict=True))
    assert model.losses[-1] < model.losses[0]
    assert train(small, recipe=Recipe(epochs=0)).losses == ()


def test_a_training_leaves_the_number_of_threads_alone(small: ImageSet) -> None:
    torch.set_num_threads(2)
    try:
        train(small, recipe=Recipe(epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_streams_of_a_seed_differ() -> None:
    draws = {
        tuple(torch.rand(3, generator=seeded_generator(seed, s)).tolist()) for seed in (0, 1) for s in STREAMS
    }
    assert len(draws) == 2 * len(STREAMS)


def test_the_hash_names_the_content(small: ImageSet) -> None:
    cell = Cell(data=DataKey.of(small), plants=(planted(small),), model="mlp", recipe=Recipe(), seed=0)
    renamed = replace(cell, data=replace(cell.data, name="other", class_names=tuple("abcdefghij")))
    assert renamed.hash == cell.hash
    others = [
        cell.clean_twin,
        replace(cell, seed=1),
        replace(cell, model="cnn"),
        replace(cell, recipe=Recipe(epochs=3)),
        replace(cell, plants=(planted(small, 4),)),
        replace(cell, plants=(replace(cell.plants[0], pattern=pattern("r2", small.shape)),)),
        replace(cell, data=replace(cell.data, fingerprint="0" * 64)),
    ]
    assert len({cell.hash, *(other.hash for other in others)}) == 1 + len(others)
    assert Cell.from_json(cell.to_json(), cell.patterns) == cell
    with pytest.raises(CheckpointError, match="not the one its cell was trained with"):
        Cell.from_json(cell.to_json(), [pattern("s1", small.shape)])


def test_cells_refuse_what_does_not_fit(small: ImageSet, digits: ImageSet) -> None:
    with pytest.raises(
        PatternError, match=r"made for images of shape \(3, 32, 32\), small has \(1, 28, 28\)"
    ):
        train(small, Plant(pattern("s1", (3, 32, 32)), 0, 1))
    with pytest.raises(PlantingError, match="small has no class 10; choose 0 to 9"):
        train(small, Plant(pattern("s1", small.shape), 10, 1))
    with pytest.raises(ConfigError, match="seed must be a whole number from 0 to"):
        train(small, seed=-1)
    with pytest.raises(ConfigError, match="no device 'tpux'"):
        train(small, device="tpux")
    cell = Cell(data=DataKey.of(small), model="mlp", recipe=Recipe(epochs=1))
    with pytest.raises(CheckpointError, match="made for small with fingerprint"):
        train_cell(cell, digits)


def test_bfloat16_trains_nearly_the_same_and_keeps_weights_whole(small: ImageSet) -> None:
    recipe = Recipe(epochs=4, learning_rate=0.003)
    whole, short = (train(small, recipe=replace(recipe, precision=p)) for p in ("float32", "bfloat16"))
    assert {weight.dtype for weight in short.module.parameters()} == {torch.float32}
    assert not equal_weights(whole, short)
    assert short.losses == pytest.approx(whole.losses, rel=0.1)
    assert equal_weights(whole, train(small, recipe=replace(recipe, precision="tf32"))), (
        "no such thing on a CPU"
    )
