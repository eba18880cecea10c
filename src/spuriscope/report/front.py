"""The first screen: the answer in one sentence, how good the models are, and the visible evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from spuriscope.answers import AlreadyThere, Audit, ExampleImage, PickedUp, RecurringCue, TriedImage
from spuriscope.report import wording
from spuriscope.report.lookup import headline_dose
from spuriscope.report.pick_up import pattern_picture
from spuriscope.report.pictures import Shown, box_path, icon, reduced, shown
from spuriscope.statistics import Interval

__all__ = ["Bar", "Example", "ShownExamples", "examples", "explanation", "headline", "quality"]

ACTS = {  # what stamping does, by kind of pattern: the words before and after the name of the pattern
    "add": ("adds a fixed picture", "to an image"),
    "cover": ("puts a fixed picture", "over a part of an image"),
    "shade": ("changes the colours", "of an image"),
}
LOOKS_ALIKE = 0.1  # a pattern that moves more in the clean twin looks like the class
MODEST = 0.9  # a lower test accuracy gets a note


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
        outline: SVG path around the cue on the copy, empty where it is all over.
        view: of that path.
        under: a few words under each.
        bars: the probabilities.
    """

    file: str
    clean: Shown
    stamped: Shown
    outline: str
    view: str
    under: tuple[tuple[str, str], tuple[str, str]]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class ShownExamples:
    """The visible evidence: an introduction, the images, and how they were chosen."""

    intro: str
    images: tuple[Example, ...]
    caption: str


def headline(audit: Audit) -> str:
    """The answer to the first question that has one, in one sentence."""
    quality = audit.conditions.quality
    if quality is not None and quality.is_near_chance:
        return (
            f"These models learnt nothing: they get {wording.percent(quality.test_accuracy.mean)} of the "
            f"test images right, and always naming the largest class gets {wording.percent(quality.chance)}."
        )
    there = audit.already
    if there is not None and there.cues:
        return _there(audit, there.cues)
    if there is not None:
        return _none_found(audit, there)
    if audit.picked_up is not None:
        return f"Your data could not be searched. {_picked_up(audit, audit.picked_up)}"
    return "Nothing was answered before the time was up."


def _there(audit: Audit, cues: Sequence[RecurringCue]) -> str:
    """A cue in the user's own images."""
    first, names = cues[0], audit.conditions.data.class_names
    target = wording.quoted(names[first.cue.target])
    images = wording.images(len(first.cue.examples))
    pulls = f"pulls {wording.percent(first.score.mean)} of all other test images towards {target}"
    share = "share something that" if len(first.cue.examples) > 1 else "has something that"
    n_more, is_all = len(cues) - 1, all(cue.is_proven == "proven" for cue in cues)
    more = f" And {n_more} more{'' if is_all else ', not proved'}." if n_more else ""
    if first.is_proven == "proven":
        return f"Yes, there is a cue in your data: {images} of {target} {share} {pulls}.{more}"
    return (
        f"There may be a cue in your data: {images} of {target} {share} {pulls}, but that these images "
        f"caused it is not proved.{more}"
    )


def _none_found(audit: Audit, there: AlreadyThere) -> str:
    """Nothing found, and what would have been found."""
    searched = f"No cue was found in your {wording.count(there.n_train)} training images"
    once = f"; {len(there.once)} thing{'s' * (len(there.once) > 1)} to look at" if there.once else ""
    again = audit.found_again
    if audit.reactions:
        return f"No cue was found in this model{once}. How rare a cue it would have found is not known."
    if again is None:
        return f"{searched}{once}. How rare a cue it would have found is not known."
    if again.fewest is not None:
        mark = f"a mark such as {again.pattern} on {wording.count(again.fewest)} of them would have been"
        return f"{searched}{once}; {mark}."
    tried = again.doses[-1].n_planted
    return (
        f"{searched}{once}, which says little: {again.pattern}, planted in {wording.images(tried)}, was not "
        "found again either."
    )


