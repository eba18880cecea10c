"""How often is something natural reported beside true cues? Digits with two planted cues, searched.

An MLP for each seed; a square, r3, s3 or a disc in 8, 15 or 30 images of a class that is drawn, and s2 in 8
images of the next. A finding is natural where less than half of its images are planted ones.

    python benchmarks/discovery_beside.py --out beside.jsonl --seeds 31

A row is appended for each seed as it is done, and never made twice, so a stopped run continues.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spuriscope.data import ImageSet, load
from spuriscope.discovery import Finding, discover
from spuriscope.environment import environment
from spuriscope.patterns import pattern
from spuriscope.planting import Plant, draw_planted
from spuriscope.searching import images_seen
from spuriscope.training import short_recipe, train

Row = dict[str, Any]

CUES, COUNTS = ("square", "r3", "s3", "disc"), (8, 15, 30)
SECOND, N_SECOND = "s2", 8


def main() -> None:
    """Make the rows that are missing, and add up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=31)
    options = parser.parse_args()
    rows = read(options.out)
    data = load("digits")
    for seed in range(options.seeds):
        if all(row["seed"] != seed for row in rows):
            rows.append(row_of(data, seed))
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


def read(path: Path) -> list[Row]:
    """What is in the file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def row_of(data: ImageSet, seed: int) -> Row:
    """What the search makes of one model."""
    target = int(np.random.default_rng(seed).integers(len(data.class_names)))
    named = (
        (CUES[seed % len(CUES)], target, COUNTS[seed % len(COUNTS)]),
        (SECOND, (target + 1) % len(data.class_names), N_SECOND),
    )
    plants = [Plant(pattern(name, data.shape, seed=seed), of, n, seed) for name, of, n in named]
    recipe = short_recipe(data.name, "mlp", len(data.train))
    model = train(data, plants, model="mlp", recipe=recipe, seed=seed, device="cpu")
    start = time.process_time()
    found = discover(model.predict, train=images_seen(model.cell, data), holdout=data.test, n_controls=200)
    seconds = time.process_time() - start
    carriers = [
        (plant.target, drawn.numpy())
        for plant, drawn in zip(plants, draw_planted(plants, data.train.labels), strict=True)
    ]
    cues = [{place for place, of in enumerate(carriers) if names(finding, *of)} for finding in found]
    return {
        "seed": seed,
        "cues": named,
        "n_found": len(set().union(*cues)),
        "n_findings": len(found),
        "n_natural": sum(not of for of in cues),
        "p_natural": [finding.p_value for finding, of in zip(found, cues, strict=True) if not of],
        "seconds": seconds,
        "environment": asdict(environment()),
    }


def names(finding: Finding, target: int, carriers: np.ndarray) -> bool:
    """Whether half of the images of a finding, at least, carry a cue."""
    return finding.target == target and float(np.isin(finding.examples, carriers).mean()) >= 0.5


def show(rows: Sequence[Row]) -> None:
    """Cues found, searches with something natural, and the mean share of findings that are natural."""
    n_cues = sum(len(row["cues"]) for row in rows)
    shares = [row["n_natural"] / max(1, row["n_findings"]) for row in rows]
    print(f"{len(rows)} searches, {sum(row['n_found'] for row in rows)} of {n_cues} cues found")
    print(f"{sum(row['n_natural'] > 0 for row in rows)} searches with a natural finding")
    print(f"false discovery rate {np.mean(shares):.3f}")
    print(f"{np.median([row['seconds'] for row in rows]):.1f} s of processor time a search")


if __name__ == "__main__":
    main()
