"""The parts of a section of the page; the templates show only these.

Each question of the audit has a module that turns the document into a `Section`. An unanswered question has
no section.
"""

from dataclasses import dataclass

from markupsafe import Markup

from spuriscope.report.pictures import Shown

__all__ = [
    "QUESTIONS",
    "Captioned",
    "Gallery",
    "Map",
    "Maps",
    "Panel",
    "PlotScale",
    "Section",
    "Table",
    "Triple",
    "Triples",
]


QUESTIONS = {  # by anchor; a tile has the title of its section
    "already": "Is there one in my data already?",
    "reacts": "How does it take to patterns?",
    "pick-up": "Would my training pick one up?",
    "noticed": "Would I have noticed?",
    "who-pays": "Who pays?",
    "recognised": "Who can be recognised?",
    "gone": "How do I get rid of it?",
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of several small figures with the same axes: picture and name of a pattern, a note, a figure."""

    title: str
    note: str
    picture: Shown
    figure: Markup


@dataclass(frozen=True, kw_only=True)
class PlotScale:
    """The scale of heat maps: the values at both ends, and the colours between them as CSS."""

    low: str
    high: str
    gradient: str


@dataclass(frozen=True, kw_only=True)
class Map:
    """A heat map with its scale."""

    title: str
    picture: Shown
    scale: PlotScale


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Heat maps side by side.

    Attributes:
        title: names the comparison.
        claim: what they show, in one sentence with numbers.
        maps: planted, clean twin, difference.
        outline: SVG path around the pattern in pixels of the image; empty where it would say nothing.
        caption: where to look.
    """

    title: str
    claim: str
    maps: tuple[Map, ...]
    outline: str
    caption: str


@dataclass(frozen=True)
class Captioned:
    """A picture with a few words under it, and the SVG path of a box on it, if any."""

    picture: Shown
    text: str
    outline: str = ""
    view: str = ""


@dataclass(frozen=True, kw_only=True)
class Triple:
    """An image, what is explained of it, and a heat map of the residual, under one title."""

    title: str
    pictures: tuple[Captioned, Captioned, Captioned]


@dataclass(frozen=True, kw_only=True)
class Triples:
    """Images of one kind, three pictures to each."""

    title: str
    rows: tuple[Triple, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures side by side, with a title above and a sentence under all.

    Attributes:
        title: above all.
        pictures: in a row.
        caption: under all.
        triples: images by kind, three pictures to each, if any.
        scale: of the heat maps in all triples.
    """

    title: str
    pictures: tuple[Captioned, ...]
    caption: str
    triples: tuple[Triples, ...] = ()
    scale: PlotScale | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers behind a figure; `rows` are texts, the first of each names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question and its answer, in the order the page shows it.

    Attributes:
        anchor: the section's id.
        question: the user's question.
        claim: the answer in one sentence.
        panels: the picture.
        caption: how to read it.
        sure: seeds, interval, clean twin.
        advice: what to do about it.
        tables: the numbers, folded away.
        maps: a second picture, where there is one.
        gallery: images, where they are the evidence.
    """

    anchor: str
    question: str
    claim: str
    panels: tuple[Panel, ...]
    caption: str
    sure: str
    advice: str
    tables: tuple[Table, ...]
    maps: Maps | None = None
    gallery: Gallery | None = None
