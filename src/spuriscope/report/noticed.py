"""Would I have noticed? The search, told nothing, tried on what the audit planted."""

from spuriscope.answers import Audit, FoundAgain, Search
from spuriscope.report import wording
from spuriscope.report.cards import COLUMNS, card, cells, findings_table, gallery
from spuriscope.report.explained import conditions
from spuriscope.report.lookup import dose_of
from spuriscope.report.pictures import shown
from spuriscope.report.section import QUESTIONS, Captioned, Section, Table

__all__ = ["noticed"]

N_CARDS = 3


def noticed(audit: Audit, found: FoundAgain) -> Section:
    """The section on finding a planted cue without being told."""
    last = found.doses[-1]
    shown_cards = [(search, finding) for search in last.searches for finding in search.findings][:N_CARDS]
    return Section(
        anchor="noticed",
        question=QUESTIONS["noticed"],
        claim=_claim(found),
        panels=tuple(
            card(audit, finding, f"noticed-{k}", f"planted, seed {search.seed}")
            for k, (search, finding) in enumerate(shown_cards)
        ),
        caption=(
            "What the search found in models in which a cue was planted, as above."
            if shown_cards
            else f"No finding, in {wording.count(found.n_train)} training images of each model."
        ),
        sure=_sure(found),
        advice=_advice(audit, found),
        tables=(_table(audit, found), *([conditions(found.embedding)] if found.embedding else [])),
        gallery=(
            gallery(
                "Found, beside what was planted",
                shown_cards[0][1],
                found.embedding,
                planted=_planted(audit, found),
            )
            if shown_cards
            else None
        ),
    )


def _planted(audit: Audit, found: FoundAgain) -> Captioned | None:
    if audit.picked_up is None:
        return None
    picture = dose_of(audit.picked_up, found.pattern).picture
    return Captioned(shown(picture, f"The pattern {found.pattern}, as planted."), f"{found.pattern}, planted")


def _claim(found: FoundAgain) -> str:
    tried = [_dose(each.searches, each.n_planted) for each in found.doses]
    others = len(found.others)
    besides = (
        "It named no other image."
        if others == 0
        else f"It also named {wording.images(others)} in which we planted nothing: look at them."
    )
    start = "Yes" if found.fewest is not None else "No"
    return f"{start}: told nothing, the search found {wording.listed(tried)} of {found.pattern}. {besides}"


def _dose(searches: tuple[Search, ...], n_planted: int) -> str:
    n_found, n_all = (sum(search.n_found for search in searches), n_planted * len(searches))
    models = "one model" if len(searches) == 1 else f"{len(searches)} models"
    return f"{n_found} of {n_all} images in {models} with {wording.count(n_planted)} each"


def _sure(found: FoundAgain) -> str:
    last = found.doses[-1]
    return (
        f"{found.pattern} was planted in images of one class, {wording.seeds(len(last.searches))}; it moves "
        f"{wording.percent(last.score.mean)} of the test images in these models "
        f"({wording.interval(last.score)}). Images found in the data as they are had been taken out before. "
        "Found again means: at least half of the planted images are named in each model; the search was "
        "finished before what was planted was looked up."
    )


def _advice(audit: Audit, found: FoundAgain) -> str:
    if found.fewest is not None:
        return (
            "Search every model you train, with the images it was trained on: spuriscope discover RUN --page."
        )
    return (
        "Do not rely on the search alone: look through the images of each class for marks that a few share, "
        "and keep those that were taken elsewhere apart."
    )


def _table(audit: Audit, found: FoundAgain) -> Table:
    rows: list[tuple[str, ...]] = []
    for each in found.doses:
        for search in each.searches:
            model = f"{wording.count(each.n_planted)} planted, seed {search.seed}"
            rows += [(model, *cells(audit, finding)) for finding in search.findings]
            if not search.findings:
                rows.append((model, "nothing", *[""] * (len(COLUMNS) - 1)))
    return findings_table("All findings in planted models", "model", rows)
