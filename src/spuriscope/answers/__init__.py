"""The answers of an audit, as values: one per question, and the conditions they hold under.

The audit makes them, the page shows them, `audit.json` holds them (docs/audit-json.md). A question that was
not asked, or could not be answered, is None.
"""

from spuriscope.answers.audit import FORMAT, Audit, Deletion, FailedMethod, Left, Reaction, Unanswered
from spuriscope.answers.conditions import Conditions, DataFacts, Quality, Settings
from spuriscope.answers.found import (
    AlreadyThere,
    Explained,
    Explanation,
    FoundAgain,
    FoundAt,
    FoundCue,
    Proven,
    RecurringCue,
    Search,
    ShownImage,
    TriedImage,
)
from spuriscope.answers.planted import (
    DoseResponse,
    DoseSummary,
    ExampleImage,
    Examples,
    Headline,
    PickedUp,
    PlayedAnswer,
    PlayedPattern,
    Player,
    Replicate,
    WeightImportance,
)
from spuriscope.answers.recognised import RecognisedImage, Recognition

__all__ = [
    "FORMAT",
    "AlreadyThere",
    "Audit",
    "Conditions",
    "DataFacts",
    "Deletion",
    "DoseResponse",
    "DoseSummary",
    "ExampleImage",
    "Examples",
    "Explained",
    "Explanation",
    "FailedMethod",
    "FoundAgain",
    "FoundAt",
    "FoundCue",
    "Headline",
    "Left",
    "PickedUp",
    "PlayedAnswer",
    "PlayedPattern",
    "Player",
    "Proven",
    "Quality",
    "Reaction",
    "RecognisedImage",
    "Recognition",
    "RecurringCue",
    "Replicate",
    "Search",
    "Settings",
    "ShownImage",
    "TriedImage",
    "Unanswered",
    "WeightImportance",
]
