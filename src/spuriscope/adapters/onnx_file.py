"""An ONNX file as `predict`, run on the CPU by onnxruntime (extra `onnx`), which executes no code of it."""

import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from spuriscope.adapters.form import FormSettings, ModelForm, are_probabilities, pieces
from spuriscope.argument_types import checked
from spuriscope.errors import MeasureError, ModelError
from spuriscope.measures import Predict

__all__ = ["load_onnx"]

DTYPES: dict[str, DTypeLike] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
FLOATING = ("tensor(float16)", "tensor(float)", "tensor(double)")
MAPS = "seq(map("  # type of the output of scikit-learn's converter: a dictionary per image


@checked(ModelError)
def load_onnx(path: str | Path, *, n_classes: int | None = None, **form: Unpack[FormSettings]) -> Predict:
    """Make `predict` from the model in an ONNX file, with external data from beside it, if any.

    It must have one input of images: (n, channels, height, width), channels last, (n, height, width) for grey
    images, or flat; floating point in [0, 1], or integers 0 to 255; any batch size, or a fixed one. Its
    output must be a table of floating-point numbers, or a dictionary per image, as scikit-learn's converter
    writes.

    Args:
        path: of the file.
        n_classes: of the data; tells the answers from other outputs.
        form: how the model wants its images and gives its answers, see `ModelForm`. Logits must be declared:
            `logits=True`.

    Raises:
        ModelError: onnxruntime is not installed, there is no such file, or it is not a model of images.
        MeasureError: when `predict` is called: the images do not fit, or the answers are not probabilities.
        ConfigError: a setting is out of range.
    """
    path, settings = Path(path), ModelForm(**form)
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("reading ONNX files needs onnxruntime; pip install 'spuriscope[onnx]'") from None
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {path}; check the path")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # we report errors ourselves, in one line
    try:
        with redirect_stdout(StringIO()):  # onnxruntime prints a banner before it tries again
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no narrower common class
        raise ModelError(f"{path} is not an ONNX model that onnxruntime reads ({_short(error)})") from None
    model = _OnnxModel(
        path, session, _Input.of(path, session), _output(path, session, settings, n_classes), settings
    )
    return model.predict


@dataclass(frozen=True)
class _Input:
    """The input of a file: its name, its shape (None for any size), and its type."""

    name: str
    shape: tuple[int | None, ...]
    dtype: DTypeLike

    @classmethod
    def of(cls, path: Path, session: Any) -> "_Input":
        inputs = session.get_inputs()
        if len(inputs) == 1 and 2 <= len(inputs[0].shape) <= 4 and inputs[0].type in DTYPES:
            shape = tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)
            return cls(inputs[0].name, shape, DTYPES[inputs[0].type])
        shapes = ", ".join(f"{found.name} {found.shape} of {found.type}" for found in inputs)
        raise ModelError(
            f"{path} does not map images to probabilities: its inputs are {shapes}; export a model with one "
            "input (n, channels, height, width) and an output (n, classes)"
        )

    @property
    def is_integer(self) -> bool:
        return bool(np.issubdtype(self.dtype, np.integer))

    def is_last(self, channels: int) -> bool:
        """Whether channels come last, as far as the shape says."""
        if len(self.shape) != 4:
            return False
        first, last = self.shape[1], self.shape[3]
        return last != first and (last == channels or (first not in (1, 3) and last in (1, 3)))


