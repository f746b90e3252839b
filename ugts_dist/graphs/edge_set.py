"""Which pairs of nodes have an edge: bisection in the edges of a graph, on any device, without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.csr import positions_of
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
        return self.positions(source, destination) >= 0

    def positions(self, source: Tensor, destination: Tensor) -> Tensor:
        """The number of each edge in the graph, -1 if it is none of its edges: int64 of the given shape."""
        return positions_of(self.indptr, self.indices, destination, source, self.rounds)

    def joins(self, first: Tensor, second: Tensor) -> Tensor:
        """Whether the nodes of each pair are one node, or have an edge in either direction: bool."""
        return (first == second) | self.contains(first, second) | self.contains(second, first)
