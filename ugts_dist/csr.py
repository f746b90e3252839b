"""Compressed sparse rows: the entries of row i are at positions `indptr[i]` to `indptr[i + 1]`."""

from __future__ import annotations

import torch
from torch import Tensor


def row_pointers(counts: Tensor) -> Tensor:
    """`indptr`, int64 `[num_rows + 1]`, from the number of entries of each row, `[num_rows]`."""
    indptr = torch.zeros(counts.numel() + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=indptr[1:])
    return indptr


def row_sums(values: Tensor, indptr: Tensor) -> Tensor:
    """The sum of each row's values, `[num_rows]`, always added in the same order: equal on every rank.

    Args:
        values: float32 `[num_entries]`.
        indptr: `[num_rows + 1]`.
    """
    return torch.segment_reduce(values, "sum", offsets=indptr.long(), initial=0)


def positions_of_rows(first: Tensor, counts: Tensor, indptr: Tensor, total: int) -> Tensor:
    """Positions of the entries of some rows, int64 `[total]`, row after row.

    Args:
        first: position of each row's first entry, `[num_rows]`.
        counts: number of entries of each row, `[num_rows]`.
        indptr: `row_pointers(counts)`.
        total: its last number, which the caller has on the host: reading it from a device would wait.
    """
    positions = torch.arange(total, device=first.device)
    positions += (first - indptr[:-1]).repeat_interleave(counts, output_size=total)
    return positions


def from_keys(keys: Tensor, num_nodes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`indptr` and `indices`, of the given type, of edges by destination.

    Args:
        keys: one ascending number per edge, `destination * num_nodes + source`, int64 `[num_edges]`; it is overwritten.
    """
    indptr = torch.searchsorted(keys, torch.arange(num_nodes + 1) * num_nodes)
    return indptr, keys.remainder_(num_nodes).to(dtype)


def positions_of(indptr: Tensor, indices: Tensor, rows: Tensor, columns: Tensor, rounds: int | None = None) -> Tensor:
    """The position of each entry (row, column) by bisection, or -1 if there is none: int64 of the shape of `rows`.

    Args:
        indptr: `[num_rows + 1]`.
        indices: the columns, ascending within each row, `[num_entries]`.
        rows: int64 of any shape.
        columns: of the same shape.
        rounds: the number of binary digits of the largest count of entries in a row. Without it a device is waited for.
    """
    if not indices.numel() or not rows.numel():
        return torch.full_like(rows, -1)
    low, end = indptr[rows], indptr[rows + 1]
    high, last = end, indices.numel() - 1
    for _ in range(int((end - low).max()).bit_length() if rounds is None else rounds):
        middle = (low + high) // 2
        right = indices[middle.clamp(max=last)] <= columns
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    return torch.where((low < end) & (indices[low.clamp(max=last)] == columns), low, -1)
