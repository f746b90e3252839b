"""A tiny graph on which an own network is tried out: a path whose nodes have a leaf each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.models.block import Block
from ugts_dist.models.hops import Hops


@dataclass(frozen=True)
class EdgeData:
    """What the edges of a graph have: weights, and a number of features."""

    has_weights: bool = False
    num_features: int = 0


@dataclass(frozen=True)
class TinyBatch:
    """Seed nodes with their neighbourhoods.

    Attributes:
        x: features of the first block's sources, the seed nodes first.
        nodes: their numbers.
    """

    x: Tensor
    hops: Hops
    nodes: list[int]


class TinyGraph:
    """Nodes 0, 2, 4, ... are the path, and node 2 k + 1 is the leaf of node 2 k. Edges have both directions."""

    def __init__(self, length: int, num_features: int, depth: int, edges: EdgeData) -> None:
        self._depth, self._edges = depth, edges
        self._neighbours: list[list[int]] = [[] for _ in range(2 * length)]
        for k in range(length):
            self._connect(2 * k, 2 * k + 1)
            if k:
                self._connect(2 * k - 2, 2 * k)
        self._x = torch.randn(2 * length, num_features)

    def whole(self) -> TinyBatch:
        """All nodes, as seed nodes, in every layer."""
        nodes = list(range(len(self._neighbours)))
        return TinyBatch(self._x, Hops([self._block(nodes, nodes)] * self._depth), nodes)

    def around(self, seeds: list[int], num_hops: int) -> TinyBatch:
        """Some seed nodes and all nodes within a number of hops, as the sampler has them."""
        nodes, blocks = list(seeds), list[Block]()
        for _ in range(num_hops):
            reached = {source for node in nodes for source in self._neighbours[node]}
            sources = nodes + sorted(reached - set(nodes))
            blocks.append(self._block(nodes, sources))
            nodes = sources
        return TinyBatch(self._x[nodes], Hops(reversed(blocks)), nodes)

    def _connect(self, one: int, other: int) -> None:
        self._neighbours[one].append(other)
        self._neighbours[other].append(one)

    def _block(self, nodes: list[int], sources: list[int]) -> Block:
        position = {node: k for k, node in enumerate(sources)}
        rows = [[position[source] for source in sorted(self._neighbours[node])] for node in nodes]
        indptr = torch.tensor([0, *(len(row) for row in rows)], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        indices = torch.tensor([source for row in rows for source in row], dtype=torch.int32)
        degree = torch.tensor([len(self._neighbours[node]) for node in sources])
        # Functions of the two ends, so that an edge has the same values in every batch.
        ends = [(node + 1, source + 1) for node in nodes for source in sorted(self._neighbours[node])]
        values = torch.tensor([math.sin(one * 3.0 + other) for one, other in ends])
        weight = values.abs() if self._edges.has_weights else None
        count = self._edges.num_features
        attr = values[:, None] * torch.arange(1.0, count + 1) / count if count else None
        return Block(indptr, indices, degree, weight=weight, attr=attr)
