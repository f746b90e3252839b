"""DropNode and DropEdge: what is left out, and what the layers make of the rest."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tests.models.dense_network import adjacency_of, dense_network
from tests.models.graphs import block_of, random_edges
from ugts_dist.models import GNN, Block, DeepGNNOptions, GraphDropout
from ugts_dist.models.gnn import Arch

Kind = Literal["dropnode", "dropedge"]
KINDS: tuple[Kind, ...] = ("dropnode", "dropedge")
N = 15
EDGES = random_edges(N, 80)
NODES = torch.arange(N)
BIG = 400


def kept_edges(block: Block) -> Tensor:
    """(source, destination) of every edge that counts: `[2, num_kept]`, destinations numbered as sources."""
    assert block.kept is not None
    destination = torch.arange(block.num_dst).repeat_interleave(block.indptr.diff()) + block.start
    return torch.stack([block.indices.long(), destination])[:, block.kept == 1]


def pairs(edges: Tensor) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in edges.t()}


def thin(kind: Kind, rate: float = 0.5, seed: int = 0, step: int = 0) -> Block:
    (block,) = GraphDropout(kind, rate, seed)([block_of(EDGES, N)], NODES, step)
    return block


def whole(num_nodes: int = BIG) -> Block:
    """Every ordered pair of different nodes is an edge."""
    indices = torch.arange(num_nodes).repeat(num_nodes, 1)[~torch.eye(num_nodes, dtype=torch.bool)]
    indptr = torch.arange(num_nodes + 1) * (num_nodes - 1)
    return Block(indptr.int(), indices.int(), torch.full((num_nodes,), num_nodes - 1))


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.7])
def test_edges_are_dropped_at_the_rate_and_each_on_its_own(rate: float) -> None:
    (block,) = GraphDropout("dropedge", rate, 3)([whole()], torch.arange(BIG), 8)
    dropped = 1.0 - adjacency_of(kept_edges(block), BIG)
    spread = (rate * (1 - rate)) ** 0.5
    off = ~torch.eye(BIG, dtype=torch.bool)
    assert abs(float(dropped[off].double().mean()) - rate) < 4.5 * spread / (BIG * (BIG - 1)) ** 0.5
    for axis in (0, 1):
        of_node = (dropped.sum(axis) - 1) / (BIG - 1)
        assert bool(((of_node - rate).abs() < 4.5 * spread / (BIG - 1) ** 0.5).all()), "every node alike"
    centred = (dropped.double() - rate) * off
    both_ways = float((centred * centred.t()).sum()) / (BIG * (BIG - 1))
    assert abs(both_ways) < 4.5 * spread**2 / (BIG * (BIG - 1) / 2) ** 0.5, "an edge's two directions are independent"


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.7])
def test_nodes_are_dropped_at_the_rate_with_all_their_edges(rate: float) -> None:
    (block,) = GraphDropout("dropnode", rate, 3)([whole()], torch.arange(BIG), 8)
    adjacency = adjacency_of(kept_edges(block), BIG)
    stays = adjacency.sum(0) > 0
    assert torch.equal(adjacency, torch.outer(stays.float(), stays.float()).fill_diagonal_(0.0))
    assert abs(float(stays.double().mean()) - (1 - rate)) < 4.5 * (rate * (1 - rate) / BIG) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_seeds_are_independent(kind: Kind) -> None:
    full, nodes = whole(), torch.arange(BIG)

    def draw(seed: int, step: int) -> Tensor:
        (block,) = GraphDropout(kind, 0.5, seed)([full], nodes, step)
        adjacency = adjacency_of(kept_edges(block), BIG)
        return (adjacency.sum(0) > 0) if kind == "dropnode" else adjacency.bool().flatten()

    base = draw(3, 1)
    for other in (draw(4, 1), draw(3, 2)):
        assert abs(float((base == other).double().mean()) - 0.5) < 0.1


@given(
    st.sampled_from(KINDS),
    st.permutations(range(N)),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_what_is_dropped_does_not_depend_on_the_batch(
    kind: Kind, order: list[int], seed: int, step: int, rate: float
) -> None:
    """The same graph with its nodes in another order, and a part of it."""
    ids = torch.tensor(order)
    place = torch.empty(N, dtype=torch.int64)
    place[ids] = torch.arange(N)
    drop = GraphDropout(kind, rate, seed)
    (plain,) = drop([block_of(EDGES, N)], NODES, step)
    (moved,) = drop([block_of(place[EDGES], N)], ids, step)
    assert pairs(ids[kept_edges(moved)]) == pairs(kept_edges(plain))
    (part,) = drop([block_of(place[EDGES], N, 4, 9)], ids, step)
    own = set(order[4:9])
    assert pairs(ids[kept_edges(part)]) == {(a, b) for a, b in pairs(kept_edges(plain)) if b in own}


@pytest.mark.parametrize(
    ("arch", "skip"), [(arch, "none") for arch in get_args(Arch)] + [("gcn", "initial"), ("gat", "jumping")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_compute_on_what_is_left(arch: Arch, skip: Any, kind: Kind) -> None:
    """Outputs and gradients are those of dense matrices without the dropped edges."""
    torch.manual_seed(1)
    remedies = DeepGNNOptions(skip, 0.2)
    model = GNN(arch, 7, 3, 3, width=12, heads=2, remedies=remedies)
    x = torch.randn(N, 7, requires_grad=True)
    block = thin(kind)
    left = kept_edges(block)
    assert 0 < left.shape[1] < EDGES.shape[1]
    out = model(x, [block] * 3)
    expected = dense_network(model, remedies, x, adjacency_of(left, N))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    gradient, wanted = (torch.autograd.grad(y.square().sum(), x)[0] for y in (out, expected))
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gcn_normalises_with_the_edges_that_remain(kind: Kind) -> None:
    block = thin(kind)
    edges, weights = gcn_norm(kept_edges(block), num_nodes=N)
    matrix = torch.zeros(N, N).index_put((block.looped[0].rows, block.looped[0].indices.long()), block.gcn_values)
    torch.testing.assert_close(matrix, torch.zeros(N, N).index_put((edges[1], edges[0]), weights))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_a_graph_but_its_nodes(kind: Kind) -> None:
    block = thin(kind, rate=1 - 2**-40)
    assert kept_edges(block).numel() == 0
    for arch in get_args(Arch):
        model = GNN(arch, 7, 3, 2, width=12, heads=2)
        x = torch.randn(N, 7)
        expected = dense_network(model, DeepGNNOptions(), x, torch.zeros(N, N))
        torch.testing.assert_close(model(x, [block] * 2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_degrees_keep_a_sum_unbiased(kind: Kind) -> None:
    """Sampled neighbours that stay have the same weight as before; a dropped node keeps only its loop."""
    base = block_of(EDGES, N)
    sampled = Block(base.indptr, base.indices, base.degree * 3)  # a third of all neighbours is at hand
    (block,) = GraphDropout(kind, 0.25, 5, "expected")([sampled], NODES, 2)
    adjacency = adjacency_of(kept_edges(block), N)
    degree = base.degree.float() * 3 * 0.75
    if kind == "dropnode":
        degree *= GraphDropout(kind, 0.25, 5)([whole(N)], NODES, 2)[0].degree > 0
    scale = (degree + 1).rsqrt()
    expected = scale[:, None] * adjacency * scale * 3 + scale.square().diag()
    pattern, _ = block.looped
    matrix = torch.zeros(N, N).index_put((pattern.rows, pattern.indices.long()), block.gcn_values)
    torch.testing.assert_close(matrix, expected)
    sums = torch.zeros(N, N).index_put((pattern.rows, pattern.indices.long()), block.sum_and_self_values)
    torch.testing.assert_close(sums, 3 * adjacency + torch.eye(N))


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_block_is_thinned_once_and_its_places_are_known_already(kind: Kind) -> None:
    block, other = block_of(EDGES, N), block_of(EDGES, N, 0, 9)
    first, second, third = GraphDropout(kind, 0.5, 0)([block, block, other], NODES, 0)
    assert first is second
    assert first.looped is block.looped
    assert first.pattern is block.pattern
    assert third.num_dst == 9
    named = {tensor.data_ptr() for tensor in first.tensors()}
    for tensor in (first.kept, first.degree, block.degree, block.indices, block.looped[0].indices):
        assert tensor is not None
        assert tensor.data_ptr() in named


@pytest.mark.parametrize(("kind", "rate"), [("none", 0.5), ("dropedge", 0.0), ("dropnode", 0.0)])
def test_no_graph_dropout_is_no_work(kind: Any, rate: float) -> None:
    block = block_of(EDGES, N)
    assert GraphDropout(kind, rate, 0)([block, block], NODES, 0) == [block, block]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_edges_on_a_gpu(kind: Kind) -> None:
    block = block_of(EDGES, N)
    moved = Block(block.indptr.cuda(), block.indices.cuda(), block.degree.cuda())
    (on_gpu,) = GraphDropout(kind, 0.3, 1)([moved], NODES.cuda(), 2)
    expected = thin(kind, 0.3, 1, 2).kept
    assert on_gpu.kept is not None
    assert expected is not None
    assert torch.equal(on_gpu.kept.cpu(), expected)
