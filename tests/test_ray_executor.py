"""Cells on a real Ray cluster of two nodes: the same bits as alone, and what happens when a node is lost."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import CheckpointError, ConfigError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.registry import load_plugin
from spuriscope.studies.ray_executor import RayExecutor
from spuriscope.training import Cell, DataKey, FailedCell, Part, Progress, Recipe, TrainedModel, train_cell

LONG = Recipe(epochs=100_000)
PLUGIN = Path(__file__).resolve().parents[1] / "docs" / "examples" / "plugin"


@pytest.fixture(scope="module")
def data() -> ImageSet:
    digits = load("digits")
    part = Split(digits.train.images[:256], digits.train.labels[:256])
    return ImageSet("small", part, digits.test, digits.class_names)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a node, one CPU each. Ray leaves its pipes to the garbage collector.

    Ray finds out sooner here that a node is gone: it asks each second, not every third.
    """
    ray: Any = pytest.importorskip("ray", reason="Ray is not installed: pip install 'spuriscope[ray]'")
    if not Path("/proc/self/stat").exists():
        pytest.skip("looks for Ray's workers in /proc")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGIN), before]))  # as if installed
    cluster_utils: Any = pytest.importorskip("ray.cluster_utils")
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": {"health_check_period_ms": 1000}}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ.pop("PYTHONPATH")
    os.environ |= {} if before is None else {"PYTHONPATH": before}


@pytest.fixture
def executor(cluster: Any) -> Iterator[RayExecutor]:
    made = RayExecutor(cluster.address)
    yield made
    made.close()


pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # Ray does not wait for the processes it starts
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def make_cells(data: ImageSet, recipes: Sequence[Recipe]) -> list[Cell]:
    return [
        Cell(
            data=DataKey.of(data),
            plants=(Plant(pattern("r3", data.shape, seed=seed), 0, seed % 3, seed),) if seed % 3 else (),
            part=Part.of(range(seed, len(data.train))) if seed % 2 else None,
            model="small-mlp",
            recipe=recipe,
            seed=seed,
        )
        for seed, recipe in enumerate(recipes)
    ]


