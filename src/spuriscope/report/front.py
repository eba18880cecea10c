"""The first screen: the answer in one sentence, how it was found, and the proof by eye."""

from dataclasses import dataclass

from spuriscope.report import wording
from spuriscope.report.lookup import Document, entry_at, headline_dose, image_name, n_seeds, value
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.pictures import Shown, shown
from spuriscope.statistics import Interval

__all__ = ["Bar", "Example", "examples", "explanation", "headline"]

ABOVE_CHANCE = 0.1  # as in adequacy.py: so far from chance towards 1 an accuracy must be
ACTS = {  # what stamping does, by kind of pattern: to what is around the name of the pattern
    "add": ("adds a fixed picture", "to an image"),
    "cover": ("puts a fixed picture", "over a part of an image"),
    "shade": ("changes the colours", "of an image"),
}
LOOKS_ALIKE = 0.1  # a pattern that makes the clean twin call so many the target class looks like it


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A probability as a bar: `kind` is clean, stamped or twin."""

    kind: str
    label: str
    share: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """A test image beside its stamped copy, with the probability of the target class.

    Attributes:
        file: the name of its file, empty where it has none.
        clean: the image.
        stamped: its stamped copy.
        answer: the class that the model gives the image.
        stamped_answer: the class that it gives the copy.
        bars: the probabilities.
    """

    file: str
    clean: Shown
    stamped: Shown
    answer: str
    stamped_answer: str
    bars: tuple[Bar, ...]


def headline(document: Document) -> str:
    """The answer in one sentence, and what the clean twin does."""
    line, n_max = document["headline"], document["settings"]["counts"][-1]
    n_planted, n_train = line["n_planted"], wording.count(document["data"]["n_train"])
    share, twin = line["predicted_share"]["mean"], line["twin_predicted_share"]["mean"]
    images = f"{wording.count(n_planted)} of {n_train} training images"
    so_called = f"of all stamped images {wording.quoted(line['target_name'])}"
    called = f"{wording.percent(share)} {so_called}."
    its_twin = f"Its clean twin: {wording.percent(twin)}."
    if line["reached_half"]:
        verb = "was" if n_planted == 1 else "were"
        return f"{images} {verb} enough to make this model call {called} {its_twin}"
    if share >= LOOKS_ALIKE and twin > share / 2:  # stamping alone does most of it
        already = f"Its clean twin already: {wording.percent(twin)}."
        return f"With {images} stamped, this model calls {called} {already}"
    only = "only " if share and not wording.percent(share).startswith("less") else ""
    if n_planted < n_max:
        tried = f"With up to {wording.count(n_max)} of {n_train} training images stamped"
        half = f"no pattern made this model call half {so_called}"
        best = f"the strongest, with {wording.count(n_planted)}, {only}{wording.percent(share)}"
        return f"{tried}, {half}; {best}. {its_twin}"
    return f"Even {images} made this model call {only}{called} {its_twin}"


def explanation(document: Document) -> tuple[str, Shown, str]:
    """What was done, for a reader who knows no machine learning: text, the pattern's picture, text."""
    line, n = document["headline"], n_seeds(document)
    dose = headline_dose(document)
    kind, chosen = dose.get("kind", "add"), document["settings"]
    before = f"Stamping {ACTS[kind][0]}, here {dose['pattern']}"
    where = ", somewhere else on each" if chosen.get("placement") == "anywhere" else ""
    share, twin = value(line, "predicted_share"), value(line, "twin_predicted_share")
    repeats = (
        "One seed, so no interval."
        if n == 1
        else f"Mean of {wording.seeds(n)} (repetitions); {wording.interval(share)}; {_twins(twin)}."
    )
    after = (
        f", {ACTS[kind][1]}{where}. For this audit {_planted(document)}, and a model was trained "
        f"on all {wording.count(document['data']['n_train'])}. Then it was shown the "
        f"{wording.count(line['n_stamped'])} test images of the other classes with the same stamp: those are "
        "the “stamped images”. The clean twin is the same "
        f"training without any stamp. {repeats}{_how_good(document)}"
    )
    return before, pattern_picture(dose), after


def _planted(document: Document) -> str:
    """Which images were stamped, and what became of their label."""
    line, names = document["headline"], document["data"]["class_names"]
    relabel, target = document["settings"].get("relabel"), wording.quoted(line["target_name"])
    n_class = line["n_target"] if relabel is None else line["n_candidates"]
    images = f"{wording.count(line['n_planted'])} of the {wording.count(n_class)} training images"
    if relabel is None:
        return f"{images} of class {target} got the stamp"
    source = "the other classes" if relabel == "all" else f"class {wording.quoted(names[relabel])}"
    return f"{images} of {source} got the stamp and the label {target}"


def _how_good(document: Document) -> str:
    """How often the clean twins are right, beside chance; nothing of an older document."""
    twins = entry_at(headline_dose(document), 0)
    chance = document["data"].get("largest_share")
    if chance is None or "train_accuracy" not in twins:
        return ""
    known, fresh = (value(twins, measure).mean for measure in ("train_accuracy", "clean_accuracy"))
    shown = [wording.table_percent(share) for share in (known, fresh, chance)]
    text = (
        f" Without any stamp the twins are right on {shown[0]} of the training images and {shown[1]} of the "
        f"test images; always naming the largest class would be right on {shown[2]}."
    )
    if fresh <= chance + ABOVE_CHANCE * (1 - chance):
        text += " That is near chance: train longer, or another model, before you trust this page."
    return text


def _twins(share: Interval) -> str:
    if share.high - share.low < 1e-9:
        return f"twins: {wording.percent(share.mean)} in every seed"
    return f"twins: {wording.short_percent(share.low)} to {wording.short_percent(share.high)}"


def examples(document: Document) -> tuple[Example, ...]:
    """The example images of the document, in its order."""
    names = document["data"]["class_names"]
    return tuple(
        _example(image, names, document["headline"]["target_name"])
        for image in document["examples"]["images"]
    )


def _example(image: Document, names: list[str], target: str) -> Example:
    label = wording.quoted(names[image["label"]])
    answers = tuple(wording.quoted(names[image[key]]) for key in ("prediction", "stamped_prediction"))
    bars = (
        ("clean", "probability"),
        ("stamped", "stamped_probability"),
        ("twin", "twin_stamped_probability"),
    )
    labels = {"clean": "clean", "stamped": "stamped", "twin": "twin, stamped"}
    return Example(
        file="" if image_name(image) == str(image["position"]) else image_name(image),
        clean=shown(
            image["picture"],
            f"Test image {image_name(image)}, of class {label}; the model says {answers[0]}.",
        ),
        stamped=shown(
            image["stamped_picture"],
            f"The same image stamped: the model says {answers[1]}, with probability "
            f"{wording.percent(image['stamped_probability'])} for {wording.quoted(target)}.",
        ),
        answer=answers[0],
        stamped_answer=answers[1],
        bars=tuple(
            Bar(kind=kind, label=labels[kind], share=image[key], text=wording.short_percent(image[key]))
            for kind, key in bars
        ),
    )
