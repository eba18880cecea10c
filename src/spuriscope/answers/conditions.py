"""What the numbers of an audit hold for: data, settings, how good the models are, versions and hardware."""

from dataclasses import dataclass

from spuriscope.environment import Environment
from spuriscope.planting import Placement, Relabel
from spuriscope.statistics import Interval
from spuriscope.training import Recipe

__all__ = ["Conditions", "DataFacts", "Quality", "Settings"]


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data set.

    Attributes:
        name: as the user calls it.
        fingerprint: of the content, `ImageSet.fingerprint`.
        shape: channels, height, width.
        n_train: training images.
        n_test: test images.
        largest_share: of the largest class among the test images: the accuracy of a constant answer.
        class_names: position = label.
    """

    name: str
    fingerprint: str
    shape: tuple[int, int, int]
    n_train: int
    n_test: int
    largest_share: float
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was trained.

    Attributes:
        model: the architecture, or the name of the user's training function.
        recipe: how each model is trained; None where a function of the user's did it.
        target: the class whose images carry the pattern, or whose label they get; None where nothing is
            planted.
        patterns: their names.
        counts: numbers planted, ascending; the first is 0, the clean twins.
        seeds: one replication each.
        threshold: least rise of a probability that counts as moved.
        placement: where patterns stand, see `Plant`.
        size: requested size of the patterns, in pixels; None for their own.
        relabel: whose images get the target's label, see `Plant`.
    """

    model: str
    recipe: Recipe | None
    target: int | None
    patterns: tuple[str, ...]
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    threshold: float
    placement: Placement = "fixed"
    size: int | None = None
    relabel: Relabel | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the models of the unchanged data are.

    Attributes:
        train_accuracy: on up to 2,000 training images.
        test_accuracy: on up to 2,000 test images.
        chance: share of the largest class among these: the accuracy of a constant answer.
        n_test: number of these test images.
        is_near_chance: whether nothing should be claimed about the models, see `Adequacy`.
    """

    train_accuracy: Interval
    test_accuracy: Interval
    chance: float
    n_test: int
    is_near_chance: bool


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the numbers hold for.

    Attributes:
        spuriscope: version of the program.
        created: when the audit ended, ISO 8601, UTC.
        command: command line that repeats it; None when it was called from Python.
        seconds: duration.
        environment: versions and hardware.
        data: the data set.
        settings: what was trained.
        quality: how good the models are; None where that was not measured.
    """

    spuriscope: str
    created: str
    command: str | None
    seconds: float
    environment: Environment
    data: DataFacts
    settings: Settings
    quality: Quality | None = None

    @property
    def target_name(self) -> str:
        """The name of the target class."""
        target = self.settings.target
        return "" if target is None else self.data.class_names[target]
