"""What shortened arithmetic does to the scores: float32 against bfloat16, on digits.

Same cells, same seeds; r3 on 1, 3 and 10 images of class 0, and the clean twins. Differences are paired.

    python benchmarks/precision.py
"""

import argparse
from dataclasses import replace

from spuriscope.data import load
from spuriscope.environment import environment
from spuriscope.measures import measure
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.statistics import mean_interval
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, train_many

COUNTS = (0, 1, 3, 10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    n_seeds = parser.parse_args().seeds
    data = load("digits")
    noise = {seed: pattern("r3", data.shape, seed=seed) for seed in range(n_seeds)}
    cells = {
        Cell(
            data=DataKey.of(data),
            plants=(Plant(noise[seed], 0, n, seed),) if n else (),
            model="mlp",
            recipe=replace(Recipe(epochs=21), precision=precision),
            seed=seed,
        ): (precision, n, seed)
        for precision in ("float32", "bfloat16")
        for n in COUNTS
        for seed in noise
    }
    found = {}
    for model in train_many(cells, data):
        if not isinstance(model, TrainedModel):
            raise SystemExit(model.reason)
        precision, n, seed = cells[model.cell]
        found[precision, n, seed] = measure(model.predict, data.test, noise[seed], 0)
    where = environment()
    print(f"digits, mlp, 21 epochs, r3 in class 0, {n_seeds} seeds")
    print(f"{where['processor']}, torch {where['torch']}")
    print(
        f"{'n':>4}{'score float32':>16}{'score bfloat16':>16}{'difference (95 %)':>28}{'clean accuracy':>28}"
    )
    for n in COUNTS:
        whole, short = ([found[p, n, seed] for seed in noise] for p in ("float32", "bfloat16"))
        texts = []
        for name in ("score_non_target", "clean_accuracy"):
            pairs = zip(whole, short, strict=True)
            change = mean_interval([getattr(b, name) - getattr(a, name) for a, b in pairs], low=-1.0)
            texts.append(f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})")
        means = [sum(m.score_non_target for m in of) / n_seeds for of in (whole, short)]
        print(f"{n:>4}{means[0]:>16.3f}{means[1]:>16.3f}{texts[0]:>28}{texts[1]:>28}")


if __name__ == "__main__":
    main()
