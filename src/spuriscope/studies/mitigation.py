"""Mitigations of growing strength: which recipes form a family, and which strength to choose.

The chosen strength has the smallest mean score among those whose mean clean accuracy lies within a point of
that without mitigation, or none if no strength beats that. The choice and its score use the same seeds, so
the score is somewhat too good: choose here, and report from other seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spuriscope.statistics import Interval, mean_interval
from spuriscope.studies.results import Result, by_seed, distinct, own_settings, strengths

__all__ = ["Choice", "Family", "choices", "families"]

SCORE, CLEAN, SPURIOUS, EPSILON = "score_non_target", "clean_accuracy", "spurious_accuracy", "epsilon"
POINT = 0.01  # of clean accuracy, the largest cost of a mitigation


@dataclass(frozen=True)
class Family:
    """A mitigation with its strengths in a study.

    Attributes:
        title: its name.
        own: the recipe without it, or with the study's own strength of it.
        setting: the setting of the recipe whose values are the strengths.
        steps: each strength with its recipe, weakest first, without the study's own.
    """

    title: str
    own: Mapping[str, Any]
    setting: str
    steps: tuple[tuple[float, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Choice:
    """The strength chosen for one pattern, target, architecture and number planted.

    Attributes:
        place: labels of the case.
        mitigation: title of the family.
        strength: None where nothing is better than the study's own recipe.
        score: of the chosen recipe, over seeds, on images outside the target class.
        own_score: the same of the study's own recipe.
        clean_accuracy: of the chosen recipe.
        own_clean_accuracy: of the study's own.
        spurious_accuracy: of the chosen recipe.
        epsilon: privacy of its trainings; None without differential privacy.
    """

    place: Mapping[str, Any]
    mitigation: str
    strength: float | None
    score: Interval
    own_score: Interval
    clean_accuracy: Interval
    own_clean_accuracy: Interval
    spurious_accuracy: Interval
    epsilon: float | None

    def to_json(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return asdict(self) | {"place": dict(self.place)}

    def __str__(self) -> str:
        case = ", ".join(f"{name} {value}" for name, value in self.place.items())
        if self.strength is None:
            return (
                f"{case}: {self.mitigation}: no strength is better than none, "
                f"score {self.own_score.mean:.3f}, n = {self.own_score.n}"
            )
        promise = "" if self.epsilon is None else f", epsilon {self.epsilon:.3g}"
        return (
            f"{case}: {self.mitigation} {self.strength:g}: score {self.score.mean:.3f} for "
            f"{self.own_score.mean:.3f}, clean accuracy {self.clean_accuracy.mean:.3f} for "
            f"{self.own_clean_accuracy.mean:.3f}, spurious {self.spurious_accuracy.mean:.3f}{promise}, "
            f"n = {self.score.n}"
        )


FAMILIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("weight decay", "weight_decay", {}),
    ("input noise (sd)", "input_noise", {}),
    ("clipped by value at", "clip_at", {"clipping": "value"}),
    ("clipped by norm at", "clip_at", {"clipping": "norm"}),
    ("each image clipped at", "clip_at", {"clipping": "per-example"}),
    ("private, noise multiplier", "noise_multiplier", {}),
)


def families(found: Sequence[Result]) -> list[Family]:
    """The mitigations that a study varies."""
    own = own_settings(found)
    return [
        Family(title, own, setting, tuple(steps))
        for title, setting, wanted in FAMILIES
        if setting in own and (steps := strengths(found, setting, **wanted))
    ]


def choices(found: Sequence[Result]) -> list[Choice]:
    """For each case of a study and each mitigation the strength to choose.

    A strength is considered once it has every seed of the study's own recipe.
    """
    made = []
    for place in _places(found):
        for family in families(found):
            choice = _choice(found, place, family)
            if choice is not None:
                made.append(choice)
    return made


def _places(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Every model, pattern, target and number planted that occurs."""
    names = ("model", "pattern", "target", "n_planted")
    planted = [result for result in found if result.labels["n_planted"] > 0]
    places = dict.fromkeys(tuple(result.labels[name] for name in names) for result in planted)
    single = {name for name in names[:3] if len(distinct(found, name)) == 1 and name != "pattern"}
    return [
        {name: value for name, value in zip(names, place, strict=True) if name not in single}
        for place in places
    ]


def _choice(found: Sequence[Result], place: Mapping[str, Any], family: Family) -> Choice | None:
    def over_seeds(measure: str, recipe: Mapping[str, Any]) -> dict[int, float]:
        return by_seed(found, measure, **place, **recipe)

    own_score, own_clean = over_seeds(SCORE, family.own), over_seeds(CLEAN, family.own)
    if not own_score:
        return None
    least = _mean(own_clean) - POINT - 1e-9  # exactly a point is still allowed
    best: float | None = None
    recipe, best_score = family.own, _mean(own_score)
    complete = [step for step in family.steps if over_seeds(SCORE, step[1]).keys() >= own_score.keys()]
    if not complete:
        return None
    for strength, changed in complete:
        score, clean = _mean(over_seeds(SCORE, changed)), _mean(over_seeds(CLEAN, changed))
        if clean >= least and score < best_score:
            best, recipe, best_score = strength, changed, score
    promised = over_seeds(EPSILON, recipe)
    return Choice(
        place=place,
        mitigation=family.title,
        strength=best,
        score=mean_interval(list(over_seeds(SCORE, recipe).values())),
        own_score=mean_interval(list(own_score.values())),
        clean_accuracy=mean_interval(list(over_seeds(CLEAN, recipe).values())),
        own_clean_accuracy=mean_interval(list(own_clean.values())),
        spurious_accuracy=mean_interval(list(over_seeds(SPURIOUS, recipe).values())),
        epsilon=max(promised.values()) if promised else None,
    )


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values)
