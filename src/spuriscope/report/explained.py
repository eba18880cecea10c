"""Suspected images in three columns: the image, what an autoencoder explains of it, and the residual."""

from collections.abc import Sequence

from spuriscope.answers import Explained, Explanation, FoundCue, ShownImage
from spuriscope.report import wording
from spuriscope.report.pictures import ORANGE, css_colour, reduced
from spuriscope.report.section import Captioned, PlotScale, Table, Triple, Triples

__all__ = ["conditions", "explained_section", "left_over_caption", "left_over_scale"]


def explained_section(embedding: Explanation, finding: FoundCue) -> tuple[Triples, ...]:
    """The suspected images of a finding, and fresh ones to compare with.

    Args:
        embedding: the autoencoder, `embedding` of the document's `discovery`.
        finding: one of the findings.
    """
    fresh = _triples(embedding.fresh, "fresh image", embedding)
    return (
        Triples(
            title="Suspected",
            rows=_triples(finding.images, "training image", embedding),
        ),
        *([Triples(title="Ordinary, to compare", rows=fresh)] if fresh else []),
    )


def _triples(images: Sequence[ShownImage], kind: str, embedding: Explanation) -> tuple[Triple, ...]:
    return tuple(
        _triple(image, image.explained, kind, embedding) for image in images if image.explained is not None
    )


def _triple(image: ShownImage, made: Explained, kind: str, embedding: Explanation) -> Triple:
    name = f"{kind} {image.name}"
    mean = wording.short_percent(made.left_over_mean)
    left_alt = (
        f"Heat map of what is left over of {name}: {mean} of full brightness on average; full colour is "
        f"{wording.percent(embedding.left_over_max)}."
    )
    return Triple(
        title=name,
        pictures=(
            Captioned(reduced(image.picture, f"{name[0].upper()}{name[1:]}."), "image"),
            Captioned(reduced(made.reconstruction, f"What the autoencoder makes of {name}."), "explained"),
            Captioned(reduced(made.left_over, left_alt), f"left over {mean}"),
        ),
    )


def left_over_scale(embedding: Explanation) -> PlotScale:
    """The colours of the residuals, the same for all images."""
    return PlotScale(
        low=f"left over 0{wording.NBSP}%",
        high=wording.percent(embedding.left_over_max),
        gradient=f"transparent, {css_colour(ORANGE)}",
    )


def left_over_caption(embedding: Explanation) -> str:
    """Explain the three columns."""
    compared = " or the ones to compare" if embedding.fresh else ""
    return (
        "The three columns: an image, what an autoencoder that learnt from fresh images can draw of it, "
        "and what is left over, in percent of full brightness, with the mean under it. The autoencoder "
        "cannot draw a rare cue, so it stays in what is left over. The autoencoder did not learn from the "
        f"suspected images{compared}."
    )


def conditions(embedding: Explanation) -> Table:
    """How the autoencoder was made, and how well it draws its training images."""
    return Table(
        caption="The autoencoder of the three columns: a small convolutional variational one, trained on the "
        "evidence lower bound; the weight of the divergence rises from 0 to 1 over the first quarter.",
        header=(
            "fitted on",
            "latents",
            "steps",
            "images per step",
            "highest learning rate",
            "seed",
            "mean squared error per pixel, from 0 to 1",
        ),
        rows=(
            (
                f"{wording.count(embedding.n_fitted)} fresh images",
                str(embedding.components),
                str(embedding.steps),
                str(embedding.batch_size),
                f"{embedding.learning_rate:g}",
                str(embedding.seed),
                f"{embedding.mean_square_error:.2g}",
            ),
        ),
    )
