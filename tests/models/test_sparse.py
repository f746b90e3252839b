from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.graphs import dense
from ugts_dist.models.sparse import (
    Pattern,
    Rows,
    SparseFeatures,
    linear,
    sparse_product,
    sparse_product_and_rows,
)


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
    product = sparse_product(pattern, a, b)
    p, q = values.clone().requires_grad_(), right.clone().requires_grad_()
    expected = dense(p, pattern.indptr, pattern.indices, cols) @ q
    torch.testing.assert_close(product, expected)
    weights = torch.randn(rows, 4)
    (product * weights).sum().backward()
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
    output = linear(features, weight)
    torch.testing.assert_close(output, x @ weight.t())
    (gradient,) = torch.autograd.grad(output.square().sum(), weight)
    torch.testing.assert_close(gradient, 2 * (x @ weight.detach().t()).t() @ x, rtol=1e-4, atol=1e-5)


def test_product_and_rows_have_the_gradient_of_both() -> None:
    pattern, values = random_pattern(4, 9, 0.5, torch.int32)
    x = torch.randn(9, 3)
    for start in (0, 2, 5):
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        outputs = sparse_product_and_rows(pattern, values, a, start)
        expected = dense(values, pattern.indptr, pattern.indices, 9) @ b, b[start : start + 4]
        weights = torch.randn(2, 4, 3)
        for part, whole in zip(outputs, expected, strict=True):
            torch.testing.assert_close(part, whole)
        sum((part * w).sum() for part, w in zip(outputs, weights, strict=True)).backward()
        sum((part * w).sum() for part, w in zip(expected, weights, strict=True)).backward()
        torch.testing.assert_close(a.grad, b.grad)


def test_selected_rows_of_sparse_features() -> None:
    x = torch.randn(8, 5) * (torch.rand(8, 5) < 0.4)
    x[3] = 0.0
    for rows in (torch.tensor([5, 3, 3, 0]), torch.arange(2, 6), torch.empty(0, dtype=torch.int64)):
        chosen = SparseFeatures.of(x).select(rows)
        assert chosen.shape == (rows.numel(), 5)
        selected = dense(chosen.values, chosen.pattern.indptr, chosen.pattern.indices, 5)
        assert torch.equal(selected, x[rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_table(dtype: torch.dtype) -> None:
    table, ids = torch.randn(9, 4).to(dtype), torch.tensor([7, 0, 7, 3])
    rows, weight = Rows(table, ids), torch.randn(2, 4)
    assert rows.shape == (4, 4)
    assert torch.equal(rows.gather(), table[ids].float())
    assert torch.equal(rows[1:3].gather(), table[ids[1:3]].float())
    assert torch.equal(linear(rows, weight), table[ids].float() @ weight.t())


def test_products_in_bfloat16_keep_their_type_and_gradients() -> None:
    pattern, values = random_pattern(7, 5, 0.5, torch.int32)
    a, b = values.clone().requires_grad_(), torch.randn(5, 4).bfloat16().requires_grad_()
    product = sparse_product(pattern, a, b)
    assert product.dtype == torch.bfloat16
    expected = dense(values, pattern.indptr, pattern.indices, 5) @ b.detach().float()
    torch.testing.assert_close(product.float(), expected, rtol=2e-2, atol=2e-2)
    product.float().sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.dtype, b.grad.dtype) == (torch.float32, torch.bfloat16)
