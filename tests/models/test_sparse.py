from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.graphs import dense
from ugts_dist.models.sparse import Pattern, SparseFeatures, linear, sparse_product


def random_pattern(rows: int, cols: int, density: float, index: torch.dtype) -> tuple[Pattern, Tensor]:
    """A random pattern whose first and last row are empty, and values for it."""
    generator = torch.Generator().manual_seed(rows)
    present = torch.rand(rows, cols, generator=generator) < density
    present[0] = present[-1] = False
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), present.sum(1).cumsum(0)])
    pattern = Pattern(indptr.to(index), present.nonzero()[:, 1].to(index), rows, cols)
    return pattern, torch.randn(int(present.sum()), generator=generator)


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize(("rows", "cols"), [(7, 5), (5, 11), (2, 3)])
def test_product_and_both_gradients_are_those_of_the_dense_matrix(rows: int, cols: int, index: torch.dtype) -> None:
    pattern, values = random_pattern(rows, cols, 0.5, index)
    right = torch.randn(cols, 4)
    a, b = values.clone().requires_grad_(), right.clone().requires_grad_()
    found = sparse_product(pattern, a, b)
    p, q = values.clone().requires_grad_(), right.clone().requires_grad_()
    expected = dense(p, pattern.indptr, pattern.indices, cols) @ q
    torch.testing.assert_close(found, expected)
    weights = torch.randn(rows, 4)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(b.grad, q.grad)
    if values.numel():
        torch.testing.assert_close(a.grad, p.grad)


def test_transposed_points_back_to_the_entries() -> None:
    pattern, values = random_pattern(7, 5, 0.5, torch.int32)
    transposed, order = pattern.transposed
    expected = dense(values, pattern.indptr, pattern.indices, 5).t()
    assert torch.equal(dense(values[order], transposed.indptr, transposed.indices, 7), expected)


def test_gradients_of_a_transposed_input() -> None:
    """Neither the input nor the gradient need be contiguous."""
    pattern, values = random_pattern(6, 6, 0.5, torch.int32)
    x = torch.randn(3, 6, requires_grad=True)
    sparse_product(pattern, values, x.t()).t().exp().sum().backward()
    y = x.detach().clone().requires_grad_()
    (dense(values, pattern.indptr, pattern.indices, 6) @ y.t()).t().exp().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_sparse_features_are_the_dense_ones() -> None:
    x = torch.randn(6, 9) * (torch.rand(6, 9) < 0.3)
    features, weight = SparseFeatures.of(x), torch.randn(4, 9, requires_grad=True)
    assert features.shape == (6, 9)
    assert torch.equal(dense(features.values, features.pattern.indptr, features.pattern.indices, 9), x)
    found = linear(features, weight)
    torch.testing.assert_close(found, x @ weight.t())
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    torch.testing.assert_close(gradient, 2 * (x @ weight.detach().t()).t() @ x, rtol=1e-4, atol=1e-5)
