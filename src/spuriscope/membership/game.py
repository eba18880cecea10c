"""The membership game: models trained on known halves of a pool of images, each attacked in turn.

Of the data's images of the target class 2 n carry the pattern, n in each half that is drawn: so stamped
members and stamped outsiders differ only in membership, and half of the shadow models have seen each. Where
the plant relabels, they come from another class, and an attacker asks about them with the target's label.
Halves are drawn in complementary pairs; the shadow models of a target are those of all other pairs. The pool
is two quarters of the training images, one of which is the first target's training set; the attacker's
rehearsal has the other two (see `quarters`).

All models of a game are cells of one data set: one plant of 2 n images, and a part for each. The null of the
presence attack is made of clean twins of these cells: the same halves, steps and seeds, and nothing planted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.checks import check_seed, check_whole
from spuriscope.data.image_set import ImageSet
from spuriscope.errors import MembershipError, PlantingError
from spuriscope.membership.attacks import ATTACKS, Attack, Knowledge, Rehearsal
from spuriscope.membership.evaluation import AttackTrial, Evaluation, evaluate
from spuriscope.membership.presence import presence_statistics
from spuriscope.membership.quarters import check_disjoint, equal_parts, quarters
from spuriscope.patterns import Kind
from spuriscope.planting import Placement, Plant, Relabel, labels_as_trained
from spuriscope.training import AnyModel, Cell, DataKey, Part, Recipe, Trainer, Trains, train_all

__all__ = [
    "Game",
    "GamePool",
    "Played",
    "draw_pool",
    "judge_attacks",
    "play",
    "play_with",
    "probe_images",
]

N_PROBES = 500
SEEDS_OF_GAME = 1000  # most trainings of one game: seeds of the next game begin beyond


@checked(MembershipError, passing=("target",))
@dataclass(frozen=True, kw_only=True)
class Game:
    """What is trained and attacked.

    Attributes:
        data: its training images make the pool.
        pattern: what is stamped.
        target: the class whose images carry it, or whose label they get; number or name.
        n_planted: number of each model's training images that carry it: half of those in the pool; 0 makes
            models for a null.
        model: name of the architecture.
        recipe: how each model is trained.
        n_models: models on halves of the pool, an even number.
        has_rehearsal: whether half of the data belongs to the attacker; otherwise the pool is all of it.
        seed: draws the parts, the stamped images, their places, the halves and the trainings.
        placement: where the pattern stands, see `Plant`.
        relabel: whose images get the target's label, see `Plant`; by default they are of the target class.

    Raises:
        MembershipError: `n_models` is odd, below 6 or above 999, or a number is negative.
        PlantingError: there is no such class.
    """

    data: ImageSet = field(repr=False)
    pattern: Kind
    target: int
    n_planted: int
    model: str
    recipe: Recipe
    n_models: int = 16
    has_rehearsal: bool = True
    seed: int = 0
    placement: Placement = "fixed"
    relabel: Relabel | None = None

    def __post_init__(self) -> None:
        check_seed("seed", self.seed, error=MembershipError)
        check_whole("n_planted", self.n_planted, error=MembershipError)
        check_whole("n_models", self.n_models, most=SEEDS_OF_GAME - 1, error=MembershipError)
        if self.n_models < 6 or self.n_models % 2:
            raise MembershipError(
                "models come in pairs, and a target needs four shadow models: give an even number "
                f"of 6 or more, got {self.n_models}"
            )
        object.__setattr__(self, "target", self.data.label(self.target))
        _ = self.plant

    @property
    def plant(self) -> Plant:
        """What is planted in the pool: twice what each half gets."""
        return Plant(self.pattern, self.target, 2 * self.n_planted, self.seed, self.placement, self.relabel)

    @property
    def plants(self) -> tuple[Plant, ...]:
        """The plant, or nothing for a null."""
        return (self.plant,) if self.n_planted else ()

    def cells(self, pool: "GamePool") -> list[Cell]:
        """The trainings: one per half of the pool, then the attacker's own if there is one."""
        first = SEEDS_OF_GAME * self.seed
        cell = Cell(data=DataKey.of(self.data), plants=self.plants, model=self.model, recipe=self.recipe)
        cells = [replace(cell, part=part, seed=first + number) for number, part in enumerate(pool.parts)]
        if pool.own_part is not None:
            cells.append(replace(cell.clean_twin, part=pool.own_part, seed=first + len(pool.parts)))
        return cells

    def clean_twins(self, n_clean: int) -> list[Cell]:
        """Clean twins of the first `n_clean` trainings, the null of the presence attack.

        Beyond `n_models`, it continues with the halves that a larger game would draw.

        Raises:
            MembershipError: `n_clean` is negative.
            PlantingError: see `draw_pool`.
        """
        if n_clean < 0:
            raise MembershipError(f"n_clean is a number of models, got {n_clean}; give 6 or more")
        larger = replace(self, n_models=max(self.n_models, n_clean + n_clean % 2))
        return [cell.clean_twin for cell in larger.cells(draw_pool(larger))[:n_clean]]


