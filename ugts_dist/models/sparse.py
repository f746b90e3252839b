"""Sparse matrices with gradients: one product for fixed values (GCN, SAGE, GIN) and for attention (GAT)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# What we use of it has been stable for years, and is compared with dense products in the tests.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state", category=UserWarning)


@dataclass(eq=False)
class Pattern:
    """Where a sparse matrix `[num_rows, num_cols]` has entries, in CSR form.

    Attributes:
        indptr: int32 or int64 `[num_rows + 1]`.
        indices: the columns, of the same type, `[num_entries]`.
    """

    indptr: Tensor
    indices: Tensor
    num_rows: int
    num_cols: int

    @cached_property
    def rows(self) -> Tensor:
        """Row of every entry: int64 `[num_entries]`."""
        return torch.repeat_interleave(
            torch.arange(self.num_rows, device=self.indptr.device),
            self.indptr.diff(),
            output_size=self.indices.numel(),
        )

    @cached_property
    def transposed(self) -> tuple[Pattern, Tensor]:
        """The transposed pattern, and for each of its entries the entry here that it comes from."""
        order = torch.arange(self.indices.numel(), device=self.indices.device)
        csr = self._matrix(order).t().to_sparse_csr()
        pattern = Pattern(csr.crow_indices(), csr.col_indices(), self.num_cols, self.num_rows)
        return pattern, csr.values()

    def matmul(self, values: Tensor, dense: Tensor) -> Tensor:
        """Product with a dense matrix `[num_cols, width]`, without gradients: `[num_rows, width]`."""
        if dense.is_cuda:
            return self._matrix(values) @ dense
        # The sum of weighted rows of a table, which torch has a kernel for that is 2 to 3 times as fast on a CPU.
        sums: Tensor = torch.embedding_bag(
            dense.contiguous(), self.indices, self.indptr, mode=0, per_sample_weights=values, include_last_offset=True
        )[0]
        return sums

    def sampled_product(self, left: Tensor, right: Tensor) -> Tensor:
        """`(left @ right.T)` at the entries only; left `[num_rows, width]`, right `[num_cols, width]`."""
        empty = self._matrix(left.new_zeros(self.indices.numel()))
        return torch.sparse.sampled_addmm(empty, left, right.t(), beta=0.0).values()

    def _matrix(self, values: Tensor) -> Tensor:
        shape = (self.num_rows, self.num_cols)
        return torch.sparse_csr_tensor(self.indptr, self.indices, values, shape, check_invariants=False)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense if values.requires_grad else None)
        return pattern.matmul(values, dense)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        values, dense = ctx.saved_tensors
        grad = grad.contiguous()
        grad_values = grad_dense = None
        if ctx.needs_input_grad[1]:
            grad_values = ctx.pattern.sampled_product(grad, dense)
        if ctx.needs_input_grad[2]:
            pattern, order = ctx.pattern.transposed
            grad_dense = pattern.matmul(values[order], grad)
        return None, grad_values, grad_dense


def sparse_product(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    """Sparse matrix times dense matrix, with gradients for both; no tensor of entries by width is ever made."""
    return _SparseProduct.apply(pattern, values, dense)


@dataclass(eq=False)
class SparseFeatures:
    """Node features with few non-zeros (bag of words) as a sparse matrix `[num_nodes, num_features]`."""

    pattern: Pattern
    values: Tensor

    @classmethod
    def of(cls, x: Tensor) -> SparseFeatures:
        """From dense features."""
        csr = x.to_sparse_csr()
        indptr, indices = csr.crow_indices().int(), csr.col_indices().int()
        return cls(Pattern(indptr, indices, x.shape[0], x.shape[1]), csr.values())

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.num_rows, self.pattern.num_cols


Features = Tensor | SparseFeatures


def linear(x: Features, weight: Tensor) -> Tensor:
    """`x @ weight.T` for dense or sparse features; weight `[out, in]`."""
    if isinstance(x, SparseFeatures):
        return sparse_product(x.pattern, x.values, weight.t())
    return F.linear(x, weight)
