"""Estimate how long an audit will take, before its first training, by timing a short one."""

from collections.abc import Callable
from dataclasses import replace

import torch

from spuriscope.adapters import Fit
from spuriscope.auditing.plan import AuditPlan
from spuriscope.data.image_set import ImageSet
from spuriscope.training import Cell, Part, train_cell
from spuriscope.training.many import n_cores

__all__ = ["told_estimate", "told_trainings"]

N_TIMED = 512  # images of one epoch


def told_estimate(plan: AuditPlan, duration: Callable[[float], str], n_workers: int | None = None) -> str:
    """How long the trainings of a plan will take, in words.

    Args:
        plan: what is trained.
        duration: puts seconds into words.
        n_workers: processes that train; one per core by default.
    """
    cell = plan.cell(next(iter(plan.patterns)), 0, plan.seeds[0])
    told = told_trainings(
        plan.n_trainings, cell, plan.data, fit=plan.fit, duration=duration, n_workers=n_workers
    )
    return told if plan.fit is not None else f"{told}, and searches and deletions besides"


def told_trainings(
    n: int,
    cell: Cell,
    data: ImageSet,
    *,
    fit: Fit | None,
    duration: Callable[[float], str],
    n_workers: int | None = None,
) -> str:
    """How long some trainings will take, in words.

    Args:
        n: number of trainings.
        cell: one of them.
        data: what it is trained on.
        fit: trains in place of us; its duration is unknown.
        duration: puts seconds into words.
        n_workers: processes that train; one per core by default.
    """
    if fit is not None:
        return f"{n:,} calls of fit, one after the other; the first will tell how long they take"
    workers = n_workers or n_cores()
    each = _seconds_each(cell, data)
    cores = "core" if workers == 1 else "cores"
    took = f"{each:.1f} s" if each < 10 else duration(each)
    return f"{n:,} trainings of about {took}: about {duration(n * each / workers)} on {workers} {cores}"


def _seconds_each(cell: Cell, data: ImageSet) -> float:
    """Seconds of one training on one core, from an epoch on a few images; the first epoch warms up."""
    n = cell.n_images(data)
    few = torch.arange(min(n, N_TIMED))
    short = replace(
        cell, part=Part.of(few), recipe=replace(cell.recipe, epochs=1, milestones=(), privacy=None)
    )
    train_cell(short, data, device="cpu")
    return train_cell(short, data, device="cpu").n_seconds * cell.recipe.epochs * n / len(few)
