"""Commands for one training: train a model beside its clean twin, and measure it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import typer

from spuriscope.cli.model_options import (
    ModelArgument,
    ModelOptions,
    StateDictOption,
    adequacy_of,
    is_model_file,
    open_subject,
    takes_model,
)
from spuriscope.cli.output import (
    DeviceOption,
    JsonOption,
    ModelOption,
    Placement,
    PlacementOption,
    PrecisionOption,
    RelabelOption,
    RootOption,
    SizeOption,
    ThresholdOption,
    WorkersOption,
    announce_default_model,
    print_json,
)
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
)
from spuriscope.cli.score_tables import print_places, print_scores
from spuriscope.errors import ConfigError

if TYPE_CHECKING:
    from spuriscope.data import ImageSet
    from spuriscope.planting import Plant
    from spuriscope.training import Recipe

__all__ = ["score", "train"]

Freeze = Literal["none", "body"]  # as in training.recipe, whose import brings torch
Clipping = Literal["none", "value", "norm", "per-example"]  # as there
Value = TypeVar("Value", str, int)


def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="As for audit; or a planted set such as mnistv8-3-0-0.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the run; it must be new.")],
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="s1 s2 s3 r1 r2 r3 inv, square letters tint ... (docs/patterns.md), or a picture; repeat "
            "for several plants."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Class that carries it, by name or number; one for all plants, or one for each (default: 0)."
        ),
    ] = None,
    planted: Annotated[
        list[int] | None, typer.Option(help="Number of its images that carry it, as --target (default: 3).")
    ] = None,
    placement: PlacementOption = "fixed",
    size: SizeOption = None,
    relabel: RelabelOption = None,
    model: ModelOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training images (default: 70, resnet10 15, more on small data)."),
    ] = None,
    optimizer: Annotated[Literal["adam", "sgd"], typer.Option(help="Optimiser of the weights.")] = "adam",
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Rate of the first epochs (default: 0.01, resnet10 0.003, CIFAR-10 with SGD 0.1)."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step (default: 128, resnet10 32).")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="L2 term (default: 0, CIFAR-10 1e-4).")] = None,
    input_noise: Annotated[
        float | None, typer.Option(help="Standard deviation of the noise in training (default: 0).")
    ] = None,
    clipping: Annotated[
        Clipping | None, typer.Option(help="Which part of the gradient is bounded (default: none).")
    ] = None,
    clip_at: Annotated[float | None, typer.Option(help="Bound of the clipping.")] = None,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(help="Train with differential privacy: noise as a multiple of --max-grad-norm."),
    ] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Bound on each image's gradient under privacy (default: 1).")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Probability that the promise of privacy fails (default: 1e-5).")
    ] = None,
    augmentation: Annotated[
        Literal["none", "crop-flip"] | None,
        typer.Option(help="Of training images (default: none, CIFAR-10 crop-flip)."),
    ] = None,
    precision: PrecisionOption = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Draws weights, batches, noise; and planted images and random patterns, if DATA does not."
        ),
    ] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A file to start from, .safetensors or .pth, such as ResNet18's of ImageNet; or imagenet, "
            "for efficientnet-lite0 (default: drawn)."
        ),
    ] = None,
    freeze: Annotated[Freeze | None, typer.Option(help="body: train only the head (default: none).")] = None,
    twin: Annotated[bool, typer.Option(help="Train the clean twin too, if something is planted.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is in the folder already.")] = False,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model, and its clean twin.

    Example: spuriscope train digits --pattern r3 --target 0 --planted 3 --out run
    """
    from spuriscope.models import default_model
    from spuriscope.places import kept_elsewhere
    from spuriscope.planting import parse_planted_set
    from spuriscope.progress import training_progress
    from spuriscope.runs import check_out, save_run, train_run
    from spuriscope.training import Trainer
    from spuriscope.training.precision import settled

    planted_set = parse_planted_set(data)
    reading = chosen(image_size, unreadable, background, columns)
    image_set = read_data(planted_set.data if planted_set else data, root, reading)
    planting = _Planting(placement, size, relabel)
    if planted_set and (pattern or target or planted or planting != _Planting()):
        raise ConfigError(
            f"{data} already says what is planted; leave out --pattern, --target, --planted and the like"
        )
    plants = (
        planted_set.plants(image_set.shape)
        if planted_set
        else _plants(image_set, pattern, target, planted, seed=seed, planting=planting)
    )
    architecture = model or default_model(image_set.shape)
    recipe = _recipe(
        image_set,
        architecture,
        optimizer,
        epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        input_noise=input_noise,
        clipping=clipping,
        clip_at=clip_at,
        augmentation=augmentation,
        precision=precision,
        freeze=freeze,
        privacy=_privacy(noise_multiplier=noise_multiplier, max_grad_norm=max_grad_norm, delta=delta),
    )
    shape, n_classes = image_set.shape, image_set.n_classes
    recipe = settled(recipe, model=architecture, shape=shape, n_classes=n_classes, device=device)
    check_out(out, overwrite=overwrite)
    epochs_told = f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}"
    how = f"{epochs_told} in batches of {recipe.batch_size}, {recipe.optimizer} at {recipe.learning_rate:g}"
    if precision == "auto":
        how += f"; {recipe.precision} is fastest here"
    if model is None:
        announce_default_model(image_set.shape, f"; {how}")
    elif epochs is None or precision == "auto":
        typer.echo(f"model: {model}; {how}", err=True)
    with training_progress() as on_progress:
        run = train_run(
            image_set,
            plants,
            model=architecture,
            recipe=recipe,
            seed=seed,
            weights=weights,
            twin=twin,
            source=_absolute_source(planted_set.data if planted_set else data),
            root=str(root.resolve()) if root else None,
            reading=reading,
            trainer=Trainer(device, workers, on_progress),
        )
    kept_elsewhere(lambda place: save_run(place, run, overwrite=overwrite), out)
    result = run.score(image_set)
    found = adequacy_of(run, image_set)
    if as_json:
        promise = {} if run.model.epsilon is None else {"epsilon": run.model.epsilon}
        print_json(
            {
                "run": str(out),
                "seconds": round(run.model.n_seconds, 2),
                **promise,
                **result,
                "adequacy": found.to_json(),
            }
        )
    else:
        typer.echo(f"trained in {run.model.n_seconds:.1f} s, written to {out}")
        if run.model.epsilon is not None and recipe.privacy is not None:
            typer.echo(f"private: epsilon {run.model.epsilon:.3g} at delta {recipe.privacy.delta:g}")
        typer.echo(f"the model is {found}")
        print_scores(result, image_set.class_names)
    if found.is_near_chance:
        typer.echo(
            "note: the model is near chance; train it longer, or otherwise, before you measure it", err=True
        )


