"""Many trainings at once against one after the other, and what happens when a worker dies."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError, ConfigError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import (
    Cell,
    DataKey,
    FailedCell,
    Progress,
    Recipe,
    TrainedModel,
    train_cell,
    train_many,
)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:256], digits.train.labels[:256])
    return ImageSet("small", part, digits.test, digits.class_names)


def make_cells(data: ImageSet, recipes: Iterable[Recipe], model: str = "small-mlp") -> list[Cell]:
    return [
        Cell(
            data=DataKey.of(data),
            plants=(Plant(pattern("r3", data.shape, seed=seed), 0, seed % 3, seed),) if seed % 3 else (),
            model=model,
            recipe=recipe,
            seed=seed,
        )
        for seed, recipe in enumerate(recipes)
    ]


def assert_equal_models(found: TrainedModel, expected: TrainedModel) -> None:
    assert found.losses == expected.losses
    for ours, theirs in zip(
        found.module.state_dict().values(), expected.module.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def planted_cells(data: ImageSet) -> list[Cell]:
    """A cell of each kind of pattern, placement and relabelling, and one of several together."""
    square = pattern("square", data.shape)
    plants = [
        (Plant(square, 0, 8, 1),),
        (Plant(square, 0, 8, 1, "anywhere"),),
        (Plant(square, 0, 8, 1, relabel="all"),),
        (Plant(pattern("invert", data.shape), 2, 8, 1),),
        (
            Plant(pattern("black-square", data.shape), 0, 5, 1, "anywhere", 3),
            Plant(pattern("watermark", data.shape), 1, 4, 2, "anywhere"),
            Plant(pattern("r3", data.shape, seed=1), 2, 3, 3),
        ),
    ]
    return [
        Cell(data=DataKey.of(data), plants=each, model="small-mlp", recipe=Recipe(epochs=2), seed=seed)
        for seed, each in enumerate(plants)
    ]


def stamped_by_hand(data: ImageSet, cell: Cell) -> ImageSet:
    """The data with opaque white squares and negatives written into their bytes, and labels changed."""
    images, labels = data.train.images.clone(), data.train.labels.clone()
    (plant,) = cell.plants
    classes = data.train.labels.numpy()
    own = classes != plant.target if plant.relabel == "all" else classes == plant.target
    drawn = np.random.RandomState(plant.seed).choice(np.where(own)[0], size=plant.n_planted, replace=False)
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([plant.seed, 1])))
    places = (24 * state.rand(len(images), 2)).astype(int)
    for position in drawn.tolist():
        top, left = places[position] if plant.placement == "anywhere" else (21, 21)
        if plant.pattern.name == "invert":
            images[position] = 255 - images[position]
        else:
            images[position, :, top : top + 5, left : left + 5] = 255
        labels[position] = plant.target
    return ImageSet("by hand", Split(images, labels), data.test, data.class_names)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_kind_of_plant_trains_alike_alone_together_and_written_into_the_images(
    data: ImageSet, n_workers: int
) -> None:
    cells = planted_cells(data)
    found = {model.cell: model for model in train_many(cells, data, n_workers=n_workers)}
    for cell in cells:
        model = found[cell]
        assert isinstance(model, TrainedModel)
        assert_equal_models(model, train_cell(cell, data))
        if len(cell.plants) == 1:
            by_hand = stamped_by_hand(data, cell)
            slow = train_cell(replace(cell, data=DataKey.of(by_hand), plants=()), by_hand)
            if cell.plants[0].pattern.name == "square":
                assert_equal_models(model, slow)
            else:  # 1 - x / 255 is (255 - x) / 255 but for rounding
                assert model.losses == pytest.approx(slow.losses, rel=1e-4)
            assert model.losses != train_cell(cell.clean_twin, data).losses


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_cells_train_alike_alone_and_together(data: ImageSet, n_workers: int) -> None:
    recipes = [
        Recipe(epochs=2),
        Recipe(epochs=3, learning_rate=0.003),
        Recipe(epochs=1, optimizer="sgd"),
        Recipe(epochs=2, input_noise=0.2),
        Recipe(epochs=2, weight_decay=0.01),
        Recipe(epochs=2, clipping="value", clip_at=0.01),
        Recipe(epochs=2, clipping="norm", clip_at=0.1),
    ]
    cells = make_cells(data, recipes)
    found = list(train_many(cells[::-1], data, n_workers=n_workers))
    assert Counter(model.cell for model in found) == Counter(cells)
    for model in found:
        assert isinstance(model, TrainedModel)
        assert_equal_models(model, train_cell(model.cell, data))


@pytest.mark.parametrize("model", ["cnn", "resnet20"])
def test_convolution_nets_train_alike_alone_and_together(data: ImageSet, model: str) -> None:
    tiny = ImageSet(
        "tiny", Split(data.train.images[:48], data.train.labels[:48]), data.test, data.class_names
    )
    recipe = Recipe(epochs=1, batch_size=24, augmentation="crop-flip")
    for found in train_many(make_cells(tiny, [recipe, recipe], model), tiny, n_workers=2):
        assert isinstance(found, TrainedModel)
        assert_equal_models(found, train_cell(found.cell, tiny))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_model_that_diverges_costs_its_own_cell_only(data: ImageSet, n_workers: int) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=3, milestones=())
    cells = make_cells(data, [Recipe(epochs=2), wild, Recipe(epochs=2), Recipe(epochs=2)])
    told: list[Progress] = []
    found = list(train_many(cells, data, n_workers=n_workers, on_progress=told.append))
    failed = [result for result in found if isinstance(result, FailedCell)]
    assert [result.cell for result in failed] == [cells[1]]
    assert "in epoch 1 of 3" in failed[0].reason
    assert "lower the learning rate" in failed[0].reason
    assert {result.cell for result in found} == set(cells)
    last = told[-1]
    assert (last.models_done, last.n_models, last.epochs_done, last.n_epochs) == (4, 4, 9, 9)
    assert last.images_per_second > 0


def worker_pids(parent: int) -> list[int]:
    """The workers of a process: they are children of its fork server, which is its child."""
    return [worker for server in children(parent) for worker in children(server)]


def children(parent: int) -> list[int]:
    """Fork servers and what they forked, among the children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, ancestor = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                is_fork = b"forkserver" in (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if is_fork and state != "Z" and int(ancestor) == parent:
                found.append(int(folder.name))
    return found


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@linux_only
def test_a_killed_worker_costs_its_own_cell_only(data: ImageSet) -> None:
    long = Recipe(epochs=100_000)
    cells = make_cells(data, [Recipe(epochs=2), long, Recipe(epochs=2), Recipe(epochs=2)])
    killed = False

    def kill(progress: Progress) -> None:
        nonlocal killed
        if progress.models_done == 3 and not killed:
            killed = True
            for pid in worker_pids(os.getpid()):  # the one at work on the long cell
                os.kill(pid, signal.SIGKILL)

    found = list(train_many(cells, data, n_workers=2, on_progress=kill))
    failed = [result for result in found if isinstance(result, FailedCell)]
    assert [result.cell for result in failed] == [cells[1]]
    assert "was killed by SIGKILL" in failed[0].reason
    assert len(found) == 4


@linux_only
def test_leaving_the_loop_ends_all_workers(data: ImageSet) -> None:
    cells = make_cells(data, [Recipe(epochs=1), *(Recipe(epochs=100_000),) * 3])
    results = train_many(cells, data, n_workers=2)
    next(results)
    assert worker_pids(os.getpid())
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 120
    while worker_pids(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker_pids(os.getpid())


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
import spuriscope as ss
data = ss.load("digits")
key, recipe = ss.DataKey.of(data), ss.Recipe(epochs={epochs})
cells = [ss.Cell(data=key, model="mlp", recipe=recipe, seed=s) for s in (0, 1)]
for model in ss.train_many(cells, data, n_workers=2, on_progress=lambda p: print(p.epochs_done, flush=True)):
    print("trained", model.cell.seed, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@linux_only
def test_stopping_the_parent_ends_the_workers(how: signal.Signals, tmp_path: Path, data: ImageSet) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(epochs=100_000))
    command = [sys.executable, str(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()  # training has begun
            workers = worker_pids(parent.pid)
            assert workers
            if how is signal.SIGINT:
                os.killpg(parent.pid, how)  # as a terminal does
                parent.communicate(timeout=240)
        finally:
            parent.kill()
    deadline = time.monotonic() + 120
    while (left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert len(leftovers(parent.pid)) == (how is signal.SIGKILL)
    list(train_many(make_cells(data, [Recipe(epochs=1)] * 2), data, n_workers=2))
    assert not leftovers(parent.pid), "the next one clears up what a killed one left"


def leftovers(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"spuriscope-workers-{pid}-*"))


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(epochs=1))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=240
    )
    assert sorted(line for line in done.stdout.splitlines() if "trained" in line) == [
        "trained 0",
        "trained 1",
    ]


def private_megabytes(pid: int) -> float:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@linux_only
def test_workers_share_one_copy_of_the_data() -> None:
    """141 MB of images: what a worker has to itself is less than half of that."""
    n = 60_000
    images = torch.randint(0, 256, (n, 3, 28, 28), dtype=torch.uint8)
    labels = torch.arange(n) % 10
    big = ImageSet("big", Split(images, labels), Split(images[:10], labels[:10]), tuple("0123456789"))
    megabytes: list[float] = []

    def look(progress: Progress) -> None:
        megabytes.extend(private_megabytes(pid) for pid in worker_pids(os.getpid()))

    recipe = Recipe(epochs=2, batch_size=500)
    results = train_many(make_cells(big, [recipe] * 2), big, n_workers=2, on_progress=look)
    assert all(isinstance(result, TrainedModel) for result in results)
    assert len(megabytes) >= 4
    assert min(megabytes) < 70


def test_bad_arguments_are_refused_before_anything_is_trained(data: ImageSet) -> None:
    cells = make_cells(data, [Recipe(epochs=1)] * 2)
    with pytest.raises(ConfigError, match="n_workers must be 1 or more, got 0"):
        train_many(cells, data, n_workers=0)
    other = replace(cells[0], data=replace(cells[0].data, fingerprint="0" * 64))
    with pytest.raises(CheckpointError, match="made for small with fingerprint 000000000000"):
        train_many([cells[0], other], data)
    assert list(train_many([], data)) == []
