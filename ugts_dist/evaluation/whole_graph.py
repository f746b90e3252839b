"""A whole graph, or consecutive nodes of it, as the input of a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph, neighbours
from ugts_dist.graphs.traits import density
from ugts_dist.index_type import index_type
from ugts_dist.models import Block, SparseFeatures

CHUNK_ROWS = 1 << 16  # most nodes that are computed at once
CHUNK_EDGES = 1 << 22
_SPARSE_BELOW = 0.1  # density of the features below which sparse products are faster


def is_sparse(graph: Graph) -> bool:
    """Whether most features are zero. A property of the graph, so that all ranks and batches agree."""
    return density(graph.some_features) < _SPARSE_BELOW


def full_features(graph: Graph, device: torch.device) -> Tensor | SparseFeatures:
    """All nodes' features, as a sparse matrix if most are zero."""
    x = graph.x.to(device)
    return SparseFeatures.of(x) if is_sparse(graph) else x


def graph_block(graph: Graph, device: torch.device, start: int = 0, stop: int | None = None) -> Block:
    """The full in-neighbourhoods of nodes `start` to `stop`; the sources are all nodes."""
    stop = graph.num_nodes if stop is None else stop
    weighted = graph.weighted_degree
    return block_of_rows(graph, graph.degree.to(device), start, stop, None if weighted is None else weighted.to(device))


def block_of_rows(graph: Graph, degree: Tensor, start: int, stop: int, weighted_degree: Tensor | None = None) -> Block:
    """The same block, on the device of `degree`, the in-degree of every node.

    `weighted_degree`: that of every node, on the same device, if edges have weights.
    """
    indptr, indices = neighbours(graph, start, stop)
    index = index_type(indices.numel(), graph.num_nodes)
    first, last = int(graph.indptr[start]), int(graph.indptr[stop])
    weight, attr = (
        None if values is None else values[first:last].to(degree.device)
        for values in (graph.edge_weight, graph.edge_attr)
    )
    return Block(
        indptr.to(degree.device, index),
        indices.to(degree.device, index),
        degree,
        start,
        weight=weight,
        attr=attr,
        weighted_degree=weighted_degree,
    )


def chunks(graph: Graph, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of nodes with a bounded number of rows and of edges (a single node may have more)."""
    while start < stop:
        room = int(graph.indptr[start]) + CHUNK_EDGES
        last = int(torch.searchsorted(graph.indptr, room, right=True)) - 1
        following = min(max(last, start + 1), start + CHUNK_ROWS, stop)
        yield start, following
        start = following
