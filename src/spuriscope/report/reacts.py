"""How does a finished model react to named patterns? What stamping does to it, without any planting."""

from collections.abc import Sequence

from spuriscope.answers import Audit, Reaction
from spuriscope.report import wording
from spuriscope.report.pictures import shown
from spuriscope.report.section import QUESTIONS, Captioned, Gallery, Section, Table

__all__ = ["reacts"]


def reacts(audit: Audit, found: Sequence[Reaction]) -> Section:
    """The section on patterns stamped on test images."""
    strongest = max(found, key=lambda each: each.score)
    names = audit.conditions.data.class_names
    pictures = tuple(
        Captioned(
            shown(each.picture, f"The pattern {each.pattern}."),
            f"{each.pattern}: {wording.percent(each.score)}",
        )
        for each in found
    )
    return Section(
        anchor="reacts",
        question=QUESTIONS["reacts"],
        claim=(
            f"Of these, {strongest.pattern} moves most: {wording.percent(strongest.score)} of the test "
            f"images of other classes towards {wording.quoted(names[strongest.target])}."
        ),
        panels=(),
        caption="",
        sure=(
            f"One model, asked about up to {wording.count(strongest.n_asked)} test images, each clean and "
            "stamped. How many images the pattern moves in a model that never saw it is unknown without "
            "training one. So a large share is a reason to look, not a proof that the pattern was in the "
            "training images."
        ),
        advice=(
            "Where a pattern of yours moves many, look for it among the training images. To learn whether "
            "your training picks one up, and whether it would be noticed, audit the data themselves: leave "
            "out --run."
        ),
        tables=(
            Table(
                caption="Share of the test images of other classes that stamping moves, and the class it "
                "pulls to.",
                header=("pattern", "pulls to", "moved", "images asked"),
                rows=tuple(
                    (
                        each.pattern,
                        names[each.target],
                        wording.table_percent(each.score),
                        wording.count(each.n_asked),
                    )
                    for each in found
                ),
            ),
        ),
        gallery=Gallery(
            title="What was stamped, and the share that it moves",
            pictures=pictures,
            caption="The stronger a pattern, the more it may move even where it was never learnt.",
        ),
    )
