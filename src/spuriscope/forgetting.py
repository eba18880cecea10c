"""Make a run forget, or repair a module of what a search finds in it: what `spuriscope forget` does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from torch import Tensor, nn

from spuriscope.adapters import FormSettings, module_predict
from spuriscope.checks import check_share
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import (
    Method,
    OfModules,
    delete,
    method_name,
    planted_indices_of,
    repair,
)
from spuriscope.discovery import Finding, discover
from spuriscope.discovery.discover import OnClass
from spuriscope.errors import DeletionError
from spuriscope.measures import Predict, accuracy, spurious_score
from spuriscope.runs import Run

__all__ = ["Mended", "MendedModule", "forget", "forget_of_module", "mend_module"]


def forget(
    run: Run,
    data: ImageSet,
    images: Tensor | Sequence[int] | None = None,
    method: str | Method = "repair",
    *,
    with_oracle: bool = False,
    threshold: float = 0.1,
) -> tuple[Run, dict[str, Any]]:
    """Make the model of a run forget images, and measure it before and after.

    Args:
        run: see `spuriscope.load_run`.
        data: what it was trained on.
        images: positions of the images; by default all that carry a planted pattern.
        method: a name of `METHODS`, or a function like those.
        with_oracle: whether to train and measure the oracle too.
        threshold: least rise of a probability that counts for the spurious score.

    Returns:
        The run with the new model, and as JSON values the measures of `Run.score` `before`, `after` and of
        the `oracle`, the images and the seconds.

    Raises:
        CheckpointError: the run was trained on other data.
        ConfigError: `threshold` leaves [0, 1].
        DeletionError: nothing was planted and no images are given; or as for `delete`.
    """
    check_share("threshold", threshold)
    positions = planted_indices_of(run.model, data) if images is None else images
    if images is None and not len(positions):
        raise DeletionError("nothing was planted in this run; name the images to forget with --images")
    plants = run.model.cell.plants
    deleted = delete(run.model, data, positions, method)
    alone = replace(run, twin=None)

    def measured(model: Any) -> dict[str, Any]:
        return replace(alone, model=model).score(data, plants, threshold=threshold)

    found: dict[str, Any] = {
        "method": method_name(method),
        "images": deleted.deletions[-1]["images"],
        "seconds": round(deleted.n_seconds, 3),
        "before": measured(run.model),
        "after": measured(deleted),
    }
    if with_oracle:
        oracle = delete(run.model, data, positions, "retrain")
        found |= {"oracle": measured(oracle), "oracle_seconds": round(oracle.n_seconds, 3)}
    return replace(run, model=deleted), found


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A cue found in a module, and the share of fresh images that it moves before and after the repair."""

    finding: Finding
    before: float
    after: float


@dataclass(frozen=True, eq=False, kw_only=True)
class MendedModule:
    """A module repaired of everything that a search found in it.

    Attributes:
        module: the new module.
        mended: each cue, in order of the repairs; empty where nothing was found or sought.
        images: positions of the images named to be forgotten; empty where the search named them.
        confidence_before: mean probability of their own class on these images; None where there are none.
        confidence_after: the same of the new module.
        accuracy_before: of the module, on fresh images.
        accuracy_after: of the new module.
    """

    module: nn.Module
    mended: tuple[Mended, ...]
    accuracy_before: float
    accuracy_after: float
    images: tuple[int, ...] = ()
    confidence_before: float | None = None
    confidence_after: float | None = None


def mend_module(
    module: nn.Module,
    data: ImageSet,
    *,
    images: Sequence[int] | None = None,
    method: str | OfModules = "repair",
    threshold: float = 0.1,
    on_class: OnClass | None = None,
    **form: Unpack[FormSettings],
) -> MendedModule:
    """Search a module for cues, and remove each.

    Args:
        module: any torch module, trained on `data`; it is not changed.
        data: the training images are searched, the test images are fresh.
        images: positions; only findings that name one of them are repaired. All by default.
        method: repair uses the cue of a finding; any other method that fits a module uses its images.
        threshold: least rise of a probability that counts.
        on_class: called after each class that is searched.
        form: how the module wants its images and gives its answers, see `ModelForm`.

    Raises:
        ConfigError: `threshold` leaves [0, 1].
        DeletionError, DiscoveryError, MeasureError: the module does not fit the data.
    """
    check_share("threshold", threshold)
    before = module_predict(module, **form)
    found = discover(before, train=data.train, holdout=data.test, threshold=threshold, on_class=on_class)
    if images is not None:
        found = [each for each in found if set(images) & set(each.examples.tolist())]
    mended = module
    for finding in found:
        if method == "repair":
            mended = repair(mended, data, finding, **form)
        else:
            mended = delete(mended, data, finding.examples.tolist(), method, **form)
    after = module_predict(mended, **form)

    def score(predict: Predict, finding: Finding) -> float:
        others = data.test.images[data.test.labels != finding.target]
        return spurious_score(predict, others, finding.pattern, finding.target, threshold=threshold)

    return MendedModule(
        module=mended,
        mended=tuple(
            Mended(finding=each, before=score(before, each), after=score(after, each)) for each in found
        ),
        accuracy_before=accuracy(before, data.test.images, data.test.labels),
        accuracy_after=accuracy(after, data.test.images, data.test.labels),
    )


def forget_of_module(
    module: nn.Module,
    data: ImageSet,
    images: Sequence[int],
    method: str | OfModules,
    **form: Unpack[FormSettings],
) -> MendedModule:
    """Make a module forget named images, without a search.

    Args:
        module: any torch module, trained on `data`; it is not changed.
        data: what it was trained on.
        images: positions of the images to forget.
        method: one that fits a module, see `spuriscope.delete`.
        form: how the module wants its images and gives its answers, see `ModelForm`.

    Raises:
        DeletionError: as for `spuriscope.delete`.
        MeasureError: the module does not fit the data.
    """
    forgot = delete(module, data, images, method, **form)
    own, labels = data.train.images[list(images)], data.train.labels[list(images)]

    def confidence(predict: Predict) -> float:
        return float(predict(own).gather(1, labels[:, None]).mean())

    before, after = module_predict(module, **form), module_predict(forgot, **form)
    return MendedModule(
        module=forgot,
        mended=(),
        accuracy_before=accuracy(before, data.test.images, data.test.labels),
        accuracy_after=accuracy(after, data.test.images, data.test.labels),
        images=tuple(images),
        confidence_before=confidence(before),
        confidence_after=confidence(after),
    )
