"""Commands for one data set and one run: audit, train, score, patterns, models, data."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from spuriscope.cli.output import (
    DataArgument,
    DeviceOption,
    JsonOption,
    RootOption,
    ThresholdOption,
    WorkersOption,
    print_json,
    print_table,
)
from spuriscope.errors import ConfigError

if TYPE_CHECKING:
    from spuriscope.data import ImageSet, Verification
    from spuriscope.planting import Plant
    from spuriscope.training import Recipe

__all__ = ["app"]

Value = TypeVar("Value", str, int)

app = typer.Typer(
    help="Plant, measure, find and remove rare spurious correlations in image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The data sets known by name.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before the command."""
    if show:
        from spuriscope import __version__

        typer.echo(f"spuriscope {__version__}")
        raise typer.Exit


@app.command()
def audit(
    data: DataArgument = "digits",
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and audit.json (default: audit-DATA).")
    ] = None,
    model: Annotated[str, typer.Option(help="Architecture; `spuriscope models` lists them.")] = "mlp",
    target: Annotated[int, typer.Option(help="Class whose training images carry the pattern.")] = 0,
    patterns: Annotated[
        str | None, typer.Option(help="Names or pictures, as s3,r3,logo.png (default: all seven that fit).")
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="How many images carry it, as 1,3,10 (default: 1,3,10,30,100).")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Replications.")] = 5,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data (default: 8, more on small data).")
    ] = None,
    threshold: ThresholdOption = 0.1,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Would my training pick up a rare cue? Writes one page.

    Example: spuriscope audit digits --out audit-digits
    """
    from spuriscope.auditing import audit as run_audit
    from spuriscope.auditing import check_folder, plan_audit, write_audit
    from spuriscope.data import load
    from spuriscope.progress import training_progress
    from spuriscope.report.front import headline

    image_set = load(data, root=root)
    folder = out if out is not None else Path(f"audit-{image_set.name}")
    plan = plan_audit(
        image_set,
        model=model,
        target=target,
        patterns=_parts(patterns),
        counts=_numbers(counts),
        n_seeds=seeds,
        epochs=epochs,
        threshold=threshold,
    )
    check_folder(folder)
    with training_progress() as on_progress:
        document = run_audit(
            plan, device=device, n_workers=workers, on_progress=on_progress, command=_command_line()
        )
    page = write_audit(document, folder)
    if as_json:
        print_json(document)
    else:
        typer.echo(headline(document))
        typer.echo(f"report: {page.resolve()}")


@app.command()
def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="As for audit; or a planted set such as mnistv8-3-0-0.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the run; it must be new.")],
    pattern: Annotated[
        list[str] | None, typer.Option(help="s1 s2 s3 r1 r2 r3 inv, or a picture; repeat for several plants.")
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option(help="Class that carries it; one for all plants, or one for each (default: 0)."),
    ] = None,
    planted: Annotated[
        list[int] | None, typer.Option(help="How many of its images carry it; likewise (default: 3).")
    ] = None,
    model: Annotated[str, typer.Option(help="Architecture; `spuriscope models` lists them.")] = "mlp",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 70,
    optimizer: Annotated[str, typer.Option(help="adam or sgd.")] = "adam",
    learning_rate: Annotated[
        float | None, typer.Option(help="Rate of the first epochs (default: 0.01, CIFAR-10 with SGD 0.1).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step (default: 128).")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="L2 term (default: 0, CIFAR-10 1e-4).")] = None,
    input_noise: Annotated[
        float | None, typer.Option(help="Standard deviation, while training (default: 0).")
    ] = None,
    clipping: Annotated[
        str | None, typer.Option(help="none, value, norm or per-example (default: none).")
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
        float | None, typer.Option(help="Chance that the promise of privacy fails (default: 1e-5).")
    ] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="none or crop-flip (default: none, CIFAR-10 crop-flip).")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, tf32 or bfloat16 (default: float32).")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Draws weights, batches, noise; and planted images and random patterns, if DATA does not."
        ),
    ] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A .safetensors file to start from, such as ResNet18's of ImageNet (default: drawn)."
        ),
    ] = None,
    twin: Annotated[bool, typer.Option(help="Train the clean twin too, where something is planted.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is in the folder already.")] = False,
    root: RootOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model, and its clean twin.

    Example: spuriscope train digits --pattern r3 --target 0 --planted 3 --out run
    """
    from spuriscope.data import load
    from spuriscope.planting import parse_planted_set
    from spuriscope.progress import training_progress
    from spuriscope.runs import check_out, save_run, train_run

    planted_set = parse_planted_set(data)
    image_set = load(planted_set.data if planted_set else data, root=root)
    if planted_set and (pattern or target or planted):
        raise ConfigError(f"{data} says what is planted already; leave out --pattern, --target and --planted")
    plants = (
        planted_set.plants(image_set.shape)
        if planted_set
        else _plants(image_set, pattern, target, planted, seed)
    )
    recipe = _recipe(
        image_set.name,
        model,
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
        privacy=_privacy(noise_multiplier=noise_multiplier, max_grad_norm=max_grad_norm, delta=delta),
    )
    check_out(out, overwrite=overwrite)
    with training_progress() as on_progress:
        run = train_run(
            image_set,
            plants,
            model=model,
            recipe=recipe,
            seed=seed,
            weights=weights,
            twin=twin,
            source=_absolute_source(planted_set.data if planted_set else data),
            root=str(root.resolve()) if root else None,
            device=device,
            n_workers=workers,
            on_progress=on_progress,
        )
    save_run(out, run, overwrite=overwrite)
    result = run.score(image_set)
    if as_json:
        promise = {} if run.model.epsilon is None else {"epsilon": run.model.epsilon}
        print_json({"run": str(out), "seconds": round(run.model.n_seconds, 2), **promise, **result})
    else:
        typer.echo(f"trained in {run.model.n_seconds:.1f} s, written to {out}")
        if run.model.epsilon is not None and recipe.privacy is not None:
            typer.echo(f"private: epsilon {run.model.epsilon:.3g} at delta {recipe.privacy.delta:g}")
        _print_scores(result)


