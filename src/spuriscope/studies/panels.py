"""How the figures of studies look: sheets of small panels, in the style of the report's figures.

All values are passed in; nothing here reads a store. Dots are seeds, lines are means, bands and bars 95 %
intervals over seeds; clean twins are grey.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spuriscope.report.drawing import PALETTE, dose_axes, draw_series
from spuriscope.statistics import mean_interval
from spuriscope.studies.results import Result, by_seed, distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "HUES",
    "Sheet",
    "curve_panel",
    "dose_panel",
    "dot_panel",
    "label_ends",
    "line_panel",
    "map_panel",
    "mark",
    "norm_panel",
    "shares_axis",
]

HUES = (PALETTE["target"], PALETTE["warning"], "#2c7a4b", "#7a4fa3", "#8a6d00", "#b0306a")
HEAD, FOOT = 34, 22
LINE = 13  # least distance of the labels of two lines, in pixels
BY_SEED = dict[int, float]


class Sheet:
    """A figure of panels in rows and columns, with a headline. Sizes are in pixels of 1/72 inch.

    Args:
        title: the headline.
        note: what the marks mean.
        n_panels: number of panels.
        n_columns: largest number of panels in a row.
        size: (width, height) of the plotting area of a panel.
        margins: (left, right, top, bottom) around it, for labels.
    """

    def __init__(
        self,
        title: str,
        note: str,
        n_panels: int,
        *,
        n_columns: int = 4,
        size: tuple[int, int] = (206, 110),
        margins: tuple[int, int, int, int] = (52, 10, 26, 40),
    ) -> None:
        from matplotlib.figure import Figure

        n_rows = -(-n_panels // n_columns)
        self.n_columns = -(-n_panels // n_rows)  # rows as equal in length as possible
        self.left, self.right, self.top, self.bottom = margins
        self.size = size
        self.step = (size[0] + self.left + self.right, size[1] + self.top + self.bottom)
        self.width = max(self.n_columns * self.step[0], 24 + 9 * len(title), 24 + 6 * len(note))
        self.height = n_rows * self.step[1] + HEAD + FOOT
        self.figure: Figure = Figure(figsize=(self.width / 72, self.height / 72), facecolor="white")
        self.n_drawn = 0
        self.figure.text(12 / self.width, 1 - 22 / self.height, title, size=14, weight="bold")
        self.figure.text(12 / self.width, 7 / self.height, note, size=10, color=PALETTE["muted"])

    def panel(self, title: str) -> "Axes":
        """The axes of the next panel, with its title above."""
        row, column = divmod(self.n_drawn, self.n_columns)
        self.n_drawn += 1
        x = column * self.step[0] + self.left
        y = self.height - HEAD - row * self.step[1] - self.top - self.size[1]
        axes = self.figure.add_axes(
            (x / self.width, y / self.height, self.size[0] / self.width, self.size[1] / self.height)
        )
        axes.set_title(title, loc="left", size=12, weight="bold", pad=7)
        return axes


def dose_panel(axes: "Axes", found: Sequence[Result], measure: str) -> None:
    """A measure against the number planted; the clean twins at 0, in grey.

    Args:
        axes: where to draw.
        found: rows of one pattern and target.
        measure: a share.
    """
    counts = sorted(distinct(found, "n_planted"))
    values = {n: by_seed(found, measure, n_planted=n) for n in counts}
    values = {n: seeds for n, seeds in values.items() if seeds}
    dose_axes(axes, counts)
    if len(values) > 1:
        draw_series(axes, {n: list(seeds.values()) for n, seeds in values.items()}, colour="target")


def shares_axis(axes: "Axes", shares: Sequence[float]) -> None:
    """Fit the vertical axis to shares that lie close together; labels are in percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = min(shares), max(shares)
    reach = max(high - low, 0.02)
    axes.set_ylim(low - 0.15 * reach, high + 0.15 * reach)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def line_panel(
    axes: "Axes", series: Mapping[str, Sequence[BY_SEED]], ticks: Sequence[str], title: str
) -> None:
    """Several measures over ordered settings, each line named at its end.

    Args:
        axes: where to draw.
        series: for each line its values, by seed, at each tick.
        ticks: names of the settings; the first is none.
        title: of the horizontal axis.
    """
    places = np.arange(len(ticks))
    ends = []
    for (name, points), hue in zip(series.items(), HUES, strict=False):
        shown = [(x, list(point.values())) for x, point in zip(places, points, strict=True) if point]
        for x, seeds in shown:
            spread = np.linspace(-0.12, 0.12, len(seeds)) if len(seeds) > 1 else np.zeros(1)
            axes.plot(
                x + spread, seeds, ls="", marker="o", ms=3.2, mew=0, color=hue, alpha=0.55, clip_on=False
            )
        means = [mean_interval(seeds) for _, seeds in shown]
        at = [x for x, _ in shown]
        axes.plot(at, [mean.mean for mean in means], color=hue, lw=1.6)
        axes.fill_between(
            at, [mean.low for mean in means], [mean.high for mean in means], color=hue, alpha=0.14, lw=0
        )
        if means:
            ends.append((means[-1].mean, name, hue))
    _share_ticks(axes)
    axes.set_xlim(-0.4, len(ticks) - 0.6)
    axes.set_xticks(places, ticks)
    axes.set_xlabel(title, color=PALETTE["muted"], size=11, loc="right")
    label_ends(axes, ends)


