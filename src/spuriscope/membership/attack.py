"""Attack what one would train: play games, let every attack try, ask for the pattern; all as JSON values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from spuriscope.argument_types import checked
from spuriscope.errors import MembershipError
from spuriscope.measures import Predict
from spuriscope.membership.game import Game, Played, judge, play, probe_images
from spuriscope.membership.presence import PRESENCE_STATISTICS, presence, presence_statistics
from spuriscope.training import OnProgress

__all__ = ["attack_game", "attack_games"]


@checked(MembershipError)
def attack_game(game: Game, **how: Any) -> dict[str, Any]:
    """Play one game and attack every model, see `attack_games`."""
    return attack_games([game], **how)[0]


def attack_games(
    games: Sequence[Game],
    *,
    n_clean: int = 10,
    asked: Mapping[str, Predict] | None = None,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> list[dict[str, Any]]:
    """Play games on one data set, attack every model, and ask for the presence of each game's pattern.

    Args:
        games: what to play; models that games share are trained once.
        n_clean: clean twins of each game's models, the null of its presence attack, 1 at least.
        asked: other models, by name, to ask for the presence of the patterns. They stand beside the null and
            are not compared with it: a game's models are trained on fewer images.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model.

    Returns:
        For each game what docs/audit-json.md calls `membership`.

    Raises:
        CheckpointError, MembershipError, PlantingError, TrainingError: see `play`.
    """
    if n_clean < 1:
        raise MembershipError(f"presence needs models without the pattern, got n_clean {n_clean}; give 10")
    plays = play(games, n_clean=n_clean, device=device, n_workers=n_workers, on_progress=on_progress)
    return [_record(played, asked or {}) for played in plays]


def _record(played: Played, asked: Mapping[str, Predict]) -> dict[str, Any]:
    game = played.game
    with_pattern, without = played.presence(), played.null()
    images = probe_images(game.data, game.target)
    others = {
        name: presence_statistics(predict, images, game.plant.placed, game.target)
        for name, predict in asked.items()
    }
    found = {
        "pattern": game.pattern.name,
        "target": game.target,
        "n_planted": game.n_planted,
        "n_models": game.n_models,
        "n_shadows": game.n_models - 2,
        "n_train": int(played.pool.was_in[0].sum()),
        "n_null": len(without),
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
