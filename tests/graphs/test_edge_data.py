"""Weights and features of edges: in graphs, sorted in files, in stores, drawn by samplers and moved by noise."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.utils import coalesce

from tests.graphs.helpers import random_graph
from tests.graphs.stores import assert_equal
from tests.graphs.test_backends import python_kernel
from ugts_dist.errors import InputError
from ugts_dist.graphs.array_error import ArrayError
from ugts_dist.graphs.backends import KernelSampler
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.edge_data import EdgeColumns, RepeatedEdgeError
from ugts_dist.graphs.external_sort import EdgeSorter
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.perturb import edge_noise
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.store_writer import write_store


def with_edge_data(graph: Graph, seed: int = 0) -> Graph:
    """The graph with a random weight, some of them 0, and two features for each edge."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(graph.num_edges, generator=generator) * torch.randint(
        3, (graph.num_edges,), generator=generator
    )
    return built(graph, ends_of(graph), weight, torch.randn(graph.num_edges, 2, generator=generator))


def ends_of(graph: Graph) -> Tensor:
    return torch.stack([graph.indices.long(), torch.arange(graph.num_nodes).repeat_interleave(graph.degree)])


def built(graph: Graph, ends: Tensor, weight: Tensor | None, attr: Tensor | None) -> Graph:
    """The graph with other edges."""
    nodes = (graph.y, graph.train, graph.valid, graph.test, graph.num_classes)
    return from_edges(graph.name, graph.x, ends, *nodes, edge_weight=weight, edge_attr=attr)


def by_ends(graph: Graph) -> dict[tuple[int, int], tuple[float, list[float]]]:
    """Source and destination of each edge -> its weight and features."""
    assert graph.edge_weight is not None
    assert graph.edge_attr is not None
    ends = [(int(a), int(b)) for a, b in ends_of(graph).t()]
    return dict(zip(ends, zip(graph.edge_weight.tolist(), graph.edge_attr.tolist(), strict=True), strict=True))


# Graphs