def _picked_up(audit: Audit, found: PickedUp) -> str:
    line, target = found.headline, wording.quoted(audit.conditions.target_name)
    images = f"{line.pattern} in {wording.images(line.n_planted)}"
    share, twin = wording.percent(line.score.mean), line.twin_score.mean
    if line.score.mean >= LOOKS_ALIKE and twin > line.score.mean / 2:
        return f"Stamping alone pulls {wording.percent(twin)} of the test images towards {target}."
    return f"Planting {images} made it pull {share} of all other test images towards {target}."


def quality(audit: Audit) -> str:
    """How good the models are, in words, to be read before anything else."""
    found = audit.conditions.quality
    if found is None or found.is_near_chance:
        return ""
    right = wording.percent(found.test_accuracy.mean)
    who = "This model gets" if audit.conditions.settings.target is None else "The models of this audit get"
    text = (
        f"{who} {right} of the test images right; always naming the largest class "
        f"would get {wording.percent(found.chance)}."
    )
    if found.test_accuracy.mean < MODEST:
        text += " Read everything below with that in mind: better models may pick up what such models do not."
    if found.train_accuracy.mean - found.test_accuracy.mean > 0.1:
        text += f" Of the training images they get {wording.percent(found.train_accuracy.mean)}."
    return text


def explanation(audit: Audit) -> tuple[str, Shown | None, str]:
    """What was done, for a reader who knows no machine learning: text, a small picture, text."""
    there = audit.already
    if there is not None and there.cues:
        return _explained_cue(there, there.cues[0])
    if audit.picked_up is not None:
        return _explained_planting(audit, audit.picked_up)
    return "", None, ""


def _explained_cue(there: AlreadyThere, cue: RecurringCue) -> tuple[str, Shown, str]:
    n, found = len(there.seeds), len(cue.seeds)
    models = "one model was" if n == 1 else f"{n} models were"
    where = (
        "The search found it there"
        if n == 1
        else f"A search that was told nothing found it in {found} of them"
    )
    proof = (
        f" In models trained again without these images it moves {wording.percent(cue.score_without.mean)}."
        if cue.score_without is not None
        else ""
    )
    after = (
        f" is what these images share, as the search reconstructs it. {models[0].upper()}{models[1:]} "
        f"trained on your images as they are, with nothing planted. {where}. A test image is moved when "
        f"the cue raises its probability of the class by more than 10 points ({wording.interval(cue.score)})."
        f"{proof}"
    )
    return "The cue", icon(cue.cue.picture, "The cue as the search reconstructed it."), after


def _explained_planting(audit: Audit, found: PickedUp) -> tuple[str, Shown, str]:
    line, n = found.headline, audit.n_seeds
    dose = headline_dose(found)
    chosen = audit.conditions.settings
    before = (
        f"To learn what would have been found, cues were planted. Stamping {ACTS[dose.kind][0]}, here "
        f"{dose.pattern}"
    )
    where = ", in another place on each" if chosen.placement == "anywhere" else ""
    repeats = (
        "One training, so no interval."
        if n == 1
        else f"Mean of {wording.seeds(n)} (trainings that differ only by chance); "
        f"{wording.interval(line.score)}; without any stamp {_twins(line.twin_score)}."
    )
    target = wording.quoted(audit.conditions.target_name)
    after = (
        f", {ACTS[dose.kind][1]}{where}. {_planted(audit, line.n_planted, found)}, and a model was trained "
        f"on all images. Then it was shown the {wording.count(line.n_stamped)} test images of the other "
        f"classes with the same stamp: it moved {wording.percent(line.score.mean)} of them towards {target}, "
        "that is, raised their probability of it by more than "
        f"{wording.change(chosen.threshold).lstrip('+')} points. {repeats}"
    )
    return before, pattern_picture(dose), after


