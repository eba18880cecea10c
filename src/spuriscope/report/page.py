"""report.html: one file, no network, no script; the same document gives the same page to the byte.

The page has the first screen, a section for each question that the document answers, and a foot. What
is shown is read from the document; what is not in it is not shown.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

    from spuriscope.report.section import Section

__all__ = ["render", "templates"]

PAPER = "https://arxiv.org/abs/2202.05189"


def render(document: dict[str, Any]) -> str:
    """The page of an audit.

    Args:
        document: see docs/audit-json.md.

    Returns:
        HTML, complete in itself.
    """
    from spuriscope.report import foot, front, verdicts, wording

    return (
        templates()
        .get_template("page.html.j2")
        .render(
            document=document,
            headline=front.headline(document),
            explanation=front.explanation(document),
            examples=front.examples(document),
            tiles=verdicts.tiles(document),
            sections=_sections(document),
            foot=foot.foot(document),
            settings=foot.settings(document),
            command=document["command"],
            python=foot.python_call(document),
            seeds=wording.seeds(len(document["settings"]["seeds"])),
            quoted=wording.quoted,
            paper=PAPER,
        )
    )


def _sections(document: dict[str, Any]) -> "list[Section]":
    """A section for each question whose answer is in the document, in the order of the questions."""
    from spuriscope.report.found import found
    from spuriscope.report.gone import gone
    from spuriscope.report.pick_up import pick_up
    from spuriscope.report.recognised import recognised
    from spuriscope.report.who_pays import who_pays

    questions: Mapping[Callable[[dict[str, Any]], Section], str]  # the key that holds the answer
    questions = {
        pick_up: "dose_response",
        found: "discovery",
        who_pays: "dose_response",
        recognised: "membership",
        gone: "deletion",
    }
    return [section(document) for section, key in questions.items() if document.get(key)]


def templates() -> "Environment":
    """The templates of the pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("spuriscope.report", ""),
        autoescape=True,  # names and commands are a user's: they are text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
