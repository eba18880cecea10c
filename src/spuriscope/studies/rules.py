"""The rules that judge claims: from the rows of a study on one data set to evidence.

Each takes one difference per seed, between cells that share the seed, and tests whether their mean, and most
of them, lie above the least effect that counts. Each rule was written down before its study was run, except
that most seeds must agree with the mean. Where cells are missing, a rule returns what is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from spuriscope.membership.attacks import ATTACKS
from spuriscope.statistics import correlation_interval, fisher_z
from spuriscope.studies.deletions import after
from spuriscope.studies.evidence import (
    Evidence,
    above,
    any_of,
    at_least,
    both,
    denied,
    mean_difference,
    paired,
    within,
)
from spuriscope.studies.results import (
    NORM,
    Result,
    by_seed,
    correlations,
    distinct,
    mean_by_seed,
    own_settings,
    strengths,
)

__all__ = [
    "Judged",
    "Rule",
    "architecture_is_lower",
    "architectures_are_similar",
    "clean_accuracy_stays",
    "clipping_does_not_mitigate",
    "clipping_is_similar",
    "contexts_are_learnt",
    "deletion_changes_little",
    "mitigates",
    "norm_goes_with_score",
    "normalised_score_agrees",
    "optimizer_is_higher",
    "random_above_small",
    "rare_members_are_exposed",
    "score_rises",
    "spurious_accuracy_falls",
    "targets_agree",
    "twin_is_not_robust",
]

Judged = Evidence | str  # or what is missing
Rule = Callable[[Sequence[Result]], Judged]

SCORE, CLEAN, SPURIOUS = "score_non_target", "clean_accuracy", "spurious_accuracy"
NORMALISED, PREDICTED = "normalised_score", "predicted_share"
RISE = 0.05  # a share of the test images
SLIGHT = 0.01
ACCURACY = 0.02  # a fall that matters
MARGIN = 0.01  # an accuracy that moves less than this stays the same
SIMILAR = 0.1  # mean scores that differ less are similar
CUT = 0.25  # share of a score
STRONG, ALIKE = 0.5, 0.8  # correlations
SMALL, RANDOM = ("s1", "s2", "s3"), ("r1", "r2", "r3")
RARE = 100  # images
FEW = 3
MIN_SEEDS = 3  # fewer show no spread; a verdict needs at least five


def score_rises(found: Sequence[Result], *, pattern: str, n_planted: int) -> Judged:
    """The score with `n_planted` images is above the clean twin's by more than 0.05."""
    score = partial(by_seed, found, SCORE, pattern=pattern)
    return _more(score(n_planted=n_planted), score(n_planted=0), RISE)


def random_above_small(found: Sequence[Result]) -> Judged:
    """The score, averaged over R1 to R3 and all counts, is above that of S1 to S3 by more than 0.05."""
    absent = [name for name in SMALL + RANDOM if name not in distinct(found, "pattern")]
    if absent:
        return f"no cells with {', '.join(absent)}"
    score = partial(mean_by_seed, found, SCORE)
    return _more(score(pattern=RANDOM), score(pattern=SMALL), RISE)


def clean_accuracy_stays(found: Sequence[Result]) -> Judged:
    """Clean accuracy, averaged over all planted cells, is within 0.01 of the clean twin's."""
    differences = paired(mean_by_seed(found, CLEAN), by_seed(found, CLEAN, n_planted=0))
    return within(differences, MARGIN) if len(differences) >= MIN_SEEDS else _too_few(differences)


def spurious_accuracy_falls(found: Sequence[Result]) -> Judged:
    """Spurious accuracy over all patterns falls by more than 0.02 from the clean twin to 100 images."""
    twin, planted = by_seed(found, SPURIOUS, n_planted=0), mean_by_seed(found, SPURIOUS, n_planted=RARE)
    return _more(twin, planted, ACCURACY)


def twin_is_not_robust(found: Sequence[Result]) -> Judged:
    """With nothing planted, accuracy under R3 is below clean accuracy by more than 0.02."""
    twin = partial(by_seed, found, n_planted=0, pattern="r3")
    return _more(twin(measure=CLEAN), twin(measure=SPURIOUS), ACCURACY)


