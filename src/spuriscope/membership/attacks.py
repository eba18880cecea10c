"""Attacks: functions that score, for each image, how likely it was in the training set.

An attack maps what an attacker may see, a `Knowledge`, to one score per image, higher for likelier members.
`ATTACKS` holds them by name; users add their own by registering such a function.

- gap: members are the images that the model gets right (the baseline; needs only answers).
- loss: members have a small loss (Yeom et al., 2018).
- shadow: a classifier of answers learnt from a shadow model on other images (Shokri et al., 2017), with the
  features of Yang et al. (2022).
- lira-online, lira-offline: likelihood ratio over shadow models trained with and without the image itself
  (Carlini et al., 2022); offline uses only those without it.
- rmia: share of other images with a smaller ratio of probability to its mean over shadow models
  (Zarifzadeh et al., 2024, with gamma = 1 and the images of the game as their population).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.errors import MembershipError
from spuriscope.registry import Registry

__all__ = [
    "ATTACKS",
    "Attack",
    "Knowledge",
    "Rehearsal",
    "ShadowAttack",
    "confidence",
    "register_attack",
    "rehearsed",
]

N_FOR_OWN_SPREAD = 16  # with fewer shadow models on a side, all images share one spread
LEAST_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A shadow model's answers on the attacker's own images, half of which it was trained on.

    Attributes:
        logits: (m, classes).
        labels: (m,).
        was_in: (m,), whether it was trained on the image.
    """

    logits: Tensor
    labels: Tensor
    was_in: Tensor


@checked(MembershipError)
@dataclass(frozen=True, eq=False)
class Knowledge:
    """Everything that an attack may see.

    Attributes:
        target_logits: (n, classes), the attacked model's answers on the images in question.
        labels: (n,), their classes.
        shadow_logits: (k, n, classes), answers of shadow models on the same images; k may be 0.
        was_in: (k, n), whether each shadow model was trained on each image.
        rehearsal: a shadow model on other images, None if there is none.

    Raises:
        MembershipError: the shapes do not fit together.
    """

    target_logits: Tensor
    labels: Tensor
    shadow_logits: Tensor
    was_in: Tensor
    rehearsal: Rehearsal | None = None

    def __post_init__(self) -> None:
        n, k = len(self.labels), len(self.shadow_logits)
        shapes = (tuple(self.target_logits.shape[:1]), tuple(self.was_in.shape))
        if shapes != ((n,), (k, n)) or tuple(self.shadow_logits.shape) != (k, *self.target_logits.shape):
            raise MembershipError(
                f"{n} labels and {k} shadow models need target_logits ({n}, classes), shadow_logits "
                f"({k}, {n}, classes) and was_in ({k}, {n}), got {tuple(self.target_logits.shape)}, "
                f"{tuple(self.shadow_logits.shape)} and {tuple(self.was_in.shape)}"
            )


