"""Which pairs of nodes have an edge: bisection in the edges of a graph, on any device, without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph


@dataclass(frozen=True, eq=False)
class EdgeSet:
    """The edges of a graph.

    Attributes:
        indptr: int64 `[num_nodes + 1]`.
        indices: sources, ascending for each destination, `[num_edges]`.
        rounds: of a bisection; enough for the node with the most edges.
    """

    indptr: Tensor
    indices: Tensor
    rounds: int

    @classmethod
    def of(cls, graph: Graph, device: torch.device | None = None) -> EdgeSet:
        """The edges of a graph, by default where they are."""
        device = graph.indptr.device if device is None else device
        return cls(graph.indptr.to(device), graph.indices.to(device), int(graph.degree.max()).bit_length())

    @property
    def num_nodes(self) -> int:
        return self.indptr.numel() - 1

    def contains(self, source: Tensor, destination: Tensor) -> Tensor:
        """Whether each edge from `source` to `destination`, int64 of one shape, is in the graph: bool of that shape."""
        last = self.indices.numel() - 1
        low, end = self.indptr[destination], self.indptr[destination + 1]
        high = end
        for _ in range(self.rounds):
            middle = (low + high) // 2
            right = self.indices[middle.clamp(max=last)] <= source
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        return (low < end) & (self.indices[low.clamp(max=last)] == source)

    def joins(self, first: Tensor, second: Tensor) -> Tensor:
        """Whether the nodes of each pair are one node, or have an edge in either direction: bool."""
        return (first == second) | self.contains(first, second) | self.contains(second, first)
