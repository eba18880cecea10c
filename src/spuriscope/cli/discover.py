"""The command that searches a run, or a model in a file, for a cue, without being told of any."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spuriscope.cli.model_options import (
    ModelArgument,
    ModelOptions,
    StateDictOption,
    is_model_file,
    open_subject,
    takes_model,
)
from spuriscope.cli.output import JsonOption, RootOption, ThresholdOption, print_json, print_table
from spuriscope.cli.reading import (
    BackgroundOption,
    ColumnsOption,
    ImageSizeOption,
    UnreadableOption,
    announce,
    chosen,
)

if TYPE_CHECKING:
    from spuriscope.cli.model_options import Subject
    from spuriscope.discovery import Finding, MissingContext

__all__ = ["discover"]

N_SHOWN = 8


@takes_model
def discover(
    run: ModelArgument,
    *,
    options: ModelOptions,
    data: Annotated[
        str | None, typer.Option(help="Its training data, as it saw them (default: as in the run).")
    ] = None,
    root: RootOption = None,
    model: StateDictOption = None,
    image_size: ImageSizeOption = None,
    unreadable: UnreadableOption = None,
    background: BackgroundOption = None,
    columns: ColumnsOption = None,
    probe: Annotated[
        str | None,
        typer.Option(
            help="Unrelated data, or a folder of images without classes: images that the model cannot "
            "tell apart there suggest where to look."
        ),
    ] = None,
    embedding: Annotated[
        str, typer.Option(help="What images are looked at through: pca, vae, or a name of a plugin.")
    ] = "pca",
    transplant: Annotated[
        list[str] | None,
        typer.Option(help="Transplant of a plugin that looks for marks beside ours; repeat for several."),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Train again without the suspected images: is the effect gone?")
    ] = False,
    contexts: Annotated[
        bool,
        typer.Option(
            "--contexts",
            help="Report kinds of training images that the test images lack, seen with a network trained on "
            "ImageNet (extra pretrained).",
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            help="New or empty folder for the suspected images, the patterns and a table, images.csv."
        ),
    ] = None,
    save_patterns: Annotated[
        Path | None, typer.Option(help="New folder for the reconstructed patterns, as found-1.png and so on.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="New file for a page that shows the findings, such as found.html.")
    ] = None,
    level: Annotated[float, typer.Option(help="Significance level over all suspects.")] = 0.05,
    threshold: ThresholdOption = 0.1,
    seed: Annotated[int, typer.Option(help="Draws the fresh images and the controls.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Has the model picked up a cue? The search is not told of any.

    Example: spuriscope discover run --prove --json
    """
    import torch

    from spuriscope.blind_spots import blind_spots
    from spuriscope.data.catalog import read_unlabelled
    from spuriscope.discovery import (
        EMBEDDINGS,
        TRANSPLANTS,
        discover as search_images,
        missing_contexts,
    )
    from spuriscope.errors import ConfigError
    from spuriscope.models.pretrained import imagenet_weights
    from spuriscope.progress import class_progress
    from spuriscope.searching import contexts_of_model, search_model

    outputs = _Outputs(save_patterns, save, page)
    EMBEDDINGS.check(embedding)
    looks = list(TRANSPLANTS.ours_and(transplant or ()))
    if contexts:
        imagenet_weights()
    if is_model_file(run) and (data is None or prove):
        raise ConfigError(f"{run} is searched with --data, its training images, and without --prove")
    how = partial(chosen, image_size, unreadable, background, columns)
    subject = open_subject(run, data, root, how, options, model=model)
    images = subject.data
    search: dict[str, Any] = {
        "level": level,
        "threshold": threshold,
        "seed": seed,
        "embedding": embedding,
        "transplants": looks,
    }
    if probe is not None:
        unrelated = announce(read_unlabelled(probe, subject.reading, root=root))
        search["unrelated"] = torch.cat([unrelated.train.images, unrelated.test.images])
    with class_progress() as on_class:
        if subject.run is None:
            findings = search_images(
                subject.predict, train=images.train, holdout=images.test, on_class=on_class, **search
            )
        else:
            findings = search_model(subject.run.model, images, prove=prove, on_class=on_class, **search)
    missing = None
    if contexts and subject.run is not None:
        missing = contexts_of_model(subject.run.model, images, level=level, seed=seed)
    elif contexts:
        missing = missing_contexts(images.train, images.test, level=level, seed=seed)
    unseen = blind_spots(images, subject.adequacy)
    failed = outputs.write(
        findings,
        subject,
        level=level,
        threshold=threshold,
        unseen=unseen,
        embedding=EMBEDDINGS.key(embedding),
        transplants=[TRANSPLANTS.key(name) for name in looks],
    )
    if as_json:
        print_json(
            {
                **subject.about,
                "data": images.name,
                "level": level,
                "threshold": threshold,
                "embedding": EMBEDDINGS.key(embedding),
                "transplants": [TRANSPLANTS.key(name) for name in looks],
                "adequacy": subject.adequacy.to_json(),
                "findings": [finding.to_json() for finding in findings],
                "blind_spots": unseen,
            }
            | ({} if missing is None else {"missing_contexts": [each.to_json() for each in missing]})
        )
    else:
        subject.echo()
        _print(findings, images.class_names, len(images.train), is_sure=not subject.adequacy.is_near_chance)
        if missing is not None:
            _print_missing(missing, images.class_names)
        for reason in unseen:
            typer.echo(f"could not be seen: {reason}")
        for path in outputs.requested if not failed else ():
            typer.echo(f"written: {path}")
    outputs.raise_of(failed)


