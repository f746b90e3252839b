"""Bisection for edges, compared with a set."""

from __future__ import annotations

import pytest
import torch

from tests.graphs.link_graphs import edge_set, link_graph
from ugts_dist.csr import positions_of
from ugts_dist.graphs.edge_set import EdgeSet


@pytest.mark.parametrize("undirected", [True, False])
@pytest.mark.parametrize("num_edges", [0, 1, 40, 400])
def test_every_pair_is_as_in_a_set(undirected: bool, num_edges: int) -> None:
    graph = link_graph(30, num_edges, undirected)
    edges, expected = EdgeSet.of(graph), edge_set(graph)
    source, destination = torch.cartesian_prod(torch.arange(30), torch.arange(30)).t()
    contained = edges.contains(source, destination).tolist()
    ordered = sorted(expected, key=lambda edge: edge[::-1])  # by destination, as in a graph
    numbers = {edge: number for number, edge in enumerate(ordered)}
    positions = edges.positions(source, destination).tolist()
    assert positions == [numbers.get(pair, -1) for pair in zip(source.tolist(), destination.tolist(), strict=True)]
    assert positions == positions_of(graph.indptr, graph.indices, destination, source).tolist()
    joined = edges.joins(source, destination).tolist()
    for a, b, is_edge, is_joined in zip(source.tolist(), destination.tolist(), contained, joined, strict=True):
        assert is_edge == ((a, b) in expected)
        assert is_joined == (a == b or (a, b) in expected or (b, a) in expected)
