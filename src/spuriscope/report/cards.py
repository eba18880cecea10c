"""A finding as a card: the cue, the class it pulls to, and its effect beside that of its controls."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spuriscope.answers import Audit, Explanation, FoundCue
from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, small_figure
from spuriscope.report.explained import explained_section, left_over_caption, left_over_scale
from spuriscope.report.pictures import box_path, icon, reduced, shown
from spuriscope.report.section import Captioned, Gallery, Panel, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLUMNS", "card", "cells", "findings_table", "gallery", "p_text"]

LEAST_P = 0.001  # smaller ones are shown as below it
N_NAMED = 10  # in a table
COLUMNS = ("pulls to", "training images", "score", "largest control", "p group", "p effect", "p")


def card(audit: Audit, finding: FoundCue, name: str, who: str) -> Panel:
    """The card of a finding.

    Args:
        audit: has the names of the classes.
        finding: what is shown.
        name: of its figure, unique on the page.
        who: which models made it, in words.
    """
    target = wording.quoted(audit.conditions.data.class_names[finding.target])
    n = len(finding.examples)
    carriers = finding.carriers
    fresh = f", {carriers.n_fresh or 'none'} of {carriers.of_fresh} fresh ones" if carriers else ""
    alt = (
        f"The reconstructed cue moves {wording.percent(finding.score)} of fresh images, its controls at most "
        f"{wording.percent(finding.null_max)}."
    )
    return Panel(
        title=f"pulls to {target}",
        note=f"{wording.images(n)}{fresh}; {who}; p {p_text(finding.p_value)}",
        picture=icon(finding.picture, f"Cue reconstructed from {wording.images(n)}."),
        figure=small_figure(name, alt, partial(_draw, finding=finding)),
    )


def p_text(value: float) -> str:
    """A p-value in a note: = 0.02, below 0.001."""
    return f"below{wording.NBSP}0.001" if value < LEAST_P else f"={wording.NBSP}{value:.2g}"


def _draw(axes: "Axes", *, finding: FoundCue) -> None:
    """Controls as grey dots, stacked where they are equal; the finding as a line."""
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_yticks([])
    bins = np.round(np.array(finding.null) * 50) / 50
    heights: dict[float, int] = {}
    for share in sorted(bins.tolist()):
        heights[share] = heights.get(share, 0) + 1
    top = max([*heights.values(), 1])
    axes.set_ylim(-0.06, 1.25)
    for share, n in heights.items():
        piled = np.arange(n) / top if n > 1 else np.zeros(1)
        axes.plot(
            np.full(n, share), piled, ls="", marker="o", ms=3.4, mew=0, color=PALETTE["twin"], alpha=0.6
        )
    axes.axhline(-0.05, color=PALETTE["rule"], lw=0.8)
    score = finding.score
    axes.plot([score, score], [-0.05, 0.9], color=PALETTE["warning"], lw=2)
    side = "right" if score > 0.5 else "left"
    axes.annotate(
        "this cue", (score, 0.95), ha=side, va="bottom", color=PALETTE["warning"], annotation_clip=False
    )
    place, aside = (1.0, "right") if score < 0.5 else (0.0, "left")
    axes.annotate(
        f"{len(finding.null)} controls", (place, 0.95), ha=aside, va="bottom", color=PALETTE["twin"],
        annotation_clip=False,
    )  # fmt: skip
    below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    axes.annotate("fresh images moved", (1, 0), (0, -19), ha="right", color=PALETTE["muted"], **below)


def gallery(
    title: str, finding: FoundCue, embedding: Explanation | None, *, planted: Captioned | None = None
) -> Gallery:
    """The images that carry a cue, each with a box around it, and their residuals.

    Args:
        title: above them.
        finding: whose images they are.
        embedding: the autoencoder, where one was fitted.
        planted: what was planted, to compare.
    """
    pictures = [
        Captioned(shown(finding.picture, "The cue as the search reconstructed it."), "the cue, as found")
    ]
    if planted is not None:
        pictures.append(planted)
    for image in finding.images:
        picture = reduced(image.picture, f"Training image {image.name}, which carries the cue.")
        whole = shown(image.picture, "")
        view = f"0 0 {whole.width} {whole.height}"
        pictures.append(Captioned(picture, image.name, outline=box_path(image.box), view=view))
    more = len(finding.examples) - len(finding.images)
    rest = f"; {more} more are in audit.json" if more > 0 else ""
    where = " The box is where the cue changes an image most." if any(i.box for i in finding.images) else ""
    caption = (
        f"The cue as the search reconstructed it{', what was planted' if planted else ''}, and the training "
        f"images in which it is strongest, by file or position{rest}.{where}"
    )
    has_parts = embedding is not None and any(image.explained for image in finding.images)
    if embedding is not None and has_parts:
        caption += f" {left_over_caption(embedding)}"
    return Gallery(
        title=title,
        pictures=tuple(pictures),
        caption=caption,
        triples=explained_section(embedding, finding) if embedding is not None and has_parts else (),
        scale=left_over_scale(embedding) if embedding is not None and has_parts else None,
    )


def findings_table(what: str, first: str, rows: Sequence[tuple[str, ...]]) -> Table:
    """A table of findings.

    Args:
        what: begins the caption.
        first: heads the first column.
        rows: the first column, then `cells` of a finding.
    """
    return Table(
        caption=f"{what}. Training images by file, or by position where they have none; p-values of the "
        "group, of the effect, and of both, adjusted for all suspects.",
        header=(first, *COLUMNS),
        rows=tuple(rows),
    )


def cells(audit: Audit, finding: FoundCue) -> tuple[str, ...]:
    """A finding in a table: class, images, score, controls, p-values."""
    shares = (wording.table_percent(share) for share in (finding.score, finding.null_max))
    p_values = (f"{p:.2g}" for p in (finding.p_group, finding.p_effect, finding.p_value))
    names = ", ".join(finding.shown[:N_NAMED]) + (", ..." if len(finding.examples) > N_NAMED else "")
    return audit.conditions.data.class_names[finding.target], names, *shares, *p_values