@dataclass(frozen=True)
class _Outputs:
    """The files to write beside the answer; their places are checked before the search."""

    patterns: Path | None
    save: Path | None
    page: Path | None

    def __post_init__(self) -> None:
        from spuriscope.places import check_new, check_new_file

        if self.patterns is not None:
            check_new(self.patterns, "--save-patterns")
        if self.save is not None:
            check_new(self.save, "--save")
        if self.page is not None:
            check_new_file(self.page, "--page")

    @property
    def requested(self) -> list[Path]:
        """The requested files."""
        return [path for path in (self.save, self.page) if path is not None]

    def raise_of(self, failed: list[str]) -> None:
        """Raise ConfigError for what could not be written, if anything."""
        from spuriscope.errors import ConfigError

        if failed:
            raise ConfigError("; ".join(failed))

    def write(self, findings: "list[Finding]", subject: "Subject", **settings: Any) -> list[str]:
        """Write the requested files; returns what could not be written, and where it is kept."""
        from spuriscope.errors import ConfigError
        from spuriscope.places import kept_elsewhere
        from spuriscope.searching import images_seen, save_page, save_patterns, save_suspects

        data = subject.data
        cell = None if subject.run is None else replace(subject.run.model.cell, part=None)
        seen = data.train if cell is None or not self.requested else images_seen(cell, data)
        about: dict[str, Any] = {
            "model": " ".join(map(str, subject.about.values())),
            "is_sure": not subject.adequacy.is_near_chance,
        }
        writers: list[tuple[Path | None, Callable[[Path], None]]] = [
            (self.patterns, lambda place: save_patterns(findings, place)),
            (self.save, lambda place: save_suspects(findings, seen, data.class_names, place)),
            (
                self.page,
                lambda place: save_page(findings, subject.predict, seen, data, place, **about, **settings),
            ),
        ]
        failed = []
        for path, write in writers:
            if path is not None:
                try:
                    kept_elsewhere(write, path)
                except ConfigError as error:
                    failed.append(str(error))
        return failed


def _print(findings: "list[Finding]", class_names: tuple[str, ...], n_train: int, *, is_sure: bool) -> None:
    if not findings and not is_sure:
        typer.echo("nothing found, which says nothing: the model is near chance")
        return
    if not findings:
        typer.echo(
            f"nothing to report: no group of the {n_train:,} training images both stands out from its class "
            "and moves fresh images"
        )
        return
    from spuriscope.report.findings import carried
    from spuriscope.report.wording import NBSP

    rows = []
    for finding in findings:
        shown = ", ".join(finding.shown[:N_SHOWN])
        rows.append(
            [
                class_names[finding.target],
                f"{len(finding.examples)}: {shown}" + (", ..." if len(finding.examples) > N_SHOWN else ""),
                f"{finding.score:.3f}",
                f"{max(finding.null, default=0.0):.3f}",
                f"{finding.p_value:.2g}",
                "not asked" if finding.proof is None else f"{finding.proof.score:.3f}",
            ]
        )
    print_table(["pulls to", "training images", "score", "largest control", "p", "score without them"], rows)
    for finding in findings:
        typer.echo(f"{class_names[finding.target]}: {carried(finding)}".replace(NBSP, " "))
    typer.echo("score: share of fresh images of other classes that the reconstructed pattern moves.")


def _print_missing(missing: "list[MissingContext]", class_names: tuple[str, ...]) -> None:
    if not missing:
        typer.echo("contexts: no kind of training images is missing among the test images of its class")
    for each in missing:
        carriers, shown = each.carriers, ", ".join(each.shown[:N_SHOWN])
        more = ", ..." if len(each.examples) > N_SHOWN else ""
        typer.echo(
            f"contexts: {carriers.n_train} of {carriers.of_train} training images of "
            f"{class_names[each.target]} are of a kind that {carriers.n_fresh or 'none'} of "
            f"{carriers.of_fresh} test images are (p {each.p_value:.2g}): {shown}{more}"
        )
    if missing:
        typer.echo(
            "contexts: look at these images; only training without them shows what they do to the model"
        )
