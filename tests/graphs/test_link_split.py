"""The split of the edges, compared with PyG's RandomLinkSplit and with sets of pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import RandomLinkSplit

from tests.graphs.link_graphs import NO_NODES, both_ways, edge_set, link_graph, pair_set
from ugts_dist.errors import InputError
from ugts_dist.graphs.edge_set import EdgeSet
from ugts_dist.graphs.graph import Graph, from_edges, validate
from ugts_dist.graphs.link_split import LinkSplit, corrupted, link_split

GRAPHS = {"undirected": link_graph(100, 600), "directed": link_graph(100, 600, undirected=False)}


@pytest.fixture(params=list(GRAPHS))
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]


def one_way() -> Graph:
    """Directed, without any reverse edge."""
    edges = torch.combinations(torch.arange(40))[::3].t()
    y = torch.full((40,), -1)
    return from_edges("one-way", torch.rand(40, 3), edges, y, NO_NODES, NO_NODES, NO_NODES, 0)


@pytest.mark.parametrize("graph", [GRAPHS["undirected"], one_way()], ids=["undirected", "one-way"])
@pytest.mark.parametrize(("valid", "test"), [(0.05, 0.1), (0.21, 0.33)])
def test_sizes_are_those_of_pyg(graph: Graph, valid: float, test: float) -> None:
    edge_index = torch.tensor(sorted(edge_set(graph))).t()
    data = Data(x=graph.x, edge_index=edge_index)
    is_undirected = data.is_undirected()
    theirs = RandomLinkSplit(valid, test, is_undirected, add_negative_train_samples=False)(data)
    ours = link_split(graph, valid, test, 0)
    for own_graph, part in zip((ours.graph, ours.valid.graph, ours.test.graph), theirs, strict=True):
        assert own_graph.num_edges == part.edge_index.shape[1]
    assert ours.train.shape[1] == int(theirs[0].edge_label.sum())
    for own, part in ((ours.valid, theirs[1]), (ours.test, theirs[2])):
        assert own.positives.shape[1] == int(part.edge_label.sum())
        assert own.negatives.shape[1] == int((part.edge_label == 0).sum())


def test_no_held_out_edge_nor_its_reverse_is_a_message_edge(graph: Graph) -> None:
    split = link_split(graph, 0.1, 0.2, 0)
    for part in (split.valid, split.test):
        assert not both_ways(pair_set(part.positives)) & edge_set(part.graph)
    assert not both_ways(pair_set(split.test.positives)) & edge_set(split.graph)
    assert not pair_set(split.train) - edge_set(split.graph)


def test_each_pair_is_in_one_part(graph: Graph) -> None:
    split = link_split(graph, 0.1, 0.2, 0)
    parts = [pair_set(pairs) for pairs in (split.train, split.valid.positives, split.test.positives)]
    assert not any(both_ways(a) & both_ways(b) for a, b in itertools.combinations(parts, 2))
    together: set[tuple[int, int]] = set().union(*parts)
    assert together <= edge_set(graph)
    assert both_ways(together) == both_ways(edge_set(graph))
    assert len(together) == len({frozenset(pair) for pair in edge_set(graph)}) == sum(map(len, parts))


def test_negatives_are_distinct_pairs_without_an_edge(graph: Graph) -> None:
    split = link_split(graph, 0.1, 0.2, 0)
    negatives = [frozenset(p) for part in (split.valid, split.test) for p in part.negatives.t().tolist()]
    assert len(set(negatives)) == len(negatives)
    assert all(len(pair) == 2 for pair in negatives)
    assert not {tuple(pair) for pair in negatives} & both_ways(edge_set(graph))


def test_negatives_are_drawn_evenly() -> None:
    """From all nodes: of 40 splits, the number of times that each node is drawn has the spread of chance."""
    graph = GRAPHS["undirected"]
    ends = torch.cat([link_split(graph, 0.3, 0.3, number).test.negatives.flatten() for number in range(40)])
    room = graph.num_nodes - 1 - graph.degree  # other ends of each node's pairs without an edge
    expected = ends.numel() * room.double() / room.sum()
    counts = torch.bincount(ends, minlength=graph.num_nodes).double()
    assert float(((counts - expected) ** 2 / expected).sum()) < 2 * graph.num_nodes


def test_a_split_depends_on_its_number_and_the_edges_only(graph: Graph) -> None:
    edge_index = torch.tensor(sorted(edge_set(graph))).t()
    again = from_edges("other", torch.rand(100, 2), edge_index, torch.zeros(100).long(), NO_NODES, NO_NODES, NO_NODES)
    one, same, other = link_split(graph, 0.1, 0.2, 3), link_split(again, 0.1, 0.2, 3), link_split(graph, 0.1, 0.2, 4)
    assert torch.equal(one.train, same.train)
    assert torch.equal(one.test.negatives, same.test.negatives)
    assert not torch.equal(one.train, other.train)
    assert pair_set(one.test.negatives) != pair_set(other.test.negatives)


def test_message_edges_keep_their_weights() -> None:
    graph = link_graph(60, 300, undirected=False, weights=True)
    split = link_split(graph, 0.1, 0.2, 0)
    for part in (split.graph, split.test.graph):
        validate(part)
        assert part.edge_weight is not None
        destination = torch.arange(60).repeat_interleave(part.degree)
        assert torch.equal(part.edge_weight, (part.indices.long() + 60 * destination).float())


def test_corrupted_destinations_have_no_edge_and_depend_on_the_pair() -> None:
    graph = GRAPHS["directed"]
    split: LinkSplit = link_split(graph, 0.1, 0.2, 0)
    pairs = split.test.positives
    whole = corrupted("random", split.edges, pairs, 100, 0, 7)
    assert whole.shape == (pairs.shape[1], 100)
    for source, destinations in zip(pairs[0].tolist(), whole.tolist(), strict=True):
        assert source not in destinations
        assert not {(source, other) for other in destinations} & both_ways(edge_set(graph))
    assert torch.equal(corrupted("random", split.edges, pairs[:, 5:9], 100, 5, 7), whole[5:9])
    assert not torch.equal(corrupted("random", split.edges, pairs, 100, 0, 8), whole)


def complete(num_nodes: int) -> Graph:
    edges = torch.combinations(torch.arange(num_nodes)).t()
    y = torch.full((num_nodes,), -1)
    return from_edges("complete", torch.rand(num_nodes, 2), edges, y, NO_NODES, NO_NODES, NO_NODES, 0)


def without_edges() -> Graph:
    y = torch.full((30,), -1)
    edges = torch.empty((2, 0), dtype=torch.int64)
    return from_edges("empty", torch.rand(30, 2), edges, y, NO_NODES, NO_NODES, NO_NODES, 0)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (without_edges(), r"empty: has 0 pairs of nodes with an edge, and task\.valid_edges is 0\.05; allowed is what"),
        (link_graph(30, 1), r"random: has \d pairs of nodes with an edge, and task\.valid_edges is 0\.05; allowed is"),
        (link_graph(30, 14), r"random: has 1\d pairs of nodes with an edge, and task\.valid_edges is 0\.05; allowed"),
        (complete(30), r"complete: 64 pairs are held out, .* and the graph has 0; allowed are smaller task\.valid"),
    ],
)
def test_graphs_without_room_are_refused(graph: Graph, message: str) -> None:
    with pytest.raises(InputError, match=message):
        link_split(graph, 0.05, 0.1, 0)


def test_a_node_with_edges_to_all_others_has_no_corrupted_destination() -> None:
    graph = complete(30)
    split = link_split(link_graph(30, 200), 0.1, 0.1, 0)
    with pytest.raises(InputError, match=r"complete: node \d+ has edges to almost all nodes, so that task\.metric mrr"):
        corrupted("complete", EdgeSet.of(graph), split.test.positives, 100, 0, 0)
