"""The edges of sampled batches, as one block per layer."""

from __future__ import annotations

from torch import Tensor

from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sample import Hop, Sample
from ugts_dist.models import Block


def hop_blocks(graph: Graph, sample: Sample) -> list[Block]:
    """One block per layer. The last hop's edges feed the first layer.

    Each layer's destinations are exactly the nodes that the next layer needs.
    """
    degree = graph.indptr[sample.nodes + 1] - graph.indptr[sample.nodes]
    weighted = graph.weighted_degree
    weighted = None if weighted is None else weighted[sample.nodes]
    return [hop_block(graph, hop, degree, weighted) for hop in reversed(sample.hops)]


def hop_block(graph: Graph, hop: Hop, degree: Tensor, weighted_degree: Tensor | None) -> Block:
    """The edges of a hop with their weights and features; the degrees are those of the sample's nodes."""
    return Block(
        hop.indptr,
        hop.indices,
        degree[: hop.num_src],
        weight=None if graph.edge_weight is None else graph.edge_weight[hop.edges],
        attr=None if graph.edge_attr is None else graph.edge_attr[hop.edges],
        weighted_degree=None if weighted_degree is None else weighted_degree[: hop.num_src],
    )


def merged(blocks: list[Block]) -> list[Block]:
    """One object for equal blocks: those of layers whose sources are already all reachable nodes."""
    objects = list(blocks)
    for k in reversed(range(len(blocks) - 1)):
        if blocks[k].num_src == blocks[k + 1].num_dst:
            objects[k] = objects[k + 1]
    return objects
