"""The command that attacks: who was in the training set, did any image carry the pattern, how much leaks."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from spuriscope.cli.model_options import MODEL_SUFFIXES, ModelOptions, Subject, open_subject, takes_model
from spuriscope.cli.output import (
    DeviceOption,
    JsonOption,
    Precision,
    PrecisionOption,
    RootOption,
    WorkersOption,
    announce_default_model,
    print_json,
    print_table,
)
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    chosen,
    read_data,
)
from spuriscope.reading import Reading

if TYPE_CHECKING:
    from spuriscope.data import ImageSet
    from spuriscope.measures import Predict
    from spuriscope.membership.attacked import Membership
    from spuriscope.membership.canaries import Canaries
    from spuriscope.membership.evaluation import Rate
    from spuriscope.planting import Plant
    from spuriscope.training import Recipe

__all__ = ["attack"]


@takes_model
def attack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|DATA|MODEL",
            help="Folder of a run, whose settings are used; data; or a file of your own, with --data.",
        ),
    ],
    *,
    options: ModelOptions,
    data: Annotated[str | None, typer.Option(help="Training data of a model in a file.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Pattern, as s3, r3 or a picture (default: those of the run, or r3).")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class that carries it, by name or number (default: the run's, or 0).")
    ] = None,
    planted: Annotated[
        int | None, typer.Option(help="Number of images that carry it (default: the run's, or 10).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Architecture, also of a state dict (default: the run's, or what suits the images).",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the images (default: the run's; 8, or more on small data)."),
    ] = None,
    precision: PrecisionOption = None,
    models: Annotated[int, typer.Option(help="Models on halves of the images, each attacked; even.")] = 16,
    twins: Annotated[
        int, typer.Option(help="Clean twins of these to compare with: the pattern left out.")
    ] = 10,
    canaries: Annotated[
        int | None,
        typer.Option(help="Instead, plant this many noise patterns in one training, and bound epsilon."),
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="An attack of a plugin to run beside ours; may be repeated."),
    ] = None,
    delta: Annotated[float, typer.Option(help="With --canaries: delta of the bounded privacy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Draws halves, stamped images, noise and trainings.")] = 0,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who was trained on, and did any image carry the pattern? With --canaries: how much privacy is lost?

    A run with several plants is attacked for each of them.

    Example: spuriscope attack digits --pattern r3 --planted 3
    """
    from spuriscope.documents import to_document
    from spuriscope.membership.attacked import attack_games
    from spuriscope.membership.canaries import attack_canaries
    from spuriscope.membership.game import Game
    from spuriscope.progress import training_progress
    from spuriscope.training import Trainer

    subject = _subject(
        source,
        data,
        root=root,
        seed=seed,
        pattern=pattern,
        target=target,
        n_planted=planted,
        how=partial(chosen, image_size, unreadable, background, columns),
        options=options,
        architecture=model,
    )
    images, model = subject.data, model or subject.model
    about: dict[str, Any] = {"source": source, "data": images.name, "model": model}
    if subject.opened is not None:
        about["adequacy"] = subject.opened.adequacy.to_json()
        if not as_json:
            subject.opened.echo()
    if canaries is not None:
        recipe = _recipe(subject, model, epochs, len(images.train), precision)
        settings: dict[str, Any] = {"n_canaries": canaries, "model": model, "recipe": recipe}
        with training_progress() as on_progress:
            trainer = Trainer(device, 1, on_progress)
            bound = attack_canaries(images, **settings, seed=seed, delta=delta, trainer=trainer)
        about["precision"] = recipe.precision
        if as_json:
            print_json({**about, "canaries": to_document(bound)})
        else:
            _print_canaries(bound)
        return
    games = [
        Game(
            data=images,
            pattern=plant.pattern,
            target=plant.target,
            n_planted=plant.n_planted,
            placement=plant.placement,
            relabel=plant.relabel,
            model=model,
            recipe=_recipe(subject, model, epochs, len(images.train) // 4, precision),
            n_models=models,
            seed=seed,
        )
        for plant in subject.plants
    ]
    about["precision"] = games[0].recipe.precision
    with training_progress() as on_progress:
        found = attack_games(
            games,
            n_clean=twins,
            asked=subject.asked,
            attacks=attacks or (),
            trainer=Trainer(device, workers, on_progress),
        )
    if as_json:
        documents = [to_document(each) for each in found]
        print_json({**about, **(documents[0] if len(documents) == 1 else {}), "games": documents})
        return
    if precision == "auto":
        typer.echo(f"trained in {about['precision']}, which is fastest here")
    for number, each in enumerate(found):
        if number:
            typer.echo("")
        _print(each)


class _Subject(NamedTuple):
    """What is attacked: data, the plants in it, how it is trained, and models to ask."""

    data: "ImageSet"
    plants: "tuple[Plant, ...]"
    model: str
    recipe: "Recipe | None"
    asked: "dict[str, Predict]"
    opened: "Subject | None"


def _subject(
    source: str,
    given_data: str | None,
    *,
    root: Path | None,
    seed: int,
    pattern: str | None,
    target: str | None,
    n_planted: int | None,
    how: Callable[..., Reading],
    options: ModelOptions,
    architecture: str | None,
) -> _Subject:
    """The subject of a run, a file or data, with a default plant; given options come first."""
    from dataclasses import replace

    from spuriscope.models import default_model
    from spuriscope.patterns import pattern as make_pattern
    from spuriscope.planting import Plant

    asked: dict[str, Predict] = {}
    plants: tuple[Plant, ...] = ()
    recipe, opened = None, None
    path = Path(source)
    if os.path.isfile(path / "run.json"):
        opened = open_subject(path, given_data, root, how, options)
        run, data = opened.run, opened.data
        assert run is not None  # it was read from the folder
        plants = run.model.cell.plants
        model, recipe = run.model.cell.model, run.model.cell.recipe
        asked["run"] = run.model.predict
        if run.twin is not None:
            asked["clean twin"] = run.twin.predict
    elif path.suffix.lower() in MODEL_SUFFIXES:  # any other file is data
        opened = open_subject(path, given_data, root, how, options, model=architecture)
        data, asked[path.name] = opened.data, opened.predict
        model = default_model(data.shape)
    else:
        data = read_data(source, root, how())
        model = default_model(data.shape)
    changes: dict[str, Any] = {} if target is None else {"target": data.label(target)}
    if architecture is None and recipe is None:
        announce_default_model(data.shape)
    if n_planted is not None:
        changes["n_planted"] = n_planted
    if pattern is not None or not plants:
        picture = make_pattern(pattern or "r3", data.shape, seed=seed)
        first = plants[0] if plants else Plant(picture, 0, 10)
        plants = (replace(first, pattern=picture),)
    plants = tuple(replace(plant, **changes) for plant in plants)
    return _Subject(data, plants, model, recipe, asked, opened)


def _recipe(
    subject: _Subject, model: str, epochs: int | None, n_images: int, precision: Precision | None
) -> "Recipe":
    """The run's recipe, or a short one for `n_images` images."""
    from dataclasses import replace

    from spuriscope.training import short_recipe
    from spuriscope.training.precision import settled

    data = subject.data
    if subject.recipe is not None and epochs is None:
        recipe = subject.recipe
    else:
        recipe = short_recipe(data.name, model, n_images, epochs=epochs)
    recipe = replace(recipe, precision=precision or recipe.precision)
    return settled(recipe, model=model, shape=data.shape, n_classes=data.n_classes)


def _print_canaries(found: "Canaries") -> None:
    typer.echo(
        f"{found.n_canaries} patterns of noise, each with its own image, stamped by the toss of a coin; "
        f"{found.n_right} of {found.n_guesses} tosses guessed right from the model's answers, "
        f"the other {found.n_canaries - found.n_guesses} not guessed"
    )
    delta = f" at delta {found.delta:g}" if found.delta else ""
    sure = f"{100 * found.confidence:.0f} % confidence"
    if found.epsilon > 0:
        typer.echo(f"epsilon is at least {found.epsilon:.2f}{delta} ({sure})")
    else:
        typer.echo(f"no loss of privacy shown{delta} ({sure}); that does not prove that there is none")


def _print(found: "Membership") -> None:
    typer.echo(
        f"{found.pattern} on {found.n_planted} of the {found.n_train:,} training images of each of "
        f"{found.n_models} models; {found.n_shadows} shadow models for each"
    )
    rows = []
    for each in found.attacks:
        row = next(row for row in each.cells if row.false_alarms == 0.01)
        areas = [getattr(each, group).auc for group in ("stamped", "unstamped", "all")]
        rows.append(
            [
                each.name,
                *("none" if area is None else f"{area.mean:.3f}" for area in areas),
                *(_rate(getattr(row, f"stamped_{side}")) for side in ("members", "outsiders")),
            ]
        )
    print_table(
        ["attack", "AUC stamped", "AUC unstamped", "AUC all", "stamped members", "stamped outsiders"], rows
    )
    typer.echo(
        "AUC: members against outsiders, 0.5 is chance; unstamped: of the same class. Right: share called "
        "members at thresholds that accuse 1 % of all outsiders."
    )
    score = found.presence[0]
    typer.echo(
        f"presence of the pattern: spurious score {min(score.with_pattern):.3f} to "
        f"{max(score.with_pattern):.3f} in {found.n_models} models trained with it, "
        f"{min(score.without):.3f} to {max(score.without):.3f} in {found.n_null} without; "
        f"AUC {score.auc.mean if score.auc else 0.5:.3f}"
    )
    for name, value in score.asked.items():
        typer.echo(f"{name}: spurious score {value:.3f}")


def _rate(rate: "Rate") -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return rate.reason
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
