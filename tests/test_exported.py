"""Exported rows read back: equal to those of the store they came from, and refused where they are none."""

from pathlib import Path
from typing import Any

import pytest

from spuriscope.errors import ConfigError, StoreError
from spuriscope.studies import exported
from spuriscope.studies.export import export
from spuriscope.studies.exported import ExportedFolder, read_exported
from spuriscope.studies.figures import draw
from spuriscope.studies.results import results

PLACE = {"cell": "a1", "model": "mlp", "pattern": "r3", "target": 0, "n_planted": 3, "seed": 1}
SETTINGS: dict[str, Any] = {
    "weight_decay": 1e-05, "batch_size": 64, "clipping": "none", "milestones": [4, 6], "freeze": None,
    "is_odd": True, "momentum": 0.0,
}  # fmt: skip
ROWS = [
    PLACE | SETTINGS | {"measure": "score_all", "value": 0.1 + 0.2},
    PLACE | SETTINGS | {"measure": "clean_accuracy", "value": 1e-17},
]
HEADER = "cell,model,pattern,target,n_planted,seed,measure,value"
LINE = "a1,mlp,r3,0,3,1,score_all,0.5"


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    export(ROWS, tmp_path / "x.csv")
    found = read_exported(tmp_path / "x.csv")
    assert found.rows == ROWS
    assert [type(value) for value in found.rows[0].values()] == [type(value) for value in ROWS[0].values()]
    assert found.measures == {("a1", "r3", 0): {"score_all": 0.1 + 0.2, "clean_accuracy": 1e-17}}
    assert results(found.rows)[0].labels["milestones"] == (4, 6)


def test_a_pattern_that_is_called_like_a_number_stays_a_name(tmp_path: Path) -> None:
    export([ROWS[0] | {"pattern": "7", "model": "1e3"}], tmp_path / "x.csv")
    (row,) = read_exported(tmp_path / "x.csv").rows
    assert (row["pattern"], row["model"]) == ("7", "1e3")


def test_the_same_row_twice_is_one(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n".join([HEADER, LINE, LINE]))
    assert len(read_exported(tmp_path / "x.csv").rows) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no export of a study, its header lacks cell, model, pattern"),
        ("cell,context\na,b", "its header lacks model, pattern, target"),
        (f"{HEADER},value\n", "its header names a column twice"),
        (f"{HEADER}\n{LINE},7", "row 2 of .* has 9 fields, the header 8"),
        (f"{HEADER}\n{LINE}\n{LINE[:-3]}high", "row 3 of .* has 'high' as its value, which is no number"),
        (f"{HEADER}\n{LINE[:-3]}nan", "'nan' as its value, which is no number"),
        (f"{HEADER}\n{LINE[:-3]}1e999", "'1e999' as its value, which is no number"),
        (f"{HEADER}\n{LINE[:-3]}", "'' as its value, which is no number"),
        (f"{HEADER}\na1,mlp,r3,cat,3,1,score_all,0.5", "'cat' as its target, which is no whole number"),
        (f"{HEADER}\na1,mlp,r3,0,3,1.5,score_all,0.5", "'1.5' as its seed, which is no whole number"),
        (f"{HEADER}\n,mlp,r3,0,3,1,score_all,0.5", "row 2 of .* has no cell"),
        (f"{HEADER}\n{LINE}\n{LINE[:-3]}0.6", "row 3 .* has 0.6 as score_all of cell a1, and row 2 has 0.5"),
        ("PAR1", "is Parquet; rows are read from CSV: study export ... --format csv"),
        (f'{HEADER}\n"{"x" * 200_000}', "no table of text"),
        (f"{HEADER}\n\0", "row 2 of .* has 1 fields|no table of text"),
    ],
)
def test_what_is_no_export_is_one_line(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as told:
        read_exported(path)
    assert "\n" not in str(told.value)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot read .*No such file"):
        read_exported(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="cannot read .*Is a directory"):
        read_exported(tmp_path)
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no table of text"):
        read_exported(tmp_path / "x.csv")
    monkeypatch.setattr(exported, "LARGEST_DOCUMENT", 1)
    with pytest.raises(ConfigError, match="has more than 0 MiB"):
        read_exported(tmp_path / "x.csv")


def test_a_folder_has_the_studies_its_files_are_called_after(tmp_path: Path) -> None:
    for name in ("fig2-fashion-mnist", "own", "strange"):
        export(ROWS, tmp_path / f"{name}.csv")
    (tmp_path / "own.yaml").write_text("title: Of my own\nfigure: strengths\n")
    (tmp_path / "table.csv").write_text("context,target\n")
    folder = ExportedFolder(tmp_path)
    assert folder.studies() == [
        {
            "name": "fig2-fashion-mnist",
            "title": "Spurious score against the number planted: fashion-mnist",
            "figure": "score",
        },
        {"name": "own", "title": "Of my own", "figure": "strengths"},
        {"name": "strange", "title": "strange", "figure": "dose"},
    ]
    assert folder.rows("own") == ROWS
    with pytest.raises(ConfigError, match="no rows of 'fig3'; it has fig2-fashion-mnist, own, strange"):
        folder.rows("fig3")


def test_a_folder_without_rows_says_how_to_write_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no exported study; `spuriscope study export"):
        ExportedFolder(tmp_path)
    with pytest.raises(ConfigError, match="cannot read .*No such file"):
        ExportedFolder(tmp_path / "none")


def test_figures_are_drawn_from_rows_and_say_what_rows_do_not_hold(tmp_path: Path) -> None:
    rows = [
        {
            **PLACE,
            "cell": f"{name}{n}{seed}",
            "pattern": name,
            "n_planted": n,
            "seed": seed,
            "measure": measure,
            "value": (n + seed) / 10,
        }
        for name in ("s3", "r3")
        for n in (0, 3)
        for seed in (0, 1)
        for measure in ("score_non_target", "clean_accuracy")
    ]
    export(rows, tmp_path / "fig2-mnist.csv")
    folder = ExportedFolder(tmp_path)
    files = draw(folder, "fig21-mnist", tmp_path / "out", forms=["svg"])
    assert [file.name for file in files] == ["fig21-mnist.svg"]
    assert ">S3<" in files[0].read_text()
    with pytest.raises(ConfigError, match="does not say which images .*export the study with --root"):
        draw(folder, "norms-mnist", tmp_path / "out")
    with pytest.raises(ConfigError, match="nothing to draw"):  # no weights
        draw(folder, "fig3-mnist", tmp_path / "out")
    with pytest.raises(StoreError, match="no study 'fig8-mnist'"):
        draw(folder, "fig8-mnist", tmp_path / "out")
