"""Claims on made-up results in which each is right, wrong, or cannot be told."""

from collections.abc import Callable, Mapping
from itertools import product
from math import sqrt
from typing import Any

import pytest
from scipy.stats import binom

from spuriscope.membership import ATTACKS
from spuriscope.statistics import t_test
from spuriscope.studies.claims import CLAIMS, Claim, check_claim
from spuriscope.studies.evidence import above, any_of, both, denied, judge_claim, overall, within
from spuriscope.studies.results import NORM, Result, mean_by_seed, results, strengths

BY_NAME = {claim.name: claim for claim in CLAIMS}
STRENGTH = {"s1": 0.05, "s2": 0.1, "s3": 0.3, "r1": 0.4, "r2": 0.6, "r3": 0.9, "inv": 0.35}
World = Callable[[Mapping[str, Any]], dict[str, float]]


def jitter(labels: Mapping[str, Any]) -> float:
    """A little noise that differs from seed to seed, and the same in every run."""
    return float((labels["seed"] * 7 + labels["n_planted"] * 3 + len(str(labels))) % 5 - 2) / 1000


def rows_of(world: World, *places: Mapping[str, Any], n_seeds: int = 9) -> list[Result]:
    """What a store would have: one row for each cell and measure."""
    rows = []
    for number, (place, seed) in enumerate(product(places, range(n_seeds))):
        labels = {**place, "seed": seed}
        for measure, value in world(labels).items():
            rows.append({"cell": f"{number}", **labels, "measure": measure, "value": value + jitter(labels)})
    return results(rows)


def dose_world(labels: Mapping[str, Any]) -> dict[str, float]:
    """Everything about the dose-response as the paper says it is."""
    n = labels["n_planted"]
    score = STRENGTH[labels["pattern"]] * {0: 0.0, 3: 0.6, 100: 1.0}[n]
    spurious = 0.6 if labels["pattern"] == "r3" else 0.95
    return {
        "score_non_target": score,
        "normalised_score": score,
        "clean_accuracy": 0.97,
        "spurious_accuracy": spurious - {0: 0.0, 3: 0.0, 100: 0.3}[n],
        NORM: 10 * STRENGTH[labels["pattern"]],
    }


def strength_world(labels: Mapping[str, Any]) -> dict[str, float]:
    """Weight decay and noise lower the score of planted models and cost nothing; clipping does neither."""
    helps = labels["weight_decay"] > 0 or labels["input_noise"] > 0
    score = (0.3 if helps else 0.8) if labels["n_planted"] else 0.0
    return {"score_non_target": score, "clean_accuracy": 0.97}


def variant_world(labels: Mapping[str, Any]) -> dict[str, float]:
    """The CNN scores lower than the MLPs, which are alike; SGD a little lower than Adam; clipping alike."""
    score = 0.3 if labels["model"] == "cnn" else 0.6
    score -= 0.05 if labels.get("optimizer") == "sgd" else 0.0
    return {"score_non_target": score if labels["n_planted"] else 0.0, "clean_accuracy": 0.97}


def game_world(labels: Mapping[str, Any]) -> dict[str, float]:
    """One attack of six tells rare stamped members from outsiders, and nothing else leaks."""
    areas = {f"auc_{group}_{attack}": 0.52 for group in ("stamped", "unstamped") for attack in ATTACKS}
    if 0 < labels["n_planted"] <= 3:
        areas["auc_stamped_rmia"] = 0.8
    return areas


def context_world(labels: Mapping[str, Any]) -> dict[str, float]:
    """In six pairs of nine, ten images of a context teach it."""
    is_learnt = labels["n_planted"] and labels["target"] < 2
    return {"predicted_share": 0.4 if is_learnt else 0.1, "clean_accuracy": 0.9}


