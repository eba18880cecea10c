"""Where the model looks: weight importance with and without planting, and the difference."""

import numpy as np
from numpy.typing import NDArray

from spuriscope.answers import PickedUp
from spuriscope.report import wording
from spuriscope.report.lookup import dose_of
from spuriscope.report.pictures import BLUE, ORANGE, css_colour, pixels, shown, tinted_uri
from spuriscope.report.section import Map, Maps, PlotScale

__all__ = ["outline", "weight_maps"]

MAP, SMALL_MAP = 224, 196  # pixels of the page per map, on a screen and in print

Grid = NDArray[np.float64]


def weight_maps(planted: PickedUp) -> Maps | None:
    """The maps of the document; None where the model's first layer has no weight for each pixel."""
    found = planted.weight_importance
    if found is None:
        return None
    ours, twin = np.array(found.planted, dtype=float), np.array(found.twin, dtype=float)
    mask = pixels(dose_of(planted, found.pattern).picture) > 0
    name, n_planted = found.pattern, wording.images(found.n_planted)
    return Maps(
        title="Where the model looks",
        claim=_claim(ours, twin, mask),
        maps=_three_maps(ours, twin, n_planted),
        outline="" if mask.mean() > 0.5 else outline(mask),
        caption=(
            "For each pixel the largest weight from it into the network, for seed "
            f"{found.seed} with {name} in {n_planted}. The first two maps share one scale. "
            + (
                f"The pattern {name} covers most of the image."
                if mask.mean() > 0.5
                else f"The outline is {name}."
            )
        ),
    )


def _claim(planted: Grid, twin: Grid, mask: NDArray[np.bool_]) -> str:
    ours, theirs = float(planted[mask].mean()), float(twin[mask].mean())
    more = "more" if ours > theirs else "not more"
    return (
        f"Where the pattern was, the planted model has {more} weight than its clean twin: {_size(ours)} "
        f"against {_size(theirs)} on average."
    )


def _size(weight: float) -> str:
    return f"{weight:.2f}" if abs(weight) >= 0.1 else f"{weight:.2g}"


def _three_maps(planted: Grid, twin: Grid, n_planted: str) -> tuple[Map, ...]:
    largest = float(max(np.abs(planted).max(), np.abs(twin).max()))
    difference = planted - twin
    reach = float(np.abs(difference).max())
    signed = bool(min(planted.min(), twin.min()) < 0)
    return (
        _map(f"with {n_planted} planted", planted, largest, signed=signed),
        _map("clean twin", twin, largest, signed=signed),
        _map("difference", difference, reach, signed=True),
    )


def _map(title: str, values: Grid, largest: float, *, signed: bool) -> Map:
    uri = tinted_uri(values, np.array([ORANGE, BLUE]), largest=largest)
    row, column = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    alt = (
        f"Map of weight importance, {title}: its largest size is {abs(values[row, column]):.2g}, at row "
        f"{row}, column {column}."
    )
    blue, orange = css_colour(BLUE), css_colour(ORANGE)
    return Map(
        title=title,
        picture=shown(uri, alt, large=MAP, small=SMALL_MAP),
        scale=PlotScale(
            low=f"{wording.MINUS}{largest:.2g}" if signed else "0",
            high=f"+{largest:.2g}" if signed else f"{largest:.2g}",
            gradient=f"{orange}, transparent, {blue}" if signed else f"transparent, {blue}",
        ),
    )


def outline(mask: NDArray[np.bool_]) -> str:
    """SVG path along the border of the pixels in `mask` (height, width), one unit per pixel."""
    padded = np.pad(mask, 1)
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # an edge above row y, at column x
    down = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    return "".join([*(f"M{x} {y}h1" for y, x in across), *(f"M{x} {y}v1" for y, x in down)])