def assert_trained_as_alone(found: TrainedModel | FailedCell, data: ImageSet) -> None:
    assert isinstance(found, TrainedModel), found
    alone = train_cell(found.cell, data)
    assert found.losses == alone.losses
    for ours, theirs in zip(
        found.module.state_dict().values(), alone.module.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def tasks_of(node: Any) -> list[int]:
    """Processes at work on a bundle: children of the node's raylet, named after what they do."""
    raylet = node.all_processes["raylet"][0].process.pid
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                is_task = b"_train_bundle" in (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == raylet and is_task:
                found.append(int(folder.name))
    return found


def wait_until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_cells_train_alike_here_and_there(executor: RayExecutor, data: ImageSet) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=1e30, epochs=3, milestones=())
    recipes = [Recipe(epochs=2), wild, Recipe(epochs=1, input_noise=0.2), *(Recipe(epochs=1),) * 10]
    cells = make_cells(data, recipes)
    mark = Plant(pattern("letters", data.shape), 3, 9, 5, "anywhere", "all")
    cells[4] = replace(cells[4], plants=(mark, Plant(pattern("invert", data.shape), 1, 4, 5)))
    told: list[Progress] = []
    found = list(executor.run(cells, data, told.append))
    assert Counter(result.cell for result in found) == Counter(cells)
    failed = [result for result in found if isinstance(result, FailedCell)]
    assert [result.cell for result in failed] == [cells[1]]
    assert "in epoch 1 of 3" in failed[0].reason
    for result in found:
        if result not in failed:
            assert_trained_as_alone(result, data)
    assert [progress.models_done for progress in told] == list(range(1, 14))
    assert (told[-1].n_models, told[-1].epochs_done, told[-1].n_epochs) == (13, 16, 16)
    assert told[-1].images_per_second > 0


def test_a_worker_that_is_killed_again_and_again_costs_its_own_cell_only(
    cluster: Any, data: ImageSet
) -> None:
    cells = make_cells(data, [Recipe(epochs=2), LONG, *(Recipe(epochs=2),) * 4])
    done = threading.Event()
    only_the_long_one_left = threading.Event()

    def kill() -> None:
        only_the_long_one_left.wait()
        while not done.wait(0.2):
            for pid in (pid for node in cluster.list_all_nodes() for pid in tasks_of(node)):
                os.kill(pid, signal.SIGKILL)

    def look(progress: Progress) -> None:
        if progress.models_done == 5:
            only_the_long_one_left.set()

    killer = threading.Thread(target=kill)
    killer.start()
    executor = RayExecutor(cluster.address, max_retries=1)
    try:
        found = list(executor.run(cells, data, look))
    finally:
        done.set()
        only_the_long_one_left.set()
        killer.join()
        executor.close()
    failed = [result for result in found if isinstance(result, FailedCell)]
    assert [result.cell for result in failed] == [cells[1]]
    assert "was lost 2 times (WorkerCrashedError)" in failed[0].reason
    assert Counter(result.cell for result in found) == Counter(cells)


def test_leaving_the_loop_and_closing_end_what_runs(cluster: Any, data: ImageSet) -> None:
    cells = make_cells(data, [Recipe(epochs=1), LONG, LONG, LONG])
    for leave in ("loop", "close"):
        executor = RayExecutor(cluster.address)
        results = executor.run(cells, data)
        next(results)
        wait_until(lambda: any(tasks_of(node) for node in cluster.list_all_nodes()))
        if leave == "loop":
            results.close()  # type: ignore[attr-defined]
        executor.close()
        wait_until(lambda: not any(tasks_of(node) for node in cluster.list_all_nodes()))


def test_a_node_lost_in_the_middle_loses_no_cell(cluster: Any, data: ImageSet) -> None:
    """The node is killed while it is at work; what it had not sent is trained elsewhere, to the same bits."""
    node = next(node for node in cluster.list_all_nodes() if not node.is_head())
    cells = make_cells(data, [Recipe(epochs=20)] * 24)
    was_at_work: list[bool] = []

    def kill(progress: Progress) -> None:
        if progress.models_done >= 4 and not was_at_work and tasks_of(node):
            was_at_work.append(True)
            cluster.remove_node(node, allow_graceful=False)

    executor = RayExecutor(cluster.address)
    found = list(executor.run(cells, data, kill))
    executor.close()
    assert was_at_work
    assert Counter(result.cell for result in found) == Counter(cells)
    for result in found:
        assert_trained_as_alone(result, data)
    cluster.wait_for_nodes(240)  # Ray prints that a node is gone to whoever is connected by then


@pytest.mark.usefixtures("own_plugins")
def test_nodes_import_plugins(
    executor: RayExecutor, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is installed on every node trains to the same bits; one that is not costs its own cell."""
    text = (PLUGIN / "example_plugin.py").read_text()
    (tmp_path / "plugin_of_driver.py").write_text(text.replace('("tanh', '("own').replace('("reset', '("own'))
    for folder in (PLUGIN, tmp_path):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "example_plugin", raising=False)
    for plugin in ("example_plugin", "plugin_of_driver"):
        load_plugin(plugin)
    cells = [replace(make_cells(data, [Recipe(epochs=1)])[0], model=name) for name in ("tanh-net", "own-net")]
    found = {result.cell: result for result in executor.run(cells, data)}
    assert_trained_as_alone(found[cells[0]], data)
    failed = found[cells[1]]
    assert isinstance(failed, FailedCell)
    assert re.match(r"on node .*: there is no plugin 'plugin_of_driver' in the current folder", failed.reason)


STUDY = "{models: [tanh-net], patterns: [s3], counts: [0, 3], n_seeds: 2, epochs: 1, deletions: [reset-head]}"


def test_a_study_on_a_cluster_is_quiet(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    command = ["study", "run", "tiny.yaml", "--executor", "ray", "--address", cluster.address]
    command += ["--plugin", "example_plugin"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("spuriscope")), *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    told = [
        line for line in done.stderr.splitlines() if not line.startswith("training: ")
    ]  # where it is slow
    assert (done.returncode, told) == (0, [])
    assert done.stdout == "tiny: 4 cells, 4 trained, 0 done before, 0 failed\n"


def test_nodes_without_spuriscope_are_told_of(cluster: Any, data: ImageSet, tmp_path: Path) -> None:
    """An empty package of our name stands in for a node where nothing is installed."""
    ray: Any = pytest.importorskip("ray")
    (tmp_path / "spuriscope").mkdir()
    (tmp_path / "spuriscope" / "__init__.py").touch()
    foreign = {"env_vars": {"PYTHONPATH": str(tmp_path)}}
    ray.init(cluster.address, runtime_env=foreign, log_to_driver=False, logging_level="ERROR")
    executor = RayExecutor()
    with pytest.raises(ConfigError, match="No module named 'spuriscope.*installed on every node"):
        list(executor.run(make_cells(data, [Recipe(epochs=1)]), data))
    executor.close()
    assert ray.is_initialized()  # a connection that was there is kept
    ray.shutdown()


def test_what_does_not_fit_is_refused_before_anything_runs(cluster: Any, data: ImageSet) -> None:
    cells = make_cells(data, [Recipe(epochs=1)])
    with pytest.raises(ConfigError, match="cells_per_task must be 1 or more, got 0"):
        RayExecutor(cells_per_task=0)
    with pytest.raises(ConfigError, match="n_gpus_per_task must be a number of 0 or more, got -1"):
        RayExecutor(n_gpus_per_task=-1)
    with pytest.raises(ConfigError, match="max_retries must be 0 or more, got -1"):
        RayExecutor(max_retries=-1)
    with pytest.raises(ConfigError, match=r"no Ray cluster at 127.0.0.1:1 .*refused.*ray start --head"):
        RayExecutor("127.0.0.1:1").run(cells, data)
    with pytest.raises(ConfigError, match="an address is host:port"):
        RayExecutor("nowhere").run(cells, data)
    executor = RayExecutor(cluster.address, n_gpus_per_task=0.25)
    with pytest.raises(ConfigError, match="n_gpus_per_task is 0.25, but the cluster has no GPU"):
        executor.run(cells, data)
    executor.close()
    other = replace(cells[0], data=replace(cells[0].data, fingerprint="0" * 64))
    with pytest.raises(CheckpointError, match="made for small with fingerprint 000000000000"):
        RayExecutor(cluster.address).run([other], data)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed; pip install 'spuriscope\[ray\]'"):
        RayExecutor()