@dataclass(frozen=True, eq=False)
class GamePool:
    """The images in question, and which model is trained on which.

    Attributes:
        positions: (n,), among the training images.
        labels: (n,), as they are trained on.
        is_stamped: (n,).
        could_carry: (n,), whether the image is of the class of the stamped images.
        was_in: (n_models, n); each row has half of the images, and half of the stamped ones.
        own_train: positions of the images that the attacker's own model is trained on; None without a
            rehearsal.
        own_test: positions of the images that it is compared with.
    """

    positions: Tensor
    labels: Tensor
    is_stamped: Tensor
    could_carry: Tensor
    was_in: Tensor
    own_train: Tensor | None
    own_test: Tensor | None

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The part that each model is trained on."""
        return tuple(Part.of(self.positions[row]) for row in self.was_in)

    @cached_property
    def own_part(self) -> Part | None:
        """The part that the attacker's own model is trained on."""
        return None if self.own_train is None else Part.of(self.own_train)


def draw_pool(game: Game) -> GamePool:
    """Draw the stamped images, the parts, and the halves.

    Raises:
        PlantingError: the data have fewer images of the class than are to be stamped.
    """
    train = game.data.train
    could_carry = game.plant.could_carry(train.labels)
    n_class = int(could_carry.sum())
    if 2 * game.n_planted > n_class:
        source = f"class {game.target}" if game.relabel is None else "what is relabelled"
        raise PlantingError(
            f"cannot plant {game.n_planted} images in each half: {source} has {n_class}; "
            f"plant 0 to {n_class // 2} of them"
        )
    stamped = game.plants[0].planted_indices(train.labels) if game.plants else torch.empty(0).long()
    own_train = own_test = None
    if game.has_rehearsal:
        parts = quarters(game.data, game.seed, stamped)
        inside, outside = parts.target_train, parts.target_test
        own_train, own_test = parts.shadow_train, parts.shadow_test
    else:
        inside, outside = equal_parts(len(train), 2, game.seed, stamped)
    check_disjoint(inside, outside)
    positions = torch.cat([inside, outside])
    is_stamped = torch.isin(positions, stamped)
    was_in = _halves(is_stamped, game)
    labels = labels_as_trained(game.plants, train.labels)[positions]
    return GamePool(positions, labels, is_stamped, could_carry[positions], was_in, own_train, own_test)