@given(st.integers(0, 100), st.integers(2, 12), st.integers(0, 60))
def test_weights_of_repeated_edges_are_summed_as_pyg_does(seed: int, num_nodes: int, num_edges: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(num_nodes, (2, num_edges), generator=generator)
    weight = torch.randint(100, (num_edges,), generator=generator).float()  # their sums are exact
    attr = torch.stack([ends[0] * 10 + ends[1], ends[0]], dim=1).float()  # the same for equal edges
    graph = built(random_graph(max(num_nodes, 6), 0), ends, weight, attr)
    apart = ends[0] != ends[1]
    wanted, sums = coalesce(ends[:, apart], weight[apart], reduce="sum", sort_by_row=False)
    assert torch.equal(ends_of(graph), wanted)
    assert graph.edge_weight is not None
    assert torch.equal(graph.edge_weight, sums)
    assert graph.edge_attr is not None
    assert torch.equal(graph.edge_attr, torch.stack([wanted[0] * 10 + wanted[1], wanted[0]], dim=1).float())
    degree = torch.zeros(graph.num_nodes).index_add(0, wanted[1], sums)
    assert graph.weighted_degree is not None
    assert torch.equal(graph.weighted_degree, degree)


def test_equal_edges_with_different_features_are_refused() -> None:
    ends = torch.tensor([[0, 3, 0], [1, 1, 1]])
    with pytest.raises(InputError, match=r"^random: the edge from node 0 to node 1 occurs with different features; "):
        built(random_graph(6, 0), ends, None, torch.tensor([[1.0], [1.0], [2.0]]))


@pytest.mark.parametrize(
    ("weight", "attr", "told"),
    [
        ([1.0, -0.5], None, "edge_weight has -0.5 at edge 1; allowed: finite numbers, 0 or more"),
        ([torch.nan, 1.0], None, "edge_weight has nan at edge 0; allowed: finite numbers, 0 or more"),
        ([1.0, torch.inf], None, "edge_weight has inf at edge 1; allowed: finite numbers, 0 or more"),
        ([1.0], None, r"edge_weight has shape \(1,\) of torch.float32; allowed: shape \(2,\) of torch.float32"),
        (None, [[1.0], [torch.nan]], "edge_attr has nan at edge 1, feature 0; allowed: finite numbers"),
        (None, [1.0, 1.0], r"edge_attr has shape \(2,\) of torch.float32; allowed: shape \(2, num_edge_features\) of"),
        (None, [[], []], r"edge_attr has shape \(2, 0\); allowed: at least one feature"),
    ],
)
def test_bad_values_are_refused(weight: list[float] | None, attr: list[list[float]] | None, told: str) -> None:
    ends = torch.tensor([[0, 1], [1, 2]])
    tensors = [None if values is None else torch.tensor(values) for values in (weight, attr)]
    with pytest.raises(ArrayError, match=rf"^random: {told}"):
        built(random_graph(6, 0), ends, *tensors)


# Sorting in files


@settings(derandomize=True)
@given(st.integers(1, 20), st.integers(0, 300), st.integers(50, 20_000), st.booleans(), st.integers(0, 2), st.data())
def test_values_go_along_with_sorted_edges(
    tmp_path_factory: pytest.TempPathFactory,
    num_nodes: int,
    num_edges: int,
    memory: int,
    weighted: bool,
    num_features: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("sort")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    source = rng.integers(0, num_nodes, num_edges)
    destination = (num_nodes * rng.random(num_edges) ** 6).astype(np.int64)
    weight = rng.integers(0, 50, num_edges)
    attr = np.stack([source + 100.0 * destination, destination], axis=1)[:, :num_features]
    columns = [weight[:, None]] * weighted + [attr]
    values = np.concatenate(columns, axis=1).astype(np.float32)
    sorter = EdgeSorter(folder, num_nodes, num_edges, memory, EdgeColumns(weighted, num_features))
    for part in np.array_split(np.arange(num_edges), 3):
        sorter.add(source[part], destination[part], values[part])
    sums: dict[tuple[int, int], int] = defaultdict(int)
    for edge in range(num_edges):
        if source[edge] != destination[edge]:
            sums[int(destination[edge]), int(source[edge])] += int(weight[edge])
    wanted = [(d, s, *([sums[d, s]] * weighted), *(s + 100.0 * d, d)[:num_features]) for d, s in sorted(sums)]
    found = [
        (int(d), int(s), *row)
        for first, degree, sources, rows in sorter.edges()
        for d, s, row in zip(
            np.repeat(np.arange(first, first + len(degree)), degree), sources, rows.tolist(), strict=True
        )
    ]
    assert found == wanted
    assert list(folder.iterdir()) == []


def test_sums_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 5, 2000)
    values = rng.random((2000, 1)).astype(np.float32) * np.float32(10.0) ** rng.integers(-6, 6, (2000, 1))
    order = rng.permutation(2000)
    one, other = (EdgeColumns(weighted=True).merged(keys[rows], values[rows])[1] for rows in (np.arange(2000), order))
    assert (one == other).all()
    assert one[:, 0] == pytest.approx([values[keys == key].sum() for key in range(5)], rel=1e-5)


def test_different_features_of_an_edge_are_found_by_the_sorter(tmp_path: Path) -> None:
    sorter = EdgeSorter(tmp_path, 4, 2, 10**6, EdgeColumns(num_features=1))
    sorter.add(np.array([1, 1]), np.array([3, 3]), np.array([[1.0], [2.0]], dtype=np.float32))
    with pytest.raises(RepeatedEdgeError) as caught:
        list(sorter.edges())
    assert "the edge from node 1 to node 3 occurs" in str(caught.value.error("edges.csv", 4))


# Stores


def test_a_store_keeps_weights_and_features(tmp_path: Path) -> None:
    graph = with_edge_data(random_graph(60, 400))
    write_store(graph, tmp_path / "store")
    found = open_store(tmp_path / "store")
    assert_equal(found, graph)
    assert verify_store(tmp_path / "store")
    assert DataChecksum.of(found) == DataChecksum.of(graph)
    assert DataChecksum.of(graph).difference(DataChecksum.of(random_graph(60, 400))) == "edges"


@pytest.mark.parametrize(("weighted", "version"), [(False, 1), (True, 2)])
def test_only_stores_with_edge_data_have_the_new_version(tmp_path: Path, weighted: bool, version: int) -> None:
    graph = random_graph(60, 400)
    write_store(with_edge_data(graph) if weighted else graph, tmp_path / "store")
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    assert meta["version"] == version
    assert ("edge_weight" in meta["arrays"]) == weighted


@pytest.mark.parametrize(
    ("array", "value", "told"),
    [("edge_weight", -1.0, "has -1.0 at edge 7"), ("edge_attr", np.nan, "has nan at edge 7")],
)
def test_damage_is_found(tmp_path: Path, array: str, value: float, told: str) -> None:
    write_store(with_edge_data(random_graph(60, 400)), tmp_path / "store")
    open_store(tmp_path / "store")  # checked, until a file changes
    path = tmp_path / "store" / f"{array}.npy"
    values = np.load(path)
    values[7] = value
    np.save(path, values)
    with pytest.raises(InputError, match=rf"{array}.npy: {told}.*; it is damaged, prepare the graph again$"):
        open_store(tmp_path / "store")
    with pytest.raises(InputError, match=rf"{array}.npy changed since written"):
        verify_store(tmp_path / "store")
    np.save(path, values[1:])
    with pytest.raises(InputError, match=rf"{array}.npy: is "):
        open_store(tmp_path / "store")
    path.unlink()
    with pytest.raises(InputError, match=rf"{array}.npy: is missing"):
        open_store(tmp_path / "store")


# Samplers


@given(st.integers(0, 2**32), st.lists(st.sampled_from([-1, 1, 2, 5]), min_size=1, max_size=3), st.booleans())
def test_sampled_edges_are_those_of_the_graph(seed: int, fan_out: list[int], of_kernel: bool) -> None:
    graph = random_graph(24, 150, seed % 1000)
    seeds = torch.randperm(24, generator=torch.Generator().manual_seed(seed))[:4]
    arguments = (graph.indptr, graph.indices, fan_out, seed)
    sampler, plain = (
        KernelSampler(python_kernel, *arguments, edges) if of_kernel else NeighborSampler(*arguments, edges)
        for edges in (True, False)
    )
    sample, without = sampler.sample(3, seeds), plain.sample(3, seeds)
    assert torch.equal(sample.nodes, without.nodes)
    for hop, bare in zip(sample.hops, without.hops, strict=True):
        assert bare.edges is None
        assert torch.equal(hop.indices, bare.indices)
        assert torch.equal(hop.indptr, bare.indptr)
        assert hop.edges is not None
        assert hop.edges.dtype == torch.int64
        destination = sample.nodes[torch.arange(hop.num_dst).repeat_interleave(hop.indptr.diff())]
        assert torch.equal(ends_of(graph)[:, hop.edges], torch.stack([sample.nodes[hop.indices.long()], destination]))
    edges = sample.output().edge
    assert edges is not None
    assert edges.numel() == sum(hop.indices.numel() for hop in sample.hops)
    assert without.output().edge is None


# Noise


def test_a_moved_edge_keeps_its_weight_and_features() -> None:
    graph = with_edge_data(random_graph(60, 400))
    moved = edge_noise(graph, 0.4, seed=3)
    plain = edge_noise(random_graph(60, 400), 0.4, seed=3)
    assert torch.equal(moved.indices, plain.indices)
    assert torch.equal(moved.indptr, plain.indptr)
    before, after = by_ends(graph), by_ends(moved)
    assert sum(edge in before for edge in after) >= round(0.6 * graph.num_edges)
    assert all(after[edge] == before[edge] for edge in after.keys() & before.keys() if edge in before)
    # An edge keeps its source: those of each source have the same values as before.
    of_source = [sorted((source, *value) for (source, _), value in edges.items()) for edges in (before, after)]
    assert of_source[0] == of_source[1]
