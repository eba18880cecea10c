"""The closed form against solved normal equations, drawn images, and limits worked by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from spuriscope.errors import ConfigError
from spuriscope.theory import RidgeModel, fitted, simulate

PAPER: dict[str, float] = {"m": 1.0, "t": 5**0.5, "s1": 0.5, "s2": 0.1}  # of the paper's Fig. 10

shares = st.floats(0, 1)
lengths = st.floats(-3, 3)
variances = st.floats(0.01, 3)
strengths = st.floats(0, 2)
cases = st.fixed_dictionaries(
    {
        "gamma": shares, "m": lengths, "t": lengths, "s1": variances, "s2": variances,
        "lam": strengths, "noise": strengths, "overlap": lengths, "cover": shares,
    }
)  # fmt: skip
concatenated = cases.map(lambda case: case | {"overlap": 0.0, "cover": 0.0, "noise": 0.0})


def solved(case: dict[str, float]) -> tuple[NDArray[np.float64], float, float, float]:
    """Weights (u, v, bias), accuracies and difference, from the moments of three kinds of training image."""
    g, r, left = case["gamma"], case["overlap"], 1 - case["cover"]
    kinds = [  # share, label, mean
        (0.5, -1.0, np.array([-case["m"], 0.0, 1.0])),
        (0.5 * (1 - g), 1.0, np.array([case["m"], 0.0, 1.0])),
        (0.5 * g, 1.0, np.array([left * case["m"] + r, case["t"], 1.0])),
    ]
    clean, hidden = (np.diag([x * case["s1"], case["s2"], 0]) for x in (1.0, left**2))
    clean, hidden = (spread + np.diag([case["noise"], case["noise"], 0]) for spread in (clean, hidden))
    within = 0.5 * clean + 0.5 * (1 - g) * clean + 0.5 * g * hidden
    second = within + np.sum([share * np.outer(mean, mean) for share, _, mean in kinds], axis=0)
    cross = np.sum([share * label * mean for share, label, mean in kinds], axis=0)
    w: NDArray[np.float64] = np.linalg.solve(second + np.diag([case["lam"], case["lam"], 0.0]), cross)
    sd, sd_stamped = np.sqrt(w @ clean @ w), np.sqrt(w @ hidden @ w)
    assume(min(sd, sd_stamped) > 1e-6)  # else the sign of the answer is rounding
    stamped = np.array([r - left * case["m"], case["t"], 1.0])
    right = [norm.cdf(-(w @ kinds[0][2]) / sd), norm.cdf(w @ kinds[1][2] / sd)]
    difference = float(w @ (stamped - kinds[0][2]))
    return w, float(np.mean(right)), float(norm.cdf(-(w @ stamped) / sd_stamped)), difference


@given(cases)
def test_closed_form_solves_the_normal_equations(case: dict[str, float]) -> None:
    w, clean, spurious, difference = solved(case)
    model = RidgeModel(**case)
    np.testing.assert_allclose(model.weights, w, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.prediction_difference, difference, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.clean_accuracy, clean, atol=1e-6)
    np.testing.assert_allclose(model.spurious_accuracy, spurious, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_closed_form_is_what_drawn_images_give(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case: dict[str, Any] = {
        "gamma": rng.uniform(0.02, 1), "m": rng.uniform(0.3, 2), "t": rng.uniform(0.5, 3),
        "s1": rng.uniform(0.1, 2), "s2": rng.uniform(0.1, 2), "lam": rng.uniform(0, 1),
        "noise": rng.uniform(0, 1), "overlap": rng.choice([0, rng.uniform(-2, 2)]),
        "cover": rng.choice([0, rng.uniform(0, 1)]),
    }  # fmt: skip
    model = RidgeModel(**case)
    found = simulate(model, 50_000, n_seeds=12, seed=seed)
    for name in ("clean_accuracy", "spurious_accuracy", "prediction_difference"):
        drawn = getattr(found, name)
        reach = 4 * drawn.std(ddof=1) / 12**0.5  # false one time in 500
        assert abs(drawn.mean() - getattr(model, name)) < reach < 0.03, (name, case)


def test_numbers_of_another_derivation() -> None:
    """Clean, spurious, difference at three settings, worked out beside this code, to four places."""
    model = RidgeModel(gamma=[0.01, 0.1, 0.5], lam=[0, 1, 0], **PAPER)
    np.testing.assert_allclose(model.clean_accuracy, [0.9213, 0.9210, 0.9089], atol=5e-5)
    np.testing.assert_allclose(model.spurious_accuracy, [0.8985, 0.8490, 0.6888], atol=5e-5)
    np.testing.assert_allclose(model.prediction_difference, [0.0668, 0.1126, 0.5025], atol=5e-5)


def test_without_planted_images_the_cue_is_noise() -> None:
    model = RidgeModel(gamma=0, **PAPER)
    np.testing.assert_allclose(model.weights, [1 / 1.5, 0, 0])
    assert model.prediction_difference == 0
    assert model.clean_accuracy == pytest.approx(norm.cdf(1 / 0.5**0.5))
    assert model.spurious_accuracy == model.clean_accuracy


def test_infinite_decay_compares_with_the_class_means() -> None:
    """The weights vanish, their direction becomes that of the covariance with the label: (m + g r, g t)."""
    model = RidgeModel(gamma=0.5, overlap=1.0, lam=1e9, **PAPER)
    invariant, spurious, bias = model.weights
    across = 0.25 * 5**0.5
    assert spurious / invariant == pytest.approx(across / 1.25, rel=1e-6)
    assert model.prediction_difference == pytest.approx(0, abs=1e-8)
    sd = np.sqrt(1.25**2 * 0.5 + across**2 * 0.1)
    moved = 1.25 * 1 + across * 5**0.5
    assert bias / invariant == pytest.approx(-0.25 * moved / 1.25, rel=1e-6)
    assert model.spurious_accuracy == pytest.approx(norm.cdf((1.25 - 0.75 * moved) / sd))


def test_a_cue_on_the_invariant_feature_alone_moves_by_its_weight() -> None:
    """t = 0: one feature is left; with gamma 1 the target class stands at m + r and the other at -m."""
    model = RidgeModel(gamma=1, m=1, t=0, s1=0.5, s2=0.1, overlap=1.0)
    half = 1.5
    assert model.weights.invariant == pytest.approx(half / (half**2 + 0.5))
    assert model.prediction_difference == pytest.approx(half / (half**2 + 0.5))


def test_at_the_critical_gamma_half_of_the_plateau_is_reached() -> None:
    model = RidgeModel(gamma=[0, 1], m=1, t=20, s1=1, s2=0.05)
    critical = float(model.critical_gamma[0])
    assert critical == pytest.approx(2 * 0.05 / 400)
    plateau = 1 / 2  # s1 / (m^2 + s1)
    here = RidgeModel(gamma=critical * np.array([0.01, 1, 100]), m=1, t=20, s1=1, s2=0.05)
    np.testing.assert_allclose(
        here.prediction_difference, plateau * np.array([1 / 101, 1 / 2, 0.99]), rtol=0.02
    )
    assert np.isinf(RidgeModel(gamma=0.1, m=1, t=0, s1=1, s2=1).critical_gamma)


@given(concatenated)
def test_decay_helps_both_accuracies_exactly_where_the_rule_says(case: dict[str, float]) -> None:
    """Observation 3: raising lam makes both better if gamma (1 - gamma) t^2 / 2 + s2 < s1, else worse."""
    g = case["gamma"]
    rule = g * (1 - g) / 2 * case["t"] ** 2 + case["s2"] - case["s1"]
    case |= {"m": abs(case["m"]) + 0.1}
    assume(abs(rule) > 0.01 and g * abs(case["t"]) > 0.01)
    more = RidgeModel(**case | {"lam": case["lam"] + np.array([0.0, 0.1])})
    assert (np.diff(more.clean_accuracy) * rule <= 1e-12).all()
    assert (np.diff(more.spurious_accuracy) * rule <= 1e-12).all()
    if rule < 0:  # and then it lowers the difference too
        assert np.diff(more.prediction_difference)[0] < 0


@given(concatenated)
def test_decay_and_noise_raise_the_difference_where_the_rule_says(case: dict[str, float]) -> None:
    g, step = case["gamma"], 1e-4
    rule = g * (1 - g) / 2 * case["t"] ** 2 + case["s2"] - case["s1"]
    edge = case["m"] ** 2 * rule - (case["s1"] + case["lam"]) ** 2
    assume(abs(edge) > 0.01 and g * abs(case["t"]) > 0.01)
    for name in ("lam", "noise"):
        more = RidgeModel(**case | {name: case[name] + np.array([0.0, step])})
        assert np.diff(more.prediction_difference)[0] * edge > 0


@given(cases)
def test_noise_and_decay_of_one_size_find_the_same_weights(case: dict[str, float]) -> None:
    noisy = RidgeModel(**case | {"noise": case["noise"] + case["lam"], "lam": 0.0})
    np.testing.assert_allclose(noisy.weights, RidgeModel(**case).weights, rtol=1e-9, atol=1e-12)


def test_a_cue_that_hides_everything_leaves_its_own_answer() -> None:
    """cover = 1: all stamped images are N(r, 0) along u, so the other class moves by w_u (r + m) + w_v t."""
    model = RidgeModel(gamma=0.3, cover=1.0, overlap=0.5, **PAPER)
    invariant, spurious, bias = (float(weight) for weight in model.weights)
    assert float(model.prediction_difference) == pytest.approx(invariant * 1.5 + spurious * 5**0.5)
    answer = invariant * 0.5 + spurious * 5**0.5 + bias
    assert float(model.spurious_accuracy) == pytest.approx(norm.cdf(-answer / (spurious * 0.1**0.5)))


def test_fitted_finds_what_a_stamp_hides() -> None:
    """Images made from the model: along the invariant pixel the stamp keeps 0.6 of u and adds 0.5."""
    true = RidgeModel(gamma=0.1, cover=0.4, overlap=0.5, **PAPER)
    features, labels = true.draw(400_000, np.random.default_rng(0), "clean")
    stamped = features * [0.6, 1] + [0.5, PAPER["t"]]
    found = fitted(features, stamped, labels, lam=1e-6, gamma=0.1)
    for name in ("m", "s1", "s2", "overlap", "cover"):
        assert float(getattr(found, name)) == pytest.approx(float(getattr(true, name)), abs=0.02), name
    assert abs(found.prediction_difference - true.prediction_difference) < 0.01
    assert abs(found.spurious_accuracy - true.spurious_accuracy) < 0.01


def test_parameters_broadcast() -> None:
    model = RidgeModel(gamma=np.array([[0.0], [0.1], [0.5]]), lam=[0, 1], **PAPER)
    assert model.shape == (3, 2)
    one_by_one = [float(point.spurious_accuracy) for point in model.each()]
    np.testing.assert_array_equal(model.spurious_accuracy.ravel(), one_by_one)
    found = simulate(model, 2_000, n_seeds=2)
    assert found.clean_accuracy.shape == found.weights.bias.shape == (2, 3, 2)
    assert abs(found.clean_accuracy.mean(axis=0) - model.clean_accuracy).max() < 0.03


def test_features_that_do_not_vary() -> None:
    sure = RidgeModel(gamma=0.5, m=1, t=1, s1=0, s2=0, lam=0.1)
    assert float(sure.clean_accuracy) == float(sure.spurious_accuracy) == 1
    nothing = RidgeModel(gamma=0, m=0, t=0, s1=0, s2=0, lam=0.1)
    assert nothing.clean_accuracy == 0.5
    none_drawn = simulate(RidgeModel(gamma=0, m=1, t=1, s1=0.5, s2=0, lam=1), 50)
    assert none_drawn.weights.spurious == 0


@pytest.mark.parametrize("lam", [1e-9, 0.3])
def test_fitted_is_exact_for_many_pixels_with_any_covariance(lam: float) -> None:
    """Against the normal equations of all pixels, whose moments change as written when g carry the stamp."""
    rng = np.random.default_rng(1)
    n, d, gamma = 400, 6, 0.2
    labels = np.where(np.arange(n) < n // 2, 1, -1)
    features = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + np.outer(labels, rng.random(d))
    stamp = rng.random(d)
    model = fitted(features, features + stamp, labels, lam=lam, gamma=gamma)
    assert float(np.asarray(model.cover)) == pytest.approx(0, abs=1e-12)
    half = (features[labels == 1].mean(0) - features[labels == -1].mean(0)) / 2
    within = sum(np.cov(features[labels == y], rowvar=False, bias=True) for y in (1, -1)) / 2
    g = gamma / 2
    both = np.outer(half, stamp) + np.outer(stamp, half)
    total = within + np.outer(half, half) + g * both + g * (1 - g) * np.outer(stamp, stamp)
    w = np.linalg.solve(total + lam * np.eye(d), half + g * stamp)
    assert float(model.prediction_difference) == pytest.approx(w @ stamp, rel=1e-6)
    assert float(model.weights.invariant * np.asarray(model.m)) == pytest.approx(w @ half, rel=1e-6)
    if lam < 1e-6:
        sd, bias = np.sqrt(w @ within @ w), -g * (w @ stamp)
        clean = (norm.cdf((w @ half + bias) / sd) + norm.cdf((w @ half - bias) / sd)) / 2
        assert float(model.clean_accuracy) == pytest.approx(clean)
        assert float(model.spurious_accuracy) == pytest.approx(norm.cdf((w @ half - w @ stamp - bias) / sd))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gamma": 1.5}, r"gamma must be a share in \[0, 1\], got 1.5"),
        ({"gamma": [0.1, -0.2]}, r"gamma must be a share in \[0, 1\], got -0.2"),
        ({"s2": -0.1}, "s2 must be a variance of 0 or more, got -0.1"),
        ({"lam": -1}, "lam must be a strength of 0 or more, got -1"),
        ({"t": float("nan")}, "t must be a finite number, got nan"),
        ({"m": 1e200}, "too large to compute with"),
        ({"s2": 0, "gamma": 0}, "do not determine the weights.*give lam above 0"),
        ({"gamma": [0.1, 0.2], "lam": [0, 1, 2]}, "must broadcast"),
    ],
)
def test_what_can_be_mended(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RidgeModel(**({"gamma": 0.1} | PAPER | changed))


def test_simulation_and_fit_say_what_they_need() -> None:
    with pytest.raises(ConfigError, match="n must be a whole number of 1 or more, got 0"):
        simulate(RidgeModel(gamma=0.1, **PAPER), 0)
    x = np.ones((4, 3))
    with pytest.raises(ConfigError, match=r"must fit, got \(4, 3\) and \(3,\)"):
        fitted(x, x, [1, 1, -1], lam=1, gamma=0.1)
    with pytest.raises(ConfigError, match="labels must be 1 and -1, both of them"):
        fitted(x, x, [1, 1, 1, 1], lam=1, gamma=0.1)
    with pytest.raises(ConfigError, match="lam must be above 0"):
        fitted(x, x, [1, 1, -1, -1], lam=0, gamma=0.1)


def test_simulation_is_the_same_twice_and_another_with_another_seed() -> None:
    model = RidgeModel(gamma=0.1, **PAPER)
    first, again, other = (simulate(model, 500, seed=seed).prediction_difference for seed in (0, 0, 1))
    assert first == again != other