@app.command()
def score(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="Folder of a run, or an ONNX file of your own.")
    ],
    *,
    pattern: Annotated[
        list[str] | None, typer.Option(help="Ask about this pattern instead of those planted.")
    ] = None,
    target: Annotated[list[int] | None, typer.Option(help="Class it might lead to (default: 0).")] = None,
    seed: Annotated[int, typer.Option(help="Draws the noise of r1, r2 and r3.")] = 0,
    threshold: ThresholdOption = 0.1,
    data: Annotated[
        str | None,
        typer.Option(help="Data of the run, if they have moved; or whose test images the file is asked."),
    ] = None,
    logits: Annotated[bool, typer.Option(help="The ONNX file gives logits, not probabilities.")] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a run, beside its clean twin, or an ONNX file.

    Example: spuriscope score model.onnx --data digits --pattern r3 --target 0
    """
    from spuriscope.runs import load_run

    if run.suffix.lower() == ".onnx":
        result = _score_onnx(
            run, data, root, patterns=pattern, targets=target, seed=seed, threshold=threshold, logits=logits
        )
        print_json(result) if as_json else _print_scores(result)
        return
    loaded = load_run(run)
    image_set = loaded.data(data, root)
    plants = _plants(image_set, pattern, target, [0], seed) if pattern else None
    result = loaded.score(image_set, plants, threshold=threshold)
    if as_json:
        print_json({"run": str(run), **result})
    else:
        _print_scores(result)


def _score_onnx(
    path: Path,
    source: str | None,
    root: Path | None,
    *,
    patterns: list[str] | None,
    targets: list[int] | None,
    seed: int,
    threshold: float,
    logits: bool,
) -> dict[str, Any]:
    from spuriscope.adapters import load_onnx
    from spuriscope.data import load
    from spuriscope.runs import score_models

    if source is None or not patterns:
        raise ConfigError(f"say what to ask {path} about, for example --data digits --pattern r3 --target 0")
    predict = load_onnx(path, logits=logits)
    image_set = load(source, root=root)
    plants = _plants(image_set, patterns, targets, [0], seed)
    return {"model": str(path), **score_models({"": predict}, image_set, plants, threshold=threshold)}


@app.command()
def patterns(
    data: DataArgument,
    *,
    pattern: Annotated[
        list[str] | None, typer.Option(help="A name or a picture; repeat for several.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the noise of r1, r2 and r3.")] = 0,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """The patterns, and how strong each is on a data set (Table 1).

    Example: spuriscope patterns digits --seed 4
    """
    from spuriscope.data import load
    from spuriscope.errors import PatternError
    from spuriscope.measures import empirical_norm
    from spuriscope.patterns import PATTERN_NAMES
    from spuriscope.patterns import pattern as make_pattern

    image_set = load(data, root=root)
    norms: dict[str, float] = {}
    too_large: dict[str, str] = {}
    for name in pattern or PATTERN_NAMES:
        try:
            made = make_pattern(name, image_set.shape, seed=seed)
        except PatternError as error:
            if pattern:
                raise
            too_large[name] = str(error)
        else:
            norms[made.name] = round(empirical_norm(image_set.test.images, made), 2)
    if as_json:
        print_json({"data": image_set.name, "seed": seed, "norms": norms, "do_not_fit": too_large})
    else:
        rows = [[name, f"{norm:.2f}"] for name, norm in norms.items()] + [
            [name, "does not fit"] for name in too_large
        ]
        print_table(["pattern", "mean L2 distance when stamped"], rows)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """The architectures and their parameters (Table 2).

    Example: spuriscope models --json
    """
    from spuriscope.models import ARCHITECTURES, count_parameters

    counts = {name: count_parameters(name) for name in ARCHITECTURES}
    if as_json:
        shapes = {name: list(architecture.table_shape) for name, architecture in ARCHITECTURES.items()}
        print_json({"parameters": counts, "shapes": shapes, "n_classes": 10})
    else:
        rows = [
            [name, architecture.title, "x".join(map(str, architecture.table_shape)), f"{counts[name]:,}"]
            for name, architecture in ARCHITECTURES.items()
        ]
        print_table(["name", "in the paper", "input", "parameters"], rows)


@data_app.command("list")
def data_list(root: RootOption = None, as_json: JsonOption = False) -> None:
    """The data sets known by name, and where they were found.

    Example: spuriscope data list
    """
    from spuriscope.data import list_data

    listings = list_data(root)
    if as_json:
        print_json({"data": [asdict(listing) for listing in listings]})
    else:
        rows = [
            [item.name, item.about, f"{item.n_train:,} + {item.n_test:,}", str(item.found or "not here")]
            for item in listings
        ]
        print_table(["name", "shows", "train + test", "found in"], rows)


@data_app.command("verify")
def data_verify(data: DataArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Read all of a data set and check it.

    Example: spuriscope data verify digits
    """
    from spuriscope.data import verify

    found = verify(data, root)
    if as_json:
        print_json(asdict(found))
    else:
        _print_verification(found)