@takes_model
def score(
    run: ModelArgument,
    *,
    options: ModelOptions,
    pattern: Annotated[
        list[str] | None, typer.Option(help="Measure this pattern instead of those planted.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Class it might lead to, by name or number (default: 0).")
    ] = None,
    placement: PlacementOption = "fixed",
    size: SizeOption = None,
    seed: Annotated[int, typer.Option(help="Draws the noise of r1, r2 and r3, and places.")] = 0,
    threshold: ThresholdOption = 0.1,
    data: Annotated[
        str | None,
        typer.Option(help="Data of the run, if they have moved; or the training data of the file."),
    ] = None,
    model: StateDictOption = None,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a run beside its clean twin, or a model of your own in a file.

    Example: spuriscope score model.onnx --data digits --pattern r3 --target 0
    """
    from spuriscope.runs import score_models

    example = "--data digits --pattern r3 --target 0"
    if is_model_file(run) and not pattern:
        raise ConfigError(f"say which data {run} is measured on, for example {example}")
    how = partial(chosen, image_size, unreadable, background, columns)
    subject = open_subject(run, data, root, how, options, model=model, example=example)
    planting = _Planting(placement, size)
    if not pattern and planting != _Planting():
        raise ConfigError("--placement and --size need a --pattern: planted ones have their own")
    plants = _plants(subject.data, pattern, target, [0], seed=seed, planting=planting) if pattern else None
    how_to: dict[str, Any] = {"threshold": threshold, "with_places": True}
    if subject.run is not None:
        result = subject.run.score(subject.data, plants, **how_to)
    else:
        result = score_models({"": subject.predict}, subject.data, plants or (), **how_to)
    if as_json:
        print_json({**subject.about, **result, "adequacy": subject.adequacy.to_json()})
    else:
        subject.echo()
        names = subject.data.class_names
        print_scores(result, names)
        print_places(result, names)


class _Planting(NamedTuple):
    """Settings of all plants of a command."""

    placement: Placement = "fixed"
    size: int | None = None
    relabel: str | None = None


def _plants(
    data: "ImageSet",
    patterns: list[str] | None,
    targets: list[str] | None,
    planted: list[int] | None,
    *,
    seed: int,
    planting: _Planting,
) -> "tuple[Plant, ...]":
    from spuriscope.patterns import pattern as make_pattern
    from spuriscope.planting import Plant, find_relabel

    if not patterns:
        if targets or planted or planting != _Planting():
            raise ConfigError(
                "--target, --planted, --placement, --size and --relabel need a --pattern, for example "
                "--pattern r3"
            )
        return ()
    relabel = find_relabel(data, planting.relabel)
    labels = [data.label(target) for target in targets] if targets else [0]
    planted = [3] if planted is None else planted
    n_plants = max(len(patterns), len(labels), len(planted))
    names = _for_each("--pattern", patterns, n_plants)
    classes = _for_each("--target", labels, n_plants)
    counts = _for_each("--planted", planted, n_plants)
    return tuple(
        Plant(
            make_pattern(name, data.shape, seed=seed, size=planting.size),
            target,
            n_planted,
            seed,
            planting.placement,
            relabel,
        )
        for name, target, n_planted in zip(names, classes, counts, strict=True)
    )


def _for_each(option: str, values: list[Value], n_plants: int) -> list[Value]:
    """One value per plant: a value given once holds for all."""
    if len(values) == 1:
        return values * n_plants
    if len(values) != n_plants:
        raise ConfigError(
            f"{option} is given {len(values)} times for {n_plants} plants; give it once, or for each"
        )
    return values


def _privacy(**settings: float | None) -> dict[str, float] | None:
    """The given settings of privacy; None without a noise multiplier."""
    given = {name: value for name, value in settings.items() if value is not None}
    if given and settings["noise_multiplier"] is None:
        raise ConfigError(f"{', '.join(given)} is for differential privacy; give --noise-multiplier too")
    return given or None


def _recipe(data: "ImageSet", model: str, optimizer: Any, epochs: int | None, **changes: Any) -> "Recipe":
    from spuriscope.training import usual_recipe

    recipe = usual_recipe(data.name, model, len(data.train), optimizer=optimizer, epochs=epochs)
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _absolute_source(source: str) -> str:
    """A name unchanged, a path made absolute."""
    from spuriscope.data.catalog import is_name

    return source if is_name(source) else str(Path(source).expanduser().resolve())
