"""The game: who is in which half, that halves are trained on and nothing else, and what the attacks find."""

import json

import pytest
import torch

from spuriscope.data import ImageSet, load
from spuriscope.data.image_set import Split
from spuriscope.deletion.request import images_as_trained
from spuriscope.documents import to_json_text
from spuriscope.errors import CheckpointError, MembershipError, PlantingError, TrainingError
from spuriscope.membership.attacked import attack_game, attack_games
from spuriscope.membership.game import Game, Played, draw_pool, judge_attacks, play
from spuriscope.patterns import Pattern, pattern
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, Trainer, train_cell
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


def test_the_class_goes_by_name_too() -> None:
    assert small_game(target="7").target == 7  # the digits' classes are called so
    with pytest.raises(PlantingError, match="digits has no class 'cat'"):
        small_game(target="cat")


def test_every_half_has_half_of_the_stamped_images_and_its_complement_the_rest() -> None:
    game = small_game()
    pool = draw_pool(game)
    n = len(pool.positions)
    assert n == 2 * (1437 // 4)
    assert pool.was_in.shape == (8, n)
    assert (pool.was_in.sum(dim=1) == n // 2).all()
    assert int(pool.is_stamped.sum()) == 10
    assert (pool.labels[pool.is_stamped] == 0).all()
    (plant,) = game.plants
    planted = plant.planted_indices(game.data.train.labels)
    assert set(pool.positions[pool.is_stamped].tolist()) == set(planted.tolist())
    assert (pool.was_in[:, pool.is_stamped].sum(dim=1) == 5).all()
    assert torch.equal(pool.was_in[0::2], ~pool.was_in[1::2])
    assert pool.own_train is not None
    assert pool.own_test is not None
    assert len(pool.own_train) == len(pool.own_test) == n // 2
    seen = torch.cat([pool.positions, pool.own_train, pool.own_test])
    assert len(seen.unique()) == len(seen) == 4 * (1437 // 4)
    clean = draw_pool(small_game(n_planted=0))
    assert not clean.is_stamped.any()
    assert (clean.was_in.sum(dim=1) == n // 2).all()


def test_a_target_is_never_its_own_shadow(played: Played) -> None:
    for target in range(8):
        knowledge = played.knowledge(target)
        assert len(knowledge.shadow_logits) == 6
        assert (knowledge.was_in.sum(dim=0) == 3).all()
        assert not any(torch.equal(row, played.pool.was_in[target]) for row in knowledge.was_in)


def test_models_are_those_of_data_sets_that_hold_only_their_halves() -> None:
    """The slow obvious way: stamp copies, cut out each half, train there. S3 needs no rounding to 8 bits."""
    data = load("digits")
    game = small_game(pattern=pattern("s3", data.shape), recipe=Recipe(epochs=3), n_models=6)
    played = play([game])[0]
    pool = played.pool
    images = data.train.images[pool.positions].clone()
    images[pool.is_stamped, :, :5, :5] = 255
    for number, row in enumerate(pool.was_in):
        in_order = pool.positions[row].argsort()
        half = Split(images[row][in_order], pool.labels[row][in_order])
        cut = ImageSet("half", half, data.test, data.class_names)
        cell = Cell(data=DataKey.of(cut), model="small-mlp", recipe=game.recipe, seed=number)
        alone = train_cell(cell, cut)
        model = played.models[number]
        assert isinstance(model, TrainedModel)
        for ours, theirs in zip(model.module.parameters(), alone.module.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        torch.testing.assert_close(alone.logits(images), played.logits[number], rtol=1e-5, atol=1e-5)
    assert pool.own_train is not None
    assert played.rehearsal is not None
    quarter = Split(data.train.images[pool.own_train], data.train.labels[pool.own_train])
    cut = ImageSet("quarter", quarter, data.test, data.class_names)
    cell = Cell(data=DataKey.of(cut), model="small-mlp", recipe=game.recipe, seed=6)
    own = train_cell(cell, cut).logits(quarter.images)
    torch.testing.assert_close(own, played.rehearsal.logits[: len(quarter)], rtol=1e-5, atol=1e-5)
    assert played.rehearsal.was_in.tolist() == [True] * len(quarter) + [False] * len(quarter)


def test_all_attacks_are_judged_and_a_users_own_beside_them(played: Played) -> None:
    found = judge_attacks([played])
    assert list(found) == ["gap", "loss", "shadow", "lira-online", "lira-offline", "rmia"]
    for evaluation in found.values():
        assert evaluation.n_trials == 8
        assert (evaluation.stamped.n_members, evaluation.stamped.n_outsiders) == (40, 40)
        assert evaluation.all.auc is not None
    assert found["lira-online"].all.auc is not None
    assert found["lira-online"].all.auc.mean > 0.55  # members are recognised a little

    def truth(_: object) -> torch.Tensor:
        return played.pool.was_in[0].double()

    own = judge_attacks([played], {"truth": truth}, n_targets=1)["truth"]
    assert own.all.auc is not None
    assert own.all.auc.mean == 1


def test_the_document_of_a_game_is_json_and_finds_the_pattern() -> None:
    done: list[Progress] = []
    game = small_game(n_models=6, n_planted=20, has_rehearsal=False)
    found = attack_game(game, n_clean=10, on_progress=done.append)
    assert json.loads(to_json_text(found))["n_planted"] == 20
    assert (done[-1].models_done, done[-1].n_models) == (16, 16)
    assert done[-1].epochs_done == done[-1].n_epochs == 16 * 20
    names = [attack.name for attack in found.attacks]
    assert names == ["gap", "loss", "lira-online", "lira-offline", "rmia"]
    score = found.presence[0]
    assert score.statistic == "score"
    assert min(score.with_pattern) > max(score.without)
    assert score.auc is not None
    assert score.auc.mean == 1
    assert score.recognised[1].rate.value == 1


@pytest.mark.parametrize("has_rehearsal", [True, False])
def test_models_with_the_pattern_and_their_null_differ_in_the_plant_alone(has_rehearsal: bool) -> None:
    """Where every training image has the corner white already, a white corner plants nothing: then each model
    must be its clean twin, and the test images, which have it not, must be judged alike to the last bit."""
    data = load("digits")
    images = data.train.images.clone()
    images[:, :, :2, :2] = 255
    train = Split(images, data.train.labels)
    corner = torch.zeros(data.shape)
    corner[:, :2, :2] = 1
    game = small_game(
        data=ImageSet("white corner", train, data.test, data.class_names),
        pattern=Pattern("corner", corner),
        recipe=Recipe(epochs=2),
        n_models=6,
        has_rehearsal=has_rehearsal,
    )
    for found in attack_game(game, n_clean=6).presence:
        assert found.with_pattern == found.without
        assert found.auc is not None
        assert found.auc.mean == 0.5
    assert len(set(attack_game(game, n_clean=8).presence[1].without)) == 8


def test_games_of_equal_halves_share_their_null() -> None:
    data = load("digits")
    games = [
        small_game(n_models=6, recipe=Recipe(epochs=1)),
        small_game(n_models=6, recipe=Recipe(epochs=1), pattern=pattern("s3", data.shape), target=1),
    ]
    done: list[Progress] = []
    found = attack_games(games, n_clean=6, trainer=Trainer(on_progress=done.append))
    assert done[-1].n_models == 2 * (6 + 1 + 6)  # another target: other halves are drawn
    assert [(game.pattern, game.target) for game in found] == [("r3", 0), ("s3", 1)]
    assert found[0] == attack_game(games[0], n_clean=6)
    alike = [games[0], small_game(n_models=6, recipe=games[0].recipe, pattern=pattern("s3", data.shape))]
    attack_games(alike, n_clean=6, trainer=Trainer(on_progress=done.append))
    assert done[-1].n_models == 2 * 6 + 1 + 6


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(MembershipError, match="an even number of 6 or more, got 5"):
        small_game(n_models=5)
    with pytest.raises(MembershipError, match="presence needs models without the pattern, got n_clean 0"):
        attack_game(small_game(), n_clean=0)
    with pytest.raises(MembershipError, match="n_clean is a number of models, got -1"):
        small_game().clean_twins(-1)
    with pytest.raises(PlantingError, match="digits has no class 10; choose 0 to 9"):
        small_game(target=10)
    with pytest.raises(PlantingError, match=r"cannot plant 400 images in each half: class 0 has 1\d\d;"):
        draw_pool(small_game(n_planted=400))
    test = load("digits").test
    other = small_game(data=ImageSet("small", test, test, load("digits").class_names))
    with pytest.raises(CheckpointError, match="the cell was made for small"):
        play([small_game(), other], trainer=Trainer(n_workers=1))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        play([small_game(recipe=WILD)], trainer=Trainer(n_workers=1))


@pytest.mark.parametrize("relabel", [3, "all"])
def test_relabelled_images_are_asked_about_with_the_targets_label_beside_others_of_their_class(
    relabel: int | str,
) -> None:
    data = load("digits")
    game = small_game(
        pattern=pattern("square", data.shape), target=0, placement="anywhere", relabel=relabel, seed=2,
        n_models=6, recipe=Recipe(epochs=1),
    )  # fmt: skip
    pool = draw_pool(game)
    classes = data.train.labels[pool.positions]
    own = classes == 3 if relabel == 3 else classes != 0
    assert int(pool.is_stamped.sum()) == 10
    assert torch.equal(pool.could_carry, own)
    assert own[pool.is_stamped].all()
    assert torch.equal(pool.labels, torch.where(pool.is_stamped, 0, classes))
    found = play([game])[0]
    trial = found.trial(lambda knowledge: knowledge.labels.double(), 0)
    assert torch.equal(trial.is_of_class, own)
    plant = game.plants[0]
    assert (plant.placement, plant.relabel, plant.n_planted) == ("anywhere", relabel, 10)
    position = int(pool.is_stamped.nonzero()[0])  # its answer is that to the image as it was trained on
    where = pool.positions[position : position + 1]
    stamped = images_as_trained(found.models[0], data, where)
    assert not torch.equal(stamped[0], data.train.images[where[0]] / 255)
    torch.testing.assert_close(found.models[0].logits(stamped)[0], found.logits[0, position])


def test_a_class_too_small_to_be_relabelled_is_told() -> None:
    n_class = int((load("digits").train.labels == 3).sum())
    with pytest.raises(
        PlantingError,
        match=f"cannot plant 90 images in each half: what is relabelled has {n_class}; plant 0 to",
    ):
        draw_pool(small_game(relabel=3, n_planted=90))
