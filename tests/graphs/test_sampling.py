from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import EdgeSamplerInput, NodeSamplerInput, SamplerOutput

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import graph_data
from ugts_dist.graphs.sampling import NeighborSampler

from .helpers import random_graph

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def make(graph: Graph, fan_out: list[int], seed: int = 0) -> NeighborSampler:
    return NeighborSampler(graph.indptr, graph.indices, fan_out, seed)


def circle(num_nodes: int, degree: int) -> tuple[Tensor, Tensor]:
    """indptr and indices: node v has the in-neighbours v + 1, ..., v + degree around a circle."""
    neighbours = (torch.arange(num_nodes)[:, None] + torch.arange(1, degree + 1)) % num_nodes
    indices = neighbours.sort(dim=1).values.flatten().int()
    return torch.arange(num_nodes + 1) * degree, indices


def edges(out: SamplerOutput) -> list[set[tuple[int, int]]]:
    """The (destination, source) node ids of each hop."""
    pairs = torch.stack([out.node[out.col], out.node[out.row]], dim=1)
    return [set(map(tuple, part.tolist())) for part in pairs.split(out.num_sampled_edges)]


def same(left: SamplerOutput, right: SamplerOutput) -> bool:
    return (
        torch.equal(left.node, right.node)
        and torch.equal(left.row, right.row)
        and torch.equal(left.col, right.col)
        and left.num_sampled_nodes == right.num_sampled_nodes
        and left.num_sampled_edges == right.num_sampled_edges
    )


# --- the whole contract, written again in plain Python ---


