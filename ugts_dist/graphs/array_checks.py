"""Checks of a graph's features and edges, in blocks: memory-mapped arrays may be larger than the memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist.graphs.array_error import array_error

_BLOCK = 1 << 20  # entries that are checked at once


def check_features(name: str, x: Tensor, start: int = 0) -> None:
    """Raise ArrayError for features `[num_nodes, num_features]` without a number, or with one that is not finite.

    `start`: the first of the nodes.
    """
    if x.numel() == 0:
        raise array_error(name, "x", f"shape {tuple(x.shape)}", "at least one feature")
    rows = max(1, _BLOCK // x.size(1))
    for first, block in zip(range(0, x.size(0), rows), x.split(rows), strict=True):
        # Minimum and maximum are finite only if all values are: NaN propagates. This needs no mask of the size of x.
        ends = torch.stack(block.aminmax())
        if not bool(ends.isfinite().all()):
            node, feature = (~block.isfinite()).nonzero()[0].tolist()
            found = f"{float(block[node, feature])} at node {start + first + node}, feature {feature}"
            raise array_error(name, "x", found, "finite numbers")


def check_neighbours(name: str, indptr: Tensor, indices: Tensor) -> None:
    """Raise ArrayError unless row pointers and neighbours are those of a graph, ascending and without repetition."""
    num_nodes, num_edges = indptr.numel() - 1, indices.numel()
    if int(indptr[0]) != 0 or int(indptr[-1]) != num_edges:
        found = f"first entry {int(indptr[0])} and last entry {int(indptr[-1])}"
        raise array_error(name, "indptr", found, f"0 and the number of edges, {num_edges}")
    for first in range(0, num_nodes, _BLOCK):
        falling = (indptr[first : first + _BLOCK + 1].diff() < 0).nonzero()
        if falling.numel():
            found = f"a decrease after node {first + int(falling[0])}"
            raise array_error(name, "indptr", found, "entries that never decrease")
    check_range(name, "indices", indices, num_nodes)
    # The last neighbour of a node and the first of the next one may be in any order.
    starts = indptr[1:-1]
    for first in range(1, num_edges, _BLOCK):
        last = min(first + _BLOCK, num_edges)
        unordered = indices[first:last] <= indices[first - 1 : last - 1]
        low, high = torch.searchsorted(starts, torch.tensor([first, last])).tolist()
        unordered[starts[low:high] - first] = False
        if bool(unordered.any()):
            edge = first + int(unordered.nonzero()[0])
            node = int(torch.searchsorted(indptr, edge, right=True)) - 1
            found = f"neighbour {int(indices[edge])} of node {node} out of order or repeated"
            raise array_error(name, "indices", found, "ascending neighbours, each once")


def check_range(name: str, array: str, nodes: Tensor, num_nodes: int) -> None:
    """Raise ArrayError for a number that is no node."""
    if nodes.numel() == 0:
        return
    low, high = (int(end) for end in nodes.aminmax())
    if low < 0 or high >= num_nodes:
        raise array_error(name, array, f"node {low if low < 0 else high}", f"0 to {num_nodes - 1}")
