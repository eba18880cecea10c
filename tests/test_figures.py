"""Figures of a small study, trained here: what is in the files, and that they are the same each time."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from spuriscope.cli.studies import study_app
from spuriscope.data import ImageSet, load
from spuriscope.errors import ConfigError, DataError, StoreError
from spuriscope.measures import empirical_norm
from spuriscope.patterns import PATTERN_NAMES, pattern
from spuriscope.studies import THEORY, Grid, Store, run_study
from spuriscope.studies.checksums import seal_cells
from spuriscope.studies.figures import draw
from spuriscope.studies.panels import dose_panel, line_panel, shares_axis
from spuriscope.studies.results import Result, images_of, read_results
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, train_cell


class Here:
    """An executor that trains in this process, one model after the other."""

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Executor.run`."""
        for cell in cells:
            yield train_cell(cell, data, device="cpu")

    def close(self) -> None:
        """Nothing to let go of."""


DOSE: dict[str, Any] = {"epochs": 1, "n_seeds": 2, "counts": (0, 3)}
GRIDS = (
    Grid(name="fig2-digits", title="Score", figure="score", patterns=PATTERN_NAMES, targets=(0, 1), **DOSE),
    Grid(
        name="fig14-digits", title="Networks", figure="variants", models=("small-mlp", "mlp"),
        patterns=("s3", "r3"), **DOSE,
    ),
    Grid(
        name="noise", title="Noise", figure="strengths",
        recipes=({}, {"input_noise": 0.1}, {"input_noise": 0.5}, {"weight_decay": 1e-5}), **DOSE,
    ),
    Grid(name="odd", figure="pie", **DOSE),
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits")


@pytest.fixture(scope="module")
def store(digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as opened:
        for grid in GRIDS:
            run_study(grid.expand(digits), digits, opened, Here())
        yield opened


def words(svg: Path) -> list[str]:
    """The text in an SVG, which is text there and not outlines."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8"))


def drawn(store: Store, name: str, folder: Path) -> list[Path]:
    files = draw(store, name, folder)
    assert all(path.stat().st_size > 0 for path in files)
    return [path for path in files if path.suffix == ".svg"]


def test_dose_has_a_panel_for_each_pattern_and_a_sheet_for_each_target(store: Store, tmp_path: Path) -> None:
    files = drawn(store, "fig2-digits", tmp_path)
    assert [path.stem for path in files] == ["fig2-digits-target-0", "fig2-digits-target-1"]
    assert {"S1", "S2", "S3", "R1", "R2", "R3", "Inv", "twin", "images planted"} <= set(words(files[0]))
    assert words(files[0])[-2:] == [
        "Score, target 0",
        "Dots are seeds; lines and bands are their mean and its 95 % interval.",
    ]


def test_the_other_figures_are_drawn_from_the_study_whose_models_they_share(
    store: Store, tmp_path: Path
) -> None:
    assert [path.name for path in drawn(store, "fig20-digits", tmp_path)] == ["fig20-digits.svg"]
    assert "clean twin" in words(drawn(store, "fig3-digits", tmp_path)[0])
    assert "MLP" in words(drawn(store, "fig15-digits", tmp_path)[0])
    for name in ("fig6", "fig19", "fig21", "fig23", "fig25", "norms"):
        assert drawn(store, f"{name}-digits", tmp_path)


def test_variants_and_strengths_name_what_they_compare(store: Store, tmp_path: Path) -> None:
    assert {"small MLP", "MLP", "S3", "R3"} <= set(words(drawn(store, "fig14-digits", tmp_path)[0]))
    (strengths,) = drawn(store, "noise", tmp_path)
    assert strengths.stem == "noise-planted-3"
    text = words(strengths)
    assert {"weight decay", "input noise (sd)", "score", "clean accuracy", "spurious accuracy"} <= set(text)
    assert {"0", "1e-5", "0.1", "0.5"} <= set(text)


def test_tables_hold_the_norms_and_the_papers_parameter_counts(
    store: Store, digits: ImageSet, tmp_path: Path
) -> None:
    (norms,) = draw(store, "table1-digits", tmp_path)
    rows = {row["pattern"]: row for row in csv.DictReader(norms.read_text(encoding="utf-8").splitlines())}
    expected = [empirical_norm(digits.test.images, pattern("r2", digits.shape, seed=seed)) for seed in (0, 1)]
    assert float(rows["r2"]["mean_norm"]) == pytest.approx(np.mean(expected), abs=1e-4)
    assert float(rows["s2"]["mean_norm"]) == pytest.approx(3, abs=0.05)  # 9 pixels, dark almost everywhere
    (parameters,) = draw(store, "table2-digits", tmp_path)
    assert "small-mlp,small MLP,203530" in parameters.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["fig2-digits", "fig3-digits", "noise"])
def test_a_figure_is_the_same_each_time(store: Store, tmp_path: Path, name: str) -> None:
    first, second = draw(store, name, tmp_path / "one"), draw(store, name, tmp_path / "two")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_dots_stand_where_the_numbers_are(store: Store) -> None:
    found = [
        result
        for result in read_results(store, "fig2-digits")
        if result.is_at({"pattern": "r3", "target": 0})
    ]
    axes = Figure().add_subplot()
    dose_panel(axes, found, "score_non_target")
    dots = [y for line in axes.lines if line.get_marker() == "o" for y in np.asarray(line.get_ydata())]
    assert sorted(dots) == pytest.approx(sorted(result.measures["score_non_target"] for result in found))


@pytest.mark.parametrize("end", [0.0, 0.5, 1.0])
def test_labels_of_lines_that_end_together_stand_apart_within_the_axis(end: float) -> None:
    axes = Figure().add_subplot()
    line_panel(axes, {name: [{0: end}, {0: end}] for name in "abc"}, ["0", "1"], "strength")
    low, high = axes.get_ylim()
    heights = sorted(text.xy[1] for text in axes.texts)  # type: ignore[attr-defined]
    assert low <= heights[0] < heights[-1] <= high
    assert min(np.diff(heights)) > 0.01


def test_an_axis_fitted_to_shares_holds_them_all() -> None:
    axes = Figure().add_subplot()
    shares_axis(axes, [0.972, 0.981])
    low, high = axes.get_ylim()
    assert low < 0.972
    assert high > 0.981
    assert high - low < 0.05


@pytest.mark.parametrize("name", ["fig7", "fig9", "fig10", "fig11"])
def test_theory_is_drawn_without_a_store(name: str, tmp_path: Path) -> None:
    runner = CliRunner()
    told = runner.invoke(study_app, ["run", name, "--store", str(tmp_path / "store")])
    assert told.stdout.startswith(f"{name} is theory and trains nothing; draw it: spuriscope study draw")
    counts = json.loads(runner.invoke(study_app, ["run", name, "--json"]).stdout)
    assert counts == {"study": name, "n_cells": 0, "n_trained": 0, "n_failed": 0}
    drawn = runner.invoke(study_app, ["draw", name, "--out", str(tmp_path)])
    assert drawn.stdout.splitlines() == [str(tmp_path / f"{name}.{kind}") for kind in ("svg", "png")]
    assert THEORY[name] in words(tmp_path / f"{name}.svg")
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_drawn_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study 'fig8-digits'; it has fig14-digits, fig2-digits"):
        draw(store, "fig8-digits", tmp_path)
    with pytest.raises(StoreError, match="no study 'fig12-digits' nor fig8-digits"):
        draw(store, "fig12-digits", tmp_path)
    with pytest.raises(ConfigError, match="no figure 'pie'; choose one of dose"):
        draw(store, "odd", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write in"):
        draw(store, "noise", tmp_path / "file" / "below")


def test_a_study_that_has_only_begun_has_nothing_to_draw(digits: ImageSet, tmp_path: Path) -> None:
    grid = Grid(name="fig3-digits", figure="maps", patterns=("s3",))
    with Store(tmp_path / "store") as store:
        store.add_study(grid.expand(digits))
        with pytest.raises(ConfigError, match="nothing to draw yet"):
            draw(store, "fig3-digits", tmp_path)
        result = CliRunner().invoke(study_app, ["check", "--store", str(store.folder)])
        assert result.stdout.startswith("fig3-digits is not finished: 0 of 12 cells")


def test_norms_are_taken_of_the_images_the_models_saw(store: Store, tmp_path: Path) -> None:
    first = read_results(store, "fig2-digits")[0]
    store.connection.execute("BEGIN")
    store.connection.execute(
        "UPDATE cells SET content = json_set(content, '$.data.fingerprint', 'other') WHERE hash = ?",
        [first.cell],
    )
    seal_cells(store.connection.execute, [first.cell])
    with pytest.raises(DataError, match="trained on another digits"):
        draw(store, "norms-digits", tmp_path)
    store.connection.execute("ROLLBACK")
    with pytest.raises(ConfigError, match="no finished cells"):
        images_of(store, [])


def test_commands_draw_and_check(store: Store, tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = ["draw", "fig20-digits", "--store", str(store.folder), "--out", str(tmp_path)]
    result = runner.invoke(study_app, arguments)
    assert result.stdout.splitlines() == [str(tmp_path / f"fig20-digits.{kind}") for kind in ("svg", "png")]
    short = runner.invoke(study_app, ["draw", "fig20", *arguments[2:]])  # of one data set alone
    assert short.stdout == result.stdout
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = tmp_path / "fig20.parquet"
    result = runner.invoke(study_app, ["export", "fig20", "--store", str(store.folder), "--out", str(table)])
    assert "rows written" in result.stdout
    assert table.read_bytes()[:4] == b"PAR1"
    result = runner.invoke(study_app, ["check", "--store", str(store.folder), "--judge-on", "digits"])
    assert "R3 is learnt from three: not enough data" in result.stdout
    assert "odd" not in result.stdout  # every study is finished
    assert "2 seeds have the cells it needs, and it takes 3" in result.stdout


def test_results_put_measures_of_a_cell_together(store: Store) -> None:
    (first, *_), rows = read_results(store, "noise"), store.rows("noise")
    assert isinstance(first, Result)
    assert first.measures == {row["measure"]: row["value"] for row in rows[: len(first.measures)]}
    assert first.settings == {"input_noise": 0.0, "weight_decay": 0.0}
