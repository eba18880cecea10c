"""Does the training set hold a context that fresh images lack? PACS, all pairs of manner and class.

For each pair the training images of the class in that manner are left out except for some, and the fresh ones
entirely; `missing_contexts` is run on all seven classes. The result says which images are named, how many of
the context's, and which others: of the class, and of other classes. Features are computed once and kept in a
file. Rows are written as they come; a stopped run continues where it was.

    python benchmarks/contexts_missing.py run --root DATA --out contexts-missing.csv --seeds 1
    python benchmarks/contexts_missing.py show --out contexts-missing.csv
"""

import argparse
import csv
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spuriscope.data import ImageSet, Split, load
from spuriscope.discovery import missing_contexts
from spuriscope.models.pretrained import imagenet_features

COUNTS = (100, 30, 0, 60, 10)
SIDE = 64
FIELDS = ("context", "target", "n_planted", "seed", "p_value", "named", "right", "contexts", "of_others")

Row = dict[str, str | int | float]
Key = tuple[int, int, int, int]


def features_of(data: ImageSet, path: Path) -> dict[bytes, Tensor]:
    """Features of the pretrained network by the bytes of the image; from the file if it exists."""
    images = torch.cat([data.train.images, data.test.images])
    if not path.is_file():
        np.save(path, imagenet_features(images).numpy())
    found = torch.from_numpy(np.load(path))
    return {image.numpy().tobytes(): row for image, row in zip(images, found, strict=True)}


def keys() -> Iterator[Key]:
    """Context, class, number planted and seed; all of a seed before the next."""
    for seed, n_planted in product(range(99), COUNTS):
        for context, target in product(range(4), range(7)):
            yield context, target, n_planted, seed


def row_of(data: ImageSet, known: dict[bytes, Tensor], key: Key) -> Row:
    """One search."""
    context, target, n_planted, seed = key
    assert data.contexts is not None
    is_rare = (data.train.labels == target) & (data.contexts.train == context)
    rare = is_rare.nonzero().flatten()
    chosen = rare[torch.randperm(len(rare), generator=torch.Generator().manual_seed(seed))[:n_planted]]
    kept = torch.cat([(~is_rare).nonzero().flatten(), chosen])
    fresh = ((data.test.labels != target) | (data.contexts.test != context)).nonzero().flatten()
    train = Split(data.train.images[kept], data.train.labels[kept])
    holdout = Split(data.test.images[fresh], data.test.labels[fresh])

    def features(images: Tensor) -> Tensor:
        return torch.stack([known[image.numpy().tobytes()] for image in images])

    found = missing_contexts(train, holdout, features=features, seed=seed)
    named = {place for each in found if each.target == target for place in each.examples.tolist()}
    return {
        "context": data.contexts.names[context],
        "target": data.class_names[target],
        "n_planted": n_planted,
        "seed": seed,
        "p_value": min((each.p_value for each in found if each.target == target), default=1.0),
        "named": len(named),
        "right": sum(place >= len(kept) - len(chosen) for place in named),
        "contexts": sum(each.target == target for each in found),
        "of_others": sum(each.target != target for each in found),
    }


def run(options: argparse.Namespace) -> None:
    """Make the missing rows."""
    data = load("pacs", root=options.root, image_size=SIDE)
    assert data.contexts is not None
    known = features_of(data, options.out.with_suffix(".features.npy"))
    rows = read(options.out)
    done = {(row["context"], row["target"], int(row["n_planted"]), int(row["seed"])) for row in rows}
    with options.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not rows:
            writer.writeheader()
        for context, target, n_planted, seed in keys():
            if seed >= options.seeds:
                return
            if (data.contexts.names[context], data.class_names[target], n_planted, seed) not in done:
                writer.writerow(row_of(data, known, (context, target, n_planted, seed)))
                file.flush()


def read(path: Path) -> list[dict[str, str]]:
    """The rows already written."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def show(path: Path) -> None:
    """Print the table. Precision and recall are over the searches that name something of the class."""
    rows = read(path)
    print("| images of the context | searches | name some of it | precision | recall | name others |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for n_planted in sorted(COUNTS):
        of_count = [row for row in rows if int(row["n_planted"]) == n_planted]
        named = [row for row in of_count if int(row["named"])]
        right = [row for row in named if int(row["right"])]
        precision = np.mean([int(row["right"]) / int(row["named"]) for row in named]) if named else np.nan
        recall = np.mean([int(row["right"]) / n_planted for row in right]) if right else np.nan
        others = sum(int(row["of_others"]) > 0 for row in of_count)
        print(f"| {n_planted} | {len(of_count)} | {len(right)} | {precision:.2f} | {recall:.2f} | {others} |")


def main() -> None:
    """Parse, run or show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("run", "show"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("contexts-missing.csv"))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    run(options) if options.part == "run" else show(options.out)


if __name__ == "__main__":
    main()
