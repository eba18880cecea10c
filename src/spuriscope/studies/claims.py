"""The claims of Yang, Chou and Chaudhuri (2022), as code: a sentence, a rule, and a verdict from a store.

Seeds are the unit: a rule takes one difference per seed and tests on which side of the least effect that
counts their mean lies (`spuriscope.studies.evidence`). A claim about several cases (data sets, targets,
patterns) needs all of them. P-values are Holm-corrected over the cases of a claim, but not over claims,
because each is a question of its own. A verdict against the paper is a result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spuriscope.errors import ConfigError, DataError
from spuriscope.studies import rules
from spuriscope.studies.evidence import Case, Verdict, judge_claim, overall
from spuriscope.studies.paper import STUDIES
from spuriscope.studies.results import Result, read_results, with_norms
from spuriscope.studies.source import Source

__all__ = [
    "CLAIMS",
    "PAPER_DATA",
    "Claim",
    "ClaimFinding",
    "asked_of",
    "check_claim",
    "check_store",
    "evidence_on",
    "found_of",
    "has_norms",
    "rows_for",
    "studies_of",
]

PAPER_DATA = ("mnist", "fashion-mnist", "cifar10")
TARGETS = ({"target": 0}, {"target": 1})
PATTERNS = ({"pattern": "s3"}, {"pattern": "r3"})
WITH_NORMS = "fig2"
ONCE: tuple[dict[str, Any], ...] = ({},)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, and the rule that judges it.

    Attributes:
        name: short, for tables.
        sentence: what the paper says, in our words.
        place: where it says so.
        study: whose cells it needs; `spuriscope study run STUDY` makes them.
        rule: gives the evidence of the rows of one case; its docstring states it in words.
        each: labels of the rows of each case in a data set.
        data: the data sets that it is about.
        shown: the figure that shows it; None for that of the study.
    """

    name: str
    sentence: str
    place: str
    study: str
    rule: rules.Rule
    each: tuple[Mapping[str, Any], ...] = ONCE
    data: tuple[str, ...] = PAPER_DATA
    shown: str | None = None

    @property
    def stated(self) -> str:
        """The rule in words."""
        if not isinstance(self.rule, partial):
            return self.rule.__doc__ or ""
        given = ", ".join(f"{name} = {value}" for name, value in self.rule.keywords.items())
        return f"{self.rule.func.__doc__} Here {given}."


@dataclass(frozen=True)
class ClaimFinding:
    """A claim with its verdict.

    Attributes:
        claim: the claim.
        verdict: over all cases: it holds if it holds in each, and fails if it fails in one.
        cases: the verdict on each case.
    """

    claim: Claim
    verdict: Verdict
    cases: tuple[Case, ...]

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values; effects are mean differences over seeds with a 95 % interval."""
        return {
            "name": self.claim.name,
            "sentence": self.claim.sentence,
            "place": self.claim.place,
            "study": self.claim.study,
            "rule": self.claim.stated,
            "verdict": self.verdict,
            "cases": [case.to_json() for case in self.cases],
        }


def check_claim(
    claim: Claim, found: Mapping[str, Sequence[Result]], data: Sequence[str] | None = None
) -> ClaimFinding:
    """Judge a claim.

    Args:
        claim: one of `CLAIMS`.
        found: for each data set the rows of the claim's study.
        data: data sets to judge on, in place of the paper's; a data set of the paper is used only for claims
            about it.
    """
    judged: dict[str, rules.Judged] = {}
    for name in asked_of(claim, data):
        judged |= evidence_on(claim, name, found.get(name, ()))
    return found_of(claim, judged)


def asked_of(claim: Claim, data: Sequence[str] | None = None) -> tuple[str, ...]:
    """The data sets to judge a claim on, of those given in place of the paper's; see `check_claim`."""
    if data is None:
        return claim.data
    return tuple(name for name in data if name not in PAPER_DATA or name in claim.data)