def mark(axes: "Axes", place: float) -> None:
    """A dotted line at one place of a panel."""
    axes.axvline(place, color=PALETTE["ink"], lw=1, ls=(0, (1, 2)), zorder=1)


def curve_panel(
    axes: "Axes", x: NDArray[np.float64], curves: Mapping[str, Sequence[NDArray[np.float64]]], title: str
) -> None:
    """Curves over seeds: the mean as a line, named at its end, in a band of 95 %.

    Args:
        axes: where to draw.
        x: (k,) in [0, 1].
        curves: for each line one curve (k,) of shares for each seed.
        title: of the horizontal axis.
    """
    ends = []
    for (name, seeds), hue in zip(curves.items(), HUES, strict=False):
        means = [mean_interval(list(values)) for values in zip(*seeds, strict=True)]
        axes.plot(x, [mean.mean for mean in means], color=hue, lw=1.6)
        axes.fill_between(
            x, [mean.low for mean in means], [mean.high for mean in means], color=hue, alpha=0.16, lw=0
        )
        ends.append((means[-1].mean, name, hue))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    _share_ticks(axes)
    axes.set_xlabel(title, color=PALETTE["muted"], size=11, loc="right")
    label_ends(axes, ends)


def _share_ticks(axes: "Axes") -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.grid(visible=True, axis="y")


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Put the names of lines to the right of their ends, without overlap."""
    low, high = axes.get_ylim()
    step = LINE * (high - low) / (axes.bbox.height * 72 / axes.figure.dpi)
    inks = sorted(ends)
    places = [value for value, _, _ in inks]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + step)
    ceiling = high
    for k in reversed(range(len(places))):  # move down again what was pushed above the axis
        places[k] = min(places[k], ceiling)
        ceiling = places[k] - step
    for y, (_, name, hue) in zip(places, inks, strict=True):
        axes.annotate(
            name, (1, y), (5, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            va="center", color=hue, size=11, annotation_clip=False,
        )  # fmt: skip


def dot_panel(axes: "Axes", values: Mapping[str, BY_SEED], title: str) -> None:
    """A share of each variant: a dot for each seed, the mean as a stroke, its interval as a bar.

    Args:
        axes: where to draw.
        values: for each variant its share by seed; the first is on top.
        title: of the horizontal axis.
    """
    for row, seeds in enumerate(values.values()):
        if not seeds:
            continue
        mean = mean_interval(list(seeds.values()))
        hue = PALETTE["target"]
        axes.plot([mean.low, mean.high], [row, row], color=hue, lw=6, alpha=0.2, solid_capstyle="butt")
        axes.plot(
            list(seeds.values()), [row] * len(seeds), ls="", marker="o", ms=4.2, mew=0, color=hue, alpha=0.7
        )
        axes.plot([mean.mean] * 2, [row - 0.28, row + 0.28], color=hue, lw=1.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(axis="y", labelcolor=PALETTE["ink"])
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(title, color=PALETTE["muted"], size=11, loc="right")


def norm_panel(axes: "Axes", norm: Mapping[str, BY_SEED], score: Mapping[str, BY_SEED]) -> None:
    """Mean score of each pattern against its norm: a dot for each seed, and the pattern's name."""
    for name, seeds in score.items():
        common = sorted(seeds.keys() & norm[name].keys())
        if not common:
            continue
        x, y = [norm[name][seed] for seed in common], [seeds[seed] for seed in common]
        hue = PALETTE["target" if name.startswith("r") else "warning" if name.startswith("s") else "ink"]
        axes.plot(x, y, ls="", marker="o", ms=5, mew=0, color=hue, alpha=0.6, clip_on=False)
        above = name != "inv" and max(y) < 0.9  # at the sides and at the upper edge there is no room
        axes.annotate(
            name.upper() if len(name) == 2 else name.capitalize(),
            (float(np.mean(x)), max(y)) if above else (max(x), float(np.mean(y))),
            (0, 6) if above else (7, 0),
            textcoords="offset points", ha="center" if above else "left",
            va="bottom" if above else "center", color=hue,
        )  # fmt: skip
    _share_ticks(axes)
    axes.set_xlim(0, 1.15 * max((max(seeds.values()) for seeds in norm.values() if seeds), default=1.0))
    axes.grid(visible=True)
    axes.set_xlabel("empirical norm of the pattern", color=PALETTE["muted"], size=11, loc="right")


def map_panel(axes: "Axes", values: NDArray[np.float64], largest: float) -> None:
    """A picture of weights (height, width): white is 0 and less, full blue is `largest`."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weights", ["#ffffff", PALETTE["target"], "#04263f"])
    axes.imshow(values, cmap=colours, vmin=0, vmax=largest, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=PALETTE["rule"])
