"""Who pays: stamped images in four cells, and presence of the pattern; makes docs/results/membership.md.

For each data set, pattern and number planted, and for each seed, one game (see `spuriscope.membership.game`).
Its row is appended to `--out`, so that seeds can be added with `--first-seed`. All models of a game are
attacked; the columns "as in the paper's notebook" are of its first model, on the quarters. Presence is tested
on the models and on their clean twins: the same half, steps and seed, nothing planted.

    python benchmarks/membership.py --root DATA --out membership.jsonl
    python benchmarks/membership.py --show membership.jsonl
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from spuriscope.data import ImageSet, Split, load
from spuriscope.environment import environment
from spuriscope.membership.attacks import ATTACKS
from spuriscope.membership.evaluation import Rate, auc, paper_columns, rate
from spuriscope.membership.game import Game, Played, play
from spuriscope.membership.presence import PRESENCE_STATISTICS, presence
from spuriscope.patterns import pattern
from spuriscope.statistics import mean_interval
from spuriscope.training import Trainer, paper_recipe

DATA = ("mnist", "fashion-mnist")
PATTERNS = ("r3", "s3")
COUNTS = (1, 3, 10, 100)
TARGET = 0
FALSE_ALARMS = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("membership.jsonl"))
    parser.add_argument("--show", type=Path)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--patterns", nargs="+", default=PATTERNS)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, help="training images in all four quarters (default: all)")
    parser.add_argument("--minutes", type=float, default=60, help="start no new seed after this time")
    options = parser.parse_args()
    if options.show:
        show([json.loads(line) for line in options.show.read_text().splitlines()])
        return
    start = time.perf_counter()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name in options.data:
            if time.perf_counter() - start > 60 * options.minutes:
                return
            data = some(load(name, root=options.root), options.images, seed)
            for row in rows(data, seed, options):
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"seed {seed}, {name}: {time.perf_counter() - start:.0f} s", flush=True)


def some(data: ImageSet, n_images: int | None, seed: int) -> ImageSet:
    """The data set with `n_images` of its training images, drawn at random."""
    if n_images is None:
        return data
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[:n_images]
    train = Split(data.train.images[order], data.train.labels[order])
    return ImageSet(data.name, train, data.test, data.class_names)


def rows(data: ImageSet, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per pattern and number planted: games of one seed, each with its models' clean twins."""
    drawn = {name: pattern(name, data.shape, seed=seed) for name in options.patterns}
    recipe = paper_recipe(data.name, "mlp", epochs=options.epochs)

    def game(name: str, n_planted: int) -> Game:
        return Game(
            data=data,
            pattern=drawn[name],
            target=TARGET,
            n_planted=n_planted,
            model="mlp",
            recipe=recipe,
            n_models=options.models,
            seed=seed,
        )

    places = [(name, n_planted) for name in options.patterns for n_planted in options.counts]
    trainer = Trainer(n_workers=options.workers)
    plays = play([game(*place) for place in places], n_clean=options.models, trainer=trainer)
    return [
        {
            "data": data.name,
            "pattern": name,
            "n_planted": n_planted,
            "seed": seed,
            "n_models": options.models,
            "epochs": options.epochs,
            "n_train": len(played.pool.is_stamped) // 2,
            "attacks": {attack: cells(played, attack) for attack in ATTACKS},
            "presence": played.presence(),
            "null": played.null(),
            "notebook": notebook(played),
            "environment": asdict(environment()),
        }
        for (name, n_planted), played in zip(places, plays, strict=True)
    ]


def notebook(played: Played) -> dict[str, Any]:
    """The two columns of the paper's notebook, on the game's quarters."""
    assert played.rehearsal is not None
    target = played.logits[0], played.pool.labels, played.pool.was_in[0], played.pool.is_stamped
    return asdict(paper_columns(played.rehearsal, *target))