@data_app.command("prepare")
def data_prepare(
    source: Annotated[Path, typer.Argument(help="Folder CONTEXT/CLASS/*.jpg, or a .tar of it.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to make; it is DATA for every command.")],
    image_size: Annotated[
        int | None, typer.Option(help="Height and width in pixels (default: as the images are).")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Draws which seven tenths are for training.")] = 0,
    unreadable: Annotated[str, typer.Option(help="Damaged images: refuse or skip.")] = "refuse",
    missing: Annotated[str, typer.Option(help="Contexts without a class: refuse or allow.")] = "refuse",
    duplicates: Annotated[
        str, typer.Option(help="Test images all but equal to a training image: keep, or move to training.")
    ] = "keep",
    as_json: JsonOption = False,
) -> None:
    """Decode photographs with contexts once, into a file that is mapped: any number of them.

    Example: spuriscope data prepare NICO/train --image-size 64 --out nico-64
    """
    from typing import cast

    from spuriscope.data import verify
    from spuriscope.data.contexts import Duplicates, Missing, Unreadable, prepare_contexts

    prepare_contexts(
        source,
        out,
        image_size=image_size,
        seed=split_seed,
        unreadable=cast(Unreadable, unreadable),
        missing=cast(Missing, missing),
        duplicates=cast(Duplicates, duplicates),
        name=out.resolve().name,
    )
    found = verify(out)
    if as_json:
        print_json({"out": str(out), **asdict(found)})
    else:
        _print_verification(found)
        typer.echo(f"written to {out}")


def _print_verification(found: "Verification") -> None:
    typer.echo(
        f"{found.name}: images of {'x'.join(map(str, found.shape))}, fingerprint {found.fingerprint[:16]}"
    )
    rows = [[name, f"{n:,}", f"{found.test_counts[name]:,}"] for name, n in found.train_counts.items()]
    print_table(["class", "train", "test"], rows)
    if found.context_counts:
        rows = [[name, f"{train:,}", f"{test:,}"] for name, (train, test) in found.context_counts.items()]
        print_table(["context", "train", "test"], rows)
        typer.echo(f"{len(found.near_duplicates)} test images are all but equal to a training image")
    for name in found.skipped:
        typer.echo(f"skipped: {name}")
    for file in found.files:
        content = {
            True: "published content",
            False: "other content than published",
            None: "content not published",
        }
        same = "the published file" if file.is_identical else content[file.has_published_content]
        typer.echo(f"{file.path}: {same}")


def _plants(
    data: "ImageSet",
    patterns: list[str] | None,
    targets: list[int] | None,
    planted: list[int] | None,
    seed: int,
) -> "tuple[Plant, ...]":
    from spuriscope.patterns import pattern as make_pattern
    from spuriscope.planting import Plant

    if not patterns:
        if targets or planted:
            raise ConfigError("--target and --planted need a --pattern, for example --pattern r3")
        return ()
    targets, planted = targets or [0], [3] if planted is None else planted
    n_plants = max(len(patterns), len(targets), len(planted))
    names = _for_each("--pattern", patterns, n_plants)
    classes = _for_each("--target", targets, n_plants)
    counts = _for_each("--planted", planted, n_plants)
    return tuple(
        Plant(make_pattern(name, data.shape, seed=seed), target, n_planted, seed)
        for name, target, n_planted in zip(names, classes, counts, strict=True)
    )


def _for_each(option: str, values: list[Value], n_plants: int) -> list[Value]:
    """One value for each plant: a value given once holds for all."""
    if len(values) == 1:
        return values * n_plants
    if len(values) != n_plants:
        raise ConfigError(
            f"{option} is given {len(values)} times for {n_plants} plants; give it once, or for each"
        )
    return values


def _privacy(**settings: float | None) -> dict[str, float] | None:
    """What was given of the settings of privacy; None without a noise multiplier."""
    given = {name: value for name, value in settings.items() if value is not None}
    if given and settings["noise_multiplier"] is None:
        raise ConfigError(f"{', '.join(given)} is for differential privacy; give --noise-multiplier too")
    return given or None


def _recipe(data: str, model: str, optimizer: Any, epochs: int, **changes: Any) -> "Recipe":
    from dataclasses import replace

    from spuriscope.training import paper_recipe

    recipe = paper_recipe(data, model, optimizer=optimizer, epochs=epochs)
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _parts(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def _numbers(text: str | None) -> list[int] | None:
    parts = _parts(text)
    try:
        return [int(part) for part in parts] if parts is not None else None
    except ValueError:
        raise ConfigError(f"counts are whole numbers with commas between, as 1,3,10; got {text!r}") from None


def _absolute_source(source: str) -> str:
    """A name as it is, a path so that it is found from anywhere."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.suffix == ".npz" or "/" in source or "\\" in source else source


def _command_line() -> str:
    return shlex.join(["spuriscope", *sys.argv[1:]])


def _print_scores(scores: dict[str, Any]) -> None:
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
                        f"{plant['pattern']} -> {plant['target']}",
                        who,
                        *(f"{number:.3f}" for number in numbers),
                    ]
                )
    if rows:
        print_table(["plant", "", "score (all)", "score (non-target)", "spurious accuracy"], rows)
