"""How fast many models are trained, compared with the usual loop and with the arithmetic itself.

In one run on one machine, interleaved and repeated:

(a) the usual loop: TensorDataset, DataLoader with 4 workers, torch's Adam, one model after the other;
(b) `train_many`: one model per process, one thread each, one process per core;
(c) the floor: only the matrix products and convolutions of the same steps, in as many processes.

Images are random, because the arithmetic does not depend on them. Rates are model-epochs per second, for
60,000 images of 28x28 (mlp, cnn) or 50,000 of 32x32 (resnet20). The first start of loader workers, and of our
workers' server, is not counted.

    python benchmarks/throughput.py            # the table
    python benchmarks/throughput.py --quick --json
    python benchmarks/throughput.py --growth   # 64 models against 8
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spuriscope.data import ImageSet, Split
from spuriscope.environment import environment
from spuriscope.models import ARCHITECTURES, build_model
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, train_many
from spuriscope.training.many import n_cores

BATCH = 128


@dataclass(frozen=True)
class Case:
    """The training of one round.

    Attributes:
        model: name of the architecture.
        n_images: images of one epoch.
        n_epoch: images of a whole epoch of the data set it stands for.
    """

    model: str
    n_images: int
    n_epoch: int


QUICK = (Case("mlp", 30_720, 60_000), Case("cnn", 3_840, 60_000), Case("resnet20", 1_280, 50_000))
FULL = (Case("mlp", 60_000, 60_000), Case("cnn", 12_800, 60_000), Case("resnet20", 5_120, 50_000))


def random_data(case: Case) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    shape = ARCHITECTURES[case.model].table_shape
    images = torch.randint(0, 256, (case.n_images, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (case.n_images,), generator=generator)
    return ImageSet("random", Split(images, labels), Split(images[:1], labels[:1]), tuple("0123456789"))


def usual_loop(case: Case, data: ImageSet) -> float:
    """Images per second of the loop in tutorials, from the first batch on."""
    dataset = torch.utils.data.TensorDataset(data.train.images.float() / 255, data.train.labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=4)
    model = ARCHITECTURES[case.model].build(data.shape, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    loss_function = nn.CrossEntropyLoss()
    batches = iter(loader)
    images, labels = next(batches)
    n_seen = 0
    start = time.perf_counter()
    while True:
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        n_seen += len(labels)
        try:
            images, labels = next(batches)
        except StopIteration:
            break
    return n_seen / (time.perf_counter() - start)


def ours(case: Case, data: ImageSet, *, n_models: int, n_workers: int) -> float:
    """Images per second of `train_many`, over all models."""
    recipe = Recipe(learning_rate=0.001, epochs=1, batch_size=BATCH)
    key = DataKey.of(data)
    cells = [Cell(data=key, model=case.model, recipe=recipe, seed=seed) for seed in range(n_models)]
    start = time.perf_counter()
    for result in train_many(cells, data, device="cpu", n_workers=n_workers):
        if not isinstance(result, TrainedModel):
            raise SystemExit(result.reason)
    return n_models * case.n_images / (time.perf_counter() - start)


def floor(case: Case, n_workers: int) -> float:
    """Images per second of the bare products, in `n_workers` processes at once."""
    if n_workers == 1:
        return bare_products(case)
    with multiprocessing.get_context("forkserver").Pool(n_workers) as pool:
        pool.map(warm, range(n_workers), chunksize=1)
        return sum(pool.map(bare_products, [case] * n_workers, chunksize=1))


def warm(_: int) -> None:
    time.sleep(0.5)  # until every process of the pool has one


def bare_products(case: Case) -> float:
    """Images per second of the products of a training step, on one thread."""
    torch.set_num_threads(1)
    steps = -(-case.n_images // BATCH)
    products = products_of_a_step(case.model)
    for product in products:
        product()
    start = time.perf_counter()
    for _ in range(steps):
        for product in products:
            product()
    return steps * BATCH / (time.perf_counter() - start)


def products_of_a_step(name: str) -> list[Callable[[], object]]:
    """Forward and both backward products of every layer with weights; no gradient for the images."""
    shape = ARCHITECTURES[name].table_shape
    module = build_model(name, shape, 10)
    seen: list[tuple[nn.Module, Tensor]] = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, _: seen.append((layer, inputs[0].detach())))
    module(torch.rand(BATCH, *shape))
    products: list[Callable[[], object]] = []
    for position, (layer, x) in enumerate(seen):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        w = weight.detach()
        if isinstance(layer, nn.Linear):
            g = torch.rand(BATCH, layer.out_features)
            products += [lambda x=x, w=w: torch.mm(x, w.t()), lambda g=g, x=x: torch.mm(g.t(), x)]  # type: ignore[misc]
            if position:
                products.append(lambda g=g, w=w: torch.mm(g, w))  # type: ignore[misc]
        elif isinstance(layer, nn.Conv2d):
            products += convolution_products(layer, x, w, wants_input_gradient=position > 0)
    return products


def convolution_products(
    layer: nn.Conv2d, x: Tensor, w: Tensor, *, wants_input_gradient: bool
) -> list[Callable[[], object]]:
    stride, padding, dilation = layer.stride, layer.padding, layer.dilation
    wanted = [wants_input_gradient, True, False]

    def forward() -> Tensor:
        return torch.ops.aten.convolution(x, w, None, stride, padding, dilation, False, [0, 0], 1)  # type: ignore[no-any-return]

    g = torch.rand_like(forward())

    def backward() -> object:
        return torch.ops.aten.convolution_backward(
            g, x, w, None, stride, padding, dilation, False, [0, 0], 1, wanted
        )

    return [forward, backward]


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Rates of all three, interleaved, with their ratios round by round."""
    data, n_workers = random_data(case), n_cores()
    ours(Case(case.model, BATCH, BATCH), random_data(Case(case.model, BATCH, BATCH)), n_models=2, n_workers=2)
    rounds = []
    for _ in range(repeats):
        rates = {
            "usual_loop": usual_loop(case, data),
            "train_many": ours(case, data, n_models=2 * n_workers, n_workers=n_workers),
            "floor": floor(case, n_workers),
        }
        if case.model == "mlp":
            rates["one_cell"] = ours(case, data, n_models=1, n_workers=1)
            rates["one_floor"] = floor(case, 1)
        rounds.append(rates)
    ratios = {
        "ratio_to_loop": [r["train_many"] / r["usual_loop"] for r in rounds],
        "share_of_floor": [r["train_many"] / r["floor"] for r in rounds],
    }
    if case.model == "mlp":
        ratios["one_cell_over_floor"] = [r["one_floor"] / r["one_cell"] for r in rounds]
    return {
        "model_epochs_per_second": {
            name: spread([r[name] / case.n_epoch for r in rounds]) for name in rounds[0]
        },
        **{name: statistics.median(values) for name, values in ratios.items()},
        "spread": {name: spread(values) for name, values in ratios.items()},
    }


