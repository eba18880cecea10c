"""Who can be recognised in a finished model, according to shadow models."""

from dataclasses import dataclass

from spuriscope.membership.one_model import AttackOnModel

__all__ = ["RecognisedImage", "Recognition"]


@dataclass(frozen=True, kw_only=True)
class RecognisedImage:
    """A training image that stands out.

    Attributes:
        position: among the training images.
        name: its file or key; the position as text, where it has none.
        label: the label in its training.
        picture: of it as the model saw it, small; a PNG in a data URI.
        chance: probability that an image the model never saw stands out as much: (k + 1) / (m + 1), where k
            of m outsiders do.
    """

    position: int
    name: str
    label: int
    picture: str
    chance: float


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """Who can be recognised in the finished model: attacks on it, with shadow models to compare.

    Attributes:
        attacks: each attack, judged.
        strongest: name of the attack that recognises most at 1 % false alarms; with too few outsiders for
            that, of the one with the largest AUC.
        images: the training images that it recognises best, the best first.
        n_shadows: shadow models; half of them never saw a given image.
        n_train: training images of each, give or take one.
        n_members: images that the finished model was trained on.
        n_outsiders: other images.
        n_copies: test images that were left out because they are copies of others.
    """

    attacks: tuple[AttackOnModel, ...]
    strongest: str
    images: tuple[RecognisedImage, ...]
    n_shadows: int
    n_train: int
    n_members: int
    n_outsiders: int
    n_copies: int
