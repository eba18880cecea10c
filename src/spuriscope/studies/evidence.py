"""What numbers over seeds say about a claim: for it, against it, or too little.

Evidence has two p-values. `p_for` tests the hypothesis that the claim is wrong: if it is small, the claim
holds. `p_against` tests the hypothesis that it is right: if it is small, the claim fails. If neither is
small, there are not enough data. A claim names the least effect that matters, so that few seeds do not refute
it by noise, and many do not confirm an effect too small to matter.

A claim concerns the mean and most seeds: it takes both Student's t-test and the sign test, so the larger p.
Scores are nearly all or nothing, and a few seeds that agree by luck leave the t-test no spread. The sign test
keeps its level whatever the distribution, and n seeds have no p below 2^-n, so a decision needs at least
five.

Claims are combined with `both`, `any_of` and `denied`, which keep the p-values valid: for two tests that must
both hold it is the larger p, for one of k tests the smallest times k (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from spuriscope.statistics import Interval, holm, mean_interval, sign_test, t_test

__all__ = [
    "LEVEL",
    "Case",
    "Evidence",
    "Verdict",
    "above",
    "any_of",
    "at_least",
    "both",
    "denied",
    "judge_claim",
    "mean_difference",
    "overall",
    "paired",
    "within",
]

Verdict = Literal["holds", "fails", "not enough data"]
LEVEL = 0.05


@dataclass(frozen=True)
class Evidence:
    """The result over seeds.

    Attributes:
        p_for: of the hypothesis that the claim is wrong.
        p_against: of the hypothesis that it is right.
        effect: mean difference over the seeds, with its 95 % interval; of the deciding part where there
            are several.
        p_sign: the sign test within `p_for`; None where the evidence is not one test.
        part: which part `effect` belongs to, such as a strength.
    """

    p_for: float
    p_against: float
    effect: Interval
    p_sign: float | None = None
    part: str = ""


@dataclass(frozen=True)
class Case:
    """The judgement of a claim in one case, such as one data set and target.

    Attributes:
        name: which case.
        verdict: if it holds, by this case alone; if it fails, after Holm's correction over cases.
        evidence: None where cells are missing.
        p_for: that of the evidence; 1 where there is none. A claim holds where every case does, which needs
            no correction.
        p_against: corrected, because a claim fails where one of its cases does; 1 where there is no evidence.
        missing: what is missing where there is no evidence.
    """

    name: str
    verdict: Verdict
    evidence: Evidence | None
    p_for: float = 1.0
    p_against: float = 1.0
    missing: str = ""

    @property
    def numbers(self) -> str:
        """The numbers behind the verdict, in a line."""
        if self.evidence is None:
            return self.missing
        effect, part = self.evidence.effect, f" ({self.evidence.part})" if self.evidence.part else ""
        signs = "" if self.evidence.p_sign is None else f", signs {self.evidence.p_sign:.2g}"
        return (
            f"{effect.mean:z.3f} [{effect.low:z.3f}, {effect.high:z.3f}]{part}, n = {effect.n}, "
            f"p for {self.p_for:.2g}, against {self.p_against:.2g}{signs}"
        )

    def to_json(self) -> dict[str, Any]:
        """The case as JSON values."""
        evidence = self.evidence
        return {
            "name": self.name,
            "verdict": self.verdict,
            "missing": self.missing,
            "effect": None if evidence is None else asdict(evidence.effect),
            "part": "" if evidence is None else evidence.part,
            "p_for": self.p_for,
            "p_against": self.p_against,
            "p_sign": None if evidence is None else evidence.p_sign,
        }


def paired(here: Mapping[int, float], there: Mapping[int, float]) -> list[float]:
    """Differences for the seeds that both have."""
    return [here[seed] - there[seed] for seed in sorted(here.keys() & there.keys())]


def above(differences: Sequence[float], bound: float, *, part: str = "") -> Evidence:
    """Evidence that the difference is above `bound`, in the mean and in most seeds.

    Args:
        differences: one per seed, at least two.
        bound: the least effect that counts; above it speaks for the claim, below it against.
        part: what these differences belong to.
    """
    turned = [-x for x in differences]
    p_sign = sign_test(differences, bound)
    return Evidence(
        p_for=max(t_test(differences, bound), p_sign),
        p_against=max(t_test(turned, -bound), sign_test(turned, -bound)),
        effect=mean_difference(differences),
        p_sign=p_sign,
        part=part,
    )


def within(differences: Sequence[float], margin: float, *, part: str = "") -> Evidence:
    """Evidence that the difference is smaller than `margin` in size: two tests, one for each side."""
    evidence = both(above(differences, -margin), above([-x for x in differences], -margin))
    return replace(evidence, effect=mean_difference(differences), part=part)


def both(first: Evidence, second: Evidence) -> Evidence:
    """Evidence for two claims at once; it shows the effect of the first."""
    return Evidence(
        max(first.p_for, second.p_for),
        min(1.0, 2 * min(first.p_against, second.p_against)),
        first.effect,
        None,
        first.part,
    )


def any_of(parts: Sequence[Evidence]) -> Evidence:
    """Evidence that at least one of several claims is right; it shows the effect of the likeliest."""
    best = min(parts, key=lambda part: part.p_for)
    return Evidence(
        min(1.0, len(parts) * best.p_for),
        max(part.p_against for part in parts),
        best.effect,
        best.p_sign if len(parts) == 1 else None,
        best.part,
    )


def at_least(parts: Sequence[Evidence], n: int) -> Evidence:
    """Evidence that at least `n` of several claims are right; it shows the effect of the n-th likeliest.

    The p-values are those of a partial conjunction: the n-th smallest, times the number that may still fail
    (Benjamini and Heller, Biometrics 64, 2008, with Bonferroni's correction).
    """

    def p_value(ordered: Sequence[float], n_right: int) -> float:
        return min(1.0, (len(ordered) - n_right + 1) * sorted(ordered)[n_right - 1])

    nth = sorted(parts, key=lambda part: part.p_for)[n - 1]
    return Evidence(
        p_value([part.p_for for part in parts], n),
        p_value([part.p_against for part in parts], len(parts) - n + 1),
        nth.effect,
        None,
        nth.part,
    )


def denied(evidence: Evidence) -> Evidence:
    """Evidence that a claim is wrong."""
    return replace(evidence, p_for=evidence.p_against, p_against=evidence.p_for, p_sign=None)


def judge_claim(cases: Mapping[str, Evidence | str]) -> list[Case]:
    """Each case with its verdict.

    A claim needs all of its cases to hold, so these are not corrected for their number. It fails in any one,
    so p-values against it are corrected (Holm), over the cases with evidence.

    Args:
        cases: for each its evidence, or what is missing.
    """
    found = {name: evidence for name, evidence in cases.items() if isinstance(evidence, Evidence)}
    p_against = dict(zip(found, holm([evidence.p_against for evidence in found.values()]), strict=True))
    judged = []
    for name, evidence in cases.items():
        if isinstance(evidence, str):
            judged.append(Case(name, "not enough data", None, missing=evidence))
        else:
            verdict = _verdict(evidence.p_for, p_against[name])
            judged.append(Case(name, verdict, evidence, evidence.p_for, p_against[name]))
    return judged


def overall(cases: Sequence[Case]) -> Verdict:
    """A claim over several cases holds if it holds in all, and fails if it fails in one."""
    verdicts = {case.verdict for case in cases}
    if "fails" in verdicts:
        return "fails"
    return "holds" if verdicts == {"holds"} else "not enough data"


def _verdict(p_for: float, p_against: float) -> Verdict:
    if p_for < LEVEL:
        return "holds"
    return "fails" if p_against < LEVEL else "not enough data"


def mean_difference(differences: Sequence[float]) -> Interval:
    """Mean of differences over seeds with its 95 % interval."""
    return mean_interval(differences, low=float("-inf"), high=float("inf"))