def growth(repeats: int) -> dict[str, float]:
    """The time of 64 models over that of 8, divided by 8: 1 is linear."""
    case = Case("mlp", 6_400, 60_000)
    data, n_workers = random_data(case), n_cores()
    ratios = []
    for _ in range(repeats):
        few, many = (ours(case, data, n_models=n, n_workers=n_workers) for n in (8, 64))
        ratios.append(few / many)
    return spread(ratios)


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer images and repeats; under 3 minutes on 2 cores"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument(
        "--model", action="append", choices=[case.model for case in FULL], help="only this one"
    )
    parser.add_argument("--growth", action="store_true", help="only: do 64 models take 8 times as long as 8?")
    arguments = parser.parse_args()
    if arguments.growth:
        print(f"64 models take {text(growth(5))} times 8 times as long as 8")
        return
    cases = [
        case
        for case in (QUICK if arguments.quick else FULL)
        if not arguments.model or case.model in arguments.model
    ]
    result = {}
    for case in cases:
        print(f"measuring {case.model}", file=sys.stderr)
        result[case.model] = measure(case, 3 if arguments.quick else 5)
    if arguments.json:
        print(
            json.dumps(
                {"environment": asdict(environment("cpu")), "n_workers": n_cores(), **result}, indent=1
            )
        )
        return
    where = environment("cpu")
    print(f"{where.processor}, {n_cores()} cores, torch {where.torch}, Python {where.python}")
    print("model-epochs a second: median (min to max)")
    print(
        f"{'':10}{'usual loop':>24}{'train_many':>24}{'floor':>24}{'ratio to loop':>20}{'share of floor':>20}"
    )
    for name, found in result.items():
        rates = (text(found["model_epochs_per_second"][key]) for key in ("usual_loop", "train_many", "floor"))
        ratios = (text(found["spread"][key]) for key in ("ratio_to_loop", "share_of_floor"))
        print(
            f"{name:10}"
            + "".join(f"{rate:>24}" for rate in rates)
            + "".join(f"{ratio:>20}" for ratio in ratios)
        )
    if "mlp" in result:
        one = text(result["mlp"]["spread"]["one_cell_over_floor"])
        print(f"one MLP in one process takes {one} times the floor")


def text(found: dict[str, float]) -> str:
    return f"{found['median']:.3g} ({found['min']:.3g} to {found['max']:.3g})"


if __name__ == "__main__":
    main()
