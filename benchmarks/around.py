"""What a user waits for beside trainings, each as a multiple of a stated simple way to do the same.

Both are measured in turn, on one thread, by processor time, so that other work on the machine weighs little.
The simple ways:

- the command's start: a Python that imports typer; `import spuriscope`: a Python that does nothing;
- measuring: the bare network in evaluation mode, once on the images and once on the stamped ones, both in
  memory as floats, 1,000 at a time;
- search, attack, audit: only the trainings that they begin with, one after the other;
- bfloat16, where the processor has arithmetic for it: the same training step in float32.

    python benchmarks/around.py            # the table
    python benchmarks/around.py --audit    # with a quick audit, minutes
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from spuriscope.auditing import audit, plan_audit
from spuriscope.data import ImageSet, Split, load
from spuriscope.environment import environment
from spuriscope.measures import measure
from spuriscope.membership import Game, attack_game, draw_pool
from spuriscope.models import ARCHITECTURES, build_model
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.searching import search_model
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, short_recipe, train_cell
from spuriscope.training.gradient import set_gradient

N_HALVES, N_CLEAN = 6, 2  # of the game that is attacked
MEASURED = {"mlp": 10_000, "cnn": 1_000, "resnet20": 500}  # images
STEPS = {"mlp": 20, "cnn": 3, "resnet20": 1, "resnet10": 2}
BATCH = 128

Task = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A comparison: what a user waits for, and the simple way."""

    name: str
    ours: Task
    simple: Task
    repeats: int = 3


def python(code: str) -> Task:
    """Run some code in a Python process of its own."""
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def starts() -> list[Row]:
    told = "import sys; sys.argv = ['spuriscope', '--help']; from spuriscope.cli import main; main()"
    return [
        Row("spuriscope --help", python(told), python("import typer"), repeats=7),
        Row("import spuriscope", python("import spuriscope"), python("pass"), repeats=7),
    ]


def random_data(shape: tuple[int, int, int], n: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(n) % 10)
    return ImageSet("random", split, split, tuple("0123456789"))


def measuring(name: str) -> Row:
    data = random_data(ARCHITECTURES[name].table_shape, MEASURED[name])
    model = train_cell(Cell(data=DataKey.of(data), model=name, recipe=Recipe(epochs=0)), data, device="cpu")
    mark = pattern("r3", data.shape)
    clean = data.test.images.float() / 255
    stamped = mark.apply(clean)

    @torch.inference_mode()
    def simple() -> list[Tensor]:
        return [
            model.module(part).softmax(dim=1) for images in (clean, stamped) for part in images.split(1000)
        ]

    return Row(f"measure, {name}", lambda: measure(model.predict, data.test, mark, 0), simple)


def step_of(name: str, recipe: Recipe) -> Task:
    shape = ARCHITECTURES[name].table_shape
    module = build_model(name, shape, 10)
    images, labels = torch.rand(BATCH, *shape), torch.arange(BATCH) % 10

    def steps() -> None:
        for _ in range(STEPS[name]):
            set_gradient(module, images, labels, recipe)

    return steps


def precisions() -> list[Row]:
    return [
        Row(
            f"step in bfloat16, {name}",
            step_of(name, Recipe(precision="bfloat16")),
            step_of(name, Recipe()),
        )
        for name in STEPS
    ]


def answers(*, with_audit: bool) -> list[Row]:
    """Search, attack and, if wanted, audit of the MLP on digits."""
    data = load("digits")
    mark = pattern("r3", data.shape)
    recipe = short_recipe(data.name, "mlp", len(data.train))
    cell = Cell(data=DataKey.of(data), plants=(Plant(mark, 0, 10),), model="mlp", recipe=recipe)
    model = train_cell(cell, data, device="cpu")
    game = Game(
        data=data, pattern=mark, target=0, n_planted=10, model="mlp", recipe=recipe, n_models=N_HALVES
    )
    played = game.cells(draw_pool(game))
    played += [cell.clean_twin for cell in played[:N_CLEAN]]
    rows = [
        Row("search", lambda: search_model(model, data), lambda: trained([cell], data), repeats=2),
        Row(
            "attack",
            lambda: attack_game(game, n_clean=N_CLEAN, device="cpu", n_workers=1),
            lambda: trained(played, data),
            repeats=2,
        ),
    ]
    if with_audit:
        plan = plan_audit(data, effort="quick")
        rows.append(
            Row(
                "audit --quick",
                lambda: audit(plan, device="cpu", n_workers=1),
                lambda: trained(list(plan.cells()), data),
                repeats=1,
            )
        )
    return rows


def trained(cells: list[Cell], data: ImageSet) -> list[TrainedModel]:
    return [train_cell(cell, data, device="cpu") for cell in cells]


def seconds(task: Task) -> float:
    """Processor time of a task, in this process and those that it waits for."""
    before = _spent()
    task()
    return _spent() - before


def _spent() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def compare(row: Row) -> dict[str, float]:
    """Median seconds of both, and their ratio with its spread."""
    row.simple()  # warms up what both use
    pairs = [(seconds(row.ours), seconds(row.simple)) for _ in range(row.repeats)]
    ratios = [ours / simple for ours, simple in pairs]
    return {
        "seconds": statistics.median(ours for ours, _ in pairs),
        "simple_seconds": statistics.median(simple for _, simple in pairs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--audit", action="store_true", help="also a quick audit: minutes")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*starts(), *map(measuring, MEASURED), *precisions(), *answers(with_audit=arguments.audit)]
    found = {}
    for row in rows:
        found[row.name] = compare(row)
        if not arguments.json:
            one = found[row.name]
            print(
                f"{row.name:28}{one['seconds']:9.3f} s{one['simple_seconds']:9.3f} s"
                f"{one['ratio']:8.2f} ({one['least']:.2f} to {one['most']:.2f})",
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"environment": asdict(environment("cpu")), **found}, indent=1))


if __name__ == "__main__":
    main()
