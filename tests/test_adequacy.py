"""Is this model any good? Models spoilt in the usual ways, and the option that mends each."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from spuriscope.adapters import module_predict
from spuriscope.adequacy import adequacy
from spuriscope.blind_spots import blind_spots
from spuriscope.cli import main
from spuriscope.data import ImageSet, Split, load
from spuriscope.errors import MeasureError
from spuriscope.measures import Predict

DIGITS = load("digits")


@pytest.fixture(scope="module")
def good() -> nn.Sequential:
    """A linear classifier of the digits, right on 96 % of the test images; pixels in [0, 1]."""
    x, y = DIGITS.train.images.flatten(1).numpy() / 255, DIGITS.train.labels.numpy()
    fitted = LogisticRegression(C=1, max_iter=200).fit(x, y)
    linear = nn.Linear(784, 10)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(fitted.coef_))
        linear.bias.copy_(torch.from_numpy(fitted.intercept_))
    return nn.Sequential(nn.Flatten(), linear)


def always_right(images: Tensor, labels: Tensor, share: float, seed: int) -> Predict:
    """Right on just that share of images, known by their bytes; wrong by one elsewhere."""
    n_right = round(share * len(images))
    rows = np.random.default_rng(seed).permutation(len(images))[:n_right]
    answers = (labels + 1) % 10
    answers[rows] = labels[rows]
    known = {image.numpy().tobytes(): int(answer) for image, answer in zip(images, answers, strict=True)}

    def predict(asked: Tensor) -> Tensor:
        asked = (255 * asked).round().to(torch.uint8)
        found = torch.tensor([known.get(image.numpy().tobytes(), 0) for image in asked])
        return nn.functional.one_hot(found, 10).float()

    return predict


@pytest.mark.parametrize("share", [0.10, 0.17, 0.21, 0.22, 0.25, 0.28, 0.5])
def test_near_chance_is_where_the_binomial_law_says(share: float) -> None:
    """Chance, and a tenth of the way from there to 1; the tail is summed here term by term."""
    pool = DIGITS.test
    found = adequacy(always_right(pool.images, pool.labels, share, 0), pool, pool)
    n, chance = len(pool), int(pool.labels.bincount().max()) / len(pool)
    k = round(share * n)
    bar = chance + (1 - chance) / 10
    tail = sum(binom.pmf(i, n, bar) for i in range(k, n + 1))
    assert found.fresh_accuracy == found.train_accuracy == k / n
    assert found.p_value == pytest.approx(tail, rel=1e-6)
    assert found.is_near_chance == (tail > 0.01)
    assert found.chance == chance


def test_a_good_model_is_called_good(good: nn.Sequential) -> None:
    found = adequacy(module_predict(good), DIGITS.train, DIGITS.test)
    assert found.fresh_accuracy > 0.94
    assert found.train_accuracy >= found.fresh_accuracy
    assert (found.n_train, found.n_fresh) == (1437, 360)
    assert not found.is_near_chance
    found.check()


def spoilt(good: nn.Sequential, name: str) -> tuple[nn.Module, str]:
    """The model, wanting its images or giving its answers otherwise; and the option that is to be named."""
    if name == "scale":
        return nn.Sequential(Scaled(1 / 255), good), "--scale 255"
    if name == "centred":
        return nn.Sequential(Scaled(0.5, 0.5), good), "--mean 0.5 --std 0.5"
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])  # the label of each column
    return nn.Sequential(good, Columns(order)), f"--classes {','.join(map(str, order.tolist()))}"


class Scaled(nn.Module):
    def __init__(self, factor: float, shift: float = 0) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.shift


class Columns(nn.Module):
    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.order]


@pytest.mark.parametrize("name", ["scale", "centred", "classes"])
def test_the_usual_mistakes_are_found_and_named(good: nn.Sequential, name: str) -> None:
    module, option = spoilt(good, name)
    found = adequacy(module_predict(module), DIGITS.train, DIGITS.test)
    assert found.fresh_accuracy < 0.9
    assert found.mend is not None
    assert option in found.mend.what
    assert found.mend.accuracy > 0.93
    assert found.mend.before == pytest.approx(found.fresh_accuracy, abs=0.1)


def test_blue_and_red_exchanged_are_found() -> None:
    """A model of two classes, red images and blue ones."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    images = torch.randint(0, 100, (400, 3, 8, 8), dtype=torch.uint8, generator=generator)
    images[labels == 0, 0] += 120
    images[labels == 1, 2] += 120

    def predict(x: Tensor) -> Tensor:
        blue, red = x[:, 0].mean(dim=(1, 2)), x[:, 2].mean(dim=(1, 2))  # it takes blue first
        return torch.stack([red, blue], dim=1).softmax(1)

    split = Split(images, labels)
    found = adequacy(predict, split, split, class_names=("red", "blue"))
    assert found.fresh_accuracy == 0
    assert found.mend is not None
    assert "--bgr" in found.mend.what or "--classes blue,red" in found.mend.what
    with pytest.raises(MeasureError, match="near chance; .* would make it right on 100 % of fresh images"):
        found.check()