def mix(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def draw(seed: int, step: int, hop: int, node: int, degree: int, fan: int) -> list[int]:
    """The positions that a node draws from its neighbours."""
    if fan == -1 or degree <= fan:
        return list(range(degree))
    state = 0
    for part in (0x4E45494748, seed, step, hop):
        state = mix((state + part + GOLDEN) & MASK)
    start = mix((state + node * GOLDEN) & MASK)
    chosen: set[int] = set()
    for number in range(fan):
        last = degree - fan + number
        position = int((mix((start + number * GOLDEN) & MASK) >> 11) * 2.0**-53 * (last + 1))
        chosen.add(last if position in chosen else position)
    return sorted(chosen)


def expected(
    graph: Graph, fan_out: list[int], seed: int, step: int, seeds: list[int]
) -> tuple[list[int], list[tuple[int, int]], list[int], list[int]]:
    indptr, indices = graph.indptr.tolist(), graph.indices.tolist()
    met = list(seeds)
    pairs: list[tuple[int, int]] = []
    num_nodes, num_edges = [len(seeds)], []
    for hop, fan in enumerate(fan_out):
        drawn = []
        for place, node in enumerate(met):
            neighbours = indices[indptr[node] : indptr[node + 1]]
            positions = draw(seed, step, hop, node, len(neighbours), fan)
            drawn += [(neighbours[position], place) for position in positions]
        new = sorted({source for source, _ in drawn} - set(met))
        met += new
        pairs += [(met.index(source), place) for source, place in drawn]
        num_nodes.append(len(new))
        num_edges.append(len(drawn))
    return met, pairs, num_nodes, num_edges


@settings(derandomize=True)
@given(
    st.integers(6, 40),
    st.integers(0, 300),
    st.lists(st.sampled_from([-1, 1, 2, 3, 7]), min_size=1, max_size=3),
    st.integers(-(2**40), 2**40),
    st.integers(0, 10**9),
    st.data(),
)
def test_equals_the_plain_python_sampler(
    num_nodes: int, num_edges: int, fan_out: list[int], seed: int, step: int, data: st.DataObject
) -> None:
    graph = random_graph(num_nodes, num_edges, seed=num_edges)
    seeds = data.draw(st.lists(st.integers(0, num_nodes - 1), unique=True, max_size=8))
    out = make(graph, fan_out, seed).sample(step, torch.tensor(seeds, dtype=torch.int64)).output()
    nodes, pairs, num_sampled_nodes, num_sampled_edges = expected(graph, fan_out, seed, step, seeds)
    assert out.node.tolist() == nodes
    assert list(zip(out.row.tolist(), out.col.tolist(), strict=True)) == pairs
    assert out.num_sampled_nodes == num_sampled_nodes
    assert out.num_sampled_edges == num_sampled_edges
    assert out.edge is None
    assert out.metadata[0].tolist() == seeds
    assert out.metadata[1] is None


@settings(derandomize=True)
@given(
    st.integers(6, 60),
    st.integers(0, 900),
    st.lists(st.sampled_from([-1, 1, 2, 5, 10]), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_layers(num_nodes: int, num_edges: int, fan_out: list[int], step: int) -> None:
    graph = random_graph(num_nodes, num_edges, seed=step)
    out = make(graph, fan_out).sample(step, torch.arange(0, num_nodes, 5)).output()
    assert out.node.unique().numel() == out.node.numel() == sum(out.num_sampled_nodes)
    assert out.row.numel() == out.col.numel() == sum(out.num_sampled_edges)
    true = [set(part.tolist()) for part in graph.indices.split(graph.degree.tolist())]
    begin = 0
    for hop, count in enumerate(out.num_sampled_edges):
        row, col = out.row[begin : begin + count], out.col[begin : begin + count]
        begin += count
        frontier = sum(out.num_sampled_nodes[: hop + 1])
        assert bool((col.diff() >= 0).all())
        assert count == 0 or (int(col.max()) < frontier and int(row.max()) < frontier + out.num_sampled_nodes[hop + 1])
        degree = graph.degree[out.node[:frontier]]
        wanted = degree if fan_out[hop] == -1 else degree.clamp(max=fan_out[hop])
        assert col.bincount(minlength=frontier).tolist() == wanted.tolist()
        new = out.node[frontier : frontier + out.num_sampled_nodes[hop + 1]]
        assert new.tolist() == sorted(new.tolist())
        pairs = list(zip(out.node[row].tolist(), out.node[col].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert all(source in true[destination] for source, destination in pairs)
        # Within a destination the sources come in the order of the graph.
        assert pairs == [pair for _, pair in sorted(zip(col.tolist(), pairs, strict=True))]


def test_all_neighbours_is_the_full_neighbourhood() -> None:
    graph = random_graph(50, 500)
    first, second = edges(make(graph, [-1, -1]).sample(0, torch.tensor([4, 9])).output())
    destination = torch.arange(50).repeat_interleave(graph.degree).tolist()
    whole = set(zip(destination, graph.indices.tolist(), strict=True))
    assert first == {pair for pair in whole if pair[0] in (4, 9)}
    reached = {4, 9} | {source for _, source in first}
    assert second == {pair for pair in whole if pair[0] in reached}


# --- purity ---


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_see_what_one_rank_sees(ranks: int) -> None:
    graph = random_graph(300, 5000)
    seeds = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:64]
    together = edges(make(graph, [4, 3, 2]).sample(17, seeds).output())
    shares = [edges(make(graph, [4, 3, 2]).sample(17, share).output()) for share in seeds.chunk(ranks)]
    for hop, whole in enumerate(together):
        assert whole == set().union(*(share[hop] for share in shares))


def outputs(graph: Graph, out: SamplerOutput, layers: int) -> Tensor:
    """Sums over sampled neighbours, each hop being the block of one layer, the last first: [seeds, features]."""
    hidden = graph.x[out.node].double()
    ends = torch.tensor(out.num_sampled_edges).cumsum(0).tolist()
    for layer in range(layers):
        hop = layers - 1 - layer
        part = slice(ends[hop] - out.num_sampled_edges[hop], ends[hop])
        hidden = (hidden + torch.zeros_like(hidden).index_add_(0, out.col[part], hidden[out.row[part]])).tanh()
    return hidden[: out.num_sampled_nodes[0]]


def test_the_other_seeds_do_not_matter() -> None:
    graph = random_graph(300, 6000)
    sampler = make(graph, [5, 4, 3])
    seeds = torch.arange(0, 300, 4)
    together = outputs(graph, sampler.sample(3, seeds).output(), 3)
    for place, node in enumerate(seeds):
        alone = outputs(graph, sampler.sample(3, node[None]).output(), 3)[0]
        torch.testing.assert_close(alone, together[place], rtol=1e-12, atol=1e-12)


def test_order_of_the_seeds_does_not_matter() -> None:
    graph = random_graph(300, 5000)
    seeds = torch.arange(40)
    assert edges(make(graph, [4, 3]).sample(2, seeds).output()) == edges(
        make(graph, [4, 3]).sample(2, seeds.flip(0)).output()
    )


@pytest.mark.parametrize(
    "other",
    [
        lambda graph: make(graph, [4, 3], seed=1).sample(5, torch.arange(40)).output(),
        lambda graph: make(graph, [4, 3], seed=0).sample(6, torch.arange(40)).output(),
    ],
    ids=["seed", "step"],
)
def test_seed_and_step_matter(other: Callable[[Graph], SamplerOutput]) -> None:
    graph = random_graph(300, 5000)
    assert edges(make(graph, [4, 3]).sample(5, torch.arange(40)).output()) != edges(other(graph))


def test_each_hop_draws_afresh() -> None:
    graph = random_graph(300, 5000)
    first, second = edges(make(graph, [4, 4]).sample(5, torch.arange(40)).output())
    assert first != {pair for pair in second if pair[0] < 40}


def test_calls_do_not_change_each_other() -> None:
    graph = random_graph(300, 5000)
    used, seeds = make(graph, [4, 3]), torch.arange(40)
    fresh = used.sample(0, seeds).output()
    torch.manual_seed(123)
    for step in range(5):
        used.sample(step, torch.arange(step, 300, 7)).output()
    assert same(fresh, used.sample(0, seeds).output())


def test_threads_share_a_sampler() -> None:
    graph = random_graph(500, 8000)
    sampler = make(graph, [5, 5])
    alone = [sampler.sample(step, torch.arange(step, 500, 9)).output() for step in range(24)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda step: sampler.sample(step, torch.arange(step, 500, 9)).output(), range(24)))
    assert all(map(same, alone, threaded))


def test_intraop_threads_do_not_matter() -> None:
    # Large enough that torch does split its loops; the fixture sets the number back.
    graph = random_graph(20_000, 400_000)
    single = make(graph, [10, 10]).sample(1, torch.arange(4000)).output()
    torch.set_num_threads(2)
    assert same(single, make(graph, [10, 10]).sample(1, torch.arange(4000)).output())


def test_pickled_sampler_draws_the_same() -> None:
    graph = random_graph(300, 5000)
    sampler = make(graph, [4, 3])
    out = sampler.sample(8, torch.arange(40)).output()
    assert same(out, pickle.loads(pickle.dumps(sampler)).sample(8, torch.arange(40)).output())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_width_of_the_indices_does_not_matter(dtype: torch.dtype) -> None:
    graph = random_graph(300, 5000)
    wide = NeighborSampler(graph.indptr, graph.indices.to(dtype), [4, 3], 0)
    assert same(
        make(graph, [4, 3]).sample(1, torch.arange(40)).output(), wide.sample(1, torch.arange(40).int()).output()
    )


@pytest.mark.gpu
def test_devices_draw_the_same() -> None:
    graph = random_graph(2000, 60_000)
    on_device = NeighborSampler(graph.indptr.cuda(), graph.indices.cuda(), [10, 5, 3], 4)
    for step in range(5):
        out = on_device.sample(step, torch.arange(100)).output()
        assert out.node.is_cuda
        out.node, out.row, out.col = out.node.cpu(), out.row.cpu(), out.col.cpu()
        assert same(out, make(graph, [10, 5, 3], 4).sample(step, torch.arange(100)).output())


# --- uniformity; every test is deterministic, the seeds being fixed ---


def counts(subsets: Iterator[tuple[int, ...]], size: int, choose: int) -> list[int]:
    tally = dict.fromkeys(combinations(range(size), choose), 0)
    for subset in subsets:
        tally[subset] += 1
    return list(tally.values())


@pytest.mark.parametrize(("degree", "fan"), [(5, 1), (5, 2), (6, 3), (7, 6), (8, 4)])
def test_every_subset_is_as_likely_over_nodes(degree: int, fan: int) -> None:
    indptr, indices = circle(30_000, degree)
    out = NeighborSampler(indptr, indices, [fan], 0).sample(0, torch.arange(20_000)).output()
    offset = (out.node[out.row] - out.node[out.col] - 1).remainder(30_000)
    subsets = map(tuple, offset.view(-1, fan).sort(dim=1).values.tolist())
    tally = counts(subsets, degree, fan)
    assert sum(tally) == 20_000
    assert chisquare(tally).pvalue > 1e-3


def test_every_subset_is_as_likely_over_steps() -> None:
    sampler = NeighborSampler(*circle(10, 6), [2], 0)
    drawn = [sampler.sample(step, torch.tensor([0])).output() for step in range(1500)]
    subsets = (tuple(sorted((out.node[out.row] - 1).tolist())) for out in drawn)
    assert chisquare(counts(subsets, 6, 2)).pvalue > 1e-3


def test_popular_nodes_draw_evenly() -> None:
    # One node with 1000 neighbours, over steps.
    indptr = torch.tensor([0, 1000] + [1000] * 1000)
    sampler = NeighborSampler(indptr, torch.arange(1, 1001).int(), [25], 0)
    tally = torch.zeros(1001)
    for step in range(400):
        out = sampler.sample(step, torch.tensor([0])).output()
        tally[out.node[1:]] += 1
    assert chisquare(tally[1:].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("difference", ["seed", "step", "hop", "node"])
def test_draws_are_independent(difference: str) -> None:
    indptr, indices = circle(30_000, 6)
    nodes = torch.arange(20_000)

    def offsets(seed: int, step: int) -> list[Tensor]:
        out = NeighborSampler(indptr, indices, [1, 1], seed).sample(step, nodes).output()
        offset = (out.node[out.row] - out.node[out.col] - 1).remainder(30_000)
        return [
            part[out.node[col] < 20_000]
            for part, col in zip(offset.split(out.num_sampled_edges), out.col.split(out.num_sampled_edges), strict=True)
        ]

    first, second = offsets(0, 0)
    left, right = {
        "seed": lambda: (first, offsets(1, 0)[0]),
        "step": lambda: (first, offsets(0, 1)[0]),
        "hop": lambda: (first, second),
        "node": lambda: (first[:-1], first[1:]),
    }[difference]()
    assert chisquare((left * 6 + right).bincount(minlength=36).numpy()).pvalue > 1e-3


# --- PyG's own loader, and refusals ---


def test_plain_pyg_loader() -> None:
    graph = random_graph(300, 5000)
    sampler = make(graph, [4, 3])
    seeds = torch.arange(0, 100)
    loader = NeighborLoader(
        graph_data(graph), num_neighbors=[4, 3], neighbor_sampler=sampler, input_nodes=seeds, batch_size=32
    )
    batches = list(loader)
    assert [batch.batch_size for batch in batches] == [32, 32, 32, 4]
    for batch, share in zip(batches, seeds.split(32), strict=True):
        out = sampler.sample(0, share).output()
        assert torch.equal(batch.n_id, out.node)
        assert torch.equal(batch.edge_index, torch.stack([out.row, out.col]))
        assert torch.equal(batch.x, graph.x[out.node])
        assert batch.num_sampled_nodes == out.num_sampled_nodes
        assert batch.num_sampled_edges == out.num_sampled_edges


def test_sample_from_nodes_without_input_ids() -> None:
    graph = random_graph(300, 5000)
    out = make(graph, [4]).sample_from_nodes(NodeSamplerInput(input_id=None, node=torch.tensor([5, 3])))
    assert out.metadata[0].tolist() == [5, 3]


def test_seed_edges_are_sampled_around_their_ends() -> None:
    graph = random_graph(30, 50)
    row, col, label = torch.tensor([3, 5, 3]), torch.tensor([5, 7, 20]), torch.tensor([1.0, 0.0, 1.0])
    sampler = make(graph, [4, 2])
    out = sampler.sample_from_edges(EdgeSamplerInput(torch.arange(3), row, col, label))
    assert isinstance(out.metadata, tuple)
    number, position, labels, time = out.metadata
    assert torch.equal(out.node[position], torch.stack([row, col]))
    assert number.tolist() == [0, 1, 2]
    assert labels is label
    assert time is None
    alone = sampler.sample(0, torch.tensor([3, 5, 7, 20])).output()
    assert torch.equal(out.node, alone.node)
    assert torch.equal(out.row, alone.row)
    with pytest.raises(TypeError, match="negative edges"):
        sampler.sample_from_edges(EdgeSamplerInput(None, row, col), neg_sampling="binary")


@pytest.mark.parametrize("fan_out", [[], [0], [-2], [5, 0], [-1, -3]])
def test_bad_fan_out(fan_out: list[int]) -> None:
    with pytest.raises(InputError, match=r"^batch.fan_out: \[.*\] is not a fan-out; allowed: one number a hop"):
        make(random_graph(30, 50), fan_out)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        (torch.tensor([3, 30]), "seed nodes: 30 is not a node; allowed: 0 to 29"),
        (torch.tensor([-1]), "seed nodes: -1 is not a node; allowed: 0 to 29"),
        (
            torch.tensor([4, 2, 4]),
            "seed nodes: node 4 occurs more than once; allowed: each node once in a batch",
        ),
        (torch.tensor([29, 30]), "seed nodes: 30 is not a node; allowed: 0 to 29"),
        (
            torch.ones(30, dtype=torch.bool),
            "seed nodes: torch.bool of shape (30,); allowed: a list of node ids",
        ),
        (torch.tensor(3), "seed nodes: torch.int64 of shape (); allowed: a list of node ids"),
    ],
)
def test_bad_seeds_leave_no_trace(seeds: Tensor, told: str) -> None:
    graph = random_graph(30, 100)
    sampler = make(graph, [2, 2])
    with pytest.raises(InputError) as caught:
        sampler.sample(0, seeds).output()
    assert str(caught.value) == told
    # The scratch array is clean again.
    good = torch.tensor([29, 4, 3])
    assert same(sampler.sample(0, good).output(), make(graph, [2, 2]).sample(0, good).output())


def test_no_seeds() -> None:
    out = make(random_graph(30, 100), [2, 2]).sample(0, torch.empty(0, dtype=torch.int64)).output()
    assert out.num_sampled_nodes == [0, 0, 0]
    assert out.num_sampled_edges == [0, 0]
    assert out.row.dtype == torch.int64


def test_the_graph_is_not_changed() -> None:
    graph = random_graph(300, 5000)
    indptr, indices = graph.indptr.numpy().copy(), graph.indices.numpy().copy()
    make(graph, [4, 3]).sample(0, torch.arange(40)).output()
    assert np.array_equal(indptr, graph.indptr.numpy())
    assert np.array_equal(indices, graph.indices.numpy())


@pytest.mark.parametrize("value", [-1, 10**12, -(10**12), 401])
@pytest.mark.parametrize("fan_out", [[3], [-1]])
def test_a_file_that_changed_under_the_sampler(value: int, fan_out: list[int]) -> None:
    """Nothing outside the arrays is written or read, and a wrong count requests no memory."""
    graph = random_graph(90, 400)
    sampler = make(graph, fan_out)
    nodes = torch.arange(90)
    sampler.sample(0, nodes)
    graph.indptr[20] = value
    for seeds in (nodes, torch.tensor([19]), torch.tensor([20])):
        with pytest.raises(InputError, match="indptr: leads out of indices; the files of the graph changed"):
            sampler.sample(0, seeds)
    graph.indptr[20] = graph.indptr[19]
    graph.indices[graph.indptr[30]] = 10**6
    with pytest.raises((IndexError, RuntimeError)):
        make(graph, [-1]).sample(0, nodes)