def evidence_on(claim: Claim, data: str, rows: Sequence[Result]) -> dict[str, rules.Judged]:
    """The evidence of the rows of one data set in each case of a claim."""
    judged: dict[str, rules.Judged] = {}
    for labels in claim.each:
        case = ", ".join([data, *(f"{label} {value}" for label, value in labels.items())])
        here = [result for result in rows if result.is_at(labels)]
        judged[case] = claim.rule(here) if here else f"{claim.study} has no rows for it"
    return judged


def found_of(claim: Claim, judged: Mapping[str, rules.Judged]) -> ClaimFinding:
    """The verdict over some cases."""
    cases = judge_claim(judged)
    return ClaimFinding(claim, overall(cases), tuple(cases))


def check_store(
    source: Source, data: Sequence[str] | None = None, root: Path | None = None
) -> list[ClaimFinding]:
    """Judge every claim on the content of a store, or of a folder of exported files.

    Args:
        source: with studies of the paper, called "fig2-mnist" and so on.
        data: data sets to judge on, in place of the paper's.
        root: folder with the files of the data sets, whose images give norms that rows lack.

    Raises:
        StoreError, ConfigError: the store, or a file, cannot be read.
    """
    names = PAPER_DATA if data is None else data
    there = [str(row["name"]) for row in source.studies()]
    studies = {claim.study: studies_of(there, claim.study) for claim in CLAIMS}
    found = {
        study: {name: rows_for(source, stored[name], root) for name in names if name in stored}
        for study, stored in studies.items()
    }
    return [check_claim(claim, found[claim.study], data) for claim in CLAIMS]


def studies_of(names: Sequence[str], study: str) -> dict[str, str]:
    """By data set, which of some studies has the rows of a study of the paper, or shares them."""
    shared = [study, *(other for other, paper in STUDIES.items() if paper.cells_of == study)]
    found: dict[str, str] = {}
    for own in shared:
        for name in names:
            paper, _, data = name.partition("-")
            if paper == own and data:
                found.setdefault(data, name)
    return found


def has_norms(study: str) -> bool:
    """Whether the patterns of a study of this name are compared by their norms."""
    paper = STUDIES.get(study.partition("-")[0])
    return paper is not None and paper.cells_of == WITH_NORMS


def rows_for(source: Source, stored: str, root: Path | None = None) -> list[Result]:
    """The rows for claims about a study; with norms, if the images can be read."""
    found = read_results(source, stored)
    if not has_norms(stored):
        return found
    try:
        return with_norms(source, found, root)
    except (ConfigError, DataError):
        return found


