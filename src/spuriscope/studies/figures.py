"""The figures and tables of studies, as files: SVG and PNG, or CSV; from a store, or from exported rows.

A figure of the paper that uses the models of another one is drawn from those if it was not run itself:
`draw(store, "fig20-mnist", ...)` works on a store that has fig2-mnist.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from spuriscope.errors import ConfigError, StoreError
from spuriscope.places import check_place, written
from spuriscope.report.drawing import figure_style
from spuriscope.studies.drawn import Drawn
from spuriscope.studies.paper import STUDIES, paper_grid
from spuriscope.studies.results import Result, read_results
from spuriscope.studies.sheets import FIGURES, Content
from spuriscope.studies.source import Source
from spuriscope.studies.study import check_study_name
from spuriscope.studies.theory_sheets import SHEETS as THEORY_SHEETS

__all__ = ["FORMS", "Form", "draw", "draw_theory"]

Form: TypeAlias = Literal["svg", "png"]
FORMS: tuple[Form, ...] = ("svg", "png")
MAKER = "spuriscope"  # written into the files, to recognise them


def draw(
    source: Source, name: str, out: Path, *, root: Path | None = None, forms: Sequence[Form] = FORMS
) -> list[Path]:
    """Draw a study; returns the files written into `out`.

    Args:
        source: a store, or a folder of exported files, with the study or the one whose cells it shares.
        name: such as "fig2-mnist".
        out: a folder, created if it does not exist.
        root: folder with the files of the data set; a few figures need its images.
        forms: of a figure; tables are CSV.

    Raises:
        StoreError, ConfigError: the source has no such study.
        ConfigError: there is no such kind of figure, it has nothing to draw yet or needs weights or images
            that exported rows do not hold, or `out` cannot be written.
        DataError: the images of the data set are needed but not found.
    """
    kind, title, found = _rows(source, name)
    if kind not in FIGURES:
        raise ConfigError(f"{name}: there is no figure {kind!r}; choose one of {', '.join(FIGURES)}")
    drawn = Drawn(title, found, source, root)
    files = _write_all(name, FIGURES[kind](drawn), out, forms)
    if not files:
        raise ConfigError(f"{name} has nothing to draw yet; `spuriscope study status` shows what is missing")
    return files


def draw_theory(name: str, out: Path, *, forms: Sequence[Form] = FORMS) -> list[Path]:
    """Draw a figure of the paper's theory, which needs no store; returns the files written into `out`.

    Args:
        name: one of `spuriscope.studies.THEORY`.
        out: a folder, created if it does not exist.
        forms: of the figure.

    Raises:
        ConfigError: `out` cannot be written.
    """
    return _write_all(name, THEORY_SHEETS[name](), out, forms)


def _write_all(
    name: str, sheets: Iterable[tuple[str, Content]], out: Path, forms: Sequence[Form] = FORMS
) -> list[Path]:
    check_study_name(name)
    check_place(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with figure_style(name):
            drawn = [(content, out / f"{name}{ending}") for ending, content in sheets]
            for content, path in drawn:
                _refuse_others(content, path, forms)
            return [file for content, path in drawn for file in _write(content, path, forms)]
    except OSError as error:
        raise ConfigError(f"cannot write in {out} ({error.strerror}); give another --out") from None


def _rows(source: Source, name: str) -> tuple[str, str, list[Result]]:
    """Kind of figure, headline and rows of a study, or of the one whose cells it shares."""
    there = {row["name"]: row for row in source.studies()}
    if name in there:
        return there[name]["figure"], there[name]["title"], read_results(source, name)
    paper, _, data = name.partition("-")
    shared = f"{STUDIES[paper].cells_of}-{data}" if paper in STUDIES else name
    if shared not in there:
        raise StoreError(
            f"{source.folder} has no study {name!r}" + (f" nor {shared}" if shared != name else "")
            + f"; it has {', '.join(there) or 'none'}"
        )  # fmt: skip
    grid = paper_grid(paper, "paper", data)
    wanted = {"model": grid.models, "pattern": grid.patterns, "target": grid.targets}
    if grid.counts == (0,):
        wanted["n_planted"] = (0,)
    found = [result for result in read_results(source, shared) if result.is_at(wanted)]
    return grid.figure, grid.title, found


def _write(content: Content, path: Path, forms: Sequence[Form]) -> list[Path]:
    files = _files(content, path, forms)
    for file in files:
        with written(file) as hidden:
            if isinstance(content, list):
                with hidden.open("w", newline="", encoding="utf-8") as table:
                    csv.writer(table, lineterminator="\n").writerows(content)
            elif file.suffix == ".svg":
                content.savefig(hidden, format="svg", metadata={"Date": None, "Creator": MAKER})
            else:
                content.savefig(hidden, format="png", dpi=144, metadata={"Software": MAKER})
    return files


def _files(content: Content, path: Path, forms: Sequence[Form]) -> list[Path]:
    kinds = ("csv",) if isinstance(content, list) else tuple(form for form in FORMS if form in forms)
    return [path.with_name(f"{path.name}.{kind}") for kind in kinds]


def _refuse_others(content: Content, path: Path, forms: Sequence[Form]) -> None:
    """Raise where a file would be overwritten that is not an earlier drawing."""
    for file in _files(content, path, forms):
        if not file.is_file():
            continue
        start = file.read_bytes()[:4000]
        mark = ",".join(map(str, content[0])) if isinstance(content, list) else MAKER
        if mark.encode() not in start:
            raise ConfigError(f"{file} exists and was not drawn here; move it away, or give another --out")
