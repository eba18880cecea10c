"""The authors' group influence in the deletion benchmark, against its recursion written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deletion import PublishedInfluence


def test_the_published_series_is_its_recursion_written_out() -> None:
    """One training image, so that nothing is left to chance; its Hessian by autograd, not positive."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    image, label = torch.randn(1, 3, dtype=torch.float64), torch.tensor([1])
    names, values = zip(*((name, value.detach()) for name, value in module.named_parameters()), strict=True)
    sizes = [value.numel() for value in values]

    def loss(weights: Tensor) -> Tensor:
        parts = zip(names, weights.split(sizes), values, strict=True)
        named = {name: part.view_as(value) for name, part, value in parts}
        return F.cross_entropy(torch.func.functional_call(module, named, (image,)), label)

    hessian = torch.autograd.functional.hessian(loss, torch.cat([value.flatten() for value in values]))
    assert torch.linalg.eigvalsh(hessian)[0] < -1e-3
    v = torch.randn(len(hessian), dtype=torch.float64)
    h = v
    for _ in range(50):
        h = v + (1 - 0.01) * h - hessian @ h / 25
    found = PublishedInfluence(repeats=3).series(50, module, image, label, v)
    torch.testing.assert_close(found, h)


def test_the_published_series_without_curvature_is_a_hundred_gradients() -> None:
    """Eigenvalue 0, depth 500: a geometric sum of .99."""
    module = nn.Linear(2, 1, bias=False)  # one class: the loss is 0 whatever the weights
    images, labels = torch.randn(5, 2), torch.zeros(5, dtype=torch.int64)
    found = PublishedInfluence().series(500, module, images, labels, torch.tensor([1.0, 2.0]))
    assert found.tolist() == pytest.approx([(1 - 0.99**501) / 0.01, 2 * (1 - 0.99**501) / 0.01], rel=1e-4)
    assert float(found[0]) == pytest.approx(99.35, abs=0.01)
