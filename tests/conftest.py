"""What all tests share: one thread, and the folder with the real data sets."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from spuriscope.added_measures import MEASURES
from spuriscope.data import load
from spuriscope.data.added import DATA_SETS
from spuriscope.deletion import METHODS
from spuriscope.discovery import EMBEDDINGS, TRANSPLANTS
from spuriscope.membership import ATTACKS
from spuriscope.models import ARCHITECTURES
from spuriscope.patterns import ADDED_PATTERNS
from spuriscope.registry import Registry

torch.set_num_threads(1)

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


SLOW = (
    *("ray_executor", "auditing", "audit_cases", "audit_own", "audit_finished", "searching", "store"),
    *("report_page", "examples", "adequacy", "many", "games", "deletion_methods", "discovery_missing"),
    *("figures", "discovery_evidence"),
)


TRAINS = (  # or search, expand whole studies, start processes; `make test-fast` leaves them out
    *("adapters", "adapters_forms", "auditing_explained", "benchmark_deletion", "benchmark_discovery"),
    *(
        "benchmark_peers",
        "bundle",
        "cli",
        "cli_numbers",
        "context_study",
        "contexts",
        "deletion_check",
        "deletion_influence",
    ),
    *(
        "deletion_path",
        "deletion_solvers",
        "deletion_study",
        "discovery_each",
        "discovery_embed",
        "discovery_plugins",
        "documents",
    ),
    *("discovery_group", "discovery_marks", "discovery_strays", "discovery_trace", "efficientnet"),
    *("executors", "files", "forgetting", "membership_canaries", "membership_game", "mitigation", "paper"),
    *("audit_shadows", "kills", "membership_one_model", "membership_shadows", "stopping"),
    *("part", "privacy", "processes", "report_already", "report_browser", "report_front", "report_gone"),
    *(
        "report_noticed",
        "report_recognised",
        "runner",
        "runs",
        "taken",
        "theory",
        "trained",
        "training",
        "weights",
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process is left with one of them at the end."""
    for item in items:
        if item.path.stem.removeprefix("test_") in (*SLOW, *TRAINS):
            item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return SLOW.index(name) if name in SLOW else len(SLOW)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded photographs of the tests are not put among the user's; processes of one run share them."""
    folder = tmp_path_factory.getbasetemp()
    of_all = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURISCOPE_CACHE", str(of_all / "cache"))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data sets: SPURISCOPE_TEST_DATA, else `shared/data` beside the repository."""
    repository = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SPURISCOPE_TEST_DATA") or repository.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist, set SPURISCOPE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def five_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with half of the classes of digits, which is searched in half of the time."""
    return few_digits(tmp_path_factory.mktemp("data") / "five.npz", 5)


@pytest.fixture(scope="session")
def three_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with three of the classes of digits."""
    return few_digits(tmp_path_factory.mktemp("data") / "three.npz", 3)


def few_digits(path: Path, n_classes: int) -> Path:
    """Write the first classes of digits."""
    data = load("digits")
    few, few_of_test = (split.labels < n_classes for split in (data.train, data.test))
    np.savez(
        path,
        train_images=data.train.images[few, 0].numpy(),
        train_labels=data.train.labels[few].numpy(),
        test_images=data.test.images[few_of_test, 0].numpy(),
        test_labels=data.test.labels[few_of_test].numpy(),
    )
    return path


@pytest.fixture(scope="module")
def _faint_pictures() -> Iterator[None]:
    """An autoencoder of a few steps: what it draws is for the eye, and nothing is judged by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spuriscope.auditing.explained.MOST_STEPS", 20)
        patch.setattr("spuriscope.auditing.explained.LEAST_STEPS", 20)
        yield


@pytest.fixture
def own_plugins() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    registries: list[Registry[Any]] = [
        *(ARCHITECTURES, ATTACKS, METHODS, MEASURES, DATA_SETS, ADDED_PATTERNS),
        *(EMBEDDINGS, TRANSPLANTS),
    ]
    before = [dict(registry.added) for registry in registries]
    yield
    for registry, added in zip(registries, before, strict=True):
        registry.added = added
