"""Is there a cue in my data already? What searches of the unchanged data found, or could have found."""

from spuriscope.answers import AlreadyThere, Audit, RecurringCue
from spuriscope.report import wording
from spuriscope.report.cards import card, cells, findings_table, gallery
from spuriscope.report.explained import conditions
from spuriscope.report.section import QUESTIONS, Panel, Section, Table

__all__ = ["already_section"]

N_CARDS = 4


def already_section(audit: Audit, found: AlreadyThere) -> Section:
    """The section on what is in the data."""
    cues, once = found.cues[:N_CARDS], found.once[: max(0, N_CARDS - len(found.cues))]
    panels: list[Panel] = [card(audit, cue.cue, f"already-{k}", _proof(cue)) for k, cue in enumerate(cues)]
    panels += [card(audit, each, f"once-{k}", "in one model only") for k, each in enumerate(once)]
    first = found.cues[0].cue if found.cues else found.once[0] if found.once else None
    return Section(
        anchor="already",
        question=QUESTIONS["already"],
        claim=_claim(audit, found),
        panels=tuple(panels),
        caption=(
            "Each card is a finding: the cue as reconstructed from the images that carry it, the class it "
            "pulls to, and how many fresh images of other classes it moves (orange), beside what its "
            "controls do (grey): natural look-alikes, or what natural images have in the same place."
            if panels
            else _searched(found)
        ),
        sure=_sure(found),
        advice=_advice(found),
        tables=(
            *([_table(audit, found)] if panels else []),
            *([conditions(found.embedding)] if found.embedding else []),
        ),
        gallery=None if first is None else gallery("What the first card rests on", first, found.embedding),
    )


def _proof(cue: RecurringCue) -> str:
    if cue.score_without is None:
        return cue.is_proven
    left = wording.percent(cue.score_without.mean)
    return f"{cue.is_proven}: without {wording.count(cue.n_left_out)} carriers {left}"


def _claim(audit: Audit, found: AlreadyThere) -> str:
    n = len(found.seeds)
    models = "one model" if n == 1 else f"{n} models"
    if not found.cues:
        once = f", except for {len(found.once)} in single models" if found.once else ""
        return (
            f"No: in {models} trained on your images as they are, the search made no finding that "
            f"recurs{once}. {_smallest(audit)}"
        )
    names = audit.conditions.data.class_names
    parts = [
        f"{wording.images(len(cue.cue.examples))} of {wording.quoted(names[cue.cue.target])} share a cue "
        f"that moves {wording.percent(cue.score.mean)} of other test images, {_gone(cue)}"
        for cue in found.cues[:N_CARDS]
    ]
    is_sure = found.cues[0].is_proven == "proven"
    return f"{'Yes' if is_sure else 'Perhaps'}: {'; '.join(parts)}."


def _gone(cue: RecurringCue) -> str:
    if cue.score_without is None:
        return "which was not tested by training without them"
    share = wording.percent(cue.score_without.mean)
    if cue.is_proven == "proven":
        return f"and {share} in models trained again without them"
    if cue.is_proven == "seeds disagree":
        return f"and without them {share}, on which the models disagree"
    return f"but without them still {share}: they did not cause it"


def _smallest(audit: Audit) -> str:
    """The rarest cue that could have been seen, from what was planted and found again in the same data."""
    again = audit.found_again
    if again is None:
        return "How rare a cue it would have found is not known."
    if again.fewest is None:
        n = wording.images(again.doses[-1].n_planted)
        return f"That says little: {again.pattern}, planted in {n}, was not found again either."
    least = " (fewer were not tried)" if again.fewest == again.doses[0].n_planted else ""
    return (
        f"The smallest cue that was planted and found again: {again.pattern} in "
        f"{wording.images(again.fewest)}{least}."
    )


def _searched(found: AlreadyThere) -> str:
    return (
        f"All {wording.count(found.n_train)} training images were searched, whole, through windows, one "
        f"by one, and for marks that a few have in common; a cue that moves fewer than 2{wording.NBSP}% "
        "of fresh images, or hides among natural look-alikes, cannot be seen."
    )


def _sure(found: AlreadyThere) -> str:
    n = len(found.seeds)
    recur = (
        "One model was searched, so nothing could recur."
        if n == 1
        else f"{n} models, which differ only in their seed (the number from which random choices are "
        "drawn), were searched alike; findings of most of them count."
    )
    text = (
        f"{recur} A finding needs two lines of evidence: a group that stands out more than the crowd of "
        f"its class lets one expect, and a cue that moves many of {wording.count(found.n_fresh)} fresh "
        f"images, compared with up to {wording.count(found.n_controls)} controls. Both must hold; the "
        f"level, {wording.percent(found.level)}, holds over all suspects of a search. Proven: at least "
        "half of the effect is gone in every model trained again without the images of the class that "
        "carry it: those that are named, and any in which it is at least half as strong."
    )
    blind = "".join(f" Could not be seen: {reason}." for reason in found.blind_spots)
    if found.taken_out:
        blind += (
            f" The {wording.images(len(found.taken_out))} that were named were taken out before anything was "
            "planted, so everything below is about the others."
        )
    return text + blind


def _advice(found: AlreadyThere) -> str:
    if found.cues:
        return (
            "Look at these images before you delete any: does what they share belong to the class? If not, "
            "take them out, or put the same on images of all classes, and train again. A model that is "
            "already in use can be repaired: ss.repair(model, data, finding)."
        )
    if found.once:
        return "Look at the images of the cards: only single models named them, so it may be chance."
    return "Nothing for now. Ask again when images are added: spuriscope discover --page looks at one model."


def _table(audit: Audit, found: AlreadyThere) -> Table:
    rows = [(f"{len(cue.seeds)} of {len(found.seeds)}", *cells(audit, cue.cue)) for cue in found.cues]
    rows += [("1 model", *cells(audit, each)) for each in found.once]
    return findings_table("All findings", "models", rows)
