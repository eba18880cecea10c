"""Has the model picked one up? The search that is told nothing, tried on what the audit planted."""

from functools import partial
from typing import TYPE_CHECKING, Any

from spuriscope.report import wording
from spuriscope.report.drawing import PALETTE, small_figure
from spuriscope.report.explained import conditions, explained, left_over_caption, left_over_scale
from spuriscope.report.lookup import Document, dose_of, image_name
from spuriscope.report.pictures import icon, shown
from spuriscope.report.section import Captioned, Gallery, Panel, Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["counts_found", "found"]

N_CARDS = 3
LEAST_P = 0.001  # smaller ones are not told apart
N_POSITIONS = 10  # in the table


def found(document: Document) -> Section:
    """The section on finding a cue without being told."""
    result = document["discovery"]
    cards = [(search, finding) for search in result["searches"] for finding in search["findings"]][:N_CARDS]
    return Section(
        anchor="found",
        question="Has the model picked one up?",
        claim=_claim(result),
        panels=tuple(_card(document, k, *card) for k, card in enumerate(cards)),
        caption=(
            "Each card is a finding: the pattern as reconstructed from the suspected images, the class it "
            "pulls to, and how many fresh images of other classes it moves (orange), beside what the "
            "patterns of control groups do (grey): look-alikes of that class that nature made, or what "
            "natural images of it have in the same place."
            if cards
            else _searched(result)
        ),
        sure=_sure(result),
        advice=(
            "Search your own model with the images it was trained on: spuriscope discover RUN. Look at the "
            "images of a finding before you delete them; add --prove to see what a model does without them."
        ),
        tables=(_table(document), *([conditions(result["embedding"])] if result.get("embedding") else [])),
        gallery=_gallery(document, *cards[0]) if cards else None,
    )


def counts_found(result: Document) -> tuple[int, int, int, int]:
    """Planted images, those found, images suspected wrongly in planted models, findings on clean twins."""
    planted = [search for search in result["searches"] if search["is_planted"]]
    twins = [search for search in result["searches"] if not search["is_planted"]]
    return (
        sum(len(search["planted"]) for search in planted),
        sum(search["n_found"] for search in planted),
        sum(search["n_wrong"] for search in planted),
        sum(len(search["findings"]) for search in twins),
    )


def _claim(result: Document) -> str:
    n_planted, n_found, n_wrong, n_on_twins = counts_found(result)
    n_models = sum(search["is_planted"] for search in result["searches"])
    models = "one model" if n_models == 1 else f"{n_models} models"
    others = "no other image" if n_wrong == 0 else f"{wording.images(n_wrong)} beside"
    twins = (
        "On the clean twins it reported nothing"
        if n_on_twins == 0
        else f"On the clean twins, in which we planted nothing, it reported {n_on_twins} "
        f"finding{'s' * (n_on_twins > 1)}: look at these first, they rest on the images as they are"
    )
    return (
        f"Told nothing, the search found {n_found} of the {n_planted} images planted in {models}, and "
        f"named {others}. {twins}."
    )


def _card(document: Document, k: int, search: Document, finding: Document) -> Panel:
    target = wording.quoted(document["data"]["class_names"][finding["target"]])
    n = len(finding["examples"])
    whose = "planted model" if search["is_planted"] else "clean twin"
    alt = (
        f"The reconstructed pattern moves {wording.percent(finding['score'])} of fresh images, its controls "
        f"at most {wording.percent(finding['null_max'])}."
    )
    carriers = finding.get("carriers")
    fresh = f", {carriers['n_fresh'] or 'none'} of {carriers['of_fresh']} fresh ones" if carriers else ""
    return Panel(
        title=f"pulls to {target}",
        note=f"{wording.images(n)}{fresh}, {whose}, seed {search['seed']}; p {_p(finding['p_value'])}",
        picture=icon(finding["picture"], f"Pattern reconstructed from {wording.images(n)}."),
        figure=small_figure(f"found-{k}", alt, partial(_draw_null, finding=finding)),
    )


def _p(value: float) -> str:
    return f"below{wording.NBSP}0.001" if value < LEAST_P else f"={wording.NBSP}{value:.2g}"