Attack = Callable[[Knowledge], Tensor]
AnyAttack = TypeVar("AnyAttack", bound=Attack)


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit-scaled confidence (..., n) of the label: log p - log(1 - p), finite even when p rounds to 1.

    Args:
        logits: (..., n, classes).
        labels: (n,).

    Source: Carlini et al. (2022), Section IV-C.
    """
    logits = logits.double()
    at = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    own = logits.gather(-1, at).squeeze(-1)
    others = logits.scatter(-1, at, float("-inf"))
    return own - others.logsumexp(dim=-1)


def gap(knowledge: Knowledge) -> Tensor:
    """1 where the model is right, else 0 (n,)."""
    return (knowledge.target_logits.argmax(dim=1) == knowledge.labels).double()


def loss(knowledge: Knowledge) -> Tensor:
    """`confidence` (n,): it ranks images like minus their cross-entropy, without the ties at 0."""
    return confidence(knowledge.target_logits, knowledge.labels)


class ShadowAttack:
    """The paper's attack: a logistic regression on sorted logits and whether the prediction is right.

    Attributes:
        classifier_: the fitted classifier, after standard scaling; C is chosen by 3-fold validation.

    Source: Yang et al. (2022), Section 4, with the settings of the authors' public code.
    """

    def __init__(self, strengths: tuple[float, ...] = (0.01, 0.1, 1, 10)) -> None:
        self.strengths = strengths

    def fit(self, logits: Tensor, labels: Tensor, was_in: Tensor) -> "ShadowAttack":
        """Learn to recognise members from the answers (m, classes) of a shadow model."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": list(self.strengths)},
            cv=3,
        )
        self.classifier_: Any = search.fit(self.features(logits, labels), was_in.numpy()).best_estimator_
        return self

    def scores(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log-odds (n,) of having been a member; above 0 the attack says "member"."""
        return self.scores_of(self.features(logits, labels))

    def scores_of(self, features: np.ndarray) -> Tensor:
        """As `scores`, from `features`."""
        return torch.from_numpy(self.classifier_.decision_function(features)).double()

    @staticmethod
    def features(logits: Tensor, labels: Tensor) -> np.ndarray:
        """(n, classes + 1): the logits, sorted, and 1 where the prediction is right."""
        is_right = (logits.argmax(dim=1) == labels).double()
        return torch.cat([logits.double().sort(dim=1).values, is_right[:, None]], dim=1).numpy()


@lru_cache(maxsize=1)
def rehearsed(rehearsal: Rehearsal) -> ShadowAttack:
    """The shadow attack that learnt on a rehearsal; the last one is cached, because many targets share it."""
    return ShadowAttack().fit(rehearsal.logits, rehearsal.labels, rehearsal.was_in)


def shadow(knowledge: Knowledge) -> Tensor:
    """Log-odds (n,) by a `ShadowAttack` that learnt on the rehearsal."""
    own = knowledge.rehearsal
    if own is None:
        raise MembershipError("the shadow attack needs a rehearsal: a shadow model on other images")
    return rehearsed(own).scores(knowledge.target_logits, knowledge.labels)


@dataclass(frozen=True)
class _Gaussian:
    """For each image a mean (n,) and a spread, (n,) or shared by all."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def fit(cls, values: Tensor, counts: Tensor, side: str) -> "_Gaussian":
        """Fit to the values (k, n) where `counts` (k, n) is true."""
        n = counts.sum(dim=0)
        if len(values) == 0 or int(n.min()) < 1:
            raise MembershipError(
                f"LiRA needs a shadow model trained {side} each image; train more shadow models"
            )
        mean = (values * counts).sum(dim=0) / n
        squares = ((values - mean) ** 2 * counts).sum(dim=0)
        if int(n.min()) >= N_FOR_OWN_SPREAD:
            variance = squares / (n - 1)
        else:
            n_free = int((n - 1).sum())
            if n_free < 1:
                raise MembershipError(
                    f"LiRA needs two shadow models trained {side} an image; train more of them"
                )
            variance = squares.sum() / n_free
        return cls(mean, variance.sqrt().clamp(min=LEAST_SPREAD))

    def log_density(self, values: Tensor) -> Tensor:
        return -(((values - self.mean) / self.spread) ** 2) / 2 - self.spread.log()

    def z(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.spread


def lira_online(knowledge: Knowledge) -> Tensor:
    """Log-likelihood ratio (n,) of the confidence: shadow models with the image against those without."""
    seen = confidence(knowledge.shadow_logits, knowledge.labels)
    target = confidence(knowledge.target_logits, knowledge.labels)
    member, outsider = (
        _Gaussian.fit(seen, knowledge.was_in, "with"),
        _Gaussian.fit(seen, ~knowledge.was_in, "without"),
    )
    return member.log_density(target) - outsider.log_density(target)


def lira_offline(knowledge: Knowledge) -> Tensor:
    """By how many standard deviations (n,) the confidence exceeds that of models without the image."""
    seen = confidence(knowledge.shadow_logits, knowledge.labels)
    outsider = _Gaussian.fit(seen, ~knowledge.was_in, "without")
    return outsider.z(confidence(knowledge.target_logits, knowledge.labels))


def rmia(knowledge: Knowledge) -> Tensor:
    """Share (n,) of images whose p(label), divided by its mean over the shadow models, is smaller."""
    if len(knowledge.shadow_logits) == 0:
        raise MembershipError("RMIA needs shadow models, got none")

    def log_probability(logits: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid(confidence(logits, knowledge.labels))

    n_shadows = torch.tensor(len(knowledge.shadow_logits), dtype=torch.float64)
    usual = log_probability(knowledge.shadow_logits).logsumexp(dim=0) - n_shadows.log()
    ratio = log_probability(knowledge.target_logits) - usual
    return torch.searchsorted(ratio.sort().values, ratio).double() / len(ratio)


BUILT_IN: dict[str, Attack] = {
    "gap": gap,
    "loss": loss,
    "shadow": shadow,
    "lira-online": lira_online,
    "lira-offline": lira_offline,
    "rmia": rmia,
}
ATTACKS = Registry("attack", BUILT_IN, MembershipError)


@checked(MembershipError)
def register_attack(name: str) -> Callable[[AnyAttack], AnyAttack]:
    """Register an attack of your own under a name, for `attack_game`, studies and the command line.

    Decorate a function of a `Knowledge` that returns a score (n,) for each image, higher for likelier
    members.

    Args:
        name: lower-case letters, digits, dots and hyphens.

    Raises:
        ConfigError: its source cannot be read.
        MembershipError: the name is taken by us or by another module, or the decorated object is no function.
    """
    return ATTACKS.registering(name)
