"""Attack planned trainings: play games, run every attack, and ask for the pattern."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spuriscope.argument_types import checked
from spuriscope.errors import MembershipError
from spuriscope.measures import Predict
from spuriscope.membership.attacks import ATTACKS, Attack
from spuriscope.membership.evaluation import Evaluation, Recognised
from spuriscope.membership.game import Game, Played, judge_attacks, play, probe_images
from spuriscope.membership.presence import PRESENCE_STATISTICS, presence, presence_statistics
from spuriscope.statistics import Interval
from spuriscope.training import OnProgress, Trainer, Trains

__all__ = ["Membership", "Presence", "attack_game", "attack_games", "present"]


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Was the pattern planted? A statistic of models with it and without; the rest as in `Separation`.

    Attributes:
        statistic: "score", the spurious score, or "mean_rise" of the probability.
        with_pattern: of each model trained with the pattern.
        without: of each clean twin.
        asked: the statistic of other models, by name.
        n_members: models with the pattern.
        n_outsiders: models without.
        auc: probability that a model with it exceeds one without.
        balanced_accuracy: always None here.
        recognised: share of models with it that are recognised at each false-positive rate.
        roc: false-positive and true-positive rates.
    """

    statistic: str
    with_pattern: tuple[float, ...]
    without: tuple[float, ...]
    asked: Mapping[str, float]
    n_members: int
    n_outsiders: int
    auc: Interval | None
    balanced_accuracy: Interval | None
    recognised: tuple[Recognised, ...]
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Membership:
    """Who can be recognised in the models of a game, see docs/audit-json.md.

    Attributes:
        pattern: name of what is planted.
        target: its class.
        n_planted: number of planted images of each model.
        n_models: models attacked.
        n_shadows: models that each attack compares with.
        n_train: training images of each model.
        n_null: clean twins, the null of `presence`.
        seed: seeds all draws.
        attacks: each attack, judged.
        presence: whether the pattern was planted, by each statistic.
    """

    pattern: str
    target: int
    n_planted: int
    n_models: int
    n_shadows: int
    n_train: int
    n_null: int
    seed: int
    attacks: tuple[Evaluation, ...]
    presence: tuple[Presence, ...]


@checked(MembershipError)
def attack_game(
    game: Game,
    *,
    n_clean: int = 10,
    asked: Mapping[str, Predict] | None = None,
    attacks: Sequence[str] = (),
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Membership:
    """Play one game and attack every model.

    Args:
        game: what to play.
        n_clean: clean twins of its models, the null of the presence attack; at least 1.
        asked: other models, by name, to test for the pattern.
        attacks: names of registered attacks to run beside ours, see `register_attack`.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; one per core by default.
        on_progress: called after each epoch of any model.

    Raises:
        CheckpointError, MembershipError, PlantingError, TrainingError: see `play`.
    """
    trainer = Trainer(device, n_workers, on_progress)
    return attack_games([game], n_clean=n_clean, asked=asked, attacks=attacks, trainer=trainer)[0]


def attack_games(
    games: Sequence[Game],
    *,
    n_clean: int = 10,
    asked: Mapping[str, Predict] | None = None,
    attacks: Sequence[str] = (),
    trainer: Trains[Any] | None = None,
) -> list[Membership]:
    """Play games on one data set, attack every model, and test for the presence of each game's pattern.

    Args:
        games: what to play; models that games share are trained once.
        n_clean: clean twins of each game's models, the null of its presence attack; at least 1.
        asked: other models, by name, to test for the patterns. They are shown beside the null but not
            compared with it, because a game's models are trained on fewer images.
        attacks: names of registered attacks to run beside ours.
        trainer: trains the models; this machine by default.

    Raises:
        CheckpointError, MembershipError, PlantingError, TrainingError: see `play`.
    """
    if n_clean < 1:
        raise MembershipError(f"presence needs models without the pattern, got n_clean {n_clean}; give 10")
    tried = ATTACKS.ours_and(attacks)
    plays = play(games, n_clean=n_clean, trainer=trainer)
    return [_judged(played, asked or {}, tried) for played in plays]


def _judged(played: Played, asked: Mapping[str, Predict], attacks: Mapping[str, Attack]) -> Membership:
    game = played.game
    with_pattern, without = played.presence(), played.null()
    images = probe_images(game.data, game.target)
    others = {
        name: presence_statistics(predict, images, game.plant.placed, game.target)
        for name, predict in asked.items()
    }
    return Membership(
        pattern=game.pattern.name,
        target=game.target,
        n_planted=game.n_planted,
        n_models=game.n_models,
        n_shadows=game.n_models - 2,
        n_train=int(played.pool.was_in[0].sum()),
        n_null=len(without),
        seed=game.seed,
        attacks=tuple(judge_attacks([played], attacks).values()),
        presence=tuple(
            present(
                name,
                [found[name] for found in with_pattern],
                [found[name] for found in without],
                {model: found[name] for model, found in others.items()},
            )
            for name in PRESENCE_STATISTICS
        ),
    )


def present(
    statistic: str, with_pattern: Sequence[float], without: Sequence[float], asked: Mapping[str, float]
) -> Presence:
    """How well a statistic tells models with the pattern from models without."""
    return Presence(
        statistic=statistic,
        with_pattern=tuple(with_pattern),
        without=tuple(without),
        asked=dict(asked),
        **vars(presence(with_pattern, without)),
    )
