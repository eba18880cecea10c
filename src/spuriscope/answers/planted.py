"""Would my training pick up a rare cue? The answer: the effect of planting, by pattern and number."""

from dataclasses import dataclass

from spuriscope.statistics import N50, Interval

__all__ = [
    "DoseResponse",
    "DoseSummary",
    "ExampleImage",
    "Examples",
    "Headline",
    "PickedUp",
    "PlayedAnswer",
    "PlayedPattern",
    "Player",
    "Replicate",
    "WeightImportance",
]

Picture = str  # a PNG in a data URI


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The fewest planted images with which stamping moves half of all test images of other classes.

    Attributes:
        pattern: its name.
        n_planted: number of training images with it.
        score: share of the test images of other classes that stamping moves towards the target class.
        twin_score: the same of the clean twins.
        reached_half: whether any pattern was enough.
        n_target: training images of the target class.
        n_candidates: training images that could carry the pattern.
        n_stamped: test images that are stamped: those outside the target class.
    """

    pattern: str
    n_planted: int
    score: Interval
    twin_score: Interval
    reached_half: bool
    n_target: int
    n_candidates: int
    n_stamped: int


@dataclass(frozen=True, kw_only=True)
class ExampleImage:
    """A test image before and after stamping; probabilities are of the target class."""

    position: int
    name: str
    label: int
    picture: Picture
    stamped_picture: Picture
    probability: float
    stamped_probability: float
    prediction: int
    stamped_prediction: int
    twin_stamped_probability: float


@dataclass(frozen=True, kw_only=True)
class Examples:
    """One model's answers on the first test image of each of the first classes that are not the target."""

    pattern: str
    n_planted: int
    seed: int
    images: tuple[ExampleImage, ...]


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One training, as measured; the measures are those of `Measures`, and `train_accuracy`.

    Attributes:
        pattern: with which it was measured.
        n_planted: number of images with it; 0 for a clean twin.
        seed: of the training.
        cell: hash of everything that the training depends on; None for a user's function.
        train_loss: of the last epoch; None where there was none.
    """

    pattern: str
    n_planted: int
    seed: int
    cell: str | None
    train_loss: float | None
    score_all: float
    score_non_target: float
    normalised_score: float
    clean_accuracy: float
    spurious_accuracy: float
    predicted_share: float
    clean_predicted_share: float
    train_accuracy: float


@dataclass(frozen=True, kw_only=True)
class DoseSummary:
    """The measures over seeds at one number planted."""

    n_planted: int
    score_all: Interval
    score_non_target: Interval
    normalised_score: Interval
    clean_accuracy: Interval
    spurious_accuracy: Interval
    predicted_share: Interval
    clean_predicted_share: Interval
    train_accuracy: Interval


@dataclass(frozen=True, kw_only=True)
class DoseResponse:
    """The effect of planting one pattern, by number planted.

    Attributes:
        pattern: its name.
        kind: what it does: add, cover or shade.
        picture: of it.
        n_touched: pixels that it may change.
        norm: mean L2 distance between a test image and its stamped copy, pixels in [0, 1].
        n50: number of planted images that moves half of the stamped ones.
        summary: one entry per number planted, ascending, the clean twins first.
        cells: one entry per training.
    """

    pattern: str
    kind: str
    picture: Picture
    n_touched: int
    norm: float
    n50: N50
    summary: tuple[DoseSummary, ...]
    cells: tuple[Replicate, ...]


@dataclass(frozen=True, kw_only=True)
class WeightImportance:
    """For each pixel the largest weight from it into the network, with and without planting."""

    pattern: str
    n_planted: int
    seed: int
    planted: tuple[tuple[float, ...], ...]
    twin: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PlayedAnswer:
    """A model's answer on an image: probabilities of the target and of the likeliest class."""

    target: float
    own: float
    prediction: int


@dataclass(frozen=True, kw_only=True)
class PlayedPattern:
    """One pattern of the player.

    Attributes:
        pattern: its name.
        pictures: for each strength but 0, for each image: the image with the pattern mixed in at that
            strength.
        answers: for each number planted, for each strength, for each image: the model's answer.
    """

    pattern: str
    pictures: tuple[tuple[Picture, ...], ...]
    answers: tuple[tuple[tuple[PlayedAnswer, ...], ...], ...]


@dataclass(frozen=True, kw_only=True)
class Player:
    """Precomputed answers to play with: image, pattern, number planted, strength of the stamp.

    Attributes:
        seed: of the models.
        images: the clean images.
        labels: their classes.
        counts: numbers planted.
        strengths: of the stamp, from 0, the clean image, to 1.
        patterns: one for each.
    """

    seed: int
    images: tuple[Picture, ...]
    labels: tuple[int, ...]
    counts: tuple[int, ...]
    strengths: tuple[float, ...]
    patterns: tuple[PlayedPattern, ...]


@dataclass(frozen=True, kw_only=True)
class PickedUp:
    """Would my training pick up a rare cue?

    Attributes:
        headline: the strongest answer.
        examples: test images before and after stamping.
        dose_response: one entry for each pattern.
        weight_importance: where the model looks; None where its first layer does not connect all pixels.
        player: answers to play with; None where the pictures would fill the page.
    """

    headline: Headline
    examples: Examples
    dose_response: tuple[DoseResponse, ...]
    weight_importance: WeightImportance | None
    player: Player | None = None
