"""The options of every command that takes a run or a model in a file, and opening them."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spuriscope.cli.reading import read_data, read_data_of
from spuriscope.errors import ConfigError

if TYPE_CHECKING:
    from spuriscope.adapters import FormSettings
    from spuriscope.adequacy import Adequacy
    from spuriscope.data import ImageSet
    from spuriscope.measures import Predict
    from spuriscope.reading import Reading
    from spuriscope.runs import Run

__all__ = [
    "MODEL_SUFFIXES",
    "ModelArgument",
    "ModelOptions",
    "StateDictOption",
    "Subject",
    "adequacy_of",
    "form_of",
    "is_model_file",
    "open_subject",
    "takes_model",
]

MODEL_SUFFIXES = (".onnx", ".pt", ".pth", ".pt2", ".safetensors")
ModelArgument = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL", help="Folder of a run, or a file of your own: docs/models.md.")
]
StateDictOption = Annotated[
    str | None, typer.Option(help="Architecture of a state dict; `spuriscope models` lists ours.")
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a user's model is opened, and its form; see docs/models.md."""

    factory: Annotated[
        str | None,
        typer.Option(help="Of a state dict: package.module:function that makes the module. It is executed."),
    ] = None
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from pixels: 0.5, or one per channel with commas.")
    ] = None
    std: Annotated[str | None, typer.Option(help="Divisor of pixels after --mean; same form.")] = None
    scale: Annotated[float, typer.Option(help="Pixels run from 0 to this, as 255.")] = 1.0
    input_size: Annotated[int | None, typer.Option(help="Side that images are scaled to for the model.")] = (
        None
    )
    channels: Annotated[Literal["1", "3"] | None, typer.Option(help="Grey, or colour.")] = None
    bgr: Annotated[bool, typer.Option("--bgr", help="Blue comes first.")] = False
    channels_last: Annotated[bool, typer.Option("--channels-last", help="As in Keras.")] = False
    logits: Annotated[bool, typer.Option("--logits", help="The file gives logits, not probabilities.")] = (
        False
    )
    output: Annotated[str | None, typer.Option(help="Name of the output, where there are several.")] = None
    classes: Annotated[
        str | None, typer.Option(help="The classes in the order of the model's answers, as cat,dog.")
    ] = None
    anyway: Annotated[bool, typer.Option("--anyway", help="Continue with a model near chance.")] = False


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `ModelOptions`, passed as its argument `options`."""
    signature = inspect.signature(command)
    own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    more = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in fields(ModelOptions)
    ]

    @wraps(command)
    def run(**arguments: Any) -> None:
        options = ModelOptions(**{field.name: arguments.pop(field.name) for field in fields(ModelOptions)})
        command(**arguments, options=options)

    run.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *more)}
    return run


@dataclass(frozen=True, eq=False)
class Subject:
    """What a command works on: the model of a run or a file, with its data and quality.

    Attributes:
        about: JSON values that name it.
        predict: its answers.
        data: its training data, and fresh images.
        reading: how they were read.
        run: the run; None for a file.
        adequacy: how often it is right.
    """

    about: dict[str, Any]
    predict: "Predict"
    data: "ImageSet"
    reading: "Reading"
    run: "Run | None"
    adequacy: "Adequacy"

    def echo(self) -> None:
        """Print how good it is, and on stderr what would help."""
        typer.echo(f"the model is {self.adequacy}")
        self.say_mend()

    def say_mend(self) -> None:
        """Print on stderr what would help."""
        if self.adequacy.mend is not None:
            typer.echo(f"note: {self.adequacy.mend}", err=True)


def is_model_file(path: Path) -> bool:
    """Whether a path is a file, or named like one: a run is a folder."""
    return os.path.isfile(path) or path.suffix.lower() in MODEL_SUFFIXES


def open_subject(
    path: Path,
    source: str | None,
    root: Path | None,
    how: "Callable[..., Reading]",
    options: ModelOptions,
    *,
    model: str | None = None,
    example: str = "--data digits",
) -> Subject:
    """Open the run in a folder, or the model in a file, with its data; refuse a model near chance.

    Args:
        path: of either.
        source: the data; for a run by default its training data.
        root: where named data are.
        how: returns how data are read, with `instead_of=` for earlier settings: a partial of `chosen`.
        options: of the model.
        model: architecture of a state dict.
        example: of what a file also needs, for an error.

    Raises:
        SpuriscopeError: one of the two cannot be read, they do not fit together, or the model is near chance
            and `options.anyway` is not set.
    """
    from dataclasses import replace

    from spuriscope.adequacy import adequacy
    from spuriscope.runs import load_run

    if is_model_file(path):
        if source is None:
            raise ConfigError(f"say what to ask {path} about, for example {example}")
        reading = how()
        data = read_data(source, root, reading)
        predict, columns = _open_file(path, data, options, model)
        about: dict[str, Any] = {"model": str(path)}
        found = adequacy(predict, data.train, data.test, class_names=data.class_names, columns=columns)
        run: Run | None = None
    else:
        run = load_run(path)
        if options != replace(ModelOptions(), anyway=options.anyway) or model is not None:
            raise ConfigError(f"{path} is a run: leave out the options for a model in a file")
        reading = how(instead_of=run.reading)
        data, predict = read_data_of(run, source, root, reading), run.model.predict
        about = {"run": str(path), "cell": run.model.cell.hash}
        found = adequacy_of(run, data)
    if not options.anyway:
        found.check(str(path))
    return Subject(about, predict, data, reading, run, found)


def _open_file(
    path: Path, data: "ImageSet", options: ModelOptions, model: str | None
) -> "tuple[Predict, tuple[int, ...] | None]":
    from spuriscope.adapters import check_answers, open_model

    form = form_of(options, data.class_names)
    classes = form.get("classes")
    predict = open_model(
        path,
        shape=data.shape,
        n_classes=data.n_classes,
        architecture=model,
        factory=options.factory,
        **form,
    )
    check_answers(predict, data.test.images, str(path))
    return predict, None if classes is None else tuple(classes)


def form_of(options: ModelOptions, class_names: "tuple[str, ...]") -> "FormSettings":
    """The form of a model from the options, as settings of `ModelForm`."""
    from spuriscope.adapters.opened import class_positions

    classes = None if options.classes is None else class_positions(_parts(options.classes), class_names)
    return {
        "mean": _numbers("--mean", options.mean),
        "std": _numbers("--std", options.std),
        "scale": options.scale,
        "image_size": options.input_size,
        "channels": None if options.channels is None else 1 if options.channels == "1" else 3,
        "bgr": options.bgr,
        "channels_last": options.channels_last,
        "logits": options.logits or None,
        "output": options.output,
        "classes": classes,
    }


def adequacy_of(run: "Run", data: "ImageSet") -> "Adequacy":
    """How often the model of a run is right, on its training images and on the test images."""
    from dataclasses import replace

    from spuriscope.adequacy import adequacy
    from spuriscope.data import Split

    part, train = run.model.cell.part, data.train
    if part is not None:
        train = Split(train.images[part.positions], train.labels[part.positions])
    found = adequacy(run.model.predict, train, data.test, class_names=data.class_names)
    return replace(found, mend=None)  # the usual mistakes concern files


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in _parts(text))
    except ValueError:
        raise ConfigError(f"{option} is one number, or one for each channel, as 0.5; got {text!r}") from None
