"""Who can be recognised in a finished model, as shadow models tell."""

from dataclasses import dataclass

from spuriscope.membership.one_model import AttackOnModel

__all__ = ["RecognisedImage", "Recognition"]


@dataclass(frozen=True, kw_only=True)
class RecognisedImage:
    """A training image that stands out.

    Attributes:
        position: among the training images.
        name: its file or key; the position as text, where it has none.
        label: that it was trained on with.
        picture: of it as the model saw it, small; a PNG in a data URI.
        chance: with which an image that the model never saw stands out as much: one more than such outsiders
            do, of one more than there are.
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
        attacks: each of them, judged.
        strongest: the name of the one that recognises most at 1 % false alarms; with too few outsiders for
            these, of the one that tells most pairs.
        images: the training images that it recognises best, the best first.
        n_shadows: shadow models; half of them know nothing of any one image.
        n_train: images that each was trained on, one more or less.
        n_members: images that the finished model was trained on.
        n_outsiders: images that it was not.
        n_copies: test images that were left out, as they are copies of others.
    """

    attacks: tuple[AttackOnModel, ...]
    strongest: str
    images: tuple[RecognisedImage, ...]
    n_shadows: int
    n_train: int
    n_members: int
    n_outsiders: int
    n_copies: int
