"""The command for the theory: ridge regression on data with a rare cue."""

from dataclasses import fields
from typing import Annotated, Any

import typer

from spuriscope.cli.output import JsonOption, print_json, print_table

__all__ = ["theory"]

RESULTS = ("clean_accuracy", "spurious_accuracy", "prediction_difference")


def theory(
    *,
    gamma: Annotated[float, typer.Option(help="Share of the target class that carries the cue, 0 to 1.")],
    m: Annotated[float, typer.Option(help="Distance of each class from the middle, invariant feature.")],
    t: Annotated[float, typer.Option(help="Length of the cue along the spurious feature.")],
    s1: Annotated[float, typer.Option(help="Variance along the invariant feature.")],
    s2: Annotated[float, typer.Option(help="Variance along the spurious feature.")],
    lam: Annotated[float, typer.Option(help="Strength of the weight decay.")] = 0.0,
    noise: Annotated[float, typer.Option(help="Variance of noise added to both features.")] = 0.0,
    overlap: Annotated[float, typer.Option(help="Length of the cue along the invariant feature.")] = 0.0,
    cover: Annotated[float, typer.Option(help="Share of the invariant feature that the cue hides.")] = 0.0,
    simulate: Annotated[
        int | None, typer.Option(metavar="N", help="Also regress on N drawn images, and try it on N others.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Replications of the simulation.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show how ridge regression reacts to a rare cue, in closed form and simulated.

    Example: spuriscope theory --gamma 0.1 --m 1 --t 2.236 --s1 0.5 --s2 0.1 --simulate 100000
    """
    from spuriscope.theory import RidgeModel, simulate as simulated

    model = RidgeModel(
        gamma=gamma, m=m, t=t, s1=s1, s2=s2, lam=lam, noise=noise, overlap=overlap, cover=cover
    )
    critical = float(model.critical_gamma)
    found: dict[str, Any] = {
        "parameters": {field.name: float(getattr(model, field.name)) for field in fields(model)},
        **{name: float(getattr(model, name)) for name in RESULTS},
        "weights": {name: float(weight) for name, weight in model.weights._asdict().items()},
        "critical_gamma": critical if critical < float("inf") else None,
    }
    drawn = None if simulate is None else simulated(model, simulate, n_seeds=seeds)
    if drawn is not None:
        found["simulated"] = {
            "n": simulate,
            "n_seeds": seeds,
            **{name: float(getattr(drawn, name).mean()) for name in RESULTS},
            "sd_over_seeds": {
                name: float(getattr(drawn, name).std(ddof=1)) if seeds > 1 else None for name in RESULTS
            },
        }
    if as_json:
        print_json(found)
        return
    header, rows = ["", "closed form"], [[name.replace("_", " "), f"{found[name]:.4f}"] for name in RESULTS]
    if drawn is not None:
        header.append(f"simulated, {simulate:,} images, {seeds} seeds")
        for row, name in zip(rows, RESULTS, strict=True):
            row.append(f"{found['simulated'][name]:.4f}" + _spread(found["simulated"]["sd_over_seeds"][name]))
    print_table(header, rows)
    weights = ", ".join(f"{name} {weight:.4f}" for name, weight in found["weights"].items())
    typer.echo(f"weights: {weights}")
    typer.echo(f"critical gamma: {'none' if found['critical_gamma'] is None else f'{critical:.4g}'}")


def _spread(sd: float | None) -> str:
    return "" if sd is None else f" (sd {sd:.4f})"