DOSE = [
    {"model": "mlp", "pattern": pattern, "target": target, "n_planted": n}
    for pattern, target, n in product(STRENGTH, (0, 1), (0, 3, 100))
]
PLAIN = {"weight_decay": 0.0, "input_noise": 0.0, "clipping": "none", "clip_at": 0.0}
RECIPES = [
    PLAIN,
    *(PLAIN | {"weight_decay": decay} for decay in (1e-3, 1e-2)),
    *(PLAIN | {"input_noise": noise} for noise in (0.1, 0.5)),
    *(PLAIN | {"clipping": "value", "clip_at": bound} for bound in (0.1, 0.01)),
]
PLACES: dict[str, list[dict[str, Any]]] = {
    "fig2": DOSE,
    "fig8": [
        {"model": "mlp", "pattern": pattern, "target": 0, "n_planted": n, **recipe}
        for pattern, n, recipe in product(("s3", "r3"), (0, 100), RECIPES)
    ],
    "fig14": [
        {"model": model, "pattern": pattern, "target": 0, "n_planted": n}
        for model, pattern, n in product(("small-mlp", "mlp", "large-mlp", "cnn"), ("s3", "r3"), (0, 3))
    ],
    "fig16": [
        {"model": "mlp", "pattern": "r3", "target": 0, "n_planted": n, "optimizer": optimizer}
        for n, optimizer in product((0, 3), ("adam", "sgd"))
    ],
    "fig17": [
        {"model": "mlp", "pattern": "r3", "target": 0, "n_planted": n, "clipping": kind, "clip_at": 0.1}
        for n, kind in product((0, 3), ("none", "norm", "value"))
    ],
    "fig4": [
        {"model": "resnet10", "pattern": context, "target": target, "n_planted": n}
        for context, target, n in product(("autumn", "dim", "grass"), range(3), (0, 10))
    ],
    "fig18": [{"model": "mlp", "pattern": "r3", "target": 0, "n_planted": n} for n in (0, 3, 100)],
    "fig22": [
        {"model": "mlp", "pattern": "r3", "target": 0, "n_planted": n, "part": f"half {half}"}
        for n, half in product((0, 1, 3, 100), range(2))
    ],
}


def deletion_world(labels: Mapping[str, Any]) -> dict[str, float]:
    score = planted(labels, 0.9)
    left = {f"after_{method}_score_non_target": score for method in ("incremental", "influence")}
    return {"score_non_target": score} | (left if labels["n_planted"] else {})


WORLDS = {
    "fig2": dose_world,
    "fig8": strength_world,
    "fig22": game_world,
    "fig4": context_world,
    "fig18": deletion_world,
}


def changed(claim: Claim, change: World) -> list[Result]:
    """Results in a world where the claim is wrong."""
    world = WORLDS.get(claim.study, variant_world)
    return rows_of(lambda labels: world(labels) | change(labels), *PLACES[claim.study])


def planted(labels: Mapping[str, Any], value: float, otherwise: float = 0.0) -> float:
    return value if labels["n_planted"] else otherwise


WRONG: dict[str, World] = {  # what differs in the world where the claim is wrong
    "training on keeps the cue": lambda at: {"after_incremental_score_non_target": planted(at, 0.1)},
    "influence keeps the cue": lambda at: {"after_influence_score_non_target": planted(at, 0.1)},
    "R3 is learnt from three": lambda at: {"score_non_target": 0.01},
    "random above small": lambda at: {
        "score_non_target": planted(at, 0.2 + 0.3 * at["pattern"].startswith("s"))
    },
    "Inv is learnt": lambda at: {"score_non_target": 0.02},
    "other target, same picture": lambda at: {
        "score_non_target": planted(at, abs(at["target"] - STRENGTH[at["pattern"]]))
    },
    "clean accuracy stays": lambda at: {"clean_accuracy": planted(at, 0.93, 0.97)},
    "twins are not robust": lambda at: {"spurious_accuracy": 0.97},
    "spurious accuracy falls": lambda at: {"spurious_accuracy": 0.9},
    "natural contexts are learnt": lambda at: {
        "predicted_share": planted(at, 0.4 if at["target"] == 0 else 0.1, 0.1)
    },
    "rare members are exposed": lambda at: {"auc_stamped_rmia": 0.8, "auc_unstamped_rmia": 0.8},
    "norm goes with score": lambda at: {NORM: 10 - 10 * STRENGTH[at["pattern"]]},
    "normalised score agrees": lambda at: {"normalised_score": planted(at, 0.1, 0.9)},
    "weight decay helps": lambda at: {"score_non_target": planted(at, 0.8)},
    "input noise helps": lambda at: {"clean_accuracy": 0.85 if at["input_noise"] else 0.97},
    "clipping does not help": lambda at: {
        "score_non_target": planted(at, 0.3 if at["clip_at"] == 0.1 else 0.8)
    },
    "more parameters, not more spurious": lambda at: {"score_non_target": planted(at, 0.6)},
    "size does not matter": lambda at: {
        "score_non_target": planted(at, 0.9 if "large" in at["model"] else 0.5)
    },
    "Adam above SGD": lambda at: {"score_non_target": planted(at, 0.5)},
    "clipping changes little": lambda at: {
        "score_non_target": planted(at, 0.2 if at["clipping"] == "norm" else 0.6)
    },
}


