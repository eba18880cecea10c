"""What searches found: in the unchanged data, and of what was planted."""

from dataclasses import dataclass
from typing import Literal

from spuriscope.discovery.finding import Carriers, Proof
from spuriscope.patterns.kinds import Box
from spuriscope.statistics import Interval

__all__ = [
    "AlreadyThere",
    "Explained",
    "Explanation",
    "FoundAgain",
    "FoundAt",
    "FoundCue",
    "Proven",
    "RecurringCue",
    "Search",
    "ShownImage",
    "TriedImage",
]

Picture = str  # a PNG in a data URI


@dataclass(frozen=True, kw_only=True)
class Explained:
    """An autoencoder's version of an image, and its residual: a heat map, and the mean."""

    reconstruction: Picture
    left_over: Picture
    left_over_mean: float


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """An image of the data.

    Attributes:
        position: in its part of the data.
        name: its file or key; the position as text, where it has none.
        picture: of it.
        explained: an autoencoder's version of it, where one was fitted.
        box: where the cue stands on it; None where it is all over the image, or there is no cue.
    """

    position: int
    name: str
    picture: Picture
    explained: Explained | None = None
    box: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The autoencoder through which suspected images are shown, see docs/audit-json.md."""

    components: int
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    n_fitted: int
    mean_square_error: float
    left_over_max: float
    fresh: tuple[ShownImage, ...]


@dataclass(frozen=True, kw_only=True)
class TriedImage:
    """A fresh image before and after the cue was put on it; probabilities are of the cue's class."""

    position: int
    name: str
    label: int
    picture: Picture
    stamped_picture: Picture
    probability: float
    stamped_probability: float
    box: Box | None


@dataclass(frozen=True, kw_only=True)
class FoundCue:
    """A finding of one search, see `Finding`, with the pictures that show it.

    Attributes:
        picture: the reconstructed pattern.
        images: the suspected images in which it is strongest.
        tried: fresh images of other classes, those that it moves most first.
    """

    target: int
    examples: tuple[int, ...]
    names: tuple[str, ...] | None
    score: float
    null: tuple[float, ...]
    p_value: float
    p_group: float
    p_effect: float
    source: str
    kind: str
    placement: str
    carriers: Carriers | None
    proof: Proof | None
    picture: Picture
    images: tuple[ShownImage, ...]
    tried: tuple[TriedImage, ...]

    @property
    def null_max(self) -> float:
        """The largest score of a control."""
        return max(self.null, default=0.0)

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the suspected images."""
        return self.names or tuple(map(str, self.examples))


Proven = Literal["proven", "not proven", "seeds disagree", "not tried"]


@dataclass(frozen=True, kw_only=True)
class RecurringCue:
    """A finding in the unchanged data that most of the searched models make.

    Attributes:
        cue: as the first of these models made it; its examples are those that most of them name.
        seeds: of the models that make it.
        score: share of the test images of other classes that the cue moves, over the searched models.
        score_without: the same in models trained again without the images that carry it; None where that was
            not tried.
        n_left_out: number of these images: those named, and others of the class in which it is as strong.
        is_proven: "proven": in each of these at least half of the effect is gone; "not proven": in none.
    """

    cue: FoundCue
    seeds: tuple[int, ...]
    score: Interval
    score_without: Interval | None
    n_left_out: int
    is_proven: Proven


@dataclass(frozen=True, kw_only=True)
class AlreadyThere:
    """Is there a cue in the data already? A search of the unchanged data.

    Attributes:
        seeds: of the models searched; a single model cannot make a finding recur.
        cues: findings of most models, proven ones first.
        once: findings of fewer models.
        n_train: training images searched.
        n_fresh: fresh images that each pattern is stamped on.
        n_controls: largest number of control groups that a finding is compared with.
        level: significance level over all suspects of a search.
        blind_spots: what could not have been seen, a sentence each.
        taken_out: positions of the images of all findings, which the planted models are not trained on.
        embedding: the autoencoder; None where nothing was found, or there are too few images.
    """

    seeds: tuple[int, ...]
    cues: tuple[RecurringCue, ...]
    once: tuple[FoundCue, ...]
    n_train: int
    n_fresh: int
    n_controls: int
    level: float
    blind_spots: tuple[str, ...]
    taken_out: tuple[int, ...]
    embedding: Explanation | None


@dataclass(frozen=True, kw_only=True)
class Search:
    """The search of one planted model, and what was planted, to judge it.

    Attributes:
        seed: of the model.
        planted: positions of the planted images.
        n_found: number of planted images that are named.
        n_others: number of other images that are named.
        findings: the most certain first.
    """

    seed: int
    planted: tuple[int, ...]
    n_found: int
    n_others: int
    findings: tuple[FoundCue, ...]


@dataclass(frozen=True, kw_only=True)
class FoundAt:
    """The searches at one number planted.

    Attributes:
        n_planted: number of planted images.
        score: share of the test images of other classes that the pattern moves, over these models.
        searches: one per seed.
        is_found: whether at least half of the planted images are named in each.
    """

    n_planted: int
    score: Interval
    searches: tuple[Search, ...]
    is_found: bool


@dataclass(frozen=True, kw_only=True)
class FoundAgain:
    """Would I have noticed? A search, not told of the cue, of models in which one was planted.

    Attributes:
        pattern: what was planted.
        target: its class.
        n_train: training images searched, without those of findings in the unchanged data.
        n_fresh: fresh images that each pattern is stamped on.
        n_controls: largest number of control groups that a finding is compared with.
        level: significance level over all suspects of a search.
        doses: one entry per number tried, ascending; the last is the first that was found, if any was.
        embedding: the autoencoder; None where nothing was found, or there are too few images.
    """

    pattern: str
    target: int
    n_train: int
    n_fresh: int
    n_controls: int
    level: float
    doses: tuple[FoundAt, ...]
    embedding: Explanation | None

    @property
    def others(self) -> tuple[int, ...]:
        """Positions of images that any search named although nothing was planted in them."""
        return tuple(
            sorted(
                {
                    position
                    for dose in self.doses
                    for search in dose.searches
                    for finding in search.findings
                    for position in finding.examples
                    if position not in search.planted
                }
            )
        )

    @property
    def fewest(self) -> int | None:
        """The smallest number planted that was found again; None where none was."""
        return next((dose.n_planted for dose in self.doses if dose.is_found), None)
