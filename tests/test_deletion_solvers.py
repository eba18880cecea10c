"""Solvers against numpy and closed forms, and what they say where they have not converged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spuriscope.data import load
from spuriscope.deletion import ConjugateGradients, Ekfac, Lissa
from spuriscope.deletion.curvature import SQUARED, Curvature, summed_gradient
from spuriscope.deletion.request import Request
from spuriscope.errors import DeletionError
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.training import Part, Recipe, train

DIGITS = load("digits")


def quadratic(matrix: Tensor) -> Curvature:
    """The curvature of a quadratic loss with this second derivative: its rows are a root of the matrix."""
    n = len(matrix)
    rows = n**0.5 * torch.linalg.cholesky(matrix).T
    module = nn.Linear(n, 1, bias=False, dtype=torch.float64)
    return Curvature(module, rows, torch.zeros(n, 1), SQUARED)


def ill_conditioned(n: int = 40) -> tuple[Tensor, Tensor]:
    """A matrix with eigenvalues 1e-6 to 100, and a right side."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    values = torch.logspace(-6, 2, n, dtype=torch.float64)
    return axes @ torch.diag(values) @ axes.T, torch.randn(n, generator=generator, dtype=torch.float64)


def test_conjugate_gradients_on_an_ill_conditioned_matrix_solve_as_numpy_does() -> None:
    a, b = ill_conditioned()
    found = ConjugateGradients(damping=1e-3, tolerance=1e-10)(quadratic(a), b)
    expected = np.linalg.solve(a.numpy() + 1e-3 * np.eye(len(a)), b.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_conjugate_gradients_that_have_not_converged_are_an_error() -> None:
    """Too few steps left a residual of three times the gradient, and not a word."""
    a, b = ill_conditioned()
    with pytest.raises(DeletionError, match=r"residual \d.* after 10 steps, .* damping \(0.001\) or n_steps"):
        ConjugateGradients(damping=1e-3, n_steps=10)(quadratic(a), b)
    with pytest.raises(DeletionError, match="residual nan after 5 steps"):
        ConjugateGradients(n_steps=5)(quadratic(a), b * torch.nan)


def test_conjugate_gradients_in_single_precision_mean_the_true_residual() -> None:
    """The residual that the recursion carries drifts from the true one."""
    a, b = (value.float() for value in ill_conditioned())
    curvature = quadratic(a.double() + 1e-5 * torch.eye(len(a)))
    curvature = Curvature(
        curvature.module.float(), curvature.images.float(), curvature.labels.float(), SQUARED
    )
    found = ConjugateGradients(damping=0.01, tolerance=1e-4, n_steps=2000)(curvature, b).double()
    product = (a.double() + (1e-5 + 0.01) * torch.eye(len(a))) @ found
    assert float((b.double() - product).norm() / b.norm()) < 2e-4


def test_lissa_is_its_closed_form_at_its_own_scale() -> None:
    """Diagonal, all rows in each batch: (1 - (1 - (e + damping) / scale)^(depth + 1)) / (e + damping).

    With eigenvalues far below the damping it converges only if the scale knows of the damping.
    """
    for values in ([1e-7, 2e-7, 5e-7], [0.001, 0.5, 3.0]):
        e = torch.tensor(values, dtype=torch.float64)
        curvature = replace(quadratic(torch.diag(e)), weight_decay=0.02)

        class Whole(Curvature):
            def product(self, vector: Tensor, rows: Tensor | None = None) -> Tensor:
                return super().product(vector)

        whole = Whole(curvature.module, curvature.images, curvature.labels, SQUARED, 0.02)
        gradient = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
        damped = e + 0.01 + 0.02
        scale = 4 * float(damped.max())
        expected = (1 - (1 - damped / scale) ** 41) / damped * gradient
        found = Lissa(depth=40, tolerance=1.0)(whole, gradient)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_a_series_that_grows_or_has_not_converged_is_an_error() -> None:
    curvature, ones = quadratic(torch.eye(3).double()), torch.ones(3, dtype=torch.float64)
    with pytest.raises(DeletionError, match="grew without bound at scale 1e-06; give a larger scale"):
        Lissa(scale=1e-6, depth=200)(curvature, ones)
    with pytest.raises(DeletionError, match="LiSSA stopped at residual 1 after 3 terms at scale 1000"):
        Lissa(scale=1e3, depth=3)(curvature, ones)


def test_lissa_solves_at_its_own_scale_where_there_is_next_to_no_curvature() -> None:
    """Zeros and ones are told apart so well that the damping is most of the matrix."""
    some = Part.of((DIGITS.train.labels < 2).nonzero().flatten())
    plant = Plant(pattern("s3", DIGITS.shape, seed=0), 0, 10, 0)
    gone = plant.planted_indices(DIGITS.train.labels)
    model = train(DIGITS, plant, part=some, model="mlp", recipe=Recipe(epochs=50))
    asked = Request.of(model, DIGITS, gone)
    curvature = Curvature(model.module, asked.images(some.positions), asked.labels(some.positions))
    assert curvature.largest() < 0.00125  # four times it is below half of the damping
    gradient = summed_gradient(model.module, asked.images(gone), asked.labels(gone)) / len(some)
    found = Lissa(depth=100)(curvature, gradient)
    left = (gradient - curvature.product(found) - 0.01 * found) / gradient.abs().max()
    assert float(left.norm() / (gradient / gradient.abs().max()).norm()) < 0.05


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
