"""The figures of the paper's theory, drawn from the closed form, with simulations as dots.

Parameters are those of the authors' notebook where it has them (Figs. 10 and 11, phase transition); elsewhere
they are ours, and stated on the figure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spuriscope.report.drawing import PALETTE
from spuriscope.studies import panels
from spuriscope.studies.paper import THEORY
from spuriscope.theory import RidgeModel, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SHEETS"]

Floats = NDArray[np.float64]
Sheets = Iterator[tuple[str, "Figure"]]

COMMON: dict[str, float] = {"m": 1.0, "t": 5**0.5, "s1": 0.5, "s2": 0.1}  # authors' notebook, Figs. 10 and 11
ITS_NUMBERS = "m = 1, t = 2.24, s1 = 0.5, s2 = 0.1"
SHARP: dict[str, float] = {"m": 1.0, "t": 5.0, "s1": 1.0, "s2": 0.05}  # the notebook's phase transition
STRENGTHS = (0.0, 0.1, 0.2, 0.3)  # the notebook's noise; we use the same for the weight decay
LARGEST = 0.5  # gamma, as there
N_POINTS, N_DOTS, N_DRAWN = 201, 6, 20_000
MEASURES = {
    "prediction difference": "prediction_difference",
    "spurious accuracy": "spurious_accuracy",
    "clean accuracy": "clean_accuracy",
}
CHECKED = f"Lines: closed form. Dots: regressions on {N_DRAWN:,} drawn images, tried on as many."


def _three_kinds() -> Sheets:
    """Images of each distribution in the plane of the two features, and the decision boundary."""
    model = RidgeModel(gamma=0.2, **COMMON)
    note = f"Blue: target class. The line is where the answer turns. {ITS_NUMBERS}, gamma = 0.2."
    sheet = panels.Sheet(THEORY["fig7"], note, 3, size=(220, 170))
    titles = {"training": "training", "clean": "clean test", "spurious": "spurious test"}
    for kind, title in titles.items():
        axes = sheet.panel(title)
        _scatter(axes, *model.draw(300, np.random.default_rng(0), kind))  # type: ignore[arg-type]
        _boundary(axes, model)
    yield "", sheet.figure


def _growing_share() -> Sheets:
    """The decision boundary for more and more planted images."""
    gammas = (0.0, 0.04, 0.2, 0.5)
    note = f"Training images; blue: target class. {ITS_NUMBERS}, so the critical gamma is 0.04."
    sheet = panels.Sheet(THEORY["fig9"], note, len(gammas), size=(190, 170))
    for gamma in gammas:
        model = RidgeModel(gamma=gamma, **COMMON)
        axes = sheet.panel(f"gamma = {gamma:g}")
        _scatter(axes, *model.draw(300, np.random.default_rng(0)))
        _boundary(axes, model)
    yield "", sheet.figure


def _over_gamma() -> Sheets:
    """Each measure against gamma: with noise, with weight decay, and where the cue is long."""
    columns: dict[str, dict[str, RidgeModel]] = {
        "noise": {f"{x:g}": RidgeModel(gamma=0, noise=x, **COMMON) for x in STRENGTHS},
        "weight decay": {f"{x:g}": RidgeModel(gamma=0, lam=x, **COMMON) for x in STRENGTHS},
        "long cue": {"": RidgeModel(gamma=0, **SHARP)},
    }
    sheet = panels.Sheet(
        THEORY["fig10"],
        f"{CHECKED} Dotted: critical gamma. {ITS_NUMBERS}; long cue: t = 5, s1 = 1, s2 = 0.05.",
        len(MEASURES) * len(columns),
        n_columns=len(columns),
        size=(230, 130),
        margins=(52, 44, 26, 44),
    )
    gammas = np.linspace(0, LARGEST, N_POINTS)
    tried = np.linspace(0, LARGEST, N_DOTS)
    drawn = {
        column: {label: simulate(replace(model, gamma=tried), N_DRAWN) for label, model in models.items()}
        for column, models in columns.items()
    }
    for measure, attribute in MEASURES.items():
        for column, models in columns.items():
            axes = sheet.panel(f"{measure}: {column}")
            lines = {
                label: getattr(replace(model, gamma=gammas), attribute) for label, model in models.items()
            }
            dots = {label: getattr(found, attribute)[0] for label, found in drawn[column].items()}
            critical = [float(model.critical_gamma) for model in models.values()]
            panels.mark(axes, critical[0])
            _lines(axes, gammas, lines, tried, dots, title="gamma", low=0.3 if "accuracy" in measure else 0)
    yield "", sheet.figure


def _over_strength() -> Sheets:
    """Every measure against the strength of each regulariser, where weight decay helps and where not."""
    rows = {0.1: "rare cue", LARGEST: "frequent cue"}
    settings = {"lam": "weight decay", "noise": "variance of the noise"}
    size, margins = (270, 140), (52, 140, 26, 44)
    note = f"{CHECKED} {ITS_NUMBERS}."
    sheet = panels.Sheet(THEORY["fig11"], note, 4, n_columns=2, size=size, margins=margins)
    strengths, tried = np.linspace(0, 3, N_POINTS), np.linspace(0, 3, N_DOTS)
    for gamma, title in rows.items():
        for setting, label in settings.items():
            model = RidgeModel(gamma=gamma, **COMMON)
            curves, found = (replace(model, **{setting: x}) for x in (strengths, tried))
            drawn = simulate(found, N_DRAWN)
            axes = sheet.panel(f"{title}, gamma = {gamma:g}")
            lines = {measure: getattr(curves, attribute) for measure, attribute in MEASURES.items()}
            dots = {measure: getattr(drawn, attribute)[0] for measure, attribute in MEASURES.items()}
            _lines(axes, strengths, lines, tried, dots, title=label)
    yield "", sheet.figure


def _lines(
    axes: "Axes",
    x: Floats,
    lines: Mapping[str, Floats],
    tried: Floats,
    dots: Mapping[str, Floats],
    *,
    title: str,
    low: float = 0.0,
) -> None:
    """Lines named at their ends, and dots beside them."""
    for (name, values), hue in zip(lines.items(), panels.HUES, strict=False):
        axes.plot(x, values, color=hue, lw=1.6)
        axes.plot(tried, dots[name], ls="", marker="o", ms=4, mew=0, color=hue, alpha=0.7, clip_on=False)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(low - 0.03, 1.03)
    axes.set_yticks([tick for tick in (0, 0.2, 0.4, 0.6, 0.8, 1) if tick >= low])
    axes.grid(visible=True, axis="y")
    axes.set_xlabel(title, color=PALETTE["muted"], size=11, loc="right")
    ends = zip(lines.items(), panels.HUES, strict=False)
    panels.label_ends(axes, [(float(values[-1]), name, hue) for (name, values), hue in ends if name])


def _scatter(axes: "Axes", features: Floats, labels: Floats) -> None:
    for label, hue in ((-1, PALETTE["twin"]), (1, PALETTE["target"])):
        shown = features[labels == label]
        axes.plot(shown[:, 0], shown[:, 1], ls="", marker="o", ms=3.4, mew=0, color=hue, alpha=0.6)
    axes.set_xlim(-3.5, 3.5)
    axes.set_ylim(-1.5, 3.6)
    axes.set_xticks([-1, 0, 1], ["-m", "0", "m"])
    axes.set_yticks([0, COMMON["t"]], ["0", "t"])
    axes.grid(visible=True)
    axes.set_xlabel("invariant feature", color=PALETTE["muted"], size=11, loc="right")


def _boundary(axes: "Axes", model: RidgeModel) -> None:
    invariant, spurious, bias = (float(weight) for weight in model.weights)
    v = np.array(axes.get_ylim())
    axes.plot(-(bias + spurious * v) / invariant, v, color=PALETTE["ink"], lw=1.4)


SHEETS: dict[str, Callable[[], Sheets]] = {
    "fig7": _three_kinds,
    "fig9": _growing_share,
    "fig10": _over_gamma,
    "fig11": _over_strength,
}