def norm_goes_with_score(found: Sequence[Result]) -> Judged:
    """Over the patterns, the norm and the score averaged over counts correlate by more than 0.5."""
    patterns = distinct(found, "pattern")
    if len(patterns) < 4:
        return f"a correlation over patterns takes 4 of them, the study has {len(patterns)}"
    if not any(NORM in result.measures for result in found):
        return "norms need the images of the data set, which were not found"
    norm = [by_seed(found, NORM, pattern=name) for name in patterns]
    score = [mean_by_seed(found, SCORE, pattern=name) for name in patterns]
    return _correlated(norm, score, STRONG)


def targets_agree(found: Sequence[Result]) -> Judged:
    """Over patterns and counts, the scores of target 0 and of target 1 correlate by more than 0.8."""
    if not {0, 1} <= set(distinct(found, "target")):
        return "the study has no targets 0 and 1"
    return _correlated(_curve(found, SCORE, (0,)), _curve(found, SCORE, (1,)), ALIKE)


def normalised_score_agrees(found: Sequence[Result]) -> Judged:
    """Over patterns and counts, the score and the normalised score correlate by more than 0.8."""
    targets = tuple(distinct(found, "target"))
    return _correlated(_curve(found, SCORE, targets), _curve(found, NORMALISED, targets), ALIKE)


def mitigates(found: Sequence[Result], *, setting: str) -> Judged:
    """A strength cuts the score by more than a quarter and costs less than 0.02 clean accuracy."""
    own = own_settings(found)
    plain = partial(mean_by_seed, found, **own)
    parts = []
    for strength, settings in strengths(found, setting):
        if setting != "clip_at" and strength <= own[setting]:
            continue
        here = partial(mean_by_seed, found, **settings)
        score, own_score = here(measure=SCORE), plain(measure=SCORE)
        cut = paired({seed: (1 - CUT) * value for seed, value in own_score.items()}, score)
        kept = paired(here(measure=CLEAN), plain(measure=CLEAN))
        if min(len(cut), len(kept)) >= MIN_SEEDS:
            change = mean_difference(paired(score, own_score))
            lower = replace(above(cut, 0.0, part=f"{setting} {strength:g}"), effect=change)
            parts.append(both(lower, above(kept, -ACCURACY)))
    return any_of(parts) if parts else f"no strength of {setting} has {MIN_SEEDS} seeds"


def deletion_changes_little(found: Sequence[Result], *, method: str) -> Judged:
    """The score, averaged over counts, differs by less than 0.1 before and after a deletion."""
    before, left = (mean_by_seed(found, name) for name in (SCORE, after(method, SCORE)))
    differences = paired(left, before)
    return within(differences, SIMILAR) if len(differences) >= MIN_SEEDS else _too_few(differences)


def clipping_does_not_mitigate(found: Sequence[Result]) -> Judged:
    """No strength of clipping cuts the score by more than a quarter at less than 0.02 clean accuracy."""
    evidence = mitigates(found, setting="clip_at")
    return denied(evidence) if isinstance(evidence, Evidence) else evidence


def architecture_is_lower(found: Sequence[Result], *, pairs: Sequence[tuple[str, str]]) -> Judged:
    """The larger network's score, averaged over counts, is below the smaller's by more than 0.05."""
    larger, smaller = _present(found, pairs)
    return _more(mean_by_seed(found, SCORE, model=smaller), mean_by_seed(found, SCORE, model=larger), RISE)


def architectures_are_similar(found: Sequence[Result], *, pairs: Sequence[tuple[str, str]]) -> Judged:
    """The mean scores of a small and a large network of one kind differ by less than 0.1."""
    one, other = _present(found, pairs)
    return _similar(mean_by_seed(found, SCORE, model=one), mean_by_seed(found, SCORE, model=other))


def optimizer_is_higher(found: Sequence[Result]) -> Judged:
    """The score with Adam, averaged over patterns and counts, is above that with SGD by more than 0.01."""
    score = partial(mean_by_seed, found, SCORE)
    return _more(score(optimizer="adam"), score(optimizer="sgd"), SLIGHT)


