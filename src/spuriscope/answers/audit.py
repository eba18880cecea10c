"""All answers of an audit together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from spuriscope.answers.conditions import Conditions
from spuriscope.answers.found import AlreadyThere, FoundAgain
from spuriscope.answers.planted import PickedUp
from spuriscope.answers.recognised import Recognition
from spuriscope.deletion.check import DeletionCheck
from spuriscope.membership.attacked import Membership
from spuriscope.membership.canaries import Canaries
from spuriscope.statistics import Interval

__all__ = ["FORMAT", "Audit", "Deletion", "FailedMethod", "Left", "Reaction", "Unanswered"]

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class FailedMethod:
    """A deletion method that failed."""

    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is left of a cue, over seeds.

    Attributes:
        score: share of the test images of other classes that stamping moves.
        spurious_accuracy: share of these, stamped, that are classified correctly.
        clean_accuracy: share of all test images, unstamped, that are classified correctly.
    """

    score: Interval
    spurious_accuracy: Interval
    clean_accuracy: Interval


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What removes a planted cue again.

    Attributes:
        pattern: what was planted, and is to be deleted.
        target: its class.
        n_planted: number of images with it.
        seeds: replications.
        seeds_needed: least number for a verdict: `stays` and `gone`.
        training_seconds: mean duration of one training.
        was_learnt: whether there was a cue to delete, see `DeletionCheck`.
        before: the models that saw the images.
        oracle: models trained from the start without them.
        disagreement: share of the test images on which two such models answer differently.
        methods: each method, judged; none where only training again can be tried.
        failed: methods that failed.
        left_out: methods that were not tried, because they take longer than training again.
        recommended: the method to take; None where only training again does it.
    """

    pattern: str
    target: int
    n_planted: int
    seeds: tuple[int, ...]
    seeds_needed: Mapping[str, int]
    training_seconds: float
    was_learnt: bool
    before: Left
    oracle: Left
    disagreement: Interval
    methods: tuple[DeletionCheck, ...]
    failed: tuple[FailedMethod, ...]
    left_out: tuple[str, ...]
    recommended: str | None


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What a named pattern does to a finished model.

    Attributes:
        pattern: its name.
        picture: the pattern, a PNG in a data URI.
        target: the class to which it pulls most test images of other classes.
        score: the share of these that it moves.
        n_asked: number of these images.
    """

    pattern: str
    picture: str
    target: int
    score: float
    n_asked: int


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A question that was not answered, and why."""

    question: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The answers to a user's questions about her data; `spuriscope.load_audit` reads one back.

    Attributes:
        format: version of the document's layout.
        conditions: what the numbers hold for.
        already: is there a cue in the data already?
        picked_up: would my training pick one up?
        found_again: would I have noticed?
        membership: who can be recognised?
        canaries: how much privacy is lost at least?
        deletion: how do I get rid of it?
        reactions: how a finished model reacts to named patterns; none where models were trained.
        recognition: who can be recognised in a finished model, where shadow models were trained?
        unanswered: the questions that have no answer, and why.
    """

    format: Literal[2] = 2
    conditions: Conditions
    already: AlreadyThere | None = None
    picked_up: PickedUp | None = None
    found_again: FoundAgain | None = None
    membership: Membership | None = None
    canaries: Canaries | None = None
    deletion: Deletion | None = None
    reactions: tuple[Reaction, ...] = ()
    recognition: Recognition | None = None
    unanswered: tuple[Unanswered, ...] = ()

    def _repr_html_(self) -> str:
        """In a notebook: the answer in one sentence, and a row for each question."""
        from spuriscope.report.front import headline, quality
        from spuriscope.report.notebook import as_table, as_text
        from spuriscope.report.verdicts import tiles

        rows = [(tile.question, tile.number, tile.word, tile.detail) for tile in tiles(self)]
        said = [line for line in (headline(self), quality(self)) if line]
        return as_text(*said) + as_table(("question", "answer", "what to do", "because"), rows)

    @property
    def n_seeds(self) -> int:
        """Number of replications."""
        return len(self.conditions.settings.seeds)
