"""What all tests share: one thread, and the folder with the real data sets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded photographs of the tests are not put among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURISCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data sets: SPURISCOPE_TEST_DATA, else `shared/data` beside the repository."""
    repository = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SPURISCOPE_TEST_DATA") or repository.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist, set SPURISCOPE_TEST_DATA")
    return folder
