"""What numbers over seeds say about a claim: for it, against it, or too little.

Evidence has two p-values. `p_for` is that of the hypothesis that the claim is wrong: small, and the claim
holds. `p_against` is that of the hypothesis that it is right: small, and it fails. Neither small: there are
not enough data. A claim names the least effect that would matter, so that few seeds never refute it by their
mere noise, and many never confirm what is too small to see.

Claims are put together with `both`, `any_of` and `denied`; the p-values stay honest on the way: what needs
two tests takes the larger p, what one of k tests would do takes the smallest, k times (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from spuriscope.statistics import MAX_SEEDS_FLIPPED, Interval, holm, mean_interval, sign_flip_test, t_test

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
    "judge",
    "mean_difference",
    "overall",
    "paired",
    "within",
]

Verdict = Literal["holds", "fails", "not enough data"]
LEVEL = 0.05


@dataclass(frozen=True)
class Evidence:
    """What the seeds say.

    Attributes:
        p_for: of the hypothesis that the claim is wrong.
        p_against: of the hypothesis that it is right.
        effect: mean difference over the seeds, with its 95 % interval; of the deciding part where there
            are several.
        p_exact: the sign-flip test beside `p_for`; None where the evidence is not one test.
        part: which part `effect` is of, such as a strength.
    """

    p_for: float
    p_against: float
    effect: Interval
    p_exact: float | None = None
    part: str = ""


@dataclass(frozen=True)
class Case:
    """A claim in one case, such as one data set and target, judged.

    Attributes:
        name: which case.
        verdict: after Holm's correction over the cases of the claim.
        evidence: None where cells are missing.
        p_for: that of the evidence, corrected; 1 where there is none.
        p_against: likewise.
        missing: what there is not, where there is no evidence.
    """

    name: str
    verdict: Verdict
    evidence: Evidence | None
    p_for: float = 1.0
    p_against: float = 1.0
    missing: str = ""

    @property
    def numbers(self) -> str:
        """What the verdict rests on, in a line."""
        if self.evidence is None:
            return self.missing
        effect, part = self.evidence.effect, f" ({self.evidence.part})" if self.evidence.part else ""
        exact = "" if self.evidence.p_exact is None else f", sign flips {self.evidence.p_exact:.2g}"
        return (
            f"{effect.mean:z.3f} [{effect.low:z.3f}, {effect.high:z.3f}]{part}, n = {effect.n}, "
            f"p for {self.p_for:.2g}, against {self.p_against:.2g}{exact}"
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
            "p_sign_flip": None if evidence is None else evidence.p_exact,
        }


def paired(here: Mapping[int, float], there: Mapping[int, float]) -> list[float]:
    """Differences of the seeds that both have."""
    return [here[seed] - there[seed] for seed in sorted(here.keys() & there.keys())]


def above(differences: Sequence[float], bound: float, *, part: str = "") -> Evidence:
    """Evidence that the mean difference is above `bound`: the least effect worth the name.

    Args:
        differences: one for each seed, two at least.
        bound: above it speaks for the claim, below it against.
        part: what these differences are of.
    """
    flips = len(differences) <= MAX_SEEDS_FLIPPED
    return Evidence(
        p_for=t_test(differences, bound),
        p_against=t_test([-x for x in differences], -bound),
        effect=mean_difference(differences),
        p_exact=sign_flip_test(differences, bound) if flips else None,
        part=part,
    )


def within(differences: Sequence[float], margin: float, *, part: str = "") -> Evidence:
    """Evidence that the mean difference is less than `margin` in size: two one-sided tests."""
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
    """Evidence that one claim of several is right; it shows the effect of the likeliest."""
    best = min(parts, key=lambda part: part.p_for)
    return Evidence(
        min(1.0, len(parts) * best.p_for),
        max(part.p_against for part in parts),
        best.effect,
        best.p_exact if len(parts) == 1 else None,
        best.part,
    )


def at_least(parts: Sequence[Evidence], n: int) -> Evidence:
    """Evidence that `n` of several claims are right; it shows the effect of the n-th likeliest.

    The p-values are those of a partial conjunction: of the n-th smallest one, times how many may still fail
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
    return replace(evidence, p_for=evidence.p_against, p_against=evidence.p_for, p_exact=None)


def judge(cases: Mapping[str, Evidence | str]) -> list[Case]:
    """Each case with its verdict, Holm-corrected over the cases that there is evidence for.

    Args:
        cases: for each its evidence, or what is missing.
    """
    found = {name: evidence for name, evidence in cases.items() if isinstance(evidence, Evidence)}
    p_for = dict(zip(found, holm([evidence.p_for for evidence in found.values()]), strict=True))
    p_against = dict(zip(found, holm([evidence.p_against for evidence in found.values()]), strict=True))
    judged = []
    for name, evidence in cases.items():
        if isinstance(evidence, str):
            judged.append(Case(name, "not enough data", None, missing=evidence))
        else:
            verdict = _verdict(p_for[name], p_against[name])
            judged.append(Case(name, verdict, evidence, p_for[name], p_against[name]))
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
