"""A finding: a class, the pattern that pulls images into it, and the training images that brought it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuriscope.data.image_set import Split
from spuriscope.patterns import AnyPattern, Anywhere, Transplanted

__all__ = ["Carriers", "Finding", "Proof", "names_of", "shown_as"]

N_NAMED = 8  # images in a notebook


def shown_as(names: tuple[str, ...] | None, examples: NDArray[np.int64]) -> tuple[str, ...]:
    """Names of images, or their positions where they have none."""
    return names or tuple(map(str, examples.tolist()))


def names_of(split: Split, positions: NDArray[np.int64]) -> tuple[str, ...] | None:
    """The names of some images of a split; None where they have none."""
    return None if split.names is None else tuple(split.names[place] for place in positions)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is left of a finding in a model that was trained again without its images.

    Attributes:
        score: spurious score of the reconstructed pattern in that model, on the same fresh images.
        n_left_out: images that it was not trained on.
    """

    score: float
    n_left_out: int


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """How many images of a class carry a mark, near-duplicates counted once.

    Attributes:
        n_train: training images that carry it.
        of_train: training images of the class.
        n_fresh: fresh images that carry it.
        of_fresh: fresh images of the class.
    """

    n_train: int
    of_train: int
    n_fresh: int
    of_fresh: int

    @property
    def are_fresh_too(self) -> bool:
        """Whether the share of fresh images that carry it is at least half that of training images."""
        return self.n_fresh > 0 and 2 * self.n_fresh * self.of_train >= self.n_train * self.of_fresh


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """A suspected spurious correlation with its evidence.

    Attributes:
        target: the class that the pattern pulls to.
        pattern: as reconstructed from the suspected images: added, covering or shading, covering
            anywhere; or what a transplant of a plugin takes from one of them.
        examples: (n,) int64, ascending: the suspected training images, positions in the training set.
        score: share of fresh images of other classes whose probability of `target` the pattern raises by more
            than the threshold.
        null: the same score for patterns made alike from control groups: look-alikes of the class among fresh
            images, and those behind the suspects among the training images. For a mark, of what natural
            images of the class have in its place. Controls are tried one after the other until the answer is
            clear.
        p_value: that at least one of the two claims is false, adjusted for all suspects of the search, see
            `evidence`.
        p_group: that natural groups of a class stand out so far, not adjusted; for a mark, that they do, and
            are as absent from fresh images.
        p_effect: that the pattern of a control group scores so high, not adjusted.
        names: (n,) of these images, their files or keys; None where they have none.
        source: the route that found it, "trace", "probe" or "marks".
        carriers: number of images that carry it; None where no mark was found that could be counted.
        proof: what retraining without the suspected images left; None if that was not asked for.
    """

    target: int
    pattern: AnyPattern
    examples: NDArray[np.int64]
    score: float
    null: tuple[float, ...]
    p_value: float
    p_group: float
    p_effect: float
    source: str
    names: tuple[str, ...] | None = None
    carriers: Carriers | None = None
    proof: Proof | None = None

    def __repr__(self) -> str:
        some = ", ".join(map(str, self.shown[:5])) + (", ..." if len(self.examples) > 5 else "")
        return (
            f"Finding(target={self.target}, {len(self.examples)} training images [{some}], "
            f"score {self.score:.2f}, p {self.p_value:.2g})"
        )

    def _repr_html_(self) -> str:
        """In a notebook: the cue, its effect, and the images that carry it."""
        from spuriscope.report.notebook import as_pictures, as_text

        named = ", ".join(self.shown[:N_NAMED]) + (", ..." if len(self.examples) > N_NAMED else "")
        lines = [
            f"{len(self.examples)} training images share a cue that pulls to class {self.target}",
            f"it moves {self.score:.0%} of fresh images, controls at most {max(self.null, default=0.0):.0%}; "
            f"p = {self.p_value:.2g}",
            f"images: {named}",
        ]
        if self.proof is not None:
            lines.append(f"trained again without them: {self.proof.score:.0%}")
        return as_text(*lines) + as_pictures([self.pattern.picture], ["the cue, as found"])

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the suspected images, or their positions where they have none."""
        return shown_as(self.names, self.examples)

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values, without the pattern's pixels and the null's single values."""
        return {
            "target": self.target,
            "examples": self.examples.tolist(),
            "names": None if self.names is None else list(self.names),
            "score": self.score,
            "null_mean": float(np.mean(self.null)) if self.null else 0.0,
            "null_max": max(self.null, default=0.0),
            "n_null": len(self.null),
            "p_value": self.p_value,
            "p_group": self.p_group,
            "p_effect": self.p_effect,
            "source": self.source,
            "kind": self.pattern.kind,
            "transplant": self.pattern.key if isinstance(self.pattern, Transplanted) else None,
            "placement": "anywhere" if isinstance(self.pattern, Anywhere) else "fixed",
            "carriers": None if self.carriers is None else asdict(self.carriers),
            "proof": None
            if self.proof is None
            else {"score": self.proof.score, "n_left_out": self.proof.n_left_out},
        }
