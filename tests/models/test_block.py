from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from tests.models.graphs import block_of, dense, random_edges
from ugts_dist.models import Block

N = 9
EDGES = random_edges(N, 30)
ADJACENCY = torch.zeros(N, N).index_put((EDGES[1], EDGES[0]), torch.ones(()))  # [destination, source]
KINDS = ("gcn_values", "sum_and_self_values", "mean_values", "mean_and_self_values")


def matrix(block: Block, kind: str) -> Tensor:
    """What a layer of this kind multiplies its input with."""
    pattern = block.pattern if kind == "mean_values" else block.looped[0]
    return dense(getattr(block, kind), pattern.indptr, pattern.indices, block.num_src)


def expected(kind: str) -> Tensor:
    """The same from the dense adjacency matrix, by the formulas of the papers."""
    degree = ADJACENCY.sum(1)
    mean = ADJACENCY / degree.clamp(min=1)[:, None]
    with_self = torch.diag((degree + 1) ** -0.5)
    return {
        "gcn_values": with_self @ (ADJACENCY + torch.eye(N)) @ with_self,
        "sum_and_self_values": ADJACENCY + torch.eye(N),
        "mean_values": mean,
        "mean_and_self_values": mean + torch.eye(N),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_full_neighbourhoods_give_the_formulas_of_the_papers(kind: str, index: torch.dtype) -> None:
    block = block_of(EDGES, N, index=index)
    torch.testing.assert_close(matrix(block, kind), expected(kind), rtol=1e-6, atol=1e-7)
    assert (expected(kind) != expected(kind).t()).any(), "the graph is directed"
    assert (ADJACENCY.sum(1) == 0).sum() >= 3, "some nodes have no in-neighbour"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "stop"), [(0, 4), (4, 9), (3, 3), (8, 9)])
def test_a_share_of_the_rows_gives_the_rows_of_the_whole(kind: str, start: int, stop: int) -> None:
    share = matrix(block_of(EDGES, N, start, stop), kind)
    torch.testing.assert_close(share, expected(kind)[start:stop], rtol=1e-6, atol=1e-7)


def test_destinations_are_the_rows_from_start() -> None:
    block = block_of(EDGES, N, 4, 7)
    x = torch.arange(float(N))[:, None]
    assert (block.num_src, block.num_dst) == (N, 3)
    assert block.destinations(x).flatten().tolist() == [4.0, 5.0, 6.0]


def test_sampled_values_by_hand() -> None:
    """Two destinations (0, 1) and five sources; node 0 has in-degree 6 of which 2 are drawn, node 1 all of 1."""
    degree = torch.tensor([6, 1, 3, 0, 8])
    block = Block(torch.tensor([0, 2, 3]), torch.tensor([2, 4, 3]), degree)
    s = (degree + 1.0) ** -0.5
    gcn = torch.zeros(2, 5)
    gcn[0, 0], gcn[0, 2], gcn[0, 4] = 1 / 7, s[0] * s[2] * 6 / 2, s[0] * s[4] * 6 / 2
    gcn[1, 1], gcn[1, 3] = 1 / 2, s[1] * s[3]
    torch.testing.assert_close(matrix(block, "gcn_values"), gcn)
    torch.testing.assert_close(matrix(block, "sum_and_self_values"), torch.tensor([[1.0, 0, 3, 0, 3], [0, 1, 0, 1, 0]]))
    torch.testing.assert_close(matrix(block, "mean_values"), torch.tensor([[0, 0, 0.5, 0, 0.5], [0, 0, 0, 1, 0]]))
    torch.testing.assert_close(
        matrix(block, "mean_and_self_values"), torch.tensor([[1.0, 0, 0.5, 0, 0.5], [0, 1, 0, 1, 0]])
    )


@pytest.mark.parametrize("fan_out", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_all_samples_is_the_full_aggregation(kind: str, fan_out: int) -> None:
    """Every subset of `fan_out` in-neighbours of every node, each as likely as any other."""
    full = block_of(EDGES, N)
    total = torch.zeros(N, N)
    for node in range(N):
        neighbours = full.indices[full.indptr[node] : full.indptr[node + 1]]
        subsets = list(combinations(neighbours.tolist(), min(fan_out, neighbours.numel())))
        for subset in subsets:
            block = Block(torch.tensor([0, len(subset)]), torch.tensor(subset, dtype=torch.int64), full.degree, node)
            total[node] += matrix(block, kind)[0] / len(subsets)
    torch.testing.assert_close(total, expected(kind), rtol=1e-5, atol=1e-6)
    assert int(full.degree.max()) > 3, "something is left out of every sample"


def test_a_graph_without_edges() -> None:
    block = block_of(EDGES[:, :0], 3)
    for kind in KINDS:
        diagonal = torch.zeros(3, 3) if kind == "mean_values" else torch.eye(3)
        assert torch.equal(matrix(block, kind), diagonal)
