"""Small figures as inline SVG in the colours of the page, light or dark.

matplotlib draws with the palette below; in the SVG each colour is replaced by the CSS variable of the same
name. Text stays text. Names given by users are in the HTML around a figure, never in it, so no name can break
a figure.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from spuriscope.answers import DoseResponse
from spuriscope.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PALETTE", "dose_axes", "draw_series", "figure_style", "of_seeds", "place", "small_figure"]

PALETTE = {  # any distinct colours: the style sheet sets the visible ones
    "ink": "#1b1f24",
    "muted": "#5b6570",
    "rule": "#dde1e6",
    "target": "#0b62a8",
    "twin": "#6d757e",
    "warning": "#b5470b",
}
WIDTH, HEIGHT = 250, 158  # pixels of the page at natural size
LEFT, RIGHT, TOP, BOTTOM = 38, 6, 12, 36
GAP = 0.75  # from 0 to 1 planted image, in decades
JITTER = 0.16  # widest spread of the dots of one count, in decades
LETTER = 0.035  # width of a digit with the space around a label, as a share of the axis


def small_figure(name: str, alt: str, draw: Callable[["Axes"], None]) -> Markup:
    """One figure as an SVG element.

    Args:
        name: unique on the page; the figure's ids begin with it.
        alt: the figure's message, in a sentence.
        draw: draws on the axes it is given.
    """
    from matplotlib.figure import Figure

    with figure_style(name):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes(
            (LEFT / WIDTH, BOTTOM / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT)
        )
        draw(axes)
        file = io.StringIO()
        figure.savefig(
            file,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    return _inline(file.getvalue(), name, alt)


@contextmanager
def figure_style(name: str) -> Iterator[None]:
    """Use matplotlib's own defaults, whatever the user has set, with text as text and repeatable ids."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": name,
                "font.size": 11.5,
                "text.parse_math": False,
                "axes.spines.bottom": False,
                "axes.spines.left": False,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "axes.axisbelow": True,
                "grid.color": PALETTE["rule"],
                "grid.linewidth": 0.8,
                "text.color": PALETTE["ink"],
                "xtick.labelcolor": PALETTE["muted"],
                "ytick.labelcolor": PALETTE["muted"],
                "xtick.major.size": 0,
                "ytick.major.size": 0,
            }
        )
        yield


def _inline(svg: str, name: str, alt: str) -> Markup:
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S
    )
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for variable, colour in PALETTE.items():
        body = body.replace(colour, f"var(--{variable})")
    head = Markup('<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}">').format(
        WIDTH, HEIGHT, alt
    )
    return head + Markup(re.sub(r"\n\s*", "\n", body))


def place(n_planted: float) -> float:
    """Position of a number of planted images on the axis: logarithmic from 1 on, with 0 to the left."""
    return 0.0 if n_planted == 0 else GAP + log10(n_planted)


def dose_axes(axes: "Axes", counts: Sequence[int]) -> None:
    """Axes shared by all panels: number planted, with 0 for the clean twins, against a share in percent."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.grid(visible=True, axis="y")
    places = [place(n) for n in counts]
    axes.set_xlim(-0.3, places[-1] + 0.25)
    labels = [f"{n:,}" for n in counts]
    labelled = _thinned(places, labels)
    axes.set_xticks([places[k] for k in labelled], [labels[k] for k in labelled])
    below: dict[str, Any] = {
        "xycoords": axes.get_xaxis_transform(),
        "textcoords": "offset points",
        "va": "top",
    }
    axes.annotate("twin", (0, 0), (0, -19), ha="center", color=PALETTE["twin"], **below)
    axes.annotate("images planted", (places[-1], 0), (6, -19), ha="right", color=PALETTE["muted"], **below)


def _thinned(places: Sequence[float], labels: Sequence[str]) -> list[int]:
    """The positions whose labels do not overlap; 0 and the largest count always stay."""
    last = len(places) - 1

    def is_apart(k: int, other: int) -> bool:
        room = abs(places[k] - places[other]) / places[last]
        return room >= LETTER * (1 + (len(labels[k]) + len(labels[other])) / 2)

    kept = [0]
    for k in range(1, last):
        if is_apart(k, kept[-1]) and is_apart(k, last):
            kept.append(k)
    return [*kept, last]


def draw_series(
    axes: "Axes", shares: Mapping[int, Sequence[float]], *, colour: str, marker: str = "o"
) -> None:
    """Shares against the number planted: a dot for each seed, the mean, its interval; twins in grey.

    Args:
        axes: where to draw.
        shares: for each number planted, ascending, those of its seeds.
        colour: of the palette.
        marker: of the dots.
    """
    for n_planted, of_seeds in shares.items():
        hue = PALETTE["twin" if n_planted == 0 else colour]
        dots: dict[str, Any] = {"ls": "", "marker": marker, "ms": 4.2, "mew": 0, "color": hue, "alpha": 0.75}
        axes.plot(place(n_planted) + _jitter(len(of_seeds)), of_seeds, clip_on=False, zorder=3, **dots)
    means = {n_planted: mean_interval(of_seeds) for n_planted, of_seeds in shares.items()}
    _band(axes, {n: mean for n, mean in means.items() if n == 0}, PALETTE["twin"])
    _band(axes, {n: mean for n, mean in means.items() if n > 0}, PALETTE[colour])


def of_seeds(dose: DoseResponse, measure: str) -> dict[int, list[float]]:
    """A measure of each training, by number planted."""
    return {
        entry.n_planted: [getattr(row, measure) for row in dose.cells if row.n_planted == entry.n_planted]
        for entry in dose.summary
    }


def _band(axes: "Axes", means: Mapping[int, Interval], hue: str) -> None:
    """Mean and interval of neighbouring counts as a line in a band; of a single count as a short piece."""
    if not means:
        return
    places, drawn = [place(n_planted) for n_planted in means], list(means.values())
    if len(drawn) == 1:
        places, drawn = [places[0] - JITTER, places[0] + JITTER], drawn * 2
    axes.plot(places, [mean.mean for mean in drawn], color=hue, lw=1.6, zorder=2.5)
    if drawn[0].n > 1:
        low, high = [mean.low for mean in drawn], [mean.high for mean in drawn]
        axes.fill_between(places, low, high, color=hue, alpha=0.18, lw=0, zorder=2)


def _jitter(n: int) -> Any:
    return np.linspace(-JITTER / 2, JITTER / 2, n) if n > 1 else np.zeros(1)
