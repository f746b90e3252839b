"""Pairs without an edge to train on."""

from __future__ import annotations

import torch

from tests.graphs.link_graphs import both_ways, edge_set, link_graph, pair_set
from ugts_dist.graphs.edge_set import EdgeSet
from ugts_dist.graphs.negatives import NegativeSampler

GRAPH = link_graph(100, 600)
PAIRS = torch.tensor(sorted(edge_set(GRAPH))).t()


def test_a_pair_depends_on_seed_step_and_edge_only() -> None:
    sampler = NegativeSampler(EdgeSet.of(GRAPH), 7)
    whole = sampler.sample(3, PAIRS)
    order = torch.randperm(PAIRS.shape[1], generator=torch.Generator().manual_seed(0))[:50]
    assert torch.equal(sampler.sample(3, PAIRS[:, order]), whole[:, order])
    assert torch.equal(NegativeSampler(EdgeSet.of(GRAPH), 7).sample(3, PAIRS), whole)
    for other in (sampler.sample(4, PAIRS), NegativeSampler(EdgeSet.of(GRAPH), 8).sample(3, PAIRS)):
        assert float((other == whole).all(0).float().mean()) < 0.01


def test_pairs_have_no_edge() -> None:
    sampler = NegativeSampler(EdgeSet.of(GRAPH), 0)
    drawn = pair_set(torch.cat([sampler.sample(step, PAIRS) for step in range(20)], 1))
    assert len(drawn) > 1000
    assert not drawn & both_ways(edge_set(GRAPH))
    assert all(a != b for a, b in drawn)


def test_pairs_are_drawn_again_a_few_times_only() -> None:
    """In a graph where nine pairs of ten have an edge, draws end, and most of these pairs are refused."""
    dense = link_graph(23, 900)
    pairs = torch.tensor(sorted(edge_set(dense))).t()
    source, destination = NegativeSampler(EdgeSet.of(dense), 0).sample(0, pairs)
    again = EdgeSet.of(dense).joins(source, destination).float().mean()
    every = torch.cartesian_prod(torch.arange(23), torch.arange(23)).t()
    share = EdgeSet.of(dense).joins(*every).float().mean()
    assert 0.0 < float(again) < float(share) ** 3


def test_both_ends_are_drawn_evenly() -> None:
    sampler = NegativeSampler(EdgeSet.of(link_graph(100, 5)), 0)
    for ends in torch.cat([sampler.sample(step, PAIRS) for step in range(20)], 1):
        counts = torch.bincount(ends, minlength=100).double()
        mean = ends.numel() / 100
        assert float(((counts - mean) ** 2 / mean).sum()) < 160