def test_an_order_that_was_given_already_is_put_right_too(good: nn.Sequential) -> None:
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    module = nn.Sequential(good, Columns(order))
    wrong = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]
    found = adequacy(module_predict(module, classes=wrong), DIGITS.train, DIGITS.test, columns=wrong)
    assert found.mend is not None
    assert f"--classes {','.join(map(str, order.tolist()))}" in found.mend.what


def test_models_at_chance_by_accident_get_no_advice() -> None:
    """Twenty drawn networks: none is right, and no mend is invented."""
    for seed in range(20):
        torch.manual_seed(seed)
        found = adequacy(
            module_predict(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))), DIGITS.test, DIGITS.test
        )
        assert found.mend is None or found.mend.accuracy > found.mend.before + 0.05
        if found.mend is None and found.is_near_chance:
            with pytest.raises(MeasureError, match=r"pixels may be scaled wrongly .*; --anyway continues"):
                found.check()


def test_a_model_of_fewer_classes_and_one_that_knows_by_heart_are_said(good: nn.Sequential) -> None:
    def seven(x: Tensor) -> Tensor:
        return module_predict(good)(x)[:, :7].softmax(1)

    with pytest.raises(MeasureError, match="answers for 7 classes, the data have 10"):
        adequacy(seven, DIGITS.train, DIGITS.test)
    by_heart = DIGITS.train.images.flatten(1).float()

    def nearest(x: Tensor) -> Tensor:
        distances = torch.cdist(255 * x.flatten(1), by_heart)
        answers = torch.where(
            distances.amin(1) < 1, DIGITS.train.labels[distances.argmin(1)], torch.tensor(0)
        )
        return nn.functional.one_hot(answers, 10).float()

    with pytest.raises(MeasureError, match="memorised its training images"):
        adequacy(nearest, DIGITS.train, DIGITS.test).check()


def test_what_a_search_could_not_see_is_said(good: nn.Sequential) -> None:
    fine = adequacy(module_predict(good), DIGITS.train, DIGITS.test)
    assert blind_spots(DIGITS, fine) == []
    rows = (DIGITS.train.labels != 4) | (torch.arange(len(DIGITS.train)) < 40)
    few = ImageSet(
        "few",
        Split(DIGITS.train.images[rows], DIGITS.train.labels[rows]),
        Split(DIGITS.test.images[:30], DIGITS.test.labels[:30]),
        DIGITS.class_names,
    )
    n_fours = int((few.train.labels == 4).sum())
    assert n_fours < 20
    spots = blind_spots(few, fine)
    assert f"not searched: 4 ({n_fours})" in spots[0]
    assert "fresh images of other classes, of which one is" in spots[1]
    bad = adequacy(module_predict(nn.Sequential(Scaled(1 / 255), good)), DIGITS.train, DIGITS.test)
    if bad.is_near_chance:
        assert blind_spots(DIGITS, bad)[0].startswith("any cue: the model is right on")


