from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph, from_edges, neighbours, validate

from .helpers import random_graph


def parts(**changes: Any) -> dict[str, Any]:
    """Arguments of from_edges for a good graph of 6 nodes, with changes."""
    good = {
        "name": "toy",
        "x": torch.ones(6, 2),
        "edge_index": torch.tensor([[0, 1, 1, 5, 2, 2], [1, 0, 0, 2, 2, 4]]),
        "y": torch.tensor([0, 1, 0, 1, 0, -1]),
        "train": torch.tensor([1, 0]),
        "valid": torch.tensor([2]),
        "test": torch.tensor([3, 4]),
        "num_classes": 2,
    }
    return good | changes


def test_edges_become_sorted_in_neighbours() -> None:
    graph = from_edges(**parts())
    assert graph.indptr.tolist() == [0, 1, 2, 3, 3, 4, 4]
    assert graph.indices.tolist() == [1, 0, 5, 2]  # the repeated edge and the self loop are gone
    assert graph.indices.dtype == torch.int32
    assert graph.train.tolist() == [0, 1]
    assert (graph.num_nodes, graph.num_edges, graph.num_features) == (6, 4, 2)
    assert graph.degree.tolist() == [1, 1, 1, 0, 1, 0]


def test_classes_are_counted_where_not_given() -> None:
    assert from_edges(**parts(num_classes=None)).num_classes == 2


@pytest.mark.parametrize("label", [-1, -5])
def test_negative_labels_alone_are_no_classes(label: int) -> None:
    """As from `ugts prepare`."""
    none, y = torch.empty(0, dtype=torch.int64), torch.full((6,), label)
    graph = from_edges(**parts(num_classes=None, y=y, train=none, valid=none, test=none))
    assert (graph.num_classes, graph.has_split) == (0, False)
    with pytest.raises(InputError, match=rf"y has label {label} of node 0; allowed: negative \(num_classes is 0\)"):
        from_edges(**parts(num_classes=None, y=y))


def test_no_edges() -> None:
    graph = from_edges(**parts(edge_index=torch.empty(2, 0, dtype=torch.int64)))
    assert graph.num_edges == 0
    assert graph.indptr.tolist() == [0] * 7


@settings(derandomize=True)
@given(st.integers(3, 40), st.integers(0, 300), st.integers(0, 1000))
def test_csr_equals_scipy(num_nodes: int, num_edges: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, destination = rng.integers(0, num_nodes, (2, num_edges))
    graph = from_edges(
        "random",
        torch.ones(num_nodes, 1),
        torch.from_numpy(np.stack([source, destination])),
        torch.zeros(num_nodes, dtype=torch.int64),
        train=torch.tensor([0]),
        valid=torch.tensor([1]),
        test=torch.tensor([2]),
    )
    keep = source != destination
    matrix = sp.csr_matrix((np.ones(keep.sum()), (destination[keep], source[keep])), shape=(num_nodes, num_nodes))
    matrix.sum_duplicates()
    assert graph.indptr.tolist() == matrix.indptr.tolist()
    assert graph.indices.tolist() == matrix.indices.tolist()


NAN = torch.ones(6, 2)
NAN[3, 1] = torch.nan
INF = torch.ones(6, 2)
INF[0, 0] = torch.inf


def test_masks_are_taken_for_their_nodes() -> None:
    ids = parts()
    masks = {split: torch.zeros(6, dtype=torch.bool).index_fill(0, ids[split], True) for split in ("train", "valid")}
    graph = from_edges(**{**ids, **masks})
    assert torch.equal(graph.train, ids["train"].sort().values)
    assert torch.equal(graph.valid, ids["valid"].sort().values)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x": NAN}, "toy: x has nan at node 3, feature 1; allowed: finite numbers"),
        ({"x": INF}, "toy: x has inf at node 0, feature 0; allowed: finite numbers"),
        ({"x": -INF}, "toy: x has -inf at node 0, feature 0; allowed: finite numbers"),
        ({"x": torch.ones(6)}, "toy: x has shape (6,)"),
        ({"x": torch.ones(0, 3)}, "toy: x has shape (0, 3)"),
        ({"x": torch.ones(6, 0)}, "toy: x has shape (6, 0)"),
        ({"edge_index": torch.tensor([[0], [6]])}, "toy: edge_index has node 6; allowed: 0 to 5"),
        ({"edge_index": torch.tensor([[-1], [2]])}, "toy: edge_index has node -1; allowed: 0 to 5"),
        ({"edge_index": torch.tensor([0, 1])}, "toy: edge_index has shape (2,)"),
        ({"edge_index": torch.ones(2, 3)}, "toy: edge_index has shape (2, 3) of torch.float32"),
        ({"y": torch.tensor([0, 1, 0, 1, 2, 0])}, "toy: y has label 2 of node 4; allowed: 0 to 1"),
        ({"y": torch.tensor([0, 1, 0, 1, 0, 7])}, "toy: y has label 7 of node 5; allowed: 0 to 1"),
        ({"y": torch.tensor([0, 1, -1, 1, 0, 0])}, "toy: y has label -1 of node 2; allowed: 0 to 1"),
        ({"y": torch.zeros(5)}, "toy: y has torch.float32 of shape (5,); allowed: whole numbers of shape (6,), or"),
        ({"train": torch.tensor([], dtype=torch.int64)}, "toy: train has no nodes; allowed: at least one"),
        ({"valid": torch.tensor([], dtype=torch.int64)}, "toy: valid has no nodes"),
        ({"test": torch.tensor([], dtype=torch.int64)}, "toy: test has no nodes"),
        ({"test": torch.tensor([6])}, "toy: test has node 6; allowed: 0 to 5"),
        ({"valid": torch.tensor([-1])}, "toy: valid has node -1; allowed: 0 to 5"),
        ({"train": torch.tensor([0, 0])}, "toy: train has node 0 out of order or repeated"),
        ({"train": torch.tensor([True, False])}, "toy: train has a mask of shape (2,); allowed: a mask of shape (6,)"),
        ({"test": torch.tensor([3, 1])}, "toy: test has node 1, which is also in train"),
        ({"valid": torch.tensor([0])}, "toy: valid has node 0, which is also in train"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        from_edges(**parts(**changes))
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"indptr": torch.tensor([0, 1, 2, 3, 2, 4, 4])}, "toy: indptr has a decrease after node 3"),
        ({"indptr": torch.tensor([0, 1, 2, 3, 3, 4, 5])}, "toy: indptr has first entry 0 and last entry 5"),
        ({"indptr": torch.tensor([1, 1, 2, 3, 3, 4, 4])}, "toy: indptr has first entry 1"),
        ({"indptr": torch.tensor([0])}, "toy: indptr has 1 entries"),
        ({"indptr": torch.tensor([0, 1, 2, 3, 3, 4])}, "toy: x has shape (6, 2); allowed: shape (5,"),
        ({"indices": torch.tensor([1, 0, 6, 2])}, "toy: indices has node 6; allowed: 0 to 5"),
        ({"indices": torch.tensor([1, 0, -5, 2])}, "toy: indices has node -5; allowed: 0 to 5"),
        ({"indices": torch.ones(4)}, "toy: indices has torch.float32; allowed: torch.int32 or torch.int64"),
        (
            {"indptr": torch.tensor([0, 1, 2, 4, 4, 4, 4])},
            "toy: indices has neighbour 2 of node 2 out of order or repeated",
        ),
        (
            {"indptr": torch.tensor([0, 0, 0, 0, 0, 0, 4]), "indices": torch.tensor([0, 1, 1, 2])},
            "toy: indices has neighbour 1 of node 5 out of order or repeated",
        ),
        ({"x": torch.ones(6, 2, dtype=torch.float64)}, "toy: x has torch.float64; allowed: torch.float32"),
        ({"y": torch.zeros(6)}, "toy: y has shape (6,); allowed: shape (6, 2)"),
        ({"y": torch.full((6, 2), torch.inf)}, "toy: y has inf of node 0, column 0; allowed: finite numbers, or NaN"),
        ({"y": torch.full((6, 2), torch.nan)}, "toy: y has no known number of node"),
        ({"y": torch.zeros(6, 2, dtype=torch.float64)}, "toy: y has torch.float64; allowed: torch.float32"),
        ({"train": torch.tensor([1, 0])}, "toy: train has node 0 out of order or repeated"),
    ],
)
def test_bad_arrays_are_named(changes: dict[str, Any], told: str) -> None:
    good = from_edges(**parts())
    with pytest.raises(InputError) as caught:
        validate(replace(good, **changes))
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_good_graph_is_valid() -> None:
    graph: Graph = random_graph(60, 400)
    validate(graph)
    validate(replace(graph, indices=graph.indices.long()))