def clipping_is_similar(found: Sequence[Result]) -> Judged:
    """The mean scores with and without clipping, of either kind, differ by less than 0.1."""
    plain = mean_by_seed(found, SCORE, clipping="none")
    norm, value = (_similar(mean_by_seed(found, SCORE, clipping=kind), plain) for kind in ("norm", "value"))
    if isinstance(norm, str) or isinstance(value, str):
        return norm if isinstance(norm, str) else value
    return both(norm, value)


def rare_members_are_exposed(found: Sequence[Result]) -> Judged:
    """With 1 to 3 stamped, some attack's AUC on them is above that on unstamped and on many by over 0.05."""
    counts = sorted(n for n in distinct(found, "n_planted") if n > 0)
    few = tuple(n for n in counts if n <= FEW)
    if not few or counts[-1] <= FEW:
        return f"it takes games with up to {FEW} stamped images and with more"
    parts = []
    for attack in ATTACKS.built_in:
        stamped, unstamped = f"auc_stamped_{attack}", f"auc_unstamped_{attack}"
        rare = mean_by_seed(found, stamped, n_planted=few)
        others = paired(rare, mean_by_seed(found, unstamped, n_planted=few))
        common = paired(rare, mean_by_seed(found, stamped, n_planted=counts[-1]))
        if min(len(others), len(common)) >= MIN_SEEDS:
            parts.append(both(above(others, RISE, part=attack), above(common, RISE)))
    return any_of(parts) if parts else f"no attack has {MIN_SEEDS} seeds"


def contexts_are_learnt(found: Sequence[Result], *, n_planted: int, n_pairs: int) -> Judged:
    """In `n_pairs` pairs, more of a context is called the class than by the twin, by more than 0.05 of it."""
    pairs = dict.fromkeys((row.labels["pattern"], row.labels["target"]) for row in found)
    parts = []
    for context, target in pairs:
        share = partial(by_seed, found, PREDICTED, pattern=context, target=target)
        rises = paired(share(n_planted=n_planted), share(n_planted=0))
        if len(rises) >= MIN_SEEDS:
            parts.append(above(rises, RISE, part=f"{context}, class {target}"))
    if len(parts) < n_pairs:
        return f"{len(parts)} pairs have {MIN_SEEDS} seeds, and it takes {n_pairs}"
    return at_least(parts, n_pairs)


# --- parts of rules ----------------------------------------------------------------------------------


def _more(here: Mapping[int, float], there: Mapping[int, float], bound: float) -> Judged:
    differences = paired(here, there)
    return above(differences, bound) if len(differences) >= MIN_SEEDS else _too_few(differences)


def _similar(here: Mapping[int, float], there: Mapping[int, float]) -> Judged:
    differences = paired(here, there)
    return within(differences, SIMILAR) if len(differences) >= MIN_SEEDS else _too_few(differences)


def _too_few(seeds: Sequence[float]) -> str:
    return f"{len(seeds)} seeds have the cells it needs, and it takes {MIN_SEEDS}"


def _present(found: Sequence[Result], pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The pair of models of the study; the first pair if it has neither."""
    models = set(distinct(found, "model"))
    return next((pair for pair in pairs if set(pair) <= models), pairs[0])


def _curve(found: Sequence[Result], measure: str, targets: tuple[int, ...]) -> list[dict[int, float]]:
    """A measure by seed, for each pattern and count."""
    return [
        by_seed(found, measure, pattern=name, n_planted=n_planted, target=targets)
        for name in distinct(found, "pattern")
        for n_planted in distinct(found, "n_planted")
    ]


def _correlated(
    here: Sequence[Mapping[int, float]], there: Sequence[Mapping[int, float]], bound: float
) -> Judged:
    """Evidence that Pearson's correlation is above `bound`: one per seed, tested on Fisher's z."""
    found = list(correlations(here, there).values())
    if len(found) < MIN_SEEDS:
        return _too_few(found)
    evidence = above([fisher_z(r) for r in found], fisher_z(bound))
    return replace(evidence, effect=correlation_interval(found))