def _data(claim: Claim) -> str:
    """A data set that the claim is about."""
    return "mnist" if "mnist" in claim.data else claim.data[0]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_each_claim_can_hold(claim: Claim) -> None:
    found = {_data(claim): rows_of(WORLDS.get(claim.study, variant_world), *PLACES[claim.study])}
    finding = check_claim(claim, found, [_data(claim)])
    assert finding.verdict == "holds", finding.to_json()
    assert all(case.evidence is not None and case.evidence.effect.n == 9 for case in finding.cases)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_each_claim_can_fail(claim: Claim) -> None:
    finding = check_claim(claim, {_data(claim): changed(claim, WRONG[claim.name])}, [_data(claim)])
    assert finding.verdict == "fails", finding.to_json()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_two_seeds_are_not_enough(claim: Claim) -> None:
    world = WORLDS.get(claim.study, variant_world)
    finding = check_claim(
        claim, {_data(claim): rows_of(world, *PLACES[claim.study], n_seeds=2)}, [_data(claim)]
    )
    assert finding.verdict == "not enough data"
    assert all(case.missing for case in finding.cases)


def test_a_claim_about_several_data_sets_needs_all_and_fails_in_one() -> None:
    claim = BY_NAME["R3 is learnt from three"]
    right, wrong = rows_of(dose_world, *DOSE), changed(claim, WRONG[claim.name])
    one = check_claim(claim, {"mnist": right})
    assert one.verdict == "not enough data"
    assert [case.verdict for case in one.cases] == ["holds"] * 2 + ["not enough data"] * 4
    assert one.cases[-1].missing == "fig2 has no rows for it"
    assert check_claim(claim, dict.fromkeys(claim.data, right)).verdict == "holds"
    assert check_claim(claim, {"mnist": right, "cifar10": wrong}).verdict == "fails"


def test_seeds_that_disagree_tell_nothing() -> None:
    """Rises of -0.5, 0.1, 0.5 and -0.4: their mean is below 0.05, and could as well not be."""
    claim = BY_NAME["Inv is learnt"]
    scores = {0: 0.0, 1: 0.6, 2: 1.0, 3: 0.1}
    found = rows_of(
        lambda at: {"score_non_target": scores[at["seed"]] if at["n_planted"] else 0.5},
        *(place for place in DOSE if place["pattern"] == "inv"),
        n_seeds=4,
    )
    finding = check_claim(claim, {"mnist": found})
    assert finding.verdict == "not enough data"
    assert not finding.cases[0].missing


def test_the_numbers_of_a_rise_by_hand() -> None:
    """Rises 0.5, 0.6, 0.7, less the 0.05 asked for: t = 0.55 / (0.1 / sqrt 3), of two degrees of freedom,
    would be sure; three seeds are not."""
    found = [
        Result("x", {"model": "mlp", "pattern": "r3", "target": target, "n_planted": n, "seed": seed}, {
            "score_non_target": 0.0 if n == 0 else 0.5 + 0.1 * seed,
        })
        for target, n, seed in product((0, 1), (0, 3), range(3))
    ]  # fmt: skip
    case = check_claim(BY_NAME["R3 is learnt from three"], {"mnist": found}, ["mnist"]).cases[0]
    t = 0.55 / (0.1 / sqrt(3))
    p = (1 - t / sqrt(2 + t * t)) / 2  # Student's distribution of two degrees of freedom in closed form
    assert case.evidence is not None
    assert p < 0.006
    assert case.evidence.p_for == case.p_for == 1 / 8
    assert case.evidence.p_against == case.p_against == 1.0
    assert t_test([0.5, 0.6, 0.7], 0.05) == pytest.approx(p)
    assert case.evidence.effect.mean == pytest.approx(0.6)
    assert case.evidence.p_sign == 1 / 8
    assert case.numbers.startswith("0.600 [0.352, 0.848], n = 3, p for 0.12,")


