"""The traits of a graph are those that a loop counts, and they reveal nothing of hidden labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.test_kinds import graph_of
from tests.training.helpers import planted_graph
from ugts_dist.graphs import traits
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.traits import Traits

from .helpers import random_graph


def counted_homophily(graph: Graph) -> float:
    known = set(graph.train.tolist())
    pairs = [
        (int(graph.y[v]), int(graph.y[u]))
        for v in known
        for u in graph.indices[graph.indptr[v] : graph.indptr[v + 1]].tolist()
        if u in known
    ]
    if not pairs:
        return 0.0
    ends = [label for pair in pairs for label in pair]
    chance = sum((ends.count(label) / len(ends)) ** 2 for label in set(ends))
    agreeing = sum(a == b for a, b in pairs) / len(pairs)
    return (agreeing - chance) / (1 - chance) if chance < 1 else 0.0


@given(st.integers(9, 40), st.integers(0, 200), st.integers(0, 1000))
def test_homophily_is_that_of_a_loop_over_all_edges(num_nodes: int, num_edges: int, seed: int) -> None:
    graph = random_graph(num_nodes, num_edges, seed)
    assert Traits.of(graph).homophily == pytest.approx(counted_homophily(graph))


def test_homophily_of_planted_classes_is_high_and_that_of_shuffled_labels_is_none() -> None:
    graph = planted_graph(1000)
    assert Traits.of(graph).homophily > 0.7
    shuffled = replace(graph, y=graph.y[torch.randperm(1000, generator=torch.Generator().manual_seed(0))])
    assert abs(Traits.of(shuffled).homophily) < 0.2


def test_a_sample_of_the_edges_tells_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph(2000)
    whole = Traits.of(graph).homophily
    monkeypatch.setattr(traits, "_EDGES_LOOKED_AT", graph.num_edges // 3)
    assert Traits.of(graph).homophily == pytest.approx(whole, abs=0.1)


def test_features_and_labels() -> None:
    x = torch.zeros(6, 4)
    x[0, 0] = x[3, 2] = 1.0
    y = torch.tensor([2, 2, 0, 1, -1, 0])
    ids = torch.arange(6)
    graph = from_edges("six", x, torch.tensor([[0, 1], [1, 0]]), y, ids[:3], ids[3:4], ids[5:], num_classes=5)
    seen = Traits.of(graph)
    assert (seen.num_nodes, seen.num_edges, seen.num_features, seen.num_classes, seen.num_labels) == (6, 2, 4, 5, 3)
    assert seen.density == pytest.approx(2 / 24)
    assert seen.varies
    assert not Traits.of(replace(graph, x=torch.ones(6, 4))).varies
    assert seen.homophily == 0.0, "all known ends are of one class"


def test_labels_outside_the_training_nodes_tell_nothing() -> None:
    graph = planted_graph()
    y = graph.y.clone()
    hidden = torch.cat([graph.valid, graph.test])
    y[hidden] = (y[hidden] + 1) % 4
    assert Traits.of(replace(graph, y=y)) == Traits.of(graph)


def test_numbers_have_no_homophily() -> None:
    graph = graph_of("regression")
    found = Traits.of(graph)
    assert (found.num_known_edges, found.homophily, found.num_classes) == (0, 0.0, 2)
    assert not found.has_classes
    assert Traits.of(graph_of("binary")).has_classes
