"""Tables of the effect of patterns on a model: how far they move it, and how much that depends on place."""

from collections.abc import Sequence
from typing import Any

import typer

from spuriscope.cli.output import print_table

__all__ = ["print_places", "print_scores"]


def print_scores(scores: dict[str, Any], class_names: Sequence[str]) -> None:
    """Print clean accuracies, and the effect of each pattern on the model and on its clean twin."""
    twin = scores.get("clean_twin_clean_accuracy")
    typer.echo(
        f"clean accuracy {scores['clean_accuracy']:.3f}"
        + (f", clean twin {twin:.3f}" if twin is not None else "")
    )
    rows = []
    for plant in scores["plants"]:
        for prefix, who in (("", "model"), ("clean_twin_", "clean twin")):
            if prefix + "spurious_score" in plant:
                numbers = (
                    plant[prefix + key]
                    for key in ("spurious_score", "spurious_score_non_target", "spurious_accuracy")
                )
                rows.append(
                    [
                        f"{plant['pattern']} -> {class_names[plant['target']]}",
                        who,
                        *(f"{number:.3f}" for number in numbers),
                    ]
                )
    if rows:
        print_table(["plant", "", "score (all)", "score (non-target)", "spurious accuracy"], rows)


def print_places(scores: dict[str, Any], class_names: Sequence[str]) -> None:
    """Print how much each pattern depends on its place and size."""
    names = ("in_place", "shifted_1", "shifted_2", "shifted_4", "half_size", "double_size")
    rows, n_images = [], 0
    for plant in scores["plants"]:
        for prefix, who in (("", "model"), ("clean_twin_", "clean twin")):
            if prefix + "placement_scores" in plant:
                found = plant[prefix + "placement_scores"]
                n_images = found["n_images"]
                shown = ("" if found[name] is None else f"{found[name]:.3f}" for name in names)
                rows.append([f"{plant['pattern']} -> {class_names[plant['target']]}", who, *shown])
    if rows:
        typer.echo(f"score (non-target) at its place and elsewhere, on {n_images:,} images:")
        header = ["in place", "1 pixel away", "2 pixels", "4 pixels", "half size", "double size"]
        print_table(["plant", "", *header], rows)
