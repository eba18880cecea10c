"""The page of a search: each finding as a picture at its place, the images that carry it, and its effect."""

from collections.abc import Sequence
from dataclasses import dataclass

from spuriscope.data.image_set import Split
from spuriscope.discovery.exhibit import Exhibit, Tried
from spuriscope.discovery.finding import Finding
from spuriscope.patterns import Anywhere, Transplanted
from spuriscope.report import wording
from spuriscope.report.page import templates
from spuriscope.report.pictures import Shown, box_path, data_uri, reduced

__all__ = ["carried", "render_findings"]

N_IMAGES = 24  # shown of each finding; the others are named
KINDS = {"cover": "something covers the same place", "shade": "the tones were changed alike"}
ANYWHERE = "the same thing stands somewhere"


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A fresh image before and after stamping."""

    before: Shown
    after: Shown
    outline: str
    label: str
    p_before: str
    p_after: str


@dataclass(frozen=True, kw_only=True)
class _Image:
    """A training image that carries the cue, and the path of a box around it."""

    picture: Shown
    outline: str
    name: str


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A finding in the form that the template takes."""

    target: str
    claim: str
    cue: Shown
    tried: tuple[_Pair, ...]
    moved: str
    images: tuple[_Image, ...]
    caption: str
    sure: str
    n_images: str
    names: str


def render_findings(
    exhibits: Sequence[Exhibit],
    train: Split,
    class_names: Sequence[str],
    *,
    name: str,
    conditions: Sequence[tuple[str, str]],
    unseen: Sequence[str] = (),
    is_sure: bool = True,
) -> str:
    """The page as HTML in one file, without network or script.

    Args:
        exhibits: of the findings, the most certain first; none where there is nothing to report.
        train: the images that were searched, as the model saw them.
        class_names: position = label.
        name: of the data and the model.
        conditions: names and values, for the foot.
        unseen: what could not have been seen, see `blind_spots`.
        is_sure: False for a model near chance, for which no finding says nothing.
    """
    return (
        templates()
        .get_template("findings.html.j2")
        .render(
            name=name,
            headline=_headline([each.finding for each in exhibits], class_names, is_sure=is_sure),
            lead=_lead(len(train), unseen, found=bool(exhibits)),
            view="0 0 {} {}".format(*reversed(train.images.shape[2:])),
            findings=[_shown(each, train, class_names) for each in exhibits],
            foot=conditions,
        )
    )


def carried(finding: Finding) -> str:
    """Who carries a cue, and its effect beside nature's, as a sentence without its beginning."""
    moves = f"moves {wording.percent(finding.score)} of images of other classes"
    most = wording.percent(max(finding.null, default=0.0))
    carriers = finding.carriers
    if carriers is None:
        n = len(finding.examples)
        alike = f"{n} training images share it" if n > 1 else "one training image has it"
        return f"{alike}; it {moves}, patterns of natural look-alikes at most {most}"
    is_anywhere = isinstance(finding.pattern, Anywhere)
    agree = ANYWHERE if is_anywhere else KINDS.get(finding.pattern.kind, "they agree")
    natural = "natural pieces of its shape" if is_anywhere else "natural ones in its place"
    if isinstance(finding.pattern, Transplanted):
        agree = f"transplant {finding.pattern.name} takes the same"
        natural = "what it takes of natural ones"
    return (
        f"{agree} in {carriers.n_train} of {carriers.of_train} "
        f"training images, in {carriers.n_fresh or 'none'} of {carriers.of_fresh} fresh ones; it {moves}, "
        f"{natural} at most {most}"
    )


def _headline(findings: Sequence[Finding], class_names: Sequence[str], *, is_sure: bool) -> str:
    if not findings:
        return "Nothing to report" if is_sure else "Nothing found, which says nothing"
    first = findings[0]
    target = wording.quoted(class_names[first.target])
    one = f"Something in {wording.images(len(first.examples))} pulls others to {target}"
    more = len(findings) - 1
    return one if more == 0 else f"{one}, and {more} more cue{'s' * (more > 1)}"


def _lead(n_train: int, unseen: Sequence[str], *, found: bool) -> str:
    searched = f"All {wording.count(n_train)} training images were searched, for no cue in particular."
    if not found:
        searched += " No group of them both stands out from its class and moves fresh images."
    return " ".join([searched, *(f"What could not be seen: {reason}." for reason in unseen)])


def _shown(each: Exhibit, train: Split, class_names: Sequence[str]) -> _Shown:
    finding = each.finding
    target, n = wording.quoted(class_names[finding.target]), wording.images(len(finding.examples))
    called = dict(zip(finding.examples.tolist(), finding.shown, strict=True))
    sentence = carried(finding)
    return _Shown(
        target=target,
        claim=f"{sentence[0].upper()}{sentence[1:]}.",
        cue=reduced(data_uri(finding.pattern.picture), "The reconstructed cue."),
        tried=tuple(_pair(tried, class_names) for tried in each.tried),
        moved=(
            f"It moves {wording.count(each.n_moved)} of {wording.count(each.n_tried)} fresh images that were "
            "drawn; it moves these most."
        ),
        images=tuple(
            _Image(
                picture=reduced(data_uri(train.images[position]), f"Training image {called[position]}."),
                outline=box_path(box),
                name=called[position],
            )
            for position, box in zip(each.examples[:N_IMAGES].tolist(), each.boxes, strict=False)
        ),
        caption=_caption(each),
        sure=_sure(finding),
        n_images=n,
        names=", ".join(called[position] for position in each.examples.tolist()),
    )


def _caption(each: Exhibit) -> str:
    where = "The box is where the cue changes most."
    if each.boxes[0] is None:
        where = "The cue is all over the image."
    elif isinstance(each.finding.pattern, Anywhere):
        where = "The box is where the cue fits best."
    more = len(each.examples) - N_IMAGES
    rest = f" {wording.images(more)} more are named below." if more > 0 else ""
    least, most = f"{each.carried.min():.0%}", f"{each.carried.max():.0%}"
    share = least if least == most else f"{least} to {most}"
    return f"{where} Each holds {share} of what the reconstructed cue puts on a fresh image.{rest}"


def _sure(finding: Finding) -> str:
    text = (
        f"Two explanations have to be refuted. That these images stand out from their class by chance: p = "
        f"{finding.p_group:.2g}. That natural patterns do as much as the cue: p = {finding.p_effect:.2g}, of "
        f"{len(finding.null)} tried. Adjusted for everything that was searched: p = {finding.p_value:.2g}."
    )
    if finding.proof is not None:
        text += (
            f" Trained again without the {wording.images(finding.proof.n_left_out)}, the model is moved by "
            f"{wording.percent(finding.proof.score)} instead of {wording.percent(finding.score)}."
        )
    return text


def _pair(tried: Tried, class_names: Sequence[str]) -> _Pair:
    label = class_names[tried.label]
    before, after = (data_uri(image) for image in tried.images)
    return _Pair(
        before=reduced(before, f"Fresh image of {label}."),
        after=reduced(after, f"The same image of {label} with the cue."),
        outline=box_path(tried.box),
        label=label,
        p_before=wording.short_percent(tried.probabilities[0]),
        p_after=wording.short_percent(tried.probabilities[1]),
    )
