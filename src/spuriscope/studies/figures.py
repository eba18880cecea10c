"""The figures and tables of studies, as files: SVG and PNG, or CSV.

A figure of the paper that uses the models of another one is drawn from those if it was not run itself:
`draw(store, "fig20-mnist", ...)` works on a store that has fig2-mnist.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from spuriscope.errors import ConfigError, StoreError
from spuriscope.places import check_place, written
from spuriscope.report.drawing import figure_style
from spuriscope.studies.drawn import Drawn
from spuriscope.studies.paper import STUDIES, paper_grid
from spuriscope.studies.results import Result, read_results
from spuriscope.studies.sheets import FIGURES, Content
from spuriscope.studies.store import Store
from spuriscope.studies.study import check_study_name
from spuriscope.studies.theory_sheets import SHEETS as THEORY_SHEETS

__all__ = ["draw", "draw_theory"]

MAKER = "spuriscope"  # written into the files, to recognise them


def draw(store: Store, name: str, out: Path, *, root: Path | None = None) -> list[Path]:
    """Draw a study of a store; returns the files written into `out`.

    Args:
        store: with the study, or the one whose cells it shares.
        name: such as "fig2-mnist".
        out: a folder, created if it does not exist.
        root: folder with the files of the data set; a few figures need its images.

    Raises:
        StoreError: the store has no such study.
        ConfigError: there is no such kind of figure, it has nothing to draw yet, or `out` cannot be written.
        DataError: the images of the data set are needed but not found.
    """
    kind, title, found = _rows(store, name)
    if kind not in FIGURES:
        raise ConfigError(f"{name}: there is no figure {kind!r}; choose one of {', '.join(FIGURES)}")
    drawn = Drawn(title, found, store, root)
    files = _write_all(name, FIGURES[kind](drawn), out)
    if not files:
        raise ConfigError(f"{name} has nothing to draw yet; `spuriscope study status` shows what is missing")
    return files


def draw_theory(name: str, out: Path) -> list[Path]:
    """Draw a figure of the paper's theory, which needs no store; returns the files written into `out`.

    Args:
        name: one of `spuriscope.studies.THEORY`.
        out: a folder, created if it does not exist.

    Raises:
        ConfigError: `out` cannot be written.
    """
    return _write_all(name, THEORY_SHEETS[name](), out)


def _write_all(name: str, sheets: Iterable[tuple[str, Content]], out: Path) -> list[Path]:
    check_study_name(name)
    check_place(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with figure_style(name):
            drawn = [(content, out / f"{name}{ending}") for ending, content in sheets]
            for content, path in drawn:
                _refuse_others(content, path)
            return [file for content, path in drawn for file in _write(content, path)]
    except OSError as error:
        raise ConfigError(f"cannot write in {out} ({error.strerror}); give another --out") from None


def _rows(store: Store, name: str) -> tuple[str, str, list[Result]]:
    """Kind of figure, headline and rows of a study, or of the one whose cells it shares."""
    stored = {row["name"]: row for row in store.studies()}
    if name in stored:
        return stored[name]["figure"], stored[name]["title"], read_results(store, name)
    paper, _, data = name.partition("-")
    source = f"{STUDIES[paper].cells_of}-{data}" if paper in STUDIES else name
    if source not in stored:
        raise StoreError(
            f"{store.folder} has no study {name!r}" + (f" nor {source}" if source != name else "")
            + f"; it has {', '.join(stored) or 'none'}"
        )  # fmt: skip
    grid = paper_grid(paper, "paper", data)
    wanted = {"model": grid.models, "pattern": grid.patterns, "target": grid.targets}
    if grid.counts == (0,):
        wanted["n_planted"] = (0,)
    found = [result for result in read_results(store, source) if result.is_at(wanted)]
    return grid.figure, grid.title, found


def _write(content: Content, path: Path) -> list[Path]:
    if isinstance(content, list):
        (table,) = _files(content, path)
        with written(table) as hidden, hidden.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(content)
        return [table]
    svg, png = _files(content, path)
    with written(svg) as hidden:
        content.savefig(hidden, format="svg", metadata={"Date": None, "Creator": MAKER})
    with written(png) as hidden:
        content.savefig(hidden, format="png", dpi=144, metadata={"Software": MAKER})
    return [svg, png]


def _files(content: Content, path: Path) -> list[Path]:
    kinds = ("csv",) if isinstance(content, list) else ("svg", "png")
    return [path.with_name(f"{path.name}.{kind}") for kind in kinds]


def _refuse_others(content: Content, path: Path) -> None:
    """Raise where a file would be overwritten that is not an earlier drawing."""
    for file in _files(content, path):
        if not file.is_file():
            continue
        start = file.read_bytes()[:4000]
        mark = ",".join(map(str, content[0])) if isinstance(content, list) else MAKER
        if mark.encode() not in start:
            raise ConfigError(f"{file} exists and was not drawn here; move it away, or give another --out")
