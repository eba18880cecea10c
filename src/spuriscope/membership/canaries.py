"""PlantedCanaries: bound the privacy of one training from many independent guesses about it.

Each canary is its own pattern and one training image, which carries it with probability 1/2. After the
training the attacker guesses which canaries were planted, and may abstain. If the training were
epsilon-private, each guess would be right with probability at most e^epsilon / (1 + e^epsilon), whatever the
others are; so many right guesses bound epsilon from below (Steinke, Nasr and Jagielski, 2023). Privacy here
concerns whether an image was replaced by its stamped copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.checks import check_number, check_seed, check_whole
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import MembershipError
from spuriscope.measures import Predict, probabilities
from spuriscope.patterns import Kind, pattern
from spuriscope.training import Cell, DataKey, Recipe, Trainer, Trains, train_each

__all__ = [
    "Canaries",
    "OneRunAudit",
    "PlantedCanaries",
    "attack_canaries",
    "audit_guesses",
    "canary_scores",
    "epsilon_bound",
    "plant_canaries",
]

CONFIDENCE = 0.95
LARGEST_EPSILON = 50.0
NOISE = "r3"  # gives any number of distinct patterns
N_IMAGES = 100  # of the attacker's own
SEEDS_OF_AUDIT = 100_000  # most patterns of one audit


@dataclass(frozen=True, eq=False)
class PlantedCanaries:
    """Patterns, the image that each may be planted in, and whether it was.

    Attributes:
        data: the data set with the chosen images stamped, rounded to 8 bits.
        patterns: one per canary.
        positions: (m,), the training image of each.
        is_planted: (m,), drawn with probability 1/2.
    """

    data: ImageSet
    patterns: tuple[Kind, ...]
    positions: Tensor
    is_planted: Tensor


@dataclass(frozen=True)
class OneRunAudit:
    """The result of a one-run audit.

    Attributes:
        n_canaries: number of canaries.
        n_guesses: number on which the attacker did not abstain.
        n_right: guesses that were right.
        epsilon: lower bound at 95 % confidence; 0: no leak shown.
        delta: of the privacy that is bounded.
    """

    n_canaries: int
    n_guesses: int
    n_right: int
    epsilon: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """What the canaries of one training gave away, see docs/audit-json.md.

    Attributes:
        pattern: kind of the patterns.
        n_canaries: number of canaries.
        n_guesses: coin tosses that were guessed.
        n_right: correct guesses.
        epsilon: lower bound at this delta and confidence; 0: no loss of privacy is shown.
        delta: of the privacy that is bounded.
        n_planted: canaries that the coins planted.
        confidence: of the bound.
        n_train: training images.
        seed: draws the patterns, the images, the coins and the training.
        planted: score of each planted canary: the mean rise of a probability.
        others: score of each of the others.
    """

    pattern: str
    n_canaries: int
    n_guesses: int
    n_right: int
    epsilon: float
    delta: float
    n_planted: int
    confidence: float
    n_train: int
    seed: int
    planted: tuple[float, ...]
    others: tuple[float, ...]


def plant_canaries(data: ImageSet, patterns: Sequence[Kind], seed: int) -> PlantedCanaries:
    """Choose an image for each pattern, and stamp each image with probability 1/2.

    Raises:
        MembershipError: there are more patterns than training images, or none.
    """
    if not 1 <= len(patterns) <= len(data.train):
        raise MembershipError(
            f"{len(patterns)} canaries need as many training images, {data.name} has {len(data.train)}; "
            "give between 1 and as many patterns"
        )
    rng = np.random.RandomState(seed)
    positions = torch.from_numpy(rng.choice(len(data.train), size=len(patterns), replace=False))
    is_planted = torch.from_numpy(rng.rand(len(patterns)) < 0.5)
    images = data.train.images.clone()
    for picture, position, planted in zip(patterns, positions.tolist(), is_planted.tolist(), strict=True):
        if planted:
            stamped = picture.apply(images[position : position + 1])[0]
            images[position] = (255 * stamped).round().to(torch.uint8)
    planted_data = ImageSet(data.name, Split(images, data.train.labels), data.test, data.class_names)
    return PlantedCanaries(planted_data, tuple(patterns), positions, is_planted)


def canary_scores(predict: Predict, canaries: PlantedCanaries, images: Tensor) -> Tensor:
    """By how much each pattern raises the probability of its image's class (m,), mean over `images`.

    Args:
        predict: the trained model.
        canaries: those that may have been planted.
        images: (n, channels, height, width), the attacker's own.
    """
    clean = probabilities(predict, images).double().mean(dim=0)
    labels = canaries.data.train.labels[canaries.positions].tolist()
    rises = [
        probabilities(predict, picture.apply(images)).double().mean(dim=0)[label] - clean[label]
        for picture, label in zip(canaries.patterns, labels, strict=True)
    ]
    return torch.stack(rises)


def attack_canaries(
    data: ImageSet,
    *,
    n_canaries: int = 100,
    model: str = "mlp",
    recipe: Recipe | None = None,
    seed: int = 0,
    delta: float = 0.0,
    trainer: Trains[Any] | None = None,
) -> Canaries:
    """Plant canaries of noise in one training, guess which were planted, and bound epsilon.

    It guesses half of the canaries, those with the highest and the lowest scores, and abstains on the rest.

    Args:
        data: trained on with canaries in it; the first 100 test images are the attacker's own.
        n_canaries: at least 4.
        model: name of the architecture.
        recipe: how to train.
        seed: draws the noise, the images, the coins and the training.
        delta: of the privacy that is bounded.
        trainer: trains the model; this machine by default.

    Raises:
        ConfigError: delta is not a probability below 1, or the seed is out of range.
        MembershipError: there are fewer than 4 canaries, or more than training images.
        TrainingError: the model could not be trained.
    """
    check_number("delta", delta, least=0, below=1)
    check_seed("seed", seed)
    if n_canaries < 4:
        raise MembershipError(f"a one-run audit needs at least 4 canaries, got {n_canaries}; give 100")
    check_whole("n_canaries", n_canaries, most=len(data.train), error=MembershipError)
    first = SEEDS_OF_AUDIT * seed
    patterns = [pattern(NOISE, data.shape, seed=(first + number) % 2**32) for number in range(n_canaries)]
    canaries = plant_canaries(data, patterns, seed)
    cell = Cell(data=DataKey.of(canaries.data), model=model, recipe=recipe or Recipe(), seed=seed)
    (trained,) = train_each([cell], canaries.data, trainer or Trainer(n_workers=1))
    scores = canary_scores(trained.predict, canaries, data.test.images[:N_IMAGES])
    found = audit_guesses(scores, canaries.is_planted, n_guesses=n_canaries // 4 * 2, delta=delta)
    return Canaries(
        pattern=NOISE,
        n_canaries=found.n_canaries,
        n_guesses=found.n_guesses,
        n_right=found.n_right,
        epsilon=found.epsilon,
        delta=found.delta,
        n_planted=int(canaries.is_planted.sum()),
        confidence=CONFIDENCE,
        n_train=len(data.train),
        seed=seed,
        planted=tuple(scores[canaries.is_planted].tolist()),
        others=tuple(scores[~canaries.is_planted].tolist()),
    )


def audit_guesses(
    scores: Tensor, is_planted: Tensor, *, n_guesses: int | None = None, delta: float = 0.0
) -> OneRunAudit:
    """Guess from scores, and bound epsilon.

    It guesses that the highest scores are planted and as many of the lowest are not, and abstains on the
    rest. The number of guesses must not depend on the scores.

    Args:
        scores: (m,), higher for canaries that are likelier planted.
        is_planted: (m,).
        n_guesses: even; by default all canaries, or all but one if their number is odd.
        delta: of the privacy that is bounded.

    Raises:
        MembershipError: there are no canaries, or the number of guesses is odd or too large.
    """
    m = len(scores)
    n_guesses = m - m % 2 if n_guesses is None else n_guesses
    if m == 0 or n_guesses % 2 or not 0 <= n_guesses <= m:
        raise MembershipError(f"{m} canaries allow an even number of 0 to {m} guesses, got {n_guesses}")
    order = scores.argsort(descending=True)
    half = n_guesses // 2
    n_right = int(is_planted[order[:half]].sum()) + int((~is_planted[order[m - half :]]).sum())
    epsilon = epsilon_bound(m, n_guesses, n_right, delta=delta)
    return OneRunAudit(m, n_guesses, n_right, epsilon, delta)


def epsilon_bound(
    n_canaries: int, n_guesses: int, n_right: int, *, delta: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """Largest epsilon that the guesses refute; 0 if they refute none.

    Source: Steinke, Nasr and Jagielski (2023), Theorem 5.2: the right guesses of an (epsilon, 0)-private
    training are dominated by a binomial; delta adds 2 m delta times the largest mean of its tail below
    `n_right`.

    Raises:
        MembershipError: not 0 <= n_right <= n_guesses <= n_canaries.
    """
    check_number("delta", delta, least=0, below=1)
    check_number("confidence", confidence, above=0, below=1)
    if not 0 <= n_right <= n_guesses <= n_canaries:
        raise MembershipError(
            f"right guesses, guesses and canaries must not decrease, got {n_right}, {n_guesses}, {n_canaries}"
        )
    from scipy.optimize import brentq

    def excess(epsilon: float) -> float:
        return _chance(n_canaries, n_guesses, n_right, epsilon, delta) - (1 - confidence)

    if excess(0.0) > 0:
        return 0.0
    if excess(LARGEST_EPSILON) <= 0:
        return LARGEST_EPSILON
    return float(brentq(excess, 0.0, LARGEST_EPSILON, xtol=1e-12))


def _chance(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Bound on the probability that v of r guesses are right about an (epsilon, delta)-private training."""
    from scipy.stats import binom

    q = 1 / (1 + exp(-epsilon))
    tail = float(binom.sf(v - 1, r, q))
    if delta == 0 or v == 0:
        return tail
    below = binom.pmf(np.arange(v - 1, -1, -1), r, q).cumsum()  # P[v > B >= v - i], i = 1, 2, ...
    return min(1.0, tail + 2 * m * delta * float((below / np.arange(1, v + 1)).max()))
