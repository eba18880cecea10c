"""Influence: curvature and solvers against matrices written out, the step against ridge regression's own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.data import ImageSet, Split, load
from spuriscope.deletion import (
    ConjugateGradients,
    Ekfac,
    Influence,
    Lissa,
    Solver,
    delete,
)
from spuriscope.deletion.curvature import SQUARED, Curvature, moved, summed_gradient
from spuriscope.deletion.request import Request
from spuriscope.models import ARCHITECTURES, Architecture
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Recipe, TrainedModel, train

N, P, RIDGE = 60, 5, 0.1
EXACT = ConjugateGradients(damping=RIDGE, n_steps=50, tolerance=1e-12)


def ridge_problem() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, P, generator=generator, dtype=torch.float64)
    return x, x.sum(dim=1, keepdim=True) + torch.randn(N, 1, generator=generator, dtype=torch.float64)


def fit_ridge(x: Tensor, y: Tensor) -> Tensor:
    """Minimises sum of squares / 2 + N RIDGE |w|^2 / 2; the penalty stays when rows go."""
    left = x.T @ x + N * RIDGE * torch.eye(P, dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(left, x.T @ y)[:, 0]
    return solution


def linear(weights: Tensor) -> nn.Module:
    module = nn.Linear(P, 1, bias=False, dtype=torch.float64)
    return moved(module, weights - module.weight.detach()[0])


@pytest.mark.parametrize("n_gone", [1, 7])
def test_a_newton_step_on_ridge_regression_is_retraining(n_gone: int) -> None:
    x, y = ridge_problem()
    kept = torch.arange(N) >= n_gone
    module = linear(fit_ridge(x, y))
    gradient = summed_gradient(module, x[~kept], y[~kept], SQUARED) / N
    # the mean over the images that stay counts them as N - n_gone: brought back to N
    solver = replace(EXACT, damping=RIDGE * N / (N - n_gone))
    step = solver(Curvature(module, x[kept], y[kept], SQUARED), gradient * N / (N - n_gone))
    (found,) = moved(module, step).parameters()
    torch.testing.assert_close(found[0].detach(), fit_ridge(x[kept], y[kept]))


def test_the_first_order_step_on_ridge_regression_is_the_derivative_of_retraining() -> None:
    """d/dt of the ridge solution with weight 1 - t on the rows that go, at t = 0, by autograd."""
    x, y = ridge_problem()
    gone = torch.arange(N) < 7

    def solution(t: Tensor) -> Tensor:
        weight = 1 - t * gone.double()
        left = x.T @ (weight[:, None] * x) + N * RIDGE * torch.eye(P, dtype=torch.float64)
        found: Tensor = torch.linalg.solve(left, x.T @ (weight[:, None] * y))[:, 0]
        return found

    expected = torch.autograd.functional.jacobian(solution, torch.zeros((), dtype=torch.float64))
    module = linear(fit_ridge(x, y))
    gradient = summed_gradient(module, x[gone], y[gone], SQUARED) / N
    torch.testing.assert_close(EXACT(Curvature(module, x, y, SQUARED), gradient), expected)


def softmax_problem() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 1, 2, 3, generator=generator, dtype=torch.float64)
    return module, x, torch.randint(3, (40,), generator=generator)


def matrix(curvature: Curvature, n: int) -> Tensor:
    return torch.stack([curvature.product(row) for row in torch.eye(n, dtype=torch.float64)])


def test_the_gauss_newton_matrix_of_a_linear_classifier_is_its_hessian() -> None:
    module, x, labels = softmax_problem()

    def loss(weights: Tensor) -> Tensor:
        logits = x.flatten(1) @ weights[:18].view(3, 6).T + weights[18:]
        value: Tensor = F.cross_entropy(logits, labels)
        return value

    weights = nn.utils.parameters_to_vector(module.parameters()).detach()
    hessian = torch.autograd.functional.hessian(loss, weights)
    curvature = Curvature(module, x, labels)
    torch.testing.assert_close(matrix(curvature, 21), hessian)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert curvature.largest(100) == pytest.approx(largest, rel=1e-3)
    gradient = torch.autograd.functional.jacobian(loss, weights)
    torch.testing.assert_close(summed_gradient(module, x, labels) / 40, gradient)


def test_the_gauss_newton_matrix_of_a_network_is_its_jacobians() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    values = tuple(value.detach() for value in module.parameters())
    expected = torch.zeros(31, 31, dtype=torch.float64)
    for row in x:
        jacobians = torch.autograd.functional.jacobian(
            lambda *weights, row=row: torch.func.functional_call(
                module, dict(zip(names, weights, strict=True)), row[None]
            )[0],
            values,
        )
        j = torch.cat([part.flatten(1) for part in jacobians], dim=1)
        p = module(row[None])[0].softmax(0).detach()
        expected += j.T @ (torch.diag(p) - p[:, None] * p) @ j / 5
    found = matrix(Curvature(module, x, torch.zeros(5, dtype=torch.int64)), 31)
    torch.testing.assert_close(found, expected)


@pytest.fixture
def softmax_regression(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], tuple[TrainedModel, ImageSet]]:
    """A convex model at the minimum of its objective, on 40 images of 6 pixels."""
    build = lambda shape, n_classes: nn.Sequential(nn.Flatten(), nn.Linear(6, n_classes))  # noqa: E731
    monkeypatch.setitem(ARCHITECTURES.built_in, "linear", Architecture("linear", build, (1, 2, 3)))
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(256, (40, 1, 2, 3), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.randint(3, (40,), generator=generator))
    data = ImageSet("forty", split, split, ("a", "b", "c"))

    def fitted(weight_decay: float) -> tuple[TrainedModel, ImageSet]:
        recipe = Recipe(epochs=0, weight_decay=weight_decay)
        model = train(data, model="linear", recipe=recipe)
        moved(model.module, (minimum(data, weight_decay) - flat(model.module)).float())
        return model, data

    return fitted


def flat(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach().double()


def objective(data: ImageSet, weight_decay: float, kept: Tensor, weights: Tensor) -> Tensor:
    x = data.train.images[kept].double().flatten(1) / 255
    logits = x @ weights[:18].view(3, 6).T + weights[18:]
    return F.cross_entropy(logits, data.train.labels[kept]) + weight_decay / 2 * weights.dot(weights)


def derivatives(data: ImageSet, weight_decay: float, kept: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    of = partial(objective, data, weight_decay, kept)
    gradient: Tensor = torch.autograd.functional.jacobian(of, weights)
    hessian: Tensor = torch.autograd.functional.hessian(of, weights)
    return gradient, hessian


def minimum(data: ImageSet, weight_decay: float, kept: Tensor | None = None) -> Tensor:
    """By Newton's method, with a trace of decay where there is none: biases alone leave the sum free."""
    rows = torch.arange(40) if kept is None else kept
    weights = torch.zeros(21, dtype=torch.float64)
    for _ in range(20):
        gradient, hessian = derivatives(data, weight_decay, rows, weights)
        weights = weights - torch.linalg.solve(hessian + 1e-9 * torch.eye(21), gradient)
    return weights


