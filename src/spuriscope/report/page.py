"""report.html: one file, no network; the same answers give the same page to the byte.

The page has the first screen, a section for each answered question, and a foot. It shows only what is in the
audit. One small script plays: it changes pictures and bars by answers that are in the page; without it the
page is still complete.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

    from spuriscope.answers import Audit
    from spuriscope.report.section import Section

__all__ = ["render", "templates"]

PAPER = "https://arxiv.org/abs/2202.05189"


def render(audit: "Audit") -> str:
    """The page of an audit.

    Args:
        audit: its answers.

    Returns:
        HTML in one file.
    """
    from spuriscope.report import foot, front, monday, playing, verdicts, wording

    return (
        templates()
        .get_template("page.html.j2")
        .render(
            audit=audit,
            headline=front.headline(audit),
            quality=front.quality(audit),
            explanation=front.explanation(audit),
            examples=front.examples(audit),
            monday=monday.monday(audit),
            tiles=verdicts.tiles(audit),
            sections=_sections(audit),
            unanswered=foot.unanswered(audit),
            play=playing.playing(audit),
            script=playing.script(),
            script_hash=playing.script_hash(),
            foot=foot.foot(audit),
            settings=foot.settings(audit),
            command=audit.conditions.command,
            python=foot.python_call(audit),
            quoted=wording.quoted,
            paper=PAPER,
        )
    )


def _sections(audit: "Audit") -> "list[Section]":
    """A section for each answered question, in the order of the questions."""
    from spuriscope.report.already import already_section
    from spuriscope.report.gone import gone
    from spuriscope.report.in_model import recognised_in
    from spuriscope.report.lookup import dose_of
    from spuriscope.report.noticed import noticed
    from spuriscope.report.pick_up import pattern_picture, pick_up
    from spuriscope.report.reacts import reacts
    from spuriscope.report.recognised import recognised
    from spuriscope.report.who_pays import who_pays

    sections = [] if audit.already is None else [already_section(audit, audit.already)]
    if audit.reactions:
        sections.append(reacts(audit, audit.reactions))
    if audit.recognition is not None:
        sections.append(recognised_in(audit.recognition))
    planted = audit.picked_up
    if planted is None:
        return sections
    sections.append(pick_up(audit, planted))
    if audit.found_again is not None:
        sections.append(noticed(audit, audit.found_again))
    sections.append(who_pays(audit, planted))
    if audit.membership is not None:
        picture = pattern_picture(dose_of(planted, audit.membership.pattern))
        sections.append(recognised(audit.membership, audit.canaries, picture))
    if audit.deletion is not None:
        sections.append(gone(audit.deletion, pattern_picture(dose_of(planted, audit.deletion.pattern))))
    return sections


def templates() -> "Environment":
    """The templates of the pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("spuriscope.report", ""),
        autoescape=True,  # names and commands come from a user: they are text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