def cells(played: Played, name: str) -> dict[str, Any]:
    """One attack on every model of a game: areas, and the images called members at 1 % false alarms overall.

    `hits` of `totals`: stamped members, stamped outsiders, unstamped members and outsiders of the class.
    """
    row: dict[str, Any] = {"stamped": [], "unstamped": [], "all": [], "hits": [0] * 4, "totals": [0] * 4}
    for target in range(played.game.n_models):
        trial = played.trial(ATTACKS[name], target)
        outsiders = trial.scores[~trial.is_member].sort(descending=True).values
        limit = outsiders[int(FALSE_ALARMS * len(outsiders))]
        every = torch.ones_like(trial.is_stamped)
        groups = {
            "stamped": trial.is_stamped,
            "unstamped": ~trial.is_stamped & trial.is_of_class,
            "all": every,
        }
        for k, (key, group) in enumerate(groups.items()):
            sides = [trial.scores[group & trial.is_member], trial.scores[group & ~trial.is_member]]
            row[key].append(auc(*sides))
            for side, scores in enumerate(sides if k < 2 else ()):
                row["hits"][2 * k + side] += int((scores > limit).sum())
                row["totals"][2 * k + side] += len(scores)
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print the tables of docs/results/membership.md. Intervals are over seeds, of means over models."""
    first = rows[0]
    print(
        f"{first['environment']['processor']}, torch {first['environment']['torch']}; models of a game: "
        f"{first['n_models']}, images each: {first['n_train']:,}, epochs: {first['epochs']}"
    )
    places = [(data, name, n) for data in DATA for name in PATTERNS for n in COUNTS]
    games = {
        place: found
        for place in places
        if (found := [row for row in rows if (row["data"], row["pattern"], row["n_planted"]) == place])
    }
    print("\n## Four cells: the loss attack at 1 % false alarms overall, beside the notebook's columns\n")
    print_rows(
        "seeds | stamped members | stamped outsiders | unstamped members | unstamped outsiders | notebook",
        {place: [str(len(of)), *rates(of, "loss"), columns(of)] for place, of in games.items()},
    )
    for group, title in (
        ("stamped", "stamped images"),
        ("unstamped", "unstamped, same class"),
        ("all", "all"),
    ):
        print(f"\n## AUC, {title}\n")
        print_rows(
            " | ".join(ATTACKS),
            {place: [area(of, attack, group) for attack in ATTACKS] for place, of in games.items()},
        )
    for statistic in PRESENCE_STATISTICS:
        print(f"\n## Presence by {statistic}\n")
        print_rows(
            "AUC | at 10 % false alarms | with it | without | models",
            {place: told(of, statistic) for place, of in games.items()},
        )


def print_rows(header: str, cells: dict[tuple[str, str, int], list[str]]) -> None:
    print(f"| data | pattern | planted | {header} |")
    print("| --- " * (header.count("|") + 4) + "|")
    for place, texts in cells.items():
        print("| " + " | ".join([*map(str, place), *texts]) + " |")


def rates(rows: list[dict[str, Any]], attack: str) -> list[str]:
    found = [row["attacks"][attack] for row in rows]
    return [
        share(rate(sum(f["hits"][k] for f in found), sum(f["totals"][k] for f in found))) for k in range(4)
    ]


def columns(rows: list[dict[str, Any]]) -> str:
    """As in the paper's notebook: accuracy on all / on spurious examples."""
    keys = ("accuracy_on_all", "accuracy_on_spurious")
    return " / ".join(f"{mean(row['notebook'][key] for row in rows):.3f}" for key in keys)


def area(rows: list[dict[str, Any]], attack: str, group: str) -> str:
    return interval([mean(row["attacks"][attack][group]) for row in rows])


def told(rows: list[dict[str, Any]], statistic: str) -> list[str]:
    areas = []
    for row in rows:
        found = presence(*([s[statistic] for s in row[key]] for key in ("presence", "null"))).auc
        areas += [found.mean] if found else []
    ours, null = ([s[statistic] for row in rows for s in row[key]] for key in ("presence", "null"))
    ends = [f"{min(values):.3f} to {max(values):.3f}" for values in (ours, null)]
    at = share(presence(ours, null).recognised[1].rate)
    return [interval(areas), at, *ends, f"{len(ours)} and {len(null)}"]


def interval(values: list[float]) -> str:
    found = mean_interval(values)
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def share(found: Rate) -> str:
    if found.value is None:
        return found.reason
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