def _halves(is_stamped: Tensor, game: Game) -> Tensor:
    """(n_models, n): the first target's half, then random halves, each followed by its complement."""
    rng = np.random.RandomState(game.seed)
    n = len(is_stamped)
    rows = [torch.arange(n) < n // 2]
    stamped, others = is_stamped.nonzero().flatten(), (~is_stamped).nonzero().flatten()
    for _ in range(game.n_models // 2 - 1):
        row = torch.zeros(n, dtype=torch.bool)
        for group in (stamped, others):
            row[group[torch.from_numpy(rng.permutation(len(group))[: len(group) // 2])]] = True
        rows.append(row)
    return torch.stack([half for row in rows for half in (row, ~row)])


@dataclass(frozen=True, eq=False)
class Played:
    """A game whose models are trained and have answered.

    Attributes:
        game: what was played.
        pool: the images in question.
        models: one per row of `pool.was_in`.
        logits: (n_models, n, classes), their answers on the pool.
        rehearsal: answers of the attacker's own model; None if there is none.
        twins: clean twins of the first models; none by default.
    """

    game: Game
    pool: GamePool
    models: tuple[AnyModel, ...]
    logits: Tensor
    rehearsal: Rehearsal | None
    twins: tuple[AnyModel, ...] = ()

    def knowledge(self, target: int) -> Knowledge:
        """What an attacker of one model sees: its answers, and the shadow models of all other pairs."""
        others = torch.arange(self.game.n_models) // 2 != target // 2
        return Knowledge(
            self.logits[target],
            self.pool.labels,
            self.logits[others],
            self.pool.was_in[others],
            self.rehearsal,
        )

    def trial(self, attack: Attack, target: int) -> AttackTrial:
        """An attack's scores on one model, with the true membership."""
        return AttackTrial(
            attack(self.knowledge(target)),
            self.pool.was_in[target],
            self.pool.is_stamped,
            self.pool.could_carry,
        )

    def presence(self) -> list[dict[str, float]]:
        """Presence statistics of each model, for the pattern of the game."""
        return self._presence(self.models)

    def null(self) -> list[dict[str, float]]:
        """The same of each clean twin; any difference from `presence` is due to the plant alone."""
        return self._presence(self.twins)

    def _presence(self, models: Sequence[AnyModel]) -> list[dict[str, float]]:
        images = probe_images(self.game.data, self.game.target)
        return [
            presence_statistics(model.predict, images, self.game.plant.placed, self.game.target)
            for model in models
        ]


def probe_images(data: ImageSet, target: int) -> Tensor:
    """The first 500 test images that are not of the target class, for presence attacks."""
    return data.test.images[data.test.labels != target][:N_PROBES]


def play(
    games: Sequence[Game],
    *,
    n_clean: int = 0,
    trainer: Trains[Any] | None = None,
) -> list[Played]:
    """Train the models of some games, all together, and collect their answers on the images.

    Args:
        games: what to play, all on one data set.
        n_clean: clean twins of each game's models, trained beside them: the null of the presence attack.
        trainer: trains the models; this machine by default.

    Raises:
        CheckpointError: the games are on several data sets.
        MembershipError: `n_clean` is negative.
        PlantingError: see `draw_pool`.
        TrainingError: a model could not be trained.
    """
    pools = [draw_pool(game) for game in games]
    cells = [game.cells(pool) for game, pool in zip(games, pools, strict=True)]
    twins = [game.clean_twins(n_clean) for game in games]
    models: dict[Cell, AnyModel] = train_all(
        (cell for of_game in (*cells, *twins) for cell in of_game), games[0].data, trainer or Trainer()
    )
    return [
        replace(
            play_with(game, pool, [models[cell] for cell in of_game]),
            twins=tuple(models[cell] for cell in clean),
        )
        for game, pool, of_game, clean in zip(games, pools, cells, twins, strict=True)
    ]


def play_with(game: Game, pool: GamePool, models: Sequence[AnyModel]) -> Played:
    """A game whose models, those of `Game.cells`, are already trained: collect their answers."""
    targets = tuple(models[: game.n_models])
    logits = torch.stack([_answers(model, game, pool.positions, pool.is_stamped) for model in targets])
    rehearsal = None
    if pool.own_train is not None and pool.own_test is not None:
        positions = torch.cat([pool.own_train, pool.own_test])
        rehearsal = Rehearsal(
            _answers(models[-1], game, positions, torch.zeros(len(positions), dtype=torch.bool)),
            game.data.train.labels[positions],
            torch.arange(len(positions)) < len(pool.own_train),
        )
    return Played(game, pool, targets, logits, rehearsal)


def _answers(model: AnyModel, game: Game, positions: Tensor, is_stamped: Tensor) -> Tensor:
    """Logits (n, classes) on training images, with the pattern on those that carry it."""
    images = game.data.train.images[positions]
    logits = model.logits(images).clone()  # tensors made in inference mode cannot be written to
    logits[is_stamped] = model.logits(game.plant.apply(images[is_stamped], positions[is_stamped]))
    return logits


def judge_attacks(
    plays: Sequence[Played], attacks: Mapping[str, Attack] = ATTACKS.built_in, *, n_targets: int | None = None
) -> dict[str, Evaluation]:
    """Judge every attack on the models of some games.

    The shadow attack is left out where there is no rehearsal.

    Args:
        plays: games whose settings differ only in their seeds.
        attacks: by name.
        n_targets: number of models of each game to attack; all by default.
    """
    found = {}
    for name, attack in attacks.items():
        if name == "shadow" and any(played.rehearsal is None for played in plays):
            continue
        found[name] = evaluate(
            name,
            [
                played.trial(attack, target)
                for played in plays
                for target in range(played.game.n_models if n_targets is None else n_targets)
            ],
        )
    return found