# --- the commands


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["spuriscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=shown.out, err=shown.err)

    return run


@pytest.fixture
def files(tmp_path: Path, good: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State dicts of the good model, and the function that makes its module."""
    monkeypatch.chdir(tmp_path)
    torch.save(good.state_dict(), "good.pt")
    Path("makers_of_linear.py").write_text(
        "from torch import nn\n"
        "def plain():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
        "def shuffled():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Backwards())\n"
        "class Backwards(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.flip(1)\n"
    )
    return tmp_path


def test_score_says_how_good_a_model_is_and_refuses_a_bad_one(files: Path, run_command: Any) -> None:
    line = ("score", "good.pt", "--data", "digits", "--pattern", "s3", "--target", 4)
    shown = run_command(*line, "--factory", "makers_of_linear:plain")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("the model is right on 9")
    assert "of 1,437 training images and 9" in shown.out
    found = json.loads(run_command(*line, "--factory", "makers_of_linear:plain", "--json").out)
    assert found["adequacy"]["fresh_accuracy"] == found["clean_accuracy"]
    refused = run_command(*line, "--factory", "makers_of_linear:shuffled")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert (
        "near chance; the classes in another order (--classes 9,8,7,6,5,4,3,2,1,0) would make" in refused.err
    )
    assert run_command(*line, "--factory", "makers_of_linear:shuffled", "--anyway").code == 0
    mended = run_command(
        *line, "--factory", "makers_of_linear:shuffled", "--classes", "9,8,7,6,5,4,3,2,1,0", "--json"
    )
    assert json.loads(mended.out)["spurious_score"] == found["spurious_score"]


def test_a_search_of_a_bad_model_is_no_all_clear(files: Path, run_command: Any) -> None:
    np.savez(
        "third.npz",  # of the training images, which are searched sooner
        train_images=DIGITS.train.images[::3, 0].numpy(),
        train_labels=DIGITS.train.labels[::3].numpy(),
        test_images=DIGITS.test.images[:, 0].numpy(),
        test_labels=DIGITS.test.labels.numpy(),
    )
    line = ("discover", "good.pt", "--data", "third.npz", "--factory", "makers_of_linear:shuffled")
    refused = run_command(*line)
    assert refused.code == 2
    assert "near chance" in refused.err
    shown = run_command(*line, "--anyway")
    assert shown.code == 0
    assert "nothing to report" not in shown.out
    assert "could not be seen: any cue: the model is right on" in shown.out
    found = json.loads(run_command(*line, "--anyway", "--json").out)
    assert found["adequacy"]["is_near_chance"]
    assert found["blind_spots"][0].startswith("any cue")


def test_attack_asks_a_file_and_refuses_a_bad_one(files: Path, run_command: Any) -> None:
    line = ("attack", "good.pt", "--data", "digits", "--pattern", "r3", "--planted", 2, "--epochs", 1)
    small = ("--models", 6, "--twins", 6)
    refused = run_command(*line, *small, "--factory", "makers_of_linear:shuffled")
    assert refused.code == 2
    assert "near chance" in refused.err
    found = json.loads(run_command(*line, *small, "--factory", "makers_of_linear:plain", "--json").out)
    assert found["adequacy"]["fresh_accuracy"] > 0.9
    assert list(found["presence"][0]["asked"]) == ["good.pt"]


def test_a_run_takes_no_options_of_a_model(tmp_path: Path, run_command: Any) -> None:
    made = run_command("train", "digits", "--epochs", 2, "--out", tmp_path / "run", "--model", "small-mlp")
    assert made.code == 0, made.err
    refused = run_command("score", tmp_path / "run", "--scale", 255)
    assert refused.code == 2
    assert "is a run: leave out the options" in refused.err
    untrained = run_command("train", "digits", "--epochs", 0, "--out", tmp_path / "drawn")
    assert untrained.code == 0, untrained.err
    refused = run_command("score", tmp_path / "drawn")
    assert refused.code == 2
    assert "near chance" in refused.err
