"""The membership game: models trained on known halves of a pool of images, each attacked in turn.

Of the pool's images of the target class 2 n carry the pattern, n in each half that is drawn: so stamped
members and stamped outsiders differ in nothing but membership, and half of the shadow models have seen each.
Halves are drawn in pairs that complement each other; the shadow models of a target are those of all other
pairs. The pool is two quarters of the training images, one of which is the first target's training set; the
attacker's rehearsal has the other two (see `quarters`).

The stamp is rounded to 8 bits, since an image's copy in the pool is one of a data set like any other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import MembershipError, PlantingError, TrainingError
from spuriscope.measures import Predict
from spuriscope.membership.attacks import ATTACKS, Attack, Knowledge, Rehearsal
from spuriscope.membership.evaluation import Evaluation, Trial, evaluate
from spuriscope.membership.presence import PRESENCE_STATISTICS, presence, presence_statistics
from spuriscope.membership.quarters import check_disjoint, quarters
from spuriscope.patterns import Pattern
from spuriscope.training import Cell, DataKey, OnProgress, Recipe, TrainedModel
from spuriscope.training.each import train_each

__all__ = ["Game", "Played", "Pool", "attack_game", "draw_pool", "judge", "play", "probe_images"]

N_PROBES = 500
N_SEEDS = 1000  # trainings of one game at most: seeds of games of other seeds begin beyond


@dataclass(frozen=True, kw_only=True)
class Game:
    """What is trained and attacked.

    Attributes:
        data: its training images make the pool.
        pattern: what is stamped.
        target: the class whose images carry it.
        n_planted: how many of each model's training images carry it; 0 makes models for a null.
        model: name of the architecture.
        recipe: how each model is trained.
        n_models: models on halves of the pool, an even number.
        has_rehearsal: whether half of the data is the attacker's; else the pool is all of it.
        seed: draws the parts, the stamped images, the halves and the trainings.

    Raises:
        MembershipError: `n_models` is odd or below 6.
        PlantingError: there is no such class.
    """

    data: ImageSet = field(repr=False)
    pattern: Pattern
    target: int
    n_planted: int
    model: str
    recipe: Recipe
    n_models: int = 16
    has_rehearsal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_models < 6 or self.n_models % 2:
            raise MembershipError(
                "models come in pairs, and a target needs four shadow models: give an even number "
                f"of 6 or more, got {self.n_models}"
            )
        if not 0 <= self.target < self.data.n_classes:
            raise PlantingError(
                f"{self.data.name} has no class {self.target}; choose 0 to {self.data.n_classes - 1}"
            )


@dataclass(frozen=True, eq=False)
class Pool:
    """The images in question, and which model is trained on which.

    Attributes:
        images: (n, ...), uint8, some stamped, with their labels.
        is_stamped: (n,).
        was_in: (n_models, n); each row has half of the images, and half of the stamped ones.
        own_train: what the attacker trains her own model on; None without a rehearsal.
        own_test: what she compares it with.
    """

    images: Split
    is_stamped: Tensor
    was_in: Tensor
    own_train: Split | None
    own_test: Split | None


def draw_pool(game: Game) -> Pool:
    """Draw the parts, stamp, and draw the halves.

    Raises:
        PlantingError: a half has fewer images of the target class than are to be stamped.
    """
    train = game.data.train
    own_train = own_test = None
    if game.has_rehearsal:
        parts = quarters(game.data, game.seed)
        inside, outside = parts.target_train, parts.target_test
        own_train, own_test = _take(train, parts.shadow_train), _take(train, parts.shadow_test)
    else:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(game.seed))
        half = len(train) // 2
        inside, outside = order[:half].sort().values, order[half : 2 * half].sort().values
    check_disjoint(inside, outside)
    chosen = _take(train, torch.cat([inside, outside]))
    half = len(inside)
    is_stamped = torch.zeros(2 * half, dtype=torch.bool)
    rng = np.random.RandomState(game.seed)
    for begin in (0, half):
        candidates = begin + np.where((chosen.labels[begin : begin + half] == game.target).numpy())[0]
        if game.n_planted > len(candidates):
            raise PlantingError(
                f"cannot plant {game.n_planted} images: class {game.target} has {len(candidates)} in a half "
                f"of the images in question; plant 0 to {len(candidates)} of them"
            )
        is_stamped[rng.choice(candidates, size=game.n_planted, replace=False)] = True
    images = chosen.images.clone()
    images[is_stamped] = (255 * game.pattern.apply(images[is_stamped])).round().to(torch.uint8)
    return Pool(Split(images, chosen.labels), is_stamped, _halves(is_stamped, game, rng), own_train, own_test)


def _halves(is_stamped: Tensor, game: Game, rng: np.random.RandomState) -> Tensor:
    """(n_models, n): the first target's half, others at random, and after each its complement."""
    n = len(is_stamped)
    rows = [torch.arange(n) < n // 2]
    stamped, others = is_stamped.nonzero().flatten(), (~is_stamped).nonzero().flatten()
    for _ in range(game.n_models // 2 - 1):
        row = torch.zeros(n, dtype=torch.bool)
        for group in (stamped, others):
            row[group[torch.from_numpy(rng.permutation(len(group))[: len(group) // 2])]] = True
        rows.append(row)
    return torch.stack([half for row in rows for half in (row, ~row)])


def _take(split: Split, chosen: Tensor) -> Split:
    """The images at these positions, or where a mask says so."""
    return Split(split.images[chosen], split.labels[chosen])


@dataclass(frozen=True, eq=False)
class Played:
    """A game with its models trained and asked.

    Attributes:
        game: what was played.
        pool: the images in question.
        models: one for each row of `pool.was_in`.
        logits: (n_models, n, classes), their answers on the pool.
        rehearsal: the attacker's own model's answers; None if there was none.
    """

    game: Game
    pool: Pool
    models: tuple[TrainedModel, ...]
    logits: Tensor
    rehearsal: Rehearsal | None

    def knowledge(self, target: int) -> Knowledge:
        """What an attacker of one model sees: its answers, and the shadow models of all other pairs."""
        others = torch.arange(self.game.n_models) // 2 != target // 2
        return Knowledge(
            self.logits[target],
            self.pool.images.labels,
            self.logits[others],
            self.pool.was_in[others],
            self.rehearsal,
        )

    def trial(self, attack: Attack, target: int) -> Trial:
        """An attack's scores on one model, with the truth beside them."""
        return Trial(
            attack(self.knowledge(target)),
            self.pool.was_in[target],
            self.pool.is_stamped,
            self.pool.images.labels == self.game.target,
        )

    def presence(self, pattern: Pattern | None = None) -> list[dict[str, float]]:
        """Each model's presence statistics, for the pattern of the game or another."""
        images = probe_images(self.game.data, self.game.target)
        return [
            presence_statistics(model.predict, images, pattern or self.game.pattern, self.game.target)
            for model in self.models
        ]


def probe_images(data: ImageSet, target: int) -> Tensor:
    """The first 500 test images that are not of the target class: those a presence attack asks about."""
    return data.test.images[data.test.labels != target][:N_PROBES]


def play(
    games: Sequence[Game],
    *,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> list[Played]:
    """Train the models of some games, all together, and ask them about their images.

    Args:
        games: what to play.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model.

    Raises:
        PlantingError: see `draw_pool`.
        TrainingError: a model could not be trained.
    """
    pools = [draw_pool(game) for game in games]
    pairs = [_pairs(game, pool) for game, pool in zip(games, pools, strict=True)]
    every = {cell: data for of_game in pairs for cell, data in of_game}
    models: dict[Cell, TrainedModel] = {}
    for model in train_each(list(every.items()), device=device, n_workers=n_workers, on_progress=on_progress):
        if not isinstance(model, TrainedModel):
            raise TrainingError(model.reason)
        models[model.cell] = model
    found = []
    rehearsals: dict[Cell, Rehearsal] = {}  # games of one seed share theirs
    for game, pool, of_game in zip(games, pools, pairs, strict=True):
        trained = [models[cell] for cell, _ in of_game]
        own = None
        if game.has_rehearsal:
            model = trained.pop()
            own = rehearsals.setdefault(model.cell, _rehearse(model, of_game[-1][1]))
        logits = torch.stack([model.logits(pool.images.images) for model in trained])
        found.append(Played(game, pool, tuple(trained), logits, own))
    return found


def _pairs(game: Game, pool: Pool) -> list[tuple[Cell, ImageSet]]:
    """The trainings of a game: one for each half, and the attacker's own last."""
    name, names = game.data.name, game.data.class_names
    sets = [ImageSet(name, _take(pool.images, row), _take(pool.images, ~row), names) for row in pool.was_in]
    if pool.own_train is not None and pool.own_test is not None:
        sets.append(ImageSet(name, pool.own_train, pool.own_test, names))
    first = N_SEEDS * game.seed
    return [
        (Cell(data=DataKey.of(data), model=game.model, recipe=game.recipe, seed=first + number), data)
        for number, data in enumerate(sets)
    ]


def _rehearse(model: TrainedModel, data: ImageSet) -> Rehearsal:
    images, labels = (
        torch.cat([getattr(data.train, part), getattr(data.test, part)]) for part in ("images", "labels")
    )
    return Rehearsal(model.logits(images), labels, torch.arange(len(labels)) < len(data.train))


def judge(
    plays: Sequence[Played], attacks: Mapping[str, Attack] = ATTACKS, *, n_targets: int | None = None
) -> dict[str, Evaluation]:
    """Every attack on the models of some games, judged.

    The shadow attack is left out where there is no rehearsal.

    Args:
        plays: games of equal settings but their seeds.
        attacks: by name.
        n_targets: how many models of each game are attacked; all by default.
    """
    found = {}
    for name, attack in attacks.items():
        if name == "shadow" and any(played.rehearsal is None for played in plays):
            continue
        found[name] = evaluate(
            [
                played.trial(attack, target)
                for played in plays
                for target in range(played.game.n_models if n_targets is None else n_targets)
            ]
        )
    return found


def attack_game(
    game: Game,
    *,
    n_clean: int = 10,
    asked: Mapping[str, Predict] | None = None,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Play a game, attack every model, and ask for the presence of the pattern; all as JSON values.

    Args:
        game: what to play.
        n_clean: models trained without the pattern, the null of the presence attack: an even number of 6
            or more.
        asked: other models, by name, to ask for the presence of the pattern.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model.

    Returns:
        What docs/audit-json.md calls `membership`.
    """
    null_game = replace(game, n_planted=0, n_models=n_clean, has_rehearsal=False, seed=game.seed + 1)
    played, null = play([game, null_game], device=device, n_workers=n_workers, on_progress=on_progress)
    with_pattern, without = played.presence(), null.presence(game.pattern)
    images = probe_images(game.data, game.target)
    others = {
        name: presence_statistics(predict, images, game.pattern, game.target)
        for name, predict in (asked or {}).items()
    }
    found = {
        "pattern": game.pattern.name,
        "target": game.target,
        "n_planted": game.n_planted,
        "n_models": game.n_models,
        "n_shadows": game.n_models - 2,
        "n_train": int(played.pool.was_in[0].sum()),
        "n_null": n_clean,
        "seed": game.seed,
        "attacks": [{"name": name, **asdict(found)} for name, found in judge([played]).items()],
        "presence": [
            {
                "statistic": name,
                "with_pattern": [found[name] for found in with_pattern],
                "without": [found[name] for found in without],
                "asked": {model: found[name] for model, found in others.items()},
                **asdict(presence([f[name] for f in with_pattern], [f[name] for f in without])),
            }
            for name in PRESENCE_STATISTICS
        ],
    }
    return dict(json.loads(json.dumps(found)))  # tuples become lists
