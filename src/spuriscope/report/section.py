"""What a section of the page is made of; the templates show these and nothing else.

Each question of the audit has a module that turns the document into a `Section`. A question that was
not answered has no section.
"""

from dataclasses import dataclass

from markupsafe import Markup

from spuriscope.report.pictures import Shown

__all__ = ["Captioned", "Gallery", "Map", "Maps", "Panel", "Section", "Table"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of several small figures with the same axes: picture and name of a pattern, a note, a figure."""

    title: str
    note: str
    picture: Shown
    figure: Markup


@dataclass(frozen=True, kw_only=True)
class Map:
    """A heat map with its scale: the values at both ends, and the colours between them as CSS."""

    title: str
    picture: Shown
    low: str
    high: str
    gradient: str


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
    """A picture with a few words under it."""

    picture: Shown
    text: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures side by side, with a title above and a sentence under all."""

    title: str
    pictures: tuple[Captioned, ...]
    caption: str


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
