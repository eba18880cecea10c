"""Influence: curvature and solvers against matrices written out, the step against ridge regression's own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.data import load
from spuriscope.deletion import (
    ConjugateGradients,
    Ekfac,
    Influence,
    Lissa,
    PathInfluence,
    Solver,
    delete,
)
from spuriscope.deletion.curvature import SQUARED, Curvature, moved, summed_gradient
from spuriscope.deletion.request import Request
from spuriscope.errors import DeletionError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Part, Recipe, TrainedModel, train

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


@pytest.mark.parametrize("divides", [True, False])
def test_lissa_reaches_the_solution_when_divided_by_its_scale(divides: bool) -> None:
    """Without the division, as in the public code, it reaches `scale` times the solution."""
    module, x, labels = softmax_problem()
    curvature = Curvature(module, x[:1], labels[:1])  # all batches are one, so the series has a limit
    gradient = torch.ones(21, dtype=torch.float64)
    scale = 2.0
    solver = Lissa(damping=0.5, scale=scale, depth=60, batch_size=1, repeats=2, divides=divides)
    expected = torch.linalg.solve(matrix(curvature, 21) + 0.5 * torch.eye(21), gradient)
    found = solver(curvature, gradient)
    torch.testing.assert_close(found, expected * (1 if divides else scale), rtol=1e-5, atol=1e-8)


def test_a_series_that_grows_is_an_error() -> None:
    module, x, labels = softmax_problem()
    with pytest.raises(DeletionError, match="grew without bound at scale 1e-06; give a larger scale"):
        Lissa(scale=1e-6, depth=200)(Curvature(module, x, labels), torch.ones(21, dtype=torch.float64))


def test_ekfac_agrees_with_conjugate_gradients_where_its_assumption_holds() -> None:
    """One layer whose inputs say nothing about its outputs' curvature: the Kronecker product is exact."""
    pytest.importorskip("kronfluence")
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3))
    for parameter in module.parameters():
        parameter.data.zero_()
    x = torch.randn(4000, 4, generator=generator) * torch.tensor([2.0, 1.0, 0.5, 0.1])
    curvature = Curvature(module, x, torch.zeros(4000, dtype=torch.int64))
    gradient = torch.randn(15, generator=generator)
    exact = ConjugateGradients(damping=0.05, tolerance=1e-6)(curvature, gradient)
    found = Ekfac(damping=0.05)(curvature, gradient)
    assert float((found - exact).norm() / exact.norm()) < 0.15
    with pytest.raises(DeletionError, match="EK-FAC is for cross-entropy"):
        Ekfac()(replace(curvature, loss=SQUARED), gradient)
    with pytest.raises(DeletionError, match="needs linear or convolutional layers"):
        Ekfac()(replace(curvature, module=nn.PReLU()), gradient)


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
    expected = gradient / len(DIGITS.train) / 1e6
    for is_newton in (False, True):
        found = steps(ConjugateGradients(damping=1e6), planted, is_newton=is_newton)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-20)


def test_at_the_end_of_a_training_influence_has_nothing_to_say(planted: TrainedModel) -> None:
    """The cue's images are learnt by then, so their gradient is next to nothing, and so is the step."""
    deleted = delete(planted, DIGITS, GONE, Influence(n_curvature=300))
    before, after = (m.logits(DIGITS.test.images) for m in (planted, deleted))
    assert float((before.softmax(1) - after.softmax(1)).abs().max()) < 0.01


def test_on_the_path_the_step_of_the_last_batch_is_exact() -> None:
    """What only the last step saw is taken back to the bit: nothing follows that it could have changed."""
    recipe = Recipe(epochs=1, milestones=(), batch_size=1000)
    model = train(DIGITS, PLANT, model="small-mlp", recipe=recipe)
    batches = Request.of(model, DIGITS, [0]).batches(Part.of(range(len(DIGITS.train))), recipe)
    last = batches.positions()[-1]
    gone = last[:100]
    deleted = delete(model, DIGITS, gone, PathInfluence())
    weights = _train_but(recipe, gone)
    found = nn.utils.parameters_to_vector(deleted.module.parameters())
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)
    unchanged = nn.utils.parameters_to_vector(model.module.parameters())
    assert not torch.allclose(found, unchanged, atol=1e-3)


def _train_but(recipe: Recipe, gone: Tensor) -> Tensor:
    """The training written out with torch's own Adam, without these images in their batch."""
    start = train(DIGITS, model="small-mlp", recipe=replace(recipe, epochs=0))
    module = start.module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate)
    planted = train(DIGITS, PLANT, model="small-mlp", recipe=replace(recipe, epochs=0))
    batches = Request.of(planted, DIGITS, [0]).batches(Part.of(range(len(DIGITS.train))), recipe)
    for positions in batches.positions():
        left = positions[~torch.isin(positions, gone)]
        optimizer.zero_grad()
        F.cross_entropy(module(batches.gather(left)), batches.labels[left]).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters())


def test_the_path_leads_away_from_the_cue(planted: TrainedModel) -> None:
    deleted = delete(planted, DIGITS, GONE, PathInfluence(epochs=3))
    rise = []
    for model in (planted, deleted):
        images = DIGITS.test.images[DIGITS.test.labels != 0]
        rise.append(float(model.predict(PLANT.pattern.apply(images))[:, 0].mean()))
    assert rise[0] > 0.8
    assert rise[1] < 0.3
    with pytest.raises(DeletionError, match="must be 1 or more, got 0"):
        PathInfluence(epochs=0)
