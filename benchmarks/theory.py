"""Numbers of docs/theory.md: the closed form beside simulation and the authors' notebook; what helps where.

    python benchmarks/theory.py            # 2 minutes

The second part searches the ridge model's parameters for regimes in which weight decay and noise help, and
counts how often the rules of docs/theory.md agree.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from spuriscope.theory import RidgeModel, simulate

Floats = NDArray[np.float64]
PAPER = {"m": 1.0, "t": 5**0.5, "s1": 0.5, "s2": 0.1}
SETTINGS = ((0.01, 0.0), (0.1, 0.0), (0.1, 1.0), (0.5, 0.0))  # gamma, lam


def notebook(gamma: float, lam: float, *, m: float, t: float, s1: float, s2: float) -> tuple[float, ...]:
    """Clean, spurious, difference as in the authors' notebook "regularization", restated.

    Its answers are scaled by D / (s1 + lam), which does not affect accuracies. Its spread has t^4 instead of
    t^2, and the determinant of its difference has t instead of m.
    """
    g, a, c = gamma / 2, s1 + lam, s2 + lam
    answer = m**2 * (g * (1 - gamma) * t**2 + c) / a
    sd = np.sqrt(answer**2 * s1 + g**2 * t**4 * s2)
    clean = (ndtr((answer + g**2 * t**2) / sd) + ndtr((answer - g**2 * t**2) / sd)) / 2
    spurious = ndtr((answer - g * (1 - g) * t**2) / sd)
    determinant = a * c + t**2 * (c + g * (1 - g) * a + g * (1 - gamma) * t**2)
    return float(clean), float(spurious), float(g * a * t**2 / determinant)


def beside(n: int, n_seeds: int) -> None:
    """Print closed form, simulation and notebook at the settings of the paper's Fig. 10."""
    print(f"m = 1, t^2 = 5, s1 = 0.5, s2 = 0.1; simulated: {n_seeds} seeds, {n:,} images each, mean (sd)")
    for gamma, lam in SETTINGS:
        model = RidgeModel(gamma=gamma, lam=lam, **PAPER)
        drawn = simulate(model, n, n_seeds=n_seeds)
        for name, theirs in zip(
            ("clean_accuracy", "spurious_accuracy", "prediction_difference"),
            notebook(gamma, lam, **PAPER),
            strict=True,
        ):
            found = getattr(drawn, name)
            print(
                f"gamma {gamma:g} lam {lam:g} {name:22} closed {float(getattr(model, name)):.4f} "
                f"simulated {found.mean():.4f} ({found.std(ddof=1):.4f}) notebook {theirs:.4f}"
            )


def search(n: int) -> None:
    """Print where, among random models, each regulariser helps at some strength."""
    rng = np.random.default_rng(0)

    def between(low: float, high: float) -> Floats:
        return np.exp(rng.uniform(np.log(low), np.log(high), n))

    drawn = {
        "gamma": between(1e-3, 1),
        "t": between(0.1, 10),
        "s1": between(0.01, 10),
        "s2": between(0.01, 10),
    }
    plain = RidgeModel(m=1.0, **drawn)
    strengths = np.geomspace(0.01, 100, 41)[:, None]
    rule = drawn["gamma"] * (1 - drawn["gamma"]) / 2 * drawn["t"] ** 2 + drawn["s2"] - drawn["s1"]
    is_rare = drawn["gamma"] < 0.1
    print(f"{n:,} models: m = 1, gamma 0.001 to 1, t 0.1 to 10, s1 and s2 0.01 to 10, logarithmic")
    for setting in ("lam", "noise"):
        stronger = RidgeModel(m=1.0, **drawn, **{setting: strengths})
        lower = stronger.prediction_difference < plain.prediction_difference
        clean = stronger.clean_accuracy > plain.clean_accuracy + 1e-9
        spurious = stronger.spurious_accuracy > plain.spurious_accuracy + 1e-9
        cases = {
            "lowers the difference, any strength": lower.all(axis=0),
            "lowers the difference, some strength": lower.any(axis=0),
            "raises spurious accuracy, some strength": spurious.any(axis=0),
            "raises clean accuracy, some strength": clean.any(axis=0),
            "lowers the difference and raises both accuracies, some strength": (lower & clean & spurious).any(
                0
            ),
            "lowers the difference, raises spurious accuracy, clean within 0.01": (
                lower & spurious & (stronger.clean_accuracy > plain.clean_accuracy - 0.01)
            ).any(0),
        }
        for case, helps in cases.items():
            found = np.asarray(helps)
            print(
                f"{setting:5} {case}: {found.mean():.3f} of all, {found[is_rare].mean():.3f} with gamma < 0.1"
            )
        agrees = (spurious.any(axis=0) == (rule < 0)).mean()
        print(
            f"{setting:5} the rule gamma (1 - gamma) t^2 / 2 + s2 < s1 says when spurious rises: {agrees:.4f}"
        )
        better = spurious.any(axis=0)
        if setting == "noise":
            below = plain.spurious_accuracy[better] < 0.5
            print(f"noise where it raises spurious accuracy: it was below one half in {below.mean():.3f}")
            print(f"noise where it raises spurious accuracy, rule < 0 in {(rule[better] < 0).mean():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--models", type=int, default=100_000)
    given = parser.parse_args()
    beside(given.images, given.seeds)
    search(given.models)