CLAIMS = (
    Claim(
        name="R3 is learnt from three",
        sentence="With pattern R3 the spurious score rises significantly from zero to three planted images, "
        "in all six cases (three data sets, two targets).",
        place="Section 3.2, Fig. 2",
        study="fig2",
        rule=partial(rules.score_rises, pattern="r3", n_planted=3),
        each=TARGETS,
    ),
    Claim(
        name="random above small",
        sentence="Random patterns generally have a higher spurious score than small ones.",
        place="Section 3.2, Fig. 2",
        study="fig2",
        rule=rules.random_above_small,
        each=TARGETS,
    ),
    Claim(
        name="Inv is learnt",
        sentence="Even Inv is learnt, on MNIST, though it looks like the core feature of another class.",
        place="Section 3.2, Fig. 2",
        study="fig2",
        rule=partial(rules.score_rises, pattern="inv", n_planted=rules.RARE),
        each=TARGETS[:1],
        data=("mnist",),
    ),
    Claim(
        name="other target, same picture",
        sentence="The other target class leads to the same conclusions.",
        place="Appendix E.2, Fig. 20",
        study="fig2",
        rule=rules.targets_agree,
    ),
    Claim(
        name="clean accuracy stays",
        sentence="Clean test accuracy hardly changes with what is planted.",
        place="Section 4 and Appendix E.2, Fig. 21",
        study="fig2",
        rule=rules.clean_accuracy_stays,
        each=TARGETS,
        shown="fig21",
    ),
    Claim(
        name="twins are not robust",
        sentence="Patterns of large norm such as R3 cost accuracy even where nothing was planted.",
        place="Section 4, Fig. 6",
        study="fig2",
        rule=rules.twin_is_not_robust,
        each=TARGETS,
        shown="fig6",
    ),
    Claim(
        name="spurious accuracy falls",
        sentence="Spurious test accuracy drops further from about ten to a hundred planted images on.",
        place="Section 4, Fig. 6",
        study="fig2",
        rule=rules.spurious_accuracy_falls,
        each=TARGETS,
        shown="fig6",
    ),
    Claim(
        name="natural contexts are learnt",
        sentence="Ten images of a context, all of one class, are enough: five of nine pairs of context and "
        "class are significantly affected.",
        place="Section 3.4 and Appendix E.5, Figs. 4 and 24",
        study="fig4",
        rule=partial(rules.contexts_are_learnt, n_planted=10, n_pairs=5),
        data=("nico",),
    ),
    Claim(
        name="rare members are exposed",
        sentence="Spurious examples are more exposed to membership inference when they appear rarely.",
        place="Section 4, Fig. 5",
        study="fig22",
        rule=rules.rare_members_are_exposed,
        each=PATTERNS[1:],
        shown="fig5",
    ),
    Claim(
        name="norm goes with score",
        sentence="The norm of a pattern and its mean spurious score correlate strongly.",
        place="Appendix B.2, Table 1",
        study="fig2",
        rule=rules.norm_goes_with_score,
        shown="norms",
    ),
    Claim(
        name="normalised score agrees",
        sentence="The normalised score shows the same trends as the score.",
        place="Appendix E.6, Fig. 25",
        study="fig2",
        rule=rules.normalised_score_agrees,
        shown="fig25",
    ),
    Claim(
        name="weight decay helps",
        sentence="With a proper strength, weight decay lowers the spurious score at little cost in accuracy.",
        place="Section 6 and Appendix B.1, Figs. 8, 12 and 13",
        study="fig8",
        rule=partial(rules.mitigates, setting="weight_decay"),
        each=PATTERNS,
    ),
    Claim(
        name="input noise helps",
        sentence="With a proper strength, noise on the inputs lowers the spurious score at little cost in "
        "accuracy.",
        place="Section 6 and Appendix B.1, Figs. 8, 12 and 13",
        study="fig8",
        rule=partial(rules.mitigates, setting="input_noise"),
        each=PATTERNS,
    ),
    Claim(
        name="clipping does not help",
        sentence="Clipping gradients does not lower the spurious score without lowering accuracy.",
        place="Section 6, Fig. 8",
        study="fig8",
        rule=rules.clipping_does_not_mitigate,
        each=PATTERNS,
    ),
    Claim(
        name="more parameters, not more spurious",
        sentence="Networks with more parameters are not always more vulnerable: the CNN is less so than the "
        "small MLP, and VGG16 less than ResNet20.",
        place="Appendix B.3, Fig. 14, Table 2",
        study="fig14",
        rule=partial(rules.architecture_is_lower, pairs=(("cnn", "small-mlp"), ("vgg16", "resnet20"))),
    ),
    Claim(
        name="size does not matter",
        sentence="Similar architectures of different sizes have similar spurious scores.",
        place="Appendix B.3, Fig. 14",
        study="fig14",
        rule=partial(
            rules.architectures_are_similar, pairs=(("small-mlp", "large-mlp"), ("resnet20", "resnet110"))
        ),
    ),
    Claim(
        name="Adam above SGD",
        sentence="Adam is slightly more susceptible than SGD.",
        place="Appendix B.4, Fig. 16",
        study="fig16",
        rule=rules.optimizer_is_higher,
    ),
    Claim(
        name="clipping changes little",
        sentence="Training with and without gradient clipping gives similar scores in most cases.",
        place="Appendix B.4, Fig. 17",
        study="fig17",
        rule=rules.clipping_is_similar,
    ),
    Claim(
        name="training on keeps the cue",
        sentence="Training on without the planted images leaves the spurious score similar.",
        place="Appendix C, Fig. 18",
        study="fig18",
        rule=partial(rules.deletion_changes_little, method="incremental"),
    ),
    Claim(
        name="influence keeps the cue",
        sentence="Group influence leaves the spurious score similar.",
        place="Appendix C, Fig. 18",
        study="fig18",
        rule=partial(rules.deletion_changes_little, method="influence"),
    ),
)
