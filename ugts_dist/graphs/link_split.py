"""Link prediction on one graph: a split of its edges as PyG's RandomLinkSplit has it, and pairs without an edge.

A pair of nodes is held out as a whole: with the edges of both directions. So no held-out edge, nor its reverse, is a
message edge of a graph that it is measured on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.errors import InputError
from ugts_dist.graphs.edge_set import EdgeSet
from ugts_dist.graphs.graph import Graph

# Separate the hashes of held-out edges, of pairs without an edge, and of other ends from each other.
_HELD_OUT, _FIRST, _SECOND, _CORRUPTED = range(0x4C494E4B01, 0x4C494E4B05)
_BLOCK = 1 << 20  # edges that are looked up at once
_LEAST_DRAWN = 1024  # pairs
_MOST_DRAWS = 256  # of one other end


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The pairs that a metric is measured on.

    Attributes:
        positives: with an edge, source above destination, int64 `[2, num_pairs]`.
        negatives: as many other pairs, without an edge in the whole graph, int64 `[2, num_pairs]`.
        graph: the message edges.
    """

    positives: Tensor
    negatives: Tensor
    graph: Graph


@dataclass(frozen=True, eq=False)
class LinkSplit:
    """A split of the edges.

    Attributes:
        train: the pairs that are trained on, source above destination, int64 `[2, num_pairs]`.
        graph: the message edges in training: those of these pairs.
        valid: measured with the same message edges.
        test: measured with the message edges of training and validation.
        edges: of the whole graph.
    """

    train: Tensor
    graph: Graph
    valid: HeldOut
    test: HeldOut
    edges: EdgeSet


def link_split(graph: Graph, valid: float, test: float, split: int) -> LinkSplit:
    """Hold out fractions of the pairs with an edge. A pure function of the graph's edges and the number `split`.

    Raises InputError for a graph with too few edges, or with too few pairs without one.
    """
    edges = EdgeSet.of(graph)
    positives, pair = _pairs(graph, edges)
    count = positives.shape[1]
    num_valid, num_test = int(valid * count), int(test * count)
    for field, fraction, number in (("valid_edges", valid, num_valid), ("test_edges", test, num_test)):
        if not number:
            raise InputError(
                f"{graph.name}: has {count:,} pairs of nodes with an edge, and task.{field} is {fraction}; "
                "allowed is what holds out at least one pair"
            )
    keys = positives[0] * graph.num_nodes + positives[1]
    order = hashing.stream(hashing.key(_HELD_OUT, split), keys).argsort()
    part = torch.zeros(count, dtype=torch.int8)
    part[order[count - num_valid - num_test :]] = 1
    part[order[count - num_test :]] = 2
    negatives = _negatives(graph.name, edges, num_valid + num_test, count, split)
    train_graph, test_graph = (_with_edges(graph, part[pair] <= last) for last in (0, 1))
    return LinkSplit(
        positives[:, part == 0],
        train_graph,
        HeldOut(positives[:, part == 1], negatives[:, :num_valid], train_graph),
        HeldOut(positives[:, part == 2], negatives[:, num_valid:], test_graph),
        edges,
    )


def corrupted(name: str, edges: EdgeSet, pairs: Tensor, number: int, first: int, split: int) -> Tensor:
    """Other destinations for each pair, none of which has an edge with the source, int64 `[num_pairs, number]`.

    Args:
        name: of the graph, for messages.
        edges: of the whole graph.
        pairs: int64 `[2, num_pairs]`, numbered from `first` on.

    A destination depends only on the pair, its number and `split`. Raises InputError if none is found for a source.
    """
    source = pairs[0][:, None].expand(-1, number)
    place = torch.arange(first * number, (first + pairs.shape[1]) * number).view(-1, number)
    drawn = _drawn(hashing.key(_CORRUPTED, split, 0), place, edges.num_nodes)
    for attempt in range(1, _MOST_DRAWS):
        again = edges.joins(source, drawn)
        if not bool(again.any()):
            return drawn
        drawn[again] = _drawn(hashing.key(_CORRUPTED, split, attempt), place[again], edges.num_nodes)
    node = int(source[again][0])
    raise InputError(
        f"{name}: node {node} has edges to almost all nodes, so that task.metric mrr finds no other ends for it; "
        "allowed is another metric"
    )


def _pairs(graph: Graph, edges: EdgeSet) -> tuple[Tensor, Tensor]:
    """The pairs with an edge `[2, num_pairs]`, and the number of each edge's pair, int64 `[num_edges]`.

    The ends are those of an edge. If there are edges in both directions, the smaller node comes first.
    """
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    kept = torch.ones(graph.num_edges, dtype=torch.bool)
    first: list[Tensor] = []
    second: list[Tensor] = []
    for some in torch.arange(graph.num_edges).split(_BLOCK):
        some = some[graph.indices[some] > destination[some]]
        reverse = edges.positions(destination[some], graph.indices[some].long())
        kept[some[reverse >= 0]] = False
        first.append(reverse[reverse >= 0])
        second.append(some[reverse >= 0])
    pair = kept.cumsum(0).sub_(1)
    pair[torch.cat(second)] = pair[torch.cat(first)]
    return torch.stack([graph.indices[kept].long(), destination[kept]]), pair


def _with_edges(graph: Graph, kept: Tensor) -> Graph:
    """The graph with some of its edges, bool `[num_edges]`, and their weights and features."""
    before = torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)])
    return replace(
        graph,
        indptr=before[graph.indptr],
        indices=graph.indices[kept],
        edge_weight=None if graph.edge_weight is None else graph.edge_weight[kept],
        edge_attr=None if graph.edge_attr is None else graph.edge_attr[kept],
        digests={},
    )


def _negatives(name: str, edges: EdgeSet, number: int, num_pairs: int, split: int) -> Tensor:
    """Distinct pairs without an edge in either direction, in the order of their draws, int64 `[2, number]`."""
    n = edges.num_nodes
    room = n * (n - 1) // 2 - num_pairs
    if number > room:
        raise InputError(
            f"{name}: {number:,} pairs are held out, for which as many pairs without an edge are measured, and the "
            f"graph has {room:,}; allowed are smaller task.valid_edges and task.test_edges"
        )
    kept, done = torch.empty(0, dtype=torch.int64), 0
    while kept.numel() < number:
        draws = torch.arange(done, done + max(_LEAST_DRAWN, 2 * (number - kept.numel())))
        first, second = (_drawn(hashing.key(end, split), draws, n) for end in (_FIRST, _SECOND))
        new = torch.minimum(first, second) * n + torch.maximum(first, second)
        keys = torch.cat([kept, new[~edges.joins(first, second)]])
        _, place = np.unique(keys.numpy(), return_index=True)
        kept, done = keys[torch.from_numpy(place).sort().values], done + draws.numel()
    return torch.stack([kept[:number] // n, kept[:number] % n])


def _drawn(key: int, counter: Tensor, num_nodes: int) -> Tensor:
    """A random node for each number of `counter`."""
    return hashing.below(hashing.stream(key, counter), torch.tensor(num_nodes))