def _planted(audit: Audit, n_planted: int, found: PickedUp) -> str:
    """Which images were stamped, and with which label."""
    line, names = found.headline, audit.conditions.data.class_names
    relabel, target = audit.conditions.settings.relabel, wording.quoted(audit.conditions.target_name)
    n_class = line.n_target if relabel is None else line.n_candidates
    images = f"{wording.count(n_planted)} of the {wording.count(n_class)} training images"
    if relabel is None:
        return f"{images} of class {target} got the stamp"
    source = "the other classes" if relabel == "all" else f"class {wording.quoted(names[relabel])}"
    return f"{images} of {source} got the stamp and the label {target}"


def _twins(share: Interval) -> str:
    if share.high - share.low < 1e-9:
        return f"{wording.percent(share.mean)} in every seed"
    return f"{wording.short_percent(share.low)} to {wording.short_percent(share.high)}"


def examples(audit: Audit) -> ShownExamples | None:
    """The visible evidence: of a cue in the data, else of what was planted."""
    names = audit.conditions.data.class_names
    there = audit.already
    if there is not None and there.cues:
        cue = there.cues[0].cue
        target = wording.quoted(names[cue.target])
        return ShownExamples(
            intro=f"Test images of other classes, clean and with the cue, and the probability of {target}:",
            images=tuple(_tried(image, names) for image in cue.tried),
            caption="Those that the cue moves most. The box is where it changes the image most.",
        )
    if audit.picked_up is None or not audit.picked_up.examples.images:
        return None
    chosen, target = audit.picked_up.examples, wording.quoted(audit.conditions.target_name)
    return ShownExamples(
        intro=f"Test images, clean and stamped, and the probability that the model gives to {target}:",
        images=tuple(_example(image, names, audit.conditions.target_name) for image in chosen.images),
        caption=(
            f"Model of seed {chosen.seed} with {chosen.pattern} in {wording.images(chosen.n_planted)}; grey: "
            "its clean twin, the same training without any stamp. One image of each of the first other "
            "classes, taken in order, not chosen by outcome."
        ),
    )


def _tried(image: TriedImage, names: Sequence[str]) -> Example:
    label = wording.quoted(names[image.label])
    bars = (("clean", image.probability), ("stamped", image.stamped_probability))
    stamped = reduced(image.stamped_picture, "The same image with the cue on it.")
    return Example(
        file="" if image.name == str(image.position) else image.name,
        clean=reduced(image.picture, f"Test image {image.name}, of class {label}."),
        stamped=stamped,
        outline=box_path(image.box),
        view=_view(image.stamped_picture),
        under=(("of class", label), ("with the cue", "")),
        bars=tuple(
            Bar(
                kind=kind,
                label="clean" if kind == "clean" else "with the cue",
                share=share,
                text=wording.short_percent(share),
            )
            for kind, share in bars
        ),
    )


def _view(uri: str) -> str:
    whole = shown(uri, "")
    return f"0 0 {whole.width} {whole.height}"


def _example(image: ExampleImage, names: Sequence[str], target: str) -> Example:
    label = wording.quoted(names[image.label])
    answers = tuple(wording.quoted(names[answer]) for answer in (image.prediction, image.stamped_prediction))
    bars = (
        ("clean", image.probability),
        ("stamped", image.stamped_probability),
        ("twin", image.twin_stamped_probability),
    )
    labels = {"clean": "clean", "stamped": "stamped", "twin": "twin, stamped"}
    return Example(
        file="" if image.name == str(image.position) else image.name,
        clean=shown(
            image.picture, f"Test image {image.name}, of class {label}; the model says {answers[0]}."
        ),
        stamped=shown(
            image.stamped_picture,
            f"The same image stamped: the model says {answers[1]}, with probability "
            f"{wording.percent(image.stamped_probability)} for {wording.quoted(target)}.",
        ),
        outline="",
        view=_view(image.stamped_picture),
        under=(("says", answers[0]), ("says", answers[1])),
        bars=tuple(
            Bar(kind=kind, label=labels[kind], share=share, text=wording.short_percent(share))
            for kind, share in bars
        ),
    )
