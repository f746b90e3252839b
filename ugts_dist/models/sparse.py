"""Sparse matrices with gradients: one product for fixed values (GCN, SAGE, GIN) and for attention (GAT)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ugts_dist.csr import positions_of_rows, row_pointers
from ugts_dist.index_type import index_type
from ugts_dist.operators import operator

# The parts that we use have been stable for years, and tests compare them with dense products.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state", category=UserWarning)
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled", category=UserWarning)


@dataclass(eq=False)
class Pattern:
    """The positions of the entries of a sparse matrix `[num_rows, num_cols]`, in CSR form.

    Attributes:
        indptr: int32 or int64 `[num_rows + 1]`.
        indices: the columns, of the same type, `[num_entries]`.
    """

    indptr: Tensor
    indices: Tensor
    num_rows: int
    num_cols: int
    _reordered: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raise TypeError for two index types, which sparse products on a GPU would misread."""
        types = (self.indptr.dtype, self.indices.dtype)
        if types not in ((torch.int32, torch.int32), (torch.int64, torch.int64)):
            raise TypeError(f"sparse pattern: indptr is {types[0]} and indices {types[1]}; allowed: both of one type")

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the pattern, including cached ones."""
        yield from (value for value in vars(self).values() if isinstance(value, Tensor))
        if "transposed" in vars(self):
            transposed, order = self.transposed
            yield order
            yield from transposed.tensors()

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
        """The transposed pattern, and for each of its entries the index of the entry here."""
        order = torch.arange(self.indices.numel(), device=self.indices.device)
        csr = self._matrix(order).t().to_sparse_csr()
        pattern = Pattern(csr.crow_indices(), csr.col_indices(), self.num_cols, self.num_rows)
        return pattern, csr.values()

    def transposed_values(self, values: Tensor) -> Tensor:
        """`values` in the order of the transposed entries. Fixed values are kept for the next call."""
        if values.requires_grad:
            return values[self.transposed[1]]
        if self._reordered is None or self._reordered[0] is not values:
            self._reordered = values, values[self.transposed[1]]
        return self._reordered[1]

    def matmul(self, values: Tensor, dense: Tensor) -> Tensor:
        """Product with a dense matrix `[num_cols, width]`, without gradients: `[num_rows, width]`."""
        values = values.to(dense.dtype)
        if dense.is_cuda:
            return self._matrix(values) @ dense
        # A sum of weighted rows of a table: torch has a kernel for it that is 2 to 3 times as fast on a CPU.
        sums: Tensor = torch.embedding_bag(
            dense.contiguous(), self.indices, self.indptr, mode=0, per_sample_weights=values, include_last_offset=True
        )[0]
        return sums

    def sampled_product(self, left: Tensor, right: Tensor) -> Tensor:
        """`(left @ right.T)` at the entries only; left `[num_rows, width]`, right `[num_cols, width]`: float32."""
        return sampled_product(self.indptr, self.indices, left, right)

    def _matrix(self, values: Tensor) -> Tensor:
        shape = (self.num_rows, self.num_cols)
        return torch.sparse_csr_tensor(self.indptr, self.indices, values, shape, check_invariants=False)


@operator("sampled_product(Tensor indptr, Tensor indices, Tensor left, Tensor right) -> Tensor")
def sampled_product(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`Pattern.sampled_product` as one operation, in which no sparse tensor is visible."""
    return product_at_entries(indptr, indices, left, right)