@settings(derandomize=True)
@given(st.integers(3, 30), st.integers(2, 200), st.integers(1, 9), st.integers(0, 1000))
def test_checks_in_blocks_of_any_size(num_nodes: int, num_edges: int, block: int, seed: int) -> None:
    graph = random_graph(num_nodes, num_edges, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ugts_dist.graphs.array_checks._BLOCK", block)
        validate(graph)
        node = seed % num_nodes
        x = graph.x.clone()
        x[node, 1] = torch.nan
        with pytest.raises(InputError, match=rf"x has nan at node {node}, feature 1;"):
            validate(replace(graph, x=x))
        for node in (graph.degree > 1).nonzero().flatten().tolist():
            for edge in range(int(graph.indptr[node]), int(graph.indptr[node + 1]) - 1):
                repeated = graph.indices.clone()
                repeated[edge + 1] = repeated[edge]
                problem = rf"neighbour {int(repeated[edge])} of node {node} out of order or repeated"
                with pytest.raises(InputError, match=problem):
                    validate(replace(graph, indices=repeated))


def test_bfloat16_features_are_allowed() -> None:
    graph = random_graph(30, 90)
    validate(replace(graph, x=graph.x.bfloat16()))
    with pytest.raises(InputError, match=r"x has torch\.float16; allowed: torch\.float32 or torch\.bfloat16"):
        validate(replace(graph, x=graph.x.half()))


def test_the_neighbours_of_a_range_of_nodes() -> None:
    graph = random_graph(50, 300)
    for start, stop in ((0, 50), (3, 17), (49, 50), (20, 20)):
        indptr, indices = neighbours(graph, start, stop)
        whole = sp.csr_matrix((np.ones(graph.num_edges), graph.indices, graph.indptr), shape=(50, 50))[start:stop]
        assert indptr.tolist() == whole.indptr.tolist()
        assert indices.tolist() == whole.indices.tolist()


@pytest.mark.parametrize(
    ("array", "place", "value"),
    [
        ("indptr", 5, -1),
        ("indptr", 5, 10**12),
        ("indptr", 10, 10**12),
        ("indptr", 10, -5),
        ("indptr", 20, 10**12),
        ("indptr", 20, -1),
        ("indices", None, 50),
        ("indices", None, -1),
    ],
)
def test_neighbours_that_lead_out_of_the_graph(array: str, place: int | None, value: int) -> None:
    graph = random_graph(50, 300)
    getattr(graph, array)[int(graph.indptr[12]) if place is None else place] = value
    with pytest.raises(InputError, match="random: indptr or indices lead out of the graph"):
        neighbours(graph, 5, 20)
