"""The command that attacks: who was in the training set, and did any image carry the pattern."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spuriscope.cli.output import (
    DeviceOption,
    JsonOption,
    RootOption,
    WorkersOption,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from spuriscope.measures import Predict
    from spuriscope.membership.game import Game

__all__ = ["attack"]


def attack(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|DATA", help="Folder of a run, whose settings are taken; or data."),
    ],
    *,
    pattern: Annotated[
        str | None, typer.Option(help="Pattern, as s3, r3 or a picture (default: the run's, or r3).")
    ] = None,
    target: Annotated[
        int | None, typer.Option(help="Class that carries it (default: the run's, or 0).")
    ] = None,
    planted: Annotated[
        int | None, typer.Option(help="How many images carry it (default: the run's, or 10).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Architecture (default: the run's, or mlp).")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the images (default: the run's; 8, or more on small data)."),
    ] = None,
    models: Annotated[int, typer.Option(help="Models on halves of the images, each attacked; even.")] = 16,
    clean: Annotated[int, typer.Option(help="Models without the pattern, to compare with; even.")] = 10,
    seed: Annotated[int, typer.Option(help="Draws halves, stamped images, noise and trainings.")] = 0,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who was trained on, and did any image carry the pattern?

    Example: spuriscope attack digits --pattern r3 --planted 3
    """
    from spuriscope.membership.game import attack_game
    from spuriscope.progress import training_progress

    game, asked = _game(
        source,
        root,
        pattern,
        target=target,
        planted=planted,
        model=model,
        epochs=epochs,
        n_models=models,
        seed=seed,
    )
    with training_progress() as on_progress:
        found = attack_game(
            game, n_clean=clean, asked=asked, device=device, n_workers=workers, on_progress=on_progress
        )
    if as_json:
        print_json({"source": source, "data": game.data.name, "model": game.model, **found})
    else:
        _print(found)


def _game(
    source: str, root: Path | None, pattern: str | None, *, n_models: int, seed: int, **given: Any
) -> "tuple[Game, dict[str, Predict]]":
    """The game to play, and the run's own models if there is a run."""
    from spuriscope.data import load
    from spuriscope.membership.game import Game
    from spuriscope.patterns import pattern as make_pattern
    from spuriscope.runs import load_run
    from spuriscope.training import paper_recipe, short_epochs

    asked: dict[str, Predict] = {}
    settings: dict[str, Any] = {"target": 0, "planted": 10, "model": "mlp"}
    recipe = picture = None
    if (Path(source) / "run.json").is_file():
        run = load_run(Path(source))
        cell, data = run.model.cell, run.data(None, root)
        settings["model"], recipe = cell.model, cell.recipe
        if cell.plants:
            plant = cell.plants[0]
            picture = plant.pattern
            settings |= {"target": plant.target, "planted": plant.n_planted}
        asked["run"] = run.model.predict
        if run.twin is not None:
            asked["clean twin"] = run.twin.predict
    else:
        data = load(source, root=root)
    settings |= {name: value for name, value in given.items() if value is not None}
    if pattern is not None or picture is None:
        picture = make_pattern(pattern or "r3", data.shape, seed=seed)
    if recipe is None or "epochs" in settings:
        epochs = settings.get("epochs", short_epochs(len(data.train) // 4))
        recipe = paper_recipe(data.name, settings["model"], epochs=epochs)
    game = Game(
        data=data,
        pattern=picture,
        target=settings["target"],
        n_planted=settings["planted"],
        model=settings["model"],
        recipe=recipe,
        n_models=n_models,
        seed=seed,
    )
    return game, asked


def _print(found: dict[str, Any]) -> None:
    typer.echo(
        f"{found['pattern']} on {found['n_planted']} of the {found['n_train']:,} training images of each of "
        f"{found['n_models']} models; {found['n_shadows']} shadow models for each"
    )
    rows = []
    for each in found["attacks"]:
        row = next(row for row in each["cells"] if row["false_alarms"] == 0.01)
        areas = [each[group]["auc"] for group in ("stamped", "unstamped", "all")]
        rows.append(
            [
                each["name"],
                *("none" if area is None else f"{area['mean']:.3f}" for area in areas),
                *(_rate(row[f"stamped_{side}"]) for side in ("members", "outsiders")),
            ]
        )
    print_table(
        ["attack", "AUC stamped", "AUC unstamped", "AUC all", "stamped members", "stamped outsiders"], rows
    )
    typer.echo(
        "AUC: members against outsiders, 0.5 is chance; unstamped: of the same class. Right: share called "
        "members at thresholds that accuse 1 % of all outsiders."
    )
    score = found["presence"][0]
    typer.echo(
        f"presence of the pattern: spurious score {min(score['with_pattern']):.3f} to "
        f"{max(score['with_pattern']):.3f} in {found['n_models']} models trained with it, "
        f"{min(score['without']):.3f} to {max(score['without']):.3f} in {found['n_null']} without; "
        f"AUC {score['auc']['mean']:.3f}"
    )
    for name, value in score["asked"].items():
        typer.echo(f"{name}: spurious score {value:.3f}")


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return str(rate["reason"])
    return f"{100 * rate['value']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