def _draw_null(axes: "Axes", *, finding: Document) -> None:
    bins = [number / 20 for number in range(21)]
    heights, _, _ = axes.hist(finding["null"], bins=bins, color=PALETTE["twin"], alpha=0.75)
    top = float(max(heights))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.25 * top)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    axes.set_yticks([0, top], ["0", f"{top:.0f}"])
    score = finding["score"]
    axes.plot([score, score], [0, 0.9 * top], color=PALETTE["warning"], lw=2)
    side = "right" if score > 0.5 else "left"
    axes.annotate(
        "finding", (score, 0.95 * top), ha=side, va="bottom", color=PALETTE["warning"], annotation_clip=False
    )
    below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    axes.annotate("fresh images moved", (1, 0), (0, -19), ha="right", color=PALETTE["muted"], **below)


def _gallery(document: Document, search: Document, finding: Document) -> Gallery:
    result = document["discovery"]
    pictures = [Captioned(shown(finding["picture"], "The reconstructed pattern."), "reconstructed")]
    if search["is_planted"]:
        dose = dose_of(document, result["pattern"])
        planted = shown(dose["picture"], f"The pattern {result['pattern']}, as planted.")
        pictures.append(Captioned(planted, f"{result['pattern']}, planted, to compare"))
    embedding = result.get("embedding")
    if embedding is None:  # too few fresh images, or an older document
        for image in finding["images"]:
            name = image_name(image)
            picture = shown(image["picture"], f"Suspected training image {name}.")
            pictures.append(Captioned(picture, f"training image {name}"))
    more = len(finding["examples"]) - len(finding["images"])
    compared = "what was planted, which it did not know, and " if search["is_planted"] else ""
    rest = f"; {more} more are in audit.json." if more > 0 else "."
    caption = f"The pattern as the search reconstructed it, {compared}the suspected training images{rest}"
    if embedding is not None:
        caption += f" {left_over_caption(embedding)}"
    return Gallery(
        title="What the first card rests on",
        pictures=tuple(pictures),
        caption=caption,
        triples=explained(embedding, finding) if embedding is not None else (),
        scale=left_over_scale(embedding) if embedding is not None else None,
    )


def _searched(result: Document) -> str:
    return (
        f"No finding. Searched were all {wording.count(result['n_train'])} training images of each model, "
        "whole, through windows, one by one, and for marks that a few have in common; what moves fewer "
        f"than 2{wording.NBSP}% of fresh images, or hides among natural look-alikes, cannot be seen."
    )


def _sure(result: Document) -> str:
    seeds = wording.seeds(sum(search["is_planted"] for search in result["searches"]))
    return (
        f"{result['pattern']} in {wording.images(result['n_planted'])}, {seeds}, each beside its clean "
        "twin. A finding needs two lines of evidence: a group that stands out further than the crowd of its "
        "class lets expect, "
        f"and a pattern that moves many of {wording.count(result['n_fresh'])} fresh images, compared with "
        f"those of up to {wording.count(result['n_controls'])} control groups, natural look-alikes. Both "
        f"claims have to hold; the level, {wording.percent(result['level'])}, is held over all suspects."
    )


def _table(document: Document) -> Table:
    names = document["data"]["class_names"]
    rows: list[tuple[str, ...]] = []
    for search in document["discovery"]["searches"]:
        model = f"{'planted' if search['is_planted'] else 'clean twin'}, seed {search['seed']}"
        rows += [(model, *_cells(names, finding)) for finding in search["findings"]]
        if not search["findings"]:
            rows.append((model, "nothing", *[""] * 6))
    return Table(
        caption="All findings. Training images by file, or by position where they have none; p of the "
        "group, of the effect, and of both, adjusted for all suspects.",
        header=(
            "model",
            "pulls to",
            "training images",
            "score",
            "largest control",
            "p group",
            "p effect",
            "p adjusted",
        ),
        rows=tuple(rows),
    )


def _cells(names: list[str], finding: Document) -> tuple[str, ...]:
    shares = (wording.table_percent(finding[key]) for key in ("score", "null_max"))
    p_values = (f"{finding[key]:.2g}" for key in ("p_group", "p_effect", "p_value"))
    positions = ", ".join(map(str, (finding.get("names") or finding["examples"])[:N_POSITIONS]))
    more = ", ..." if len(finding["examples"]) > N_POSITIONS else ""
    return names[finding["target"]], positions + more, *shares, *p_values