@dataclass(frozen=True)
class _OnnxModel:
    """A session, and how to run it."""

    path: Path
    session: Any
    input: _Input
    output: Any
    form: ModelForm

    def predict(self, images: Tensor) -> Tensor:
        """Class probabilities (n, n_classes), for images (n, channels, height, width), uint8 or in [0, 1]."""
        answers = [self._answers(self._pixels(piece)) for piece in pieces(images, self.form.image_size)]
        found = torch.from_numpy(np.concatenate(answers)).float()
        form = self.form if self.form.logits is not None else replace(self.form, logits=False)
        is_table = found.ndim == 2 and found.shape[1] > 1
        if not form.logits and is_table and found.isfinite().all() and not are_probabilities(found):
            raise MeasureError(
                f"the output {self.output.name} of {self.path} is not a table of probabilities; if it holds "
                "logits, say so: logits=True, or --logits"
            )
        return form.read(found, len(images), f"the output {self.output.name} of {self.path}")

    def _pixels(self, images: Tensor) -> NDArray[Any]:
        """Images in the form that the file takes."""
        form, wanted = self.form, self.input
        is_last = wanted.is_last(images.shape[1]) or form.channels_last
        channels = wanted.shape[3 if is_last else 1] if len(wanted.shape) == 4 else None
        x = form.with_channels(images, channels)
        if wanted.is_integer and not form.changes_values:
            form = replace(form, scale=255)
        x = form.prepare(x)
        self._check_size(x, images, is_last)
        if is_last:
            x = x.permute(0, 2, 3, 1)
        if len(wanted.shape) == 3 and x.shape[1] == 1:
            x = x.squeeze(1)
        elif len(wanted.shape) == 2:
            x = x.flatten(1)
        if wanted.is_integer:
            x = x.round().clamp(np.iinfo(wanted.dtype).min, np.iinfo(wanted.dtype).max)
        pixels: NDArray[Any] = x.contiguous().numpy().astype(wanted.dtype)
        return pixels

    def _check_size(self, x: Tensor, images: Tensor, is_last: bool) -> None:
        """Raise where the file takes one size and the images have another."""
        shape = self.input.shape
        _, channels, height, width = x.shape
        own = {
            2: (channels * height * width,),
            3: (height, width),
            4: (height, width, channels) if is_last else (channels, height, width),
        }[len(shape)]
        fits = all(size in (None, found) for size, found in zip(shape[1:], own, strict=True))
        if fits and (len(shape) != 3 or channels == 1):
            return
        sides = {2: (), 3: shape[1:], 4: shape[1:3] if is_last else shape[2:]}[len(shape)]
        if len(sides) == 2 and sides[0] == sides[1] != None and sides != (height, width):  # noqa: E711
            advice = f"scale them: image_size={sides[0]}, or --input-size {sides[0]}"
        elif channels == 3:
            advice = "if it takes grey images: channels=1, or --channels 1"
        else:
            advice = "give the data it was made for"
        raise MeasureError(
            f"{self.path} takes images {list(shape)}, these are {tuple(images.shape)}; {advice}"
        )

    def _answers(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The output of the file; where its batch size is fixed, batches are padded."""
        size = self.input.shape[0] or len(pixels)
        found: list[NDArray[Any]] = []
        try:
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                n = len(part)
                if n < size:
                    part = np.concatenate([part, np.repeat(part[:1], size - n, axis=0)])
                (answer,) = self.session.run([self.output.name], {self.input.name: part})
                table = _of_maps(answer) if self.output.type.startswith(MAPS) else np.asarray(answer)
                found.append(table[:n] if len(table) == size else table)
        except Exception as error:  # onnxruntime's errors have no narrower common class
            raise MeasureError(
                f"{self.path} cannot take images {pixels.shape} ({_short(error)}); give the data it was made "
                "for, or export it again"
            ) from None
        return np.concatenate(found)


def _output(path: Path, session: Any, form: ModelForm, n_classes: int | None) -> Any:
    """The output that holds the answers: the named one, or the only candidate."""
    outputs = session.get_outputs()
    names = ", ".join(f"{output.name} {output.shape}" for output in outputs)
    if form.output is not None:
        for output in outputs:
            if output.name == form.output:
                return output
        raise ModelError(f"{path} has no output {form.output!r}; choose one of {names}")
    found = [output for output in outputs if output.type in FLOATING or output.type.startswith(MAPS)]
    if not found:
        raise ModelError(f"{path} does not map images to probabilities: its outputs are {names}")
    if len(found) > 1 and n_classes is not None:
        fitting = {n_classes, None} | ({1} if n_classes == 2 else set())
        found = [output for output in found if _columns(output) in fitting] or found
    if len(found) > 1:
        raise ModelError(f"{path} has several outputs; name the one to read, output= or --output: {names}")
    return found[0]


def _columns(output: Any) -> int | None:
    """Number of columns of an output; None where the file does not say."""
    shape: Sequence[Any] = output.shape or ()
    if output.type.startswith(MAPS):
        return None
    if len(shape) != 2:
        return None if not shape else 0
    return shape[1] if isinstance(shape[1], int) else None


def _of_maps(answers: Sequence[dict[Any, float]]) -> NDArray[np.float32]:
    """A table from one dictionary per image, with columns in the order of the class names or numbers."""
    keys = sorted(answers[0]) if answers else []
    return np.array([[answer[key] for key in keys] for answer in answers], dtype=np.float32)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
