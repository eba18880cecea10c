"""The membership games of a study, judged once the models of all halves are trained.

An attack on one model needs the other models of its game, so it cannot be run when that model is finished.
The store keeps the models until the last one of a game is there; then each is attacked in turn, and the
results are put beside its other measures.
"""

from collections import defaultdict
from collections.abc import Sequence

from spuriscope.errors import CheckpointError
from spuriscope.membership.attacks import ATTACKS
from spuriscope.membership.evaluation import evaluate, paper_columns
from spuriscope.membership.game import Game, Played, draw_pool, play_with
from spuriscope.studies.store import Store
from spuriscope.studies.study import Entry, Study
from spuriscope.training import Cell, TrainedModel

__all__ = ["GAME_FALSE_ALARMS", "Games", "exposure"]

GAME_FALSE_ALARMS = 0.01
JUDGED = "gap"  # its area over all images marks a judged model: every judged model was attacked with it


def exposure(played: Played, target: int, attacks: Sequence[str] = ()) -> dict[str, float]:
    """The results of the attacks on one model of a game, as measures by name.

    `auc_GROUP_ATTACK` is the area under the curve of members against outsiders among stamped images,
    unstamped images of the same class, or all. `called_CELL_ATTACK` is the share of stamped members, stamped
    outsiders, unstamped members and unstamped outsiders that are called members where 1 % of all outsiders
    are accused. `notebook_all` and `notebook_stamped` are the two columns of the paper's notebook, with its
    two faults. Groups without images are left out. An attack of a plugin is named NAME@FINGERPRINT.

    Args:
        played: the game.
        target: which of its models is attacked.
        attacks: names of registered attacks to run beside ours.
    """
    found: dict[str, float] = {}
    for short, attack in ATTACKS.ours_and(attacks).items():
        name = ATTACKS.key(short)
        judged = evaluate(name, [played.trial(attack, target)], false_alarms=(GAME_FALSE_ALARMS,))
        for group in ("stamped", "unstamped", "all"):
            area = getattr(judged, group).auc
            if area is not None:
                found[f"auc_{group}_{name}"] = area.mean
        for cell in ("stamped_members", "stamped_outsiders", "unstamped_members", "unstamped_outsiders"):
            rate = getattr(judged.cells[0], cell)
            if rate.value is not None:
                found[f"called_{cell}_{name}"] = rate.value
    if played.rehearsal is not None:
        pool = played.pool
        known = played.logits[target], pool.labels, pool.was_in[target], pool.is_stamped
        columns = paper_columns(played.rehearsal, *known)
        found["notebook_all"] = columns.accuracy_on_all
        if columns.accuracy_on_spurious is not None:
            found["notebook_stamped"] = columns.accuracy_on_spurious
    return found


class Games:
    """The games of a study that are not yet judged.

    Args:
        study: the study to run.
        store: holds its models.
    """

    def __init__(self, study: Study, store: Store) -> None:
        self.store = store
        self.attacks = study.attacks
        areas = [f"auc_all_{ATTACKS.key(name)}" for name in (JUDGED, *study.attacks)]
        found = store.query("SELECT cell, pattern, target, name FROM measures WHERE name LIKE 'auc_all_%'")
        judged = {tuple(row.values()) for row in found}
        self.left = {
            game: cells
            for game, cells in study.games.items()
            if any(
                (cells[0].hash, game.plant.placed.fingerprint, game.target, area) not in judged
                for area in areas
            )
        }
        self.of_cell: dict[Cell, list[Game]] = defaultdict(list)
        for game, cells in self.left.items():
            for cell in cells:
                self.of_cell[cell].append(game)

    def lost(self) -> list[Cell]:
        """Finished models that games still need, but whose weights were not kept or cannot be read."""
        failed = {row["hash"] for row in self.store.query("SELECT hash FROM cells WHERE error IS NOT NULL")}
        return [cell for cell in self.of_cell if cell.hash not in failed and self._load(cell) is None]

    def judge(self, cell: Cell | None = None) -> int:
        """Judge the games, of this cell or all, whose models are all there; returns their number."""
        ready = [
            game
            for game in (list(self.left) if cell is None else self.of_cell[cell])
            if game in self.left and all(self.store.checkpoint_path(c).is_file() for c in self.left[game])
        ]
        return sum(self._judge(game) for game in ready)

    def _judge(self, game: Game) -> bool:
        models = [self._load(cell) for cell in self.left[game]]
        trained = [model for model in models if model is not None]
        if len(trained) < len(models):
            return False
        played = play_with(game, draw_pool(game), trained)
        self.store.add_measures(
            (Entry(model.cell, game.plant.placed, game.target, {}), exposure(played, target, self.attacks))
            for target, model in enumerate(played.models)
        )
        del self.left[game]
        return True

    def _load(self, cell: Cell) -> TrainedModel | None:
        try:
            return self.store.load(cell)
        except CheckpointError:  # damaged, or of another version: train it again
            return None