FEW, REST = torch.arange(10), torch.arange(10, 40)
Fitted = Callable[[float], tuple[TrainedModel, ImageSet]]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_newton_step_of_softmax_regression_is_newtons(
    weight_decay: float, softmax_regression: Fitted
) -> None:
    """The gradient and the Hessian of the objective without the images, written out by autograd."""
    model, data = softmax_regression(weight_decay)
    damping = 1e-3
    solver = ConjugateGradients(damping=damping, tolerance=1e-5)
    found = Influence(solver=solver, is_newton=True).step(Request.of(model, data, FEW)).double()
    gradient, hessian = derivatives(data, weight_decay, REST, flat(model.module))
    expected = -torch.linalg.solve(hessian + damping * torch.eye(21), gradient)
    assert float((found - expected).norm() / expected.norm()) < 0.01


def test_influence_knows_of_weight_decay(softmax_regression: Fitted) -> None:
    """To first order it is the derivative of the minimum by the images' weight, and near the new minimum."""
    model, data = softmax_regression(0.1)
    solver = ConjugateGradients(damping=0.0, tolerance=1e-5)
    asked = Request.of(model, data, FEW)
    old, new = flat(model.module), minimum(data, 0.1, REST)
    first, second = (Influence(solver=solver, is_newton=n).step(asked).double() for n in (False, True))
    _, hessian = derivatives(data, 0.1, torch.arange(40), old)
    of_few, _ = derivatives(data, 0.1, FEW, old)  # of their mean loss, weight decay included
    expected = torch.linalg.solve(hessian, of_few) * len(FEW) / 40
    assert float((first - expected).norm() / expected.norm()) < 0.01
    assert float((second - (new - old)).norm() / (new - old).norm()) < 0.1


def test_weight_decay_is_in_every_solver(softmax_regression: Fitted) -> None:
    """Far above the curvature it makes of each solve a division."""
    model, data = softmax_regression(0.1)
    curvature = Curvature(model.module, data.train.images / 255, data.train.labels, weight_decay=1e4)
    gradient = torch.ones(21)
    solvers: list[Solver] = [ConjugateGradients(), Lissa(depth=100)]
    if find_spec("kronfluence"):
        solvers.append(Ekfac())
    for solver in solvers:
        torch.testing.assert_close(solver(curvature, gradient), gradient / 1e4, rtol=1e-3, atol=0)


DIGITS = load("digits")
PLANT = Plant(pattern("r3", DIGITS.shape, seed=0), 0, 10, 0)
GONE = PLANT.planted_indices(DIGITS.train.labels)


@pytest.fixture(scope="module")
def planted() -> TrainedModel:
    return train(DIGITS, PLANT, model="small-mlp", recipe=Recipe(epochs=8))


def steps(solver: Solver, planted: TrainedModel, **how: bool) -> Tensor:
    influence = Influence(solver=solver, n_curvature=300, **how)
    return influence.step(Request.of(planted, DIGITS, GONE))


def test_the_step_of_a_model_solves_for_the_gradient_of_its_images(planted: TrainedModel) -> None:
    """Far above the curvature, damping makes of the solve a division."""
    asked = Request.of(planted, DIGITS, GONE)
    gradient = summed_gradient(planted.module, asked.images(GONE), asked.labels(GONE))
    for is_newton, n_images in ((False, len(DIGITS.train)), (True, len(DIGITS.train) - len(GONE))):
        found = steps(ConjugateGradients(damping=1e6), planted, is_newton=is_newton)
        expected = gradient / n_images / 1e6
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-20)


def test_at_the_end_of_a_training_influence_has_nothing_to_say(planted: TrainedModel) -> None:
    """The cue's images are learnt by then, so their gradient is next to nothing, and so is the step."""
    deleted = delete(planted, DIGITS, GONE, Influence(n_curvature=300))
    before, after = (m.logits(DIGITS.test.images) for m in (planted, deleted))
    assert float((before.softmax(1) - after.softmax(1)).abs().max()) < 0.01
