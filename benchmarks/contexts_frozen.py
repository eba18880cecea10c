"""Is a natural rare context learnt by a head on a network trained on ImageNet? Rows for claims, on PACS.

The body of efficientnet-lite0 is frozen and run once on every image. Then a linear head is trained (Adam, 20
passes) for each pair of context and class, each number of images that keep the context, and each seed.
Contexts and classes are the first three by name, as in the study fig4: nine pairs. Rows are those of `study
export`; a stopped run continues where it was:

    python benchmarks/contexts_frozen.py run --root DATA --features features.pt --out fig4-pacs.csv
    python benchmarks/contexts_frozen.py show --out fig4-pacs.csv
"""

import argparse
import csv
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spuriscope.contexts import RareContext, context_names, measure_context
from spuriscope.data import ImageSet, load
from spuriscope.measures import Predict
from spuriscope.models.pretrained import imagenet_features
from spuriscope.statistics import mean_interval, t_test

COUNTS = (0, 1, 3, 10, 30, 100)
FIELDS = ("cell", "model", "pattern", "target", "n_planted", "seed", "measure", "value")
MODEL = "efficientnet-lite0, frozen"
N_PAIRED = 3  # contexts, and classes
IMAGE_SIZE = 160  # pixels that images are scaled up to
EPOCHS, BATCH_SIZE, LEARNING_RATE = 20, 64, 1e-3

Row = dict[str, str]
Place = tuple[str, int, int, int]  # context, target, number planted, seed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("run", "show"))
    parser.add_argument("--root", type=Path, help="folder with the data sets")
    parser.add_argument("--features", type=Path, help="file that keeps the body's features")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    options = parser.parse_args()
    if options.part == "run":
        run(options)
    show(read(options.out), load("pacs", root=options.root).class_names)


def read(out: Path) -> list[Row]:
    """The rows already written."""
    if not out.is_file():
        return []
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def places(data: ImageSet, n_seeds: int, counts: Sequence[int]) -> Iterator[Place]:
    """Every head, seed by seed."""
    for seed in range(n_seeds):
        for context in context_names(data)[:N_PAIRED]:
            for target in range(N_PAIRED):
                for count in counts:
                    if count <= RareContext(context, target, 0).n_candidates(data):
                        yield context, target, count, seed


def run(options: argparse.Namespace) -> None:
    """Train and measure the heads that have no rows yet."""
    data = load("pacs", root=options.root)
    train, test = features_of(data, options.features)
    done = {
        (row["pattern"], int(row["target"]), int(row["n_planted"]), int(row["seed"]))
        for row in read(options.out)
    }
    is_new = not options.out.is_file()
    start = time.process_time()
    with options.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for place in places(data, options.seeds, options.counts):
            if place in done:
                continue
            context, target, count, seed = place
            rows = RareContext(context, target, count, seed).part(data).positions
            head = train_head(train[rows], data.train.labels[rows], len(data.class_names), seed)
            found = measure_context(asking(head, test), data, context, target)
            cell = hashlib.sha256(repr((MODEL, IMAGE_SIZE, EPOCHS, BATCH_SIZE, *place)).encode()).hexdigest()
            for measure in ("predicted_share", "spurious_accuracy", "clean_accuracy"):
                values = (cell[:16], MODEL, *place, measure, f"{getattr(found, measure):.6f}")
                writer.writerow(dict(zip(FIELDS, values, strict=True)))
            file.flush()
            print(*place, f"{found.predicted_share:.3f}", file=sys.stderr, flush=True)
    print(f"{time.process_time() - start:.0f} s of processor time", file=sys.stderr)


def features_of(data: ImageSet, kept: Path) -> tuple[Tensor, Tensor]:
    """Features of training and test images (n, 1280), scaled to a standard deviation of 1."""
    if not kept.is_file():
        torch.save(
            [imagenet_features(split.images, image_size=IMAGE_SIZE) for split in (data.train, data.test)],
            kept,
        )
    train, test = torch.load(kept, weights_only=True)
    mean, spread = train.mean(dim=0), train.std(dim=0).clamp(min=1e-3)
    return (train - mean) / spread, (test - mean) / spread


def train_head(features: Tensor, labels: Tensor, n_classes: int, seed: int) -> nn.Linear:
    """A linear head; the seed draws its weights and the order of the images."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(features.shape[1], n_classes)
    nn.init.normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features[batch]), labels[batch].long()).backward()
            optimizer.step()
    return head


def asking(head: nn.Linear, features: Tensor) -> Predict:
    """Answers for the test images, whose features are known, in order, once."""
    left = list(head(features).softmax(dim=1).detach().split(1))

    def predict(images: Tensor) -> Tensor:
        answers = torch.cat(left[: len(images)])
        del left[: len(images)]
        return answers

    return predict


def show(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """The tables, in Markdown: shares with 95 % intervals, and rises over the clean twin of each seed."""
    shares = {
        (row["pattern"], int(row["target"]), int(row["n_planted"]), int(row["seed"])): float(row["value"])
        for row in rows
        if row["measure"] == "predicted_share"
    }
    counts = sorted({count for _, _, count, _ in shares})
    pairs = list(dict.fromkeys((context, target) for context, target, _, _ in shares))
    print("| context, class | 0 (twin) | " + " | ".join(f"{n}: share, rise, p" for n in counts[1:]) + " |")
    print("| --- |" + " --- |" * len(counts))
    for context, target in pairs:
        of = {
            n: {
                s: shares[context, target, n, s] for c, t, m, s in shares if (c, t, m) == (context, target, n)
            }
            for n in counts
        }
        cells = [f"{mean_interval(list(of[0].values())).mean:.3f}"]
        for n in counts[1:]:
            rises = [of[n][seed] - of[0][seed] for seed in of[n]]
            if len(rises) < 2:
                cells.append("")
                continue
            mean = mean_interval(rises, low=-1.0, high=1.0)
            share = sum(of[n].values()) / len(of[n])
            cells.append(
                f"{share:.3f}, {mean.mean:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}], {t_test(rises, 0.0):.2g}"
            )
        print(f"| {context}, {classes[target]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
