"""A torch module as `predict`: run in evaluation mode on its own device, and left as it was."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from spuriscope.adapters.form import FormSettings, ModelForm, pieces
from spuriscope.argument_types import checked
from spuriscope.errors import MeasureError
from spuriscope.measures import Predict

__all__ = ["ask_module", "module_predict", "table"]


@checked(MeasureError)
def module_predict(module: nn.Module, **form: Unpack[FormSettings]) -> Predict:
    """Make `predict` from any torch module.

    The module runs in evaluation mode, on the device and in the precision of its parameters; afterwards what
    was in training mode is put back. It gets 500 images at a time, or fewer where they are large. Rows that
    do not sum to 1 are taken for logits, unless `logits` says otherwise. Of several answers the one called
    `output` (or "logits") is taken, else the first.

    Args:
        module: maps a batch of images (n, channels, height, width) to logits or probabilities (n, n_classes).
        form: how the module wants its images: `mean=` and `std=` of its normalisation, `image_size=`,
            `scale=255`, `channels=`, `bgr=`; and `classes=`, the label of each column of its answers, where
            they are in another order. See `ModelForm`.

    Returns:
        predict: images (n, channels, height, width), uint8 or in [0, 1], to probabilities (n, n_classes).
        It raises MeasureError where the module cannot take the images.

    Raises:
        ConfigError: a setting is out of range.
    """
    settings = ModelForm(**form)

    def predict(images: Tensor) -> Tensor:
        parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
        with _evaluation(module):
            return ask_module(module, images, settings, like=parameter)

    return predict


@torch.no_grad()
def ask_module(
    function: Callable[[Tensor], Any],
    images: Tensor,
    form: ModelForm,
    *,
    like: Tensor | None = None,
    source: str = "the module",
) -> Tensor:
    """Class probabilities (n, n_classes) on the CPU, from any function from tensors to tensors.

    Args:
        function: the function to ask.
        images: (n, channels, height, width), uint8 or in [0, 1].
        form: how images are prepared and answers read.
        like: a tensor with the device and the precision of the input.
        source: what errors call the function.

    Raises:
        MeasureError: it cannot take the images, or does not answer with rows of numbers.
    """
    answers = []
    for piece in pieces(images, form.image_size):
        x = form.prepare(piece if like is None else piece.to(like.device))
        if form.channels_last:
            x = x.permute(0, 2, 3, 1).contiguous()
        try:
            answer = table(function(x if like is None else x.to(like.dtype)), form.output, source)
        except (RuntimeError, ValueError, IndexError) as error:
            raise MeasureError(
                f"{source} cannot take images {tuple(x.shape)} ({' '.join(str(error).split())[:160]}); give "
                "the data it was made for, or the size and channels it wants (image_size=, channels=)"
            ) from None
        answers.append(torch.atleast_1d(answer.detach().float().cpu()))
    return form.read(torch.cat(answers), len(images), source)


def table(answer: Any, output: str | None, source: str) -> Tensor:
    """Find the tensor in what a module returns."""
    if isinstance(answer, Mapping):
        name = output or ("logits" if "logits" in answer else next(iter(answer), ""))
        if name not in answer:
            raise MeasureError(
                f"{source} has no output {name!r}; choose one of {', '.join(map(str, answer))}"
            )
        answer = answer[name]
    elif isinstance(answer, tuple | list) and answer:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise MeasureError(f"{source} answers with {type(answer).__name__}, not with a tensor; wrap it")
    return answer


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, then put back into training mode what was in it."""
    trained = [part for part in module.modules() if part.training]
    try:
        if trained:
            module.eval()
        yield
    finally:
        for part in trained:
            part.training = True