def product_at_entries(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`sampled_product` in operations of torch."""
    pattern = Pattern(indptr, indices, left.shape[0], right.shape[0])
    empty = pattern._matrix(left.new_zeros(indices.numel(), dtype=torch.float32))
    return torch.sparse.sampled_addmm(empty, left.float(), right.float().t(), beta=0.0).values()


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
            grad_values = ctx.pattern.sampled_product(grad, dense).to(values.dtype)
        if ctx.needs_input_grad[2]:
            grad_dense = ctx.pattern.transposed[0].matmul(ctx.pattern.transposed_values(values), grad)
        return None, grad_values, grad_dense


def sparse_product(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    """Sparse matrix times dense matrix, with gradients for both. It makes no tensor `[num_entries, width]`.

    The result has the dtype of `dense`, which may be bfloat16 while `values` are float32.
    """
    return _SparseProduct.apply(pattern, values, dense)


class _SparseProductAndRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, values: Tensor, dense: Tensor, start: int) -> tuple[Tensor, Tensor]:
        ctx.pattern, ctx.start = pattern, start
        ctx.save_for_backward(values)
        return pattern.matmul(values, dense), dense[start : start + pattern.num_rows].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_rows: Tensor) -> tuple[None, None, Tensor, None]:
        (values,) = ctx.saved_tensors
        grad_dense = ctx.pattern.transposed[0].matmul(ctx.pattern.transposed_values(values), grad.contiguous())
        grad_dense[ctx.start : ctx.start + grad_rows.shape[0]] += grad_rows
        return None, None, grad_dense, None


def sparse_product_and_rows(pattern: Pattern, values: Tensor, dense: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """`sparse_product` with fixed values, and as many rows of `dense`, from `start` on, as the result has.

    With two separate functions, the gradient of the rows would be padded to the size of `dense` and added in passes of
    its own.
    """
    return _SparseProductAndRows.apply(pattern, values, dense, start)


@dataclass(eq=False)
class SparseFeatures:
    """Node features with few non-zeros (bag of words) as a sparse matrix `[num_nodes, num_features]`."""

    pattern: Pattern
    values: Tensor
    _cells: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    @classmethod
    def of(cls, x: Tensor) -> SparseFeatures:
        """From dense features."""
        csr = x.to_sparse_csr()
        index = index_type(csr.values().numel(), x.shape[1])
        pattern = Pattern(csr.crow_indices().to(index), csr.col_indices().to(index), x.shape[0], x.shape[1])
        return cls(pattern, csr.values().float())

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.num_rows, self.pattern.num_cols

    def cells(self, ids: Tensor) -> Tensor:
        """A number for each entry, from the id of its row `[num_nodes]` and its column. Kept for the next call."""
        if self._cells is None or self._cells[0] is not ids:
            self._cells = ids, ids[self.pattern.rows] * self.pattern.num_cols + self.pattern.indices
        return self._cells[1]

    def to(self, device: torch.device) -> SparseFeatures:
        """The same features on a device; the same object if they are there already."""
        if self.values.device == device:
            return self
        pattern = Pattern(self.pattern.indptr.to(device), self.pattern.indices.to(device), *self.shape)
        return SparseFeatures(pattern, self.values.to(device))

    def select(self, rows: Tensor) -> SparseFeatures:
        """A copy of some rows; `rows` are their ids `[num_rows]`."""
        indptr = self.pattern.indptr
        count = indptr.diff()[rows]
        begin = row_pointers(count)
        total = int(begin[-1])
        entries = positions_of_rows(indptr[rows], count, begin, total)
        index = index_type(total, self.pattern.num_cols)
        indices = self.pattern.indices[entries].to(index)
        return SparseFeatures(
            Pattern(begin.to(index), indices, rows.numel(), self.pattern.num_cols), self.values[entries]
        )


@dataclass(eq=False)
class Rows:
    """Some rows of a table of features, read where they are used: a batch's features without a copy.

    Attributes:
        table: `[num_nodes, num_features]`, float32 or bfloat16.
        ids: of the rows, `[num_rows]`.
    """

    table: Tensor
    ids: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.ids.numel(), self.table.shape[1]

    def gather(self) -> Tensor:
        """The rows as a new tensor, float32."""
        return self.table.index_select(0, self.ids).float()

    def columns(self, pattern: Pattern) -> Pattern:
        """A pattern with these rows as columns, converted to one with all rows of the table as columns."""
        index = index_type(pattern.indices.numel(), self.table.shape[0])
        indices = self.ids.to(index)[pattern.indices]  # casting the ids is cheaper: there are fewer than entries
        return Pattern(pattern.indptr.to(index), indices, pattern.num_rows, self.table.shape[0])

    def __getitem__(self, part: slice | Tensor) -> Rows:
        """Some of these rows, by their positions."""
        return Rows(self.table, self.ids[part])


Features = Tensor | SparseFeatures | Rows


def feature_tensors(x: Features) -> Iterator[Tensor]:
    """All tensors that features consist of."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, Rows):
        yield x.ids
    else:
        yield x.values
        yield from x.pattern.tensors()


def linear(x: Features, weight: Tensor) -> Tensor:
    """`x @ weight.T` for dense, sparse or gathered features; weight `[out, in]`."""
    if isinstance(x, SparseFeatures):
        return sparse_product(x.pattern, x.values, weight.t())
    return F.linear(x.gather() if isinstance(x, Rows) else x, weight)