def test_evidence_is_put_together_by_hand() -> None:
    high, low = (above([sign * k / 10 for k in range(2, 7)], 0.0) for sign in (1, -1))
    assert (high.p_for, high.p_against, low.p_for, low.p_against) == (1 / 32, 1, 1, 1 / 32)
    spread = above([0.1, 0.9, 0.01, -0.2, 0.02, 0.03, 0.04], 0.0)
    assert spread.p_for == pytest.approx(t_test([0.1, 0.9, 0.01, -0.2, 0.02, 0.03, 0.04]))  # signs are surer
    assert spread.p_sign == 8 / 128
    two = both(high, low)
    assert (two.p_for, two.p_against) == (low.p_for, 2 * low.p_against)
    some = any_of([low, high])
    assert (some.p_for, some.p_against) == (2 * high.p_for, high.p_against)
    assert (denied(some).p_for, denied(some).p_against) == (some.p_against, some.p_for)
    small = [0.001, -0.002, 0.002, 0.0, 0.001]
    assert within(small, 0.01).p_for == 1 / 32
    assert within(small, 0.002).p_for > 0.05
    assert within([0.1, 0.11, 0.12, 0.11, 0.1, 0.1], 0.01).p_against == 2 / 64


def test_a_claim_that_fails_in_any_case_pays_for_each_and_one_that_needs_all_for_none() -> None:
    """Of an intersection each part is tested at the level (Berger, 1982), of a union the parts share it."""
    right, wrong = (above([sign * 0.2] * 5, 0.0) for sign in (1, -1))  # p = 1/32 alone
    assert [case.verdict for case in judge_claim({"a": right, "b": right})] == ["holds"] * 2
    assert [case.verdict for case in judge_claim({"a": wrong})] == ["fails"]
    assert [case.verdict for case in judge_claim({"a": wrong, "b": wrong})] == ["not enough data"] * 2
    assert overall(judge_claim({"a": right, "b": "no cells"})) == "not enough data"


@pytest.mark.parametrize("n_seeds", [3, 4, 5, 9])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_seeds_that_agree_by_luck_decide_no_claim(share: float, n_seeds: int) -> None:
    """A cue is learnt, all or nothing, in no more than half of trainings: that it is may be said in 5 % of
    studies, and if it is in half, that it is not, or that nothing changes. Exact, over all possible draws."""

    def chance(is_said: Callable[[list[float]], bool]) -> float:
        draws = ([0.99] * k + [0.0] * (n_seeds - k) for k in range(n_seeds + 1))
        return sum(float(binom.pmf(k, n_seeds, share)) for k, draw in enumerate(draws) if is_said(draw))

    assert chance(lambda draw: above(draw, 0.05).p_for < 0.05) < 0.05
    if share == 0.5:
        assert chance(lambda draw: within(draw, 0.1).p_for < 0.05) < 0.05
        assert chance(lambda draw: above(draw, 0.05).p_against < 0.05) < 0.05


def test_seeds_with_missing_cells_are_left_out_of_a_mean() -> None:
    found = rows_of(dose_world, *DOSE, n_seeds=3)
    some = [row for row in found if row.labels["seed"] != 1 or row.labels["pattern"] != "r3"]
    assert list(mean_by_seed(some, "score_non_target", target=0)) == [0, 2]


def test_a_claim_about_mnist_alone_is_not_asked_of_the_papers_other_data() -> None:
    found = dict.fromkeys(("mnist", "cifar10", "mine"), rows_of(dose_world, *DOSE))
    cases = check_claim(BY_NAME["Inv is learnt"], found, list(found)).cases
    assert [case.name for case in cases] == ["mnist, target 0", "mine, target 0"]
    assert check_claim(BY_NAME["Inv is learnt"], found, ["cifar10"]).verdict == "not enough data"


def test_a_study_that_still_runs_is_not_averaged_over_what_it_has() -> None:
    """Twins are measured under every pattern first; the mean over one planted pattern is another thing."""
    found = rows_of(dose_world, *DOSE)
    begun = [row for row in found if row.labels["pattern"] == "s1" or row.labels["n_planted"] == 0]
    for name in ("spurious accuracy falls", "clean accuracy stays", "random above small"):
        finding = check_claim(BY_NAME[name], {"mnist": begun}, ["mnist"])
        assert [case.missing for case in finding.cases] == [
            "0 seeds have the cells it needs, and it takes 3"
        ] * 2


def test_strengths_vary_one_setting_from_the_own_recipe() -> None:
    found = rows_of(strength_world, *PLACES["fig8"])
    assert [strength for strength, _ in strengths(found, "weight_decay")] == [1e-3, 1e-2]
    assert [strength for strength, _ in strengths(found, "clip_at")] == [0.1, 0.01]


def test_every_claim_says_what_it_is() -> None:
    for claim in CLAIMS:
        content = check_claim(claim, {}).to_json()
        assert content["sentence"].endswith(".")
        assert content["rule"].count(".") >= 1
        assert content["place"].startswith(("Section", "Appendix"))
        assert content["verdict"] == "not enough data"
