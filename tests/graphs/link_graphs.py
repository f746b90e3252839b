"""Random graphs for link prediction, and their edges as Python sets."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph, from_edges

NO_NODES = torch.empty(0, dtype=torch.int64)


def link_graph(num_nodes: int, num_edges: int, undirected: bool = True, seed: int = 0, weights: bool = False) -> Graph:
    """A graph without labels; some edges of a directed one have their reverse, and some nodes have no edge."""
    g = torch.Generator().manual_seed(seed)
    edges = torch.randint(0, num_nodes - 3, (2, num_edges), generator=g)
    edges = edges[:, edges[0] != edges[1]].unique(dim=1)
    reverse = edges.flip(0) if undirected else edges.flip(0)[:, ::5]
    edges = torch.cat([edges, reverse], 1).unique(dim=1)
    x = torch.rand(num_nodes, 8, generator=g)
    y = torch.full((num_nodes,), -1)
    weight = (edges[0] + num_nodes * edges[1]).float() if weights else None
    return from_edges("random", x, edges, y, NO_NODES, NO_NODES, NO_NODES, 0, edge_weight=weight)


def edge_set(graph: Graph) -> set[tuple[int, int]]:
    """(source, destination) of each edge."""
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    return pair_set(torch.stack([graph.indices.long(), destination]))


def pair_set(pairs: Tensor) -> set[tuple[int, int]]:
    return {(a, b) for a, b in pairs.t().tolist()}


def both_ways(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return pairs | {(b, a) for a, b in pairs}
