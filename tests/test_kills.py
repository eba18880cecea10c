"""A slice of `benchmarks/kills.py`: work that is killed after its writes goes on to the same result."""

from pathlib import Path

import pytest

from kills import kill, rows_of


@pytest.mark.parametrize("kind", ["study", "overwrite", "overwrite, two steps", "prepare"])
def test_work_that_is_killed_goes_on_to_the_same_result(kind: str, tmp_path: Path) -> None:
    kill(kind, 6, tmp_path / "kills.jsonl", seed=3)
    rows = rows_of(tmp_path / "kills.jsonl")
    assert sum(bool(row["is_killed"]) for row in rows) >= 6
    assert [row["wrong"] for row in rows if row["wrong"]] == []
