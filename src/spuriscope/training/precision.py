"""Find by trial which precision trains fastest on this machine.

Processors differ: with bfloat16 arithmetic a convolutional net trains up to three times as fast in it;
without, many times slower. A trial of a few steps decides, once per process.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import prod

import torch
from torch import Tensor, nn

from spuriscope.models import build_model
from spuriscope.training.recipe import Precision, Recipe

__all__ = ["fastest_precision", "settled"]

LEAST_GAIN = 1.1  # a precision must be this many times as fast as float32 to replace it
MOST_VALUES = 2**21  # values of the images of a trial step: large images mean fewer of them
N_ROUNDS, ENOUGH_SECONDS = 5, 1.0
HOPELESS = 0.5  # of the speed of float32: slower precisions get no more rounds


def settled(
    recipe: Recipe, *, model: str, shape: Sequence[int], n_classes: int, device: str = "auto"
) -> Recipe:
    """The recipe with precision "auto" replaced by the one that trains this network fastest here.

    Recipes that clip or inspect each image's gradient stay at float32.

    Args:
        recipe: any.
        model: name of the architecture.
        shape: (channels, height, width) of the images.
        n_classes: of the data.
        device: where it will be trained.
    """
    if recipe.precision != "auto":
        return recipe
    if recipe.is_per_example:
        return replace(recipe, precision="float32")
    found = fastest_precision(model, tuple(shape), n_classes, recipe.batch_size, device)
    return replace(recipe, precision=found)


@cache
def fastest_precision(
    model: str, shape: tuple[int, ...], n_classes: int, batch_size: int, device: str = "auto"
) -> Precision:
    """The precision in which a network trains fastest on this machine; float32 unless another is 10 % faster.

    On a CPU bfloat16 is tried, on a GPU tf32 as well. The precisions take turns; the fastest step of each
    counts. A CPU is measured by processor time of one thread, so other work on the machine weighs little.

    Args:
        model: name of the architecture.
        shape: (channels, height, width) of the images.
        n_classes: logits.
        batch_size: images of a step; fewer are tried if they are large.
        device: "cpu", "cuda", or "auto".

    Raises:
        ModelError, ConfigError: there is no such model or device, or the images are too small.
    """
    from spuriscope.training.loop import one_thread, resolve_device

    place = resolve_device(device)
    candidates: tuple[Precision, ...] = ("float32", "bfloat16")
    if place.type == "cuda":
        candidates = ("float32", "tf32", "bfloat16")
    n_images = max(2, min(batch_size, MOST_VALUES // prod(shape)))
    with one_thread(place):
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((n_images, *shape), generator=generator).to(place)
        labels = torch.randint(n_classes, (n_images,), generator=generator).to(place)
        steps = {
            each: _Step(build_model(model, shape, n_classes).to(place), images, labels, each)
            for each in candidates
        }
        best = {each: float("inf") for each in candidates}
        spent = 0.0
        for number in range(N_ROUNDS + 1):
            for each, step in steps.items():
                seconds = step.seconds()
                spent += seconds
                if number:  # the first round warms up
                    best[each] = min(best[each], seconds)
            is_hopeless = all(best["float32"] < HOPELESS * best[each] for each in candidates[1:])
            if number and (is_hopeless or spent > ENOUGH_SECONDS):
                break
    fastest = min(candidates, key=best.__getitem__)
    return fastest if best["float32"] >= LEAST_GAIN * best[fastest] else "float32"


class _Step:
    """A training step of a network in one precision."""

    def __init__(self, module: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> None:
        from spuriscope.training.optimizer import Optimizer

        self.recipe = Recipe(precision=precision)
        self.module = module.train()
        self.optimizer = Optimizer(self.module.parameters(), self.recipe)
        self.images, self.labels = images, labels

    def seconds(self) -> float:
        """Duration of one step."""
        from spuriscope.training.gradient import set_gradient

        start = self._now()
        set_gradient(self.module, self.images, self.labels, self.recipe)
        self.optimizer.step(self.recipe.rate(0))
        return self._now() - start

    def _now(self) -> float:
        if self.images.device.type == "cuda":
            torch.cuda.synchronize(self.images.device)
            return time.perf_counter()
        return time.thread_time()
