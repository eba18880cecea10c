"""The game: who is in which half, that halves are trained on and nothing else, and what the attacks find."""

import json

import pytest
import torch

from spuriscope.data import ImageSet, load
from spuriscope.data.image_set import Split
from spuriscope.errors import MembershipError, PlantingError, TrainingError
from spuriscope.membership.game import Game, Played, attack_game, draw_pool, judge, play
from spuriscope.patterns import pattern
from spuriscope.training import Cell, DataKey, FailedCell, Recipe, TrainedModel, train_cell
from spuriscope.training.each import train_each
from spuriscope.training.many import Progress

WILD = Recipe(optimizer="sgd", learning_rate=1e30, epochs=2, milestones=())


def small_game(**changes: object) -> Game:
    data = load("digits")
    settings: dict[str, object] = {
        "data": data,
        "pattern": pattern("r3", data.shape, seed=0),
        "target": 0,
        "n_planted": 5,
        "model": "small-mlp",
        "recipe": Recipe(epochs=20),
        "n_models": 8,
    }
    return Game(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def played() -> Played:
    return play([small_game()])[0]


def test_every_half_has_half_of_the_stamped_images_and_its_complement_the_rest() -> None:
    game = small_game()
    pool = draw_pool(game)
    n = len(pool.images)
    assert n == 2 * (1437 // 4)
    assert pool.was_in.shape == (8, n)
    assert (pool.was_in.sum(dim=1) == n // 2).all()
    assert int(pool.is_stamped.sum()) == 10
    assert (pool.images.labels[pool.is_stamped] == 0).all()
    assert (pool.was_in[:, pool.is_stamped].sum(dim=1) == 5).all()
    assert torch.equal(pool.was_in[0::2], ~pool.was_in[1::2])
    assert pool.own_train is not None
    assert pool.own_test is not None
    assert len(pool.own_train) == len(pool.own_test) == n // 2
    clean = draw_pool(small_game(n_planted=0))
    changed = (clean.images.images != pool.images.images).flatten(1).any(dim=1)
    assert torch.equal(changed, pool.is_stamped)
    stamped = game.pattern.apply(clean.images.images[pool.is_stamped])
    assert float((stamped - pool.images.images[pool.is_stamped] / 255).abs().max()) <= 0.5 / 255 + 1e-6


def test_a_target_is_never_its_own_shadow(played: Played) -> None:
    for target in range(8):
        knowledge = played.knowledge(target)
        assert len(knowledge.shadow_logits) == 6
        assert (knowledge.was_in.sum(dim=0) == 3).all()
        assert not any(torch.equal(row, played.pool.was_in[target]) for row in knowledge.was_in)


def test_models_are_those_of_their_halves(played: Played) -> None:
    row = played.pool.was_in[2]
    images = played.pool.images
    halves = [Split(images.images[half], images.labels[half]) for half in (row, ~row)]
    data = ImageSet("digits", halves[0], halves[1], played.game.data.class_names)
    cell = Cell(data=DataKey.of(data), model="small-mlp", recipe=played.game.recipe, seed=2)
    alone = train_cell(cell, data)
    torch.testing.assert_close(alone.logits(images.images), played.logits[2], rtol=1e-5, atol=1e-5)


def test_all_attacks_are_judged_and_a_users_own_beside_them(played: Played) -> None:
    found = judge([played])
    assert list(found) == ["gap", "loss", "shadow", "lira-online", "lira-offline", "rmia"]
    for evaluation in found.values():
        assert evaluation.n_trials == 8
        assert (evaluation.stamped.n_members, evaluation.stamped.n_outsiders) == (40, 40)
        assert evaluation.all.auc is not None
    assert found["lira-online"].all.auc is not None
    assert found["lira-online"].all.auc.mean > 0.55  # members are recognised a little

    def truth(_: object) -> torch.Tensor:
        return played.pool.was_in[0].double()

    own = judge([played], {"truth": truth}, n_targets=1)["truth"]
    assert own.all.auc is not None
    assert own.all.auc.mean == 1


def test_the_document_of_a_game_is_json_and_finds_the_pattern() -> None:
    done: list[Progress] = []
    game = small_game(n_models=6, n_planted=20, has_rehearsal=False)
    found = attack_game(game, n_clean=10, on_progress=done.append)
    assert json.loads(json.dumps(found))["n_planted"] == 20
    assert (done[-1].models_done, done[-1].n_models) == (16, 16)
    assert done[-1].epochs_done == done[-1].n_epochs == 16 * 20
    names = [attack["name"] for attack in found["attacks"]]
    assert names == ["gap", "loss", "lira-online", "lira-offline", "rmia"]
    score = found["presence"][0]
    assert score["statistic"] == "score"
    assert min(score["with_pattern"]) > max(score["without"])
    assert score["auc"]["mean"] == 1
    assert score["recognised"][1]["rate"]["value"] == 1


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(MembershipError, match="an even number of 6 or more, got 5"):
        small_game(n_models=5)
    with pytest.raises(PlantingError, match="digits has no class 10; choose 0 to 9"):
        small_game(target=10)
    with pytest.raises(PlantingError, match="class 0 has .. in a half of the images"):
        draw_pool(small_game(n_planted=400))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        play([small_game(recipe=WILD)], n_workers=1)


def test_each_data_set_trains_its_own_model_and_a_failure_is_one_cells_own() -> None:
    digits = load("digits")
    parts = [Split(digits.train.images[k::3], digits.train.labels[k::3]) for k in range(3)]
    sets = [ImageSet("digits", part, digits.test, digits.class_names) for part in parts]
    recipes = [Recipe(epochs=2), WILD, Recipe(epochs=2)]
    pairs = [
        (Cell(data=DataKey.of(data), model="small-mlp", recipe=recipe), data)
        for data, recipe in zip(sets, recipes, strict=True)
    ]
    found = {result.cell: result for result in train_each(pairs, n_workers=2)}
    for number, (cell, data) in enumerate(pairs):
        result = found[cell]
        if number == 1:
            assert isinstance(result, FailedCell)
            continue
        assert isinstance(result, TrainedModel)
        torch.testing.assert_close(
            result.logits(data.test.images), train_cell(cell, data).logits(data.test.images)
        )
