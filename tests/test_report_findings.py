"""The page of a search: what a person reads and sees of a finding, and what one is shown of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spuriscope.data import ImageSet, Split
from spuriscope.discovery import Carriers, Finding
from spuriscope.discovery.confirm import Intervention
from spuriscope.discovery.exhibit import exhibit
from spuriscope.errors import ConfigError
from spuriscope.patterns import Anywhere, Cover, Pattern, Shade
from spuriscope.searching import save_page
from test_report_page import Reader

SIDE = 12
RNG = np.random.default_rng(0)
ROWS = torch.zeros(SIDE, SIDE).index_fill(0, torch.arange(3), 1.0)
SQUARE = Cover("found-1", torch.ones(3, SIDE, SIDE), ROWS)
CORNER = ROWS * ROWS.T
CROSS = Cover("found-1", (CORNER * (torch.arange(SIDE) == 1)).expand(3, SIDE, SIDE).clone(), CORNER)


def images(n: int) -> Tensor:
    return torch.from_numpy(RNG.random((n, 3, SIDE, SIDE), np.float32) * 0.8)


def predict(batch: Tensor) -> Tensor:
    """Class 1 where the first rows are white, else class 0."""
    is_white = (batch[:, :, :3].mean(dim=(1, 2, 3)) > 0.95).float()
    return torch.stack([1 - 0.9 * is_white, 0.9 * is_white], dim=1)


def finding(pattern: Any = SQUARE, examples: tuple[int, ...] = (1, 4, 7), **more: Any) -> Finding:
    return Finding(
        target=1, pattern=pattern, examples=np.array(examples), score=0.9, null=(0.1, 0.2), p_value=0.004,
        p_group=0.001, p_effect=0.002, source="marks", **more,
    )  # fmt: skip


@pytest.fixture
def data() -> ImageSet:
    train, fresh = images(20), images(30)
    train[[1, 4, 7]] = SQUARE.apply(train[[1, 4, 7]])
    train[4] = 0.5 * train[4] + 0.5 * images(1)[0]  # carries half of it
    train, fresh = ((255 * each).round().to(torch.uint8) for each in (train, fresh))
    ones, zeros = torch.ones(20, dtype=torch.int64), torch.zeros(30, dtype=torch.int64)
    return ImageSet("photos", Split(train, ones), Split(fresh, zeros), ("cat", "dog"))


def test_images_stand_in_the_order_of_how_much_they_carry(data: ImageSet) -> None:
    seen = exhibit(finding(), predict, data.train, data.test)
    assert seen.examples.tolist()[2] == 4
    assert seen.carried[:2] == pytest.approx(1, abs=0.15)
    assert seen.carried[2] == pytest.approx(0.5, abs=0.15)
    assert (np.diff(seen.carried) <= 0).all()


def test_the_box_is_where_the_cue_stands_and_missing_where_it_is_everywhere(data: ImageSet) -> None:
    seen = exhibit(finding(), predict, data.train, data.test)
    assert seen.boxes == ((0, 0, 3, SIDE),) * 3
    assert {tried.box for tried in seen.tried} == {(0, 0, 3, SIDE)}
    dim = Shade("dim", torch.eye(3) * 0.5, torch.zeros(3), SIDE, SIDE)
    noise = Pattern("noise", torch.rand(3, SIDE, SIDE))
    nothing = Pattern("nothing", torch.zeros(3, SIDE, SIDE))
    for pattern in (dim, noise):
        assert exhibit(finding(pattern), predict, data.train, data.test).boxes == (None,) * 3
    assert np.isfinite(exhibit(finding(nothing), predict, data.train, data.test).carried).all()


def test_what_stands_anywhere_is_boxed_where_it_stands(tmp_path: Path) -> None:
    pattern, train = Anywhere(CROSS, 5), images(20)
    carriers = torch.tensor([1, 4, 7])
    train[carriers] = pattern.apply(train[carriers], carriers)
    train[4] = 0.5 * train[4] + 0.5 * images(1)[0]
    fresh = Split((255 * images(30)).round().to(torch.uint8), torch.zeros(30, dtype=torch.int64))
    marked = Split((255 * train).round().to(torch.uint8), torch.ones(20, dtype=torch.int64))
    found = finding(pattern, carriers=Carriers(n_train=3, of_train=20, n_fresh=0, of_fresh=15))
    seen = exhibit(found, predict, marked, fresh)
    assert seen.examples.tolist()[2] == 4
    assert seen.carried[:2] == pytest.approx(1, abs=0.05)
    for place, box in zip(seen.examples.tolist(), seen.boxes, strict=True):
        down, across = pattern.places(torch.tensor([place]))[0].tolist()
        assert box == (down, across, down + 3, across + 3)
    for tried in seen.tried:
        assert tried.box is not None
        top, left, bottom, right = tried.box
        torch.testing.assert_close(tried.images[1][:, top:bottom, left:right], CROSS.pixels[:, :3, :3])
    assert (found.to_json()["placement"], finding().to_json()["placement"]) == ("anywhere", "fixed")
    path = tmp_path / "found.html"
    data = ImageSet("photos", marked, fresh, ("cat", "dog"))
    save_page([found], predict, marked, data, path, model="model.pt")
    page = Reader(path.read_text(encoding="utf-8"))
    assert "The same thing stands somewhere in 3 of 20 training images, in none of 15 fresh ones" in page.text
    assert "The box is where the cue fits best." in page.text
    assert len(set(page.attributes("d"))) > 2


def test_it_is_tried_on_the_fresh_images_that_it_was_searched_on() -> None:
    """So the page gives one share: that of the search, over its first hundred images."""
    fresh = images(400) * torch.from_numpy(RNG.random((400, 1, 1, 1), np.float32))
    split = Split((255 * fresh).round().to(torch.uint8), torch.arange(400) % 2)

    def brightest(batch: Tensor) -> Tensor:
        share = batch.mean(dim=(1, 2, 3)).sub(0.5).mul(20).sigmoid()
        return torch.stack([1 - share, share], dim=1)

    asked = Intervention.on(brightest, split, 1, n_fresh=100, threshold=0.1, seed=1)
    seen = exhibit(finding(), brightest, Split(split.images[:20], split.labels[:20]), split)
    assert seen.n_tried == 100
    assert 0 < seen.n_moved < 100
    assert seen.n_moved / 100 == pytest.approx(float(asked.scores_of([SQUARE])[0]))


def test_fresh_images_are_shown_before_and_after(data: ImageSet) -> None:
    seen = exhibit(finding(), predict, data.train, data.test)
    assert (len(seen.tried), seen.n_tried, seen.n_moved) == (3, 30, 30)
    for tried in seen.tried:
        before, after = tried.images
        torch.testing.assert_close(before, data.test.images[tried.position] / 255)
        torch.testing.assert_close(after, SQUARE.apply(before[None])[0])
        assert tried.probabilities == pytest.approx((0, 0.9))
        assert tried.label == 0


def test_the_page_says_who_carries_it_and_what_it_does(data: ImageSet, tmp_path: Path) -> None:
    carriers = Carriers(n_train=3, of_train=20, n_fresh=0, of_fresh=15)
    found = finding(carriers=carriers, names=("a.png", "<b>.png", "c.png"))
    path = tmp_path / "found.html"
    save_page([found], predict, data.train, data, path, model="model.pt", unseen=["weak cues"])
    page = Reader(path.read_text(encoding="utf-8"))
    assert "Something in 3 images pulls others to ‘dog’" in page.text
    assert "covers the same place in 3 of 20 training images, in none of 15 fresh ones" in page.text
    assert "it moves 90 % of images of other classes, natural ones in its place at most 20 %." in page.text
    assert "What could not be seen: weak cues." in page.text
    assert "a.png, c.png, <b>.png" in page.text
    assert "model.pt" in page.text
    assert page.attributes("d").count(f"M0 0H{SIDE}V3H0Z") == 2 * (3 + 3)
    assert page.attributes("viewbox") == [f"0 0 {SIDE} {SIDE}"] * 6


def test_nothing_found_has_a_page_too(data: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "found.html"
    save_page([], predict, data.train, data, path, model="model.pt")
    page = Reader(path.read_text(encoding="utf-8"))
    assert "Nothing to report" in page.text
    assert "All 20 training images were searched" in page.text
    bad = tmp_path / "bad.html"
    save_page([], predict, data.train, data, bad, model="model.pt", unseen=["any cue"], is_sure=False)
    assert "Nothing found, which says nothing" in Reader(bad.read_text(encoding="utf-8")).text
    assert "Nothing to report" not in bad.read_text(encoding="utf-8")


def test_no_file_is_replaced(data: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "mine.html"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists; give a new name"):
        save_page([], predict, data.train, data, path, model="model.pt")
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="is not a folder; make it"):
        save_page([], predict, data.train, data, tmp_path / "none" / "found.html", model="model.pt")
