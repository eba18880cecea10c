"""A run made to forget: what `spuriscope forget` does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from spuriscope.checks import check_share
from spuriscope.data.image_set import ImageSet
from spuriscope.deletion.methods import Method, delete, method_name, planted_indices_of
from spuriscope.errors import DeletionError
from spuriscope.runs import Run

__all__ = ["forget"]


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
        images: positions of the images; all that carry a planted pattern by default.
        method: a name of `METHODS`, or a function like those.
        with_oracle: train the oracle too, and measure it.
        threshold: least rise of a probability that counts for the spurious score.

    Returns:
        The run with the new model in place of the old one, and as JSON values what `Run.score` says
        `before`, `after` and of the `oracle`, the images and the seconds.

    Raises:
        CheckpointError: the run is of other data.
        ConfigError: `threshold` leaves [0, 1].
        DeletionError: nothing was planted and no images are given; or as `delete`.
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
