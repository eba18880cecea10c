"""Every claim on every data set that has rows: the verdict on each alone, and over the paper's.

The rules are those of `spuriscope.studies.claims`, unchanged: on one data set a claim needs all of its
targets and patterns there, over the paper's data sets all of them in each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spuriscope.studies.claims import (
    CLAIMS,
    PAPER_DATA,
    Claim,
    ClaimFinding,
    asked_of,
    evidence_on,
    found_of,
    rows_for,
    studies_of,
)
from spuriscope.studies.evidence import Case
from spuriscope.studies.paper import STUDIES
from spuriscope.studies.results import Result, distinct
from spuriscope.studies.rules import Judged
from spuriscope.studies.source import Source

__all__ = ["ClaimVerdicts", "DataVerdict", "Standing", "columns", "figures", "judge"]

Standing = Literal["holds", "fails", "not enough data", "not run"]


@dataclass(frozen=True)
class DataVerdict:
    """A claim on one data set.

    Attributes:
        data: its name.
        standing: the verdict, or that the claim's study has no rows.
        n_seeds: fewest seeds of any case; of the rows if no case has evidence.
        study: the study that has the rows; None if none has.
        cases: each target and pattern alone.
    """

    data: str
    standing: Standing
    n_seeds: int
    study: str | None
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class ClaimVerdicts:
    """A claim on each data set, and over those of the paper.

    Attributes:
        claim: the claim.
        about: the data sets that the claim is about, or those given in their place.
        standing: over these.
        overall: the cases behind it.
        on: each data set alone, those that it is about first; others are not the paper's.
    """

    claim: Claim
    about: tuple[str, ...]
    standing: Standing
    overall: ClaimFinding
    on: tuple[DataVerdict, ...]

    def of(self, data: str) -> DataVerdict | None:
        """The verdict on a data set; None where the claim is not about it."""
        return next((verdict for verdict in self.on if verdict.data == data), None)

    def figure_on(self, verdict: DataVerdict) -> str:
        """Name of the figure that shows it on a data set: the claim's own, or that of the study there is."""
        shown = self.claim.shown
        if shown is None or verdict.study is None:
            return verdict.study or self.claim.study
        own = f"{shown}-{verdict.data}"
        return own if f"{STUDIES[shown].cells_of}-{verdict.data}" == verdict.study else verdict.study

    def to_json(self) -> dict[str, Any]:
        """The verdicts as JSON values."""
        return self.overall.to_json() | {
            "on": {
                verdict.data: {"verdict": verdict.standing, "n_seeds": verdict.n_seeds, "rows": verdict.study}
                for verdict in self.on
            }
        }


def judge(source: Source, data: Sequence[str] | None = None, root: Path | None = None) -> list[ClaimVerdicts]:
    """Judge every claim on each data set alone, and over those of the paper.

    Args:
        source: a store, or a folder of exported files.
        data: data sets to judge on, in place of those of the paper and any others that have rows.
        root: folder with the files of the data sets, whose images give norms that rows lack.

    Raises:
        StoreError, ConfigError: the store, or a file, cannot be read.
    """
    there = [str(row["name"]) for row in source.studies()]
    stored = {claim.study: studies_of(there, claim.study) for claim in CLAIMS}
    found: dict[str, dict[str, list[Result]]] = {}
    for study, names in stored.items():
        wanted = names if data is None else {name: names[name] for name in data if name in names}
        found[study] = {name: rows_for(source, own, root) for name, own in wanted.items()}
    return [_verdicts(claim, found[claim.study], stored[claim.study], data) for claim in CLAIMS]


def columns(verdicts: Sequence[ClaimVerdicts]) -> list[str]:
    """The data sets of a table: the paper's, then others that have verdicts, by name."""
    every = {on.data for each in verdicts for on in each.on}
    run = {on.data for each in verdicts for on in each.on if on.standing != "not run"}
    return [name for name in PAPER_DATA if name in every] + sorted(run - set(PAPER_DATA))


def figures(source: Source, verdicts: Sequence[ClaimVerdicts]) -> list[str]:
    """Every figure of a source: those of its studies, and those of claims with evidence."""
    shown = [
        each.figure_on(on)
        for each in verdicts
        for on in each.on
        if any(case.evidence is not None for case in on.cases)
    ]
    return list(dict.fromkeys([*(str(row["name"]) for row in source.studies()), *shown]))


def _verdicts(
    claim: Claim,
    found: Mapping[str, Sequence[Result]],
    stored: Mapping[str, str],
    data: Sequence[str] | None,
) -> ClaimVerdicts:
    others = sorted(set(found) - set(PAPER_DATA))
    about = tuple(claim.data if data is None else data)
    names = asked_of(claim, tuple(dict.fromkeys((*about, *others))))
    evidence = {name: evidence_on(claim, name, found.get(name, ())) for name in names}
    on = tuple(_on(claim, name, evidence[name], found.get(name, ()), stored.get(name)) for name in names)
    together: dict[str, Judged] = {}
    for name in asked_of(claim, data):
        together |= evidence[name]
    overall = found_of(claim, together)
    is_run = any(verdict.standing != "not run" for verdict in on if verdict.data in about)
    return ClaimVerdicts(claim, about, overall.verdict if is_run else "not run", overall, on)


def _on(
    claim: Claim, data: str, evidence: Mapping[str, Judged], rows: Sequence[Result], study: str | None
) -> DataVerdict:
    """The verdict on one data set."""
    finding = found_of(claim, evidence)
    if not rows:
        return DataVerdict(data, "not run", 0, None, finding.cases)
    seeds = [case.evidence.effect.n for case in finding.cases if case.evidence is not None]
    n_seeds = min(seeds) if seeds else len(distinct(rows, "seed"))
    return DataVerdict(data, finding.verdict, n_seeds, study, finding.cases)
