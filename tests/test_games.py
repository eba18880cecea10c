"""Membership games as studies: each judged once, whatever stopped the run; numbers as if played by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from spuriscope.data import ImageSet, load
from spuriscope.errors import ConfigError
from spuriscope.membership import ATTACKS, Game, Knowledge, draw_pool, play
from spuriscope.studies import Grid, Outcome, Store, Study, run_study
from spuriscope.studies.figures import draw
from spuriscope.studies.games import Games, exposure
from spuriscope.studies.results import by_seed, read_results
from spuriscope.training import Cell, FailedCell, OnProgress, TrainedModel, Trainer, train_many

GRID = Grid(
    name="fig5-digits", title="Membership", figure="exposure", models=("small-mlp",), counts=(4,),
    n_seeds=2, epochs=3, halves=6,
)  # fmt: skip


class Few:
    """Trains so many cells and then stops, as one does who is interrupted."""

    def __init__(self, n: int = 10**6) -> None:
        self.left = n
        self.trained: list[Cell] = []

    def run(
        self, cells: Sequence[Cell], data: ImageSet, on_progress: OnProgress | None = None
    ) -> Iterator[TrainedModel | FailedCell]:
        """See `Executor.run`."""
        for result in train_many(cells, data, device="cpu", n_workers=1, on_progress=on_progress):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.trained.append(result.cell)
            yield result

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits")


@pytest.fixture(scope="module")
def study(digits: ImageSet) -> Study:
    return GRID.expand(digits)


@pytest.fixture(scope="module")
def finished(study: Study, digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as opened:
        n_cells = len(study.cells())
        assert run_study(study, digits, opened, Trainer("cpu", 1)) == Outcome(n_cells, n_cells, 0, 0, 4)
        yield opened


def test_a_row_is_a_model_of_a_game_and_counts_are_those_of_each_half(study: Study) -> None:
    assert [(game.n_planted, game.seed) for game in study.games] == [(0, 0), (4, 0), (0, 1), (4, 1)]
    for game, cells in study.games.items():
        assert cells == game.cells(draw_pool(game))
        assert len(cells) == 7
    parts = [entry.labels["part"] for entry in study.entries if entry.labels["seed"] == 0]
    assert sorted(set(parts)) == ["attacker", *(f"half {k}" for k in range(6))]
    for entry in study.entries:
        assert entry.cell.part is not None
        assert sum(plant.n_planted for plant in entry.cell.plants) == 2 * entry.labels["n_planted"]


def test_measures_are_those_of_a_game_played_by_hand(finished: Store, study: Study) -> None:
    game = next(game for game in study.games if game.n_planted and game.seed == 1)
    (played,) = play([game], trainer=Trainer("cpu", 1))
    rows = {result.cell: result.measures for result in read_results(finished, study.name)}
    for target, model in enumerate(played.models):
        measures = rows[model.cell.hash]
        expected = exposure(played, target)
        assert {name: measures[name] for name in expected} == expected
        member, stamped = played.pool.was_in[target], played.pool.is_stamped
        knowledge = played.knowledge(target)
        for name, attack in ATTACKS.items():
            scores = attack(knowledge)
            for group, chosen in (("stamped", stamped), ("all", stamped | True)):
                area = roc_auc_score(member[chosen].numpy(), scores[chosen].numpy())
                assert measures[f"auc_{group}_{name}"] == pytest.approx(area)
        # a member is called so as the notebook does: where the log-odds of its own row are above 0
        called = ATTACKS["shadow"](knowledge)[member & stamped] > 0
        assert measures["notebook_stamped"] == pytest.approx(float(called.double().mean()))


def test_where_nothing_is_stamped_nothing_is_said_of_it(finished: Store, study: Study) -> None:
    found = read_results(finished, study.name)
    assert by_seed(found, "auc_stamped_loss", n_planted=0) == {}
    assert set(by_seed(found, "auc_all_loss", n_planted=0)) == {0, 1}
    assert set(by_seed(found, "notebook_stamped")) == {0, 1}


def test_finished_games_are_neither_trained_nor_judged_again(
    finished: Store, study: Study, digits: ImageSet
) -> None:
    before, executor = finished.rows(study.name), Few()
    assert run_study(study, digits, finished, executor) == Outcome(len(study.cells()), 0, 0, 0, 0)
    assert executor.trained == []
    assert finished.rows(study.name) == before
    other = replace(GRID, name="fig22-digits", patterns=("r3", "s3")).expand(digits)
    assert run_study(other, digits, finished, executor).n_judged == 4  # those of s3 with 0 and with 4
    assert {entry.cell for entry in study.entries}.isdisjoint(executor.trained)


@pytest.mark.parametrize("n_before", [3, 10])
def test_a_run_that_was_stopped_goes_on(
    n_before: int, finished: Store, study: Study, digits: ImageSet, tmp_path: Path
) -> None:
    with Store(tmp_path / "store") as store:
        with pytest.raises(KeyboardInterrupt):
            run_study(study, digits, store, Few(n_before))
        assert len(Games(study, store).left) == 4 - n_before // 7
    with Store(tmp_path / "store") as store:
        executor = Few()
        outcome = run_study(study, digits, store, executor)
        assert outcome.n_trained == len(study.cells()) - n_before
        assert outcome.n_judged == 4 - n_before // 7
        assert len(set(executor.trained)) == len(executor.trained)
        assert store.rows(study.name) == finished.rows(study.name)


def test_weights_that_a_game_still_needs_are_trained_again(
    study: Study, digits: ImageSet, tmp_path: Path
) -> None:
    with Store(tmp_path / "store") as store:
        with pytest.raises(KeyboardInterrupt):
            run_study(study, digits, store, Few(6))
        first, second = study.cells()[:2]
        store.checkpoint_path(first).unlink()
        store.checkpoint_path(second).write_bytes(b"damaged")
        executor = Few()
        assert run_study(study, digits, store, executor).n_judged == 4
        assert {first, second} <= set(executor.trained)


def test_games_need_the_weights(study: Study, digits: ImageSet, tmp_path: Path) -> None:
    with (
        Store(tmp_path / "store") as store,
        pytest.raises(ConfigError, match="attacks models together .*; leave out --no-checkpoints"),
    ):
        run_study(study, digits, store, Few(), keep_checkpoints=False)


@pytest.mark.parametrize("halves", [5, 4, -2, 6.0, True])
def test_halves_come_in_pairs(halves: int) -> None:
    with pytest.raises(ConfigError, match="halves come in pairs: give an even number of 6 or more, or 0"):
        replace(GRID, halves=halves)


def test_counts_that_do_not_fit_into_both_halves_are_left_out(digits: ImageSet) -> None:
    n_class = int((digits.train.labels == 0).sum())
    study = replace(GRID, counts=(n_class // 2, n_class // 2 + 1), n_seeds=1).expand(digits)
    assert [game.n_planted for game in study.games] == [0, n_class // 2]


def test_the_figure_marks_what_is_the_notebooks(finished: Store, tmp_path: Path) -> None:
    svg, png = draw(finished, "fig5-digits", tmp_path)
    assert png.stat().st_size > 0
    words = svg.read_text(encoding="utf-8")
    assert "accuracy as in the paper" in words
    assert "RMIA: AUC, members or not" in words


def test_a_memorising_attack_would_be_seen(study: Study) -> None:
    """An attack that knows the truth has areas of 1, and calls members all that it may."""
    game = next(game for game in study.games if game.n_planted)
    (played,) = play([replace(game, recipe=replace(game.recipe, epochs=0))], trainer=Trainer("cpu", 1))

    def knows(knowledge: Knowledge) -> object:
        return played.pool.was_in[0].double()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ATTACKS, "built_in", {"truth": knows})
        found = exposure(played, 0)
    assert {found[f"auc_{group}_truth"] for group in ("stamped", "unstamped", "all")} == {1.0}
    assert (found["called_stamped_members_truth"], found["called_stamped_outsiders_truth"]) == (1.0, 0.0)


def test_a_game_is_a_value(digits: ImageSet, study: Study) -> None:
    again = GRID.expand(digits)
    assert list(again.games) == list(study.games)
    assert all(isinstance(game, Game) for game in again.games)
