"""The study of natural contexts: from the grid to the store, the figure and the verdict."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spuriscope.contexts import RareContext, measure_context
from spuriscope.data import ImageSet, Split
from spuriscope.data.image_set import Contexts
from spuriscope.errors import ConfigError, DataError
from spuriscope.statistics import Interval
from spuriscope.studies import Grid, Store, paper_grid, run_study
from spuriscope.studies.claims import check_store
from spuriscope.studies.evidence import Evidence, at_least
from spuriscope.studies.figures import draw
from spuriscope.studies.results import Result
from spuriscope.studies.rules import contexts_are_learnt
from spuriscope.training import Trainer, train_cell


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)

    def part(n: int) -> tuple[Split, torch.Tensor]:
        labels, codes = (
            torch.randint(4, (n,), generator=generator),
            torch.randint(3, (n,), generator=generator),
        )
        images = torch.randint(256, (n, 3, 4, 4), generator=generator, dtype=torch.uint8)
        return Split(images, labels), codes

    (train, of_train), (test, of_test) = part(240), part(120)
    contexts = Contexts(("autumn", "dim", "grass"), of_train, of_test)
    return ImageSet("toy", train, test, ("ant", "bear", "cat", "dog"), contexts)


@pytest.fixture(scope="module")
def grid() -> Grid:
    paper = paper_grid("fig4", "short", "toy")
    return replace(paper, models=("small-mlp",), epochs=1, n_seeds=3)


def test_nine_pairs_share_the_twins_of_their_context(data: ImageSet, grid: Grid) -> None:
    study = grid.expand(data)
    pairs = {(entry.labels["pattern"], entry.labels["target"]) for entry in study.entries}
    assert pairs == {(name, k) for name in ("autumn", "dim", "grass") for k in range(3)}
    n_there = {(name, k): RareContext(name, k, 0).n_candidates(data) for name, k in pairs}
    n_counts = {pair: sum(n <= there for n in (1, 3, 10, 30)) for pair, there in n_there.items()}
    assert len(study.cells()) == 3 * (3 + sum(n_counts.values()))
    assert len(study.entries) == 3 * (9 + sum(n_counts.values()))
    other = paper_grid("fig24", "short", "toy")
    assert {entry.labels["pattern"] for entry in replace(other, models=("mlp",)).expand(data).entries} == {
        "dim",
        "grass",
    }


def test_store_figure_and_verdict(data: ImageSet, grid: Grid, tmp_path: Path) -> None:
    study = replace(grid, name="fig4-toy", counts=(0, 10)).expand(data)
    with Store(tmp_path / "store") as store:
        outcome = run_study(study, data, store, Trainer("cpu", 1))
        assert outcome.n_trained == outcome.n_cells == 3 * (3 + 9)
        assert run_study(study, data, store, Trainer("cpu", 1)).n_trained == 0
        entry = study.entries[-1]
        rows = [row for row in store.rows("fig4-toy") if row["cell"] == entry.cell.hash]
        found = measure_context(train_cell(entry.cell, data).predict, data, "grass", entry.target)
        assert {row["measure"]: row["value"] for row in rows} == vars(found)
        files = draw(store, "fig4-toy", tmp_path / "figures")
        assert [path.suffix for path in files] == [".svg", ".png"]
        assert "grass, class 2" in files[0].read_text(encoding="utf-8")
        claims = {finding.claim.name: finding for finding in check_store(store, ["toy"])}
        (case,) = claims["natural contexts are learnt"].cases
        assert case.evidence is not None


def results(rises: list[float], *, n_seeds: int = 8) -> list[Result]:
    found = []
    noise = np.random.default_rng(0).normal(0, 0.005, (len(rises), n_seeds))
    for k, rise in enumerate(rises):
        for seed in range(n_seeds):
            for n_planted, share in ((0, 0.1), (10, 0.1 + rise + noise[k, seed])):
                labels = {"pattern": f"c{k // 3}", "target": k % 3, "n_planted": n_planted, "seed": seed}
                found.append(Result("x", labels, {"predicted_share": share}))
    return found


@pytest.mark.parametrize(("n_rising", "holds"), [(9, True), (5, True), (4, False), (0, False)])
def test_five_of_nine_is_judged_as_five_of_nine(n_rising: int, holds: bool) -> None:
    evidence: Any = contexts_are_learnt(
        results([0.3] * n_rising + [0.0] * (9 - n_rising)), n_planted=10, n_pairs=5
    )
    assert (evidence.p_for < 0.05) == holds
    assert (evidence.p_against < 0.05) == (not holds)


def test_with_too_few_pairs_there_is_no_verdict() -> None:
    assert "4 pairs have 3 seeds, and it takes 5" in str(
        contexts_are_learnt(results([0.3] * 4), n_planted=10, n_pairs=5)
    )


def test_partial_conjunction_by_hand() -> None:
    effect = Interval(0.0, 0.0, 0.0, 3)
    parts = [Evidence(p, 1 - p, effect, part=str(p)) for p in (0.5, 0.001, 0.02, 0.9)]
    found = at_least(parts, 2)
    assert found.p_for == pytest.approx((4 - 2 + 1) * 0.02)
    assert found.part == "0.02"
    assert found.p_against == pytest.approx(min(1, (4 - 3 + 1) * 0.98))  # the third smallest of 1 - p


def test_false_verdicts_are_rare_when_all_is_noise() -> None:
    """Four pairs truly rise, the claim is of five: it is called right in a twentieth of worlds at most."""
    random = np.random.default_rng(1)
    effect = Interval(0.0, 0.0, 0.0, 3)
    wrong = 0
    for _ in range(2000):
        p_values = [0.0] * 4 + random.uniform(size=5).tolist()
        wrong += at_least([Evidence(p, 1.0, effect) for p in p_values], 5).p_for < 0.05
    assert wrong / 2000 < 0.06


def test_what_does_not_fit_is_said(data: ImageSet) -> None:
    plain = ImageSet("plain", data.train, data.test, data.class_names)
    with pytest.raises(DataError, match="plain has no contexts"):
        paper_grid("fig4", "short", "plain").expand(plain)
    with pytest.raises(
        ConfigError, match="toy has no context 'mud'; choose of autumn, dim, grass, or 0 to 2"
    ):
        Grid(name="x", contexts=("mud",), models=("mlp",)).expand(data)
    with pytest.raises(ConfigError, match="toy has no context 3"):
        Grid(name="x", contexts=(3,), models=("mlp",)).expand(data)
