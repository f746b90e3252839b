from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.models.graphs import block_of, random_edges
from ugts_dist.models import Block, Features, SparseFeatures
from ugts_dist.models.aggregation import aggregate_linear
from ugts_dist.models.convs import GATConv, GCNConv, GINConv, PaperGINConv, SAGEConv

N = 17
IN, OUT = 6, 4


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(IN, 8, bias=False), nn.ReLU(), nn.Linear(8, OUT, bias=False))


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "gcn": (lambda: GCNConv(IN, OUT), lambda: pyg.GCNConv(IN, OUT, bias=False)),
    "sage": (lambda: SAGEConv(IN, OUT), lambda: pyg.SAGEConv(IN, OUT, bias=False)),
    "gin": (lambda: GINConv(IN, OUT, 8), lambda: pyg.GINConv(_mlp())),
    "gin-paper": (
        lambda: PaperGINConv(IN, OUT),
        lambda: pyg.GINConv(nn.Linear(IN, OUT, bias=False), aggr="mean"),
    ),
    "gat of one head": (lambda: GATConv(IN, OUT, 1, True), lambda: pyg.GATConv(IN, OUT, bias=False)),
    "gat of three heads": (lambda: GATConv(IN, OUT, 3, True), lambda: pyg.GATConv(IN, OUT, 3, bias=False)),
    "gat, mean of heads": (
        lambda: GATConv(IN, OUT, 3, False),
        lambda: pyg.GATConv(IN, OUT, 3, concat=False, bias=False),
    ),
}


def twins(kind: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """Our layer and PyG's own, with one state dict."""
    torch.manual_seed(seed)
    ours, theirs = (make() for make in PAIRS[kind])
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def gradients(output: Tensor, module: nn.Module, x: Tensor | None = None) -> dict[str, Tensor]:
    """Gradients of a loss that weights every output differently, by every parameter and the input."""
    weights = torch.linspace(-1.0, 2.0, output.numel()).reshape(output.shape)
    wanted = dict(module.named_parameters()) | ({} if x is None else {"x": x})
    values = torch.autograd.grad((output * weights).sum(), list(wanted.values()))
    return dict(zip(wanted, values, strict=True))


def assert_all_close(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(tensors[name], value, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("seed", range(3))
def test_output_and_gradients_are_pygs(kind: str, seed: int) -> None:
    edges = random_edges(N, 60, seed)
    ours, theirs = twins(kind, seed)
    x = torch.randn(N, IN)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    output, expected = ours(a, block_of(edges, N)), theirs(b, edges)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert_all_close(gradients(output, ours, a), gradients(expected, theirs, b))


@pytest.mark.parametrize("kind", PAIRS)
def test_sparse_features_give_the_same(kind: str) -> None:
    edges = random_edges(N, 60, 5)
    ours, theirs = twins(kind, 5)
    x = torch.rand(N, IN) * (torch.rand(N, IN) < 0.3)
    x[2] = 0.0
    output, expected = ours(SparseFeatures.of(x), block_of(edges, N)), theirs(x, edges)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert_all_close(gradients(output, ours), gradients(expected, theirs))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_shares_of_the_rows_make_up_the_whole(kind: str, sparse: bool, index: torch.dtype) -> None:
    edges = random_edges(N, 60, 6)
    ours, theirs = twins(kind, 6)
    x = torch.randn(N, IN) * (torch.rand(N, IN) < 0.5)
    features: Features = SparseFeatures.of(x) if sparse else x
    parts = [ours(features, block_of(edges, N, a, b, index)) for a, b in ((0, 5), (5, 16), (16, 17))]
    torch.testing.assert_close(torch.cat(parts), theirs(x, edges), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PAIRS)
def test_a_graph_without_edges(kind: str) -> None:
    ours, theirs = twins(kind, 7)
    x, edges = torch.randn(3, IN), torch.empty(2, 0, dtype=torch.int64)
    torch.testing.assert_close(ours(x, block_of(edges, 3)), theirs(x, edges), rtol=1e-5, atol=1e-5)


def test_attention_of_large_logits_is_finite() -> None:
    edges = random_edges(N, 60, 8)
    ours, theirs = twins("gat of three heads", 8)
    x = 1e4 * torch.randn(N, IN)
    output = ours(x, block_of(edges, N))
    assert output.isfinite().all()
    torch.testing.assert_close(output, theirs(x, edges), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("width_in", "width_out"), [(30, 3), (3, 30)])
@pytest.mark.parametrize("rows", [2, N])
def test_both_orders_of_aggregation_and_linear_map_agree(width_in: int, width_out: int, rows: int) -> None:
    """Each order is called by name; the sizes determine which one the layer uses."""
    block = block_of(random_edges(N, 60, 9), N, 0, rows)
    pattern, values = block.looped[0], block.gcn_values
    matrix = torch.sparse_csr_tensor(pattern.indptr, pattern.indices, values, (rows, N)).to_dense()
    x, weight = torch.randn(N, width_in), torch.randn(width_out, width_in, requires_grad=True)
    output = aggregate_linear(x, weight, pattern, values)
    for expected in (matrix @ (x @ weight.t()), (matrix @ x) @ weight.t()):
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            *(torch.autograd.grad(out.square().sum(), weight, retain_graph=True)[0] for out in (output, expected)),
            rtol=1e-4,
            atol=1e-3,
        )


def test_the_cheaper_order_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def note(pattern: object, values: Tensor, right: Tensor) -> Tensor:
        widths.append(right.shape[1])
        return right[:1]

    monkeypatch.setattr("ugts_dist.models.aggregation.sparse_product", note)
    whole, sampled = block_of(random_edges(N, 60), N), block_of(random_edges(N, 60), N, 0, 1)
    for block, width_in, width_out in ((whole, 30, 3), (whole, 3, 30), (sampled, 8, 8)):
        x, weight = torch.zeros(N, width_in), torch.zeros(width_out, width_in)
        aggregate_linear(x, weight, block.looped[0], block.gcn_values)
    assert widths == [3, 3, 8]


@pytest.mark.parametrize("kind", PAIRS)
def test_only_a_destinations_neighbours_and_itself_matter(kind: str) -> None:
    edges = random_edges(N, 60, 10)
    ours, _ = twins(kind, 10)
    x = torch.randn(N, IN)
    before = ours(x, block_of(edges, N, 0, 1))
    neighbours = edges[0, edges[1] == 0].tolist()
    others = [node for node in range(1, N) if node not in neighbours]
    changed = x.clone()
    changed[others] += 1.0
    torch.testing.assert_close(ours(changed, block_of(edges, N, 0, 1)), before)
    changed[neighbours[0]] += 1.0
    assert not torch.allclose(ours(changed, block_of(edges, N, 0, 1)), before)


def test_sampled_layers_estimate_the_full_ones_without_bias() -> None:
    """Mean over all pairs of sampled neighbours of one node equals PyG on the whole graph."""
    edges = random_edges(N, 90, 11)
    node = int(torch.bincount(edges[1]).argmax())
    neighbours = edges[0, edges[1] == node].tolist()
    full = block_of(edges, N)
    x = torch.randn(N, IN)
    for kind in ("gcn", "sage", "gin-paper"):
        ours, theirs = twins(kind, 11)
        outputs = [
            ours(x, Block(torch.tensor([0, 2]), torch.tensor([a, b]), full.degree, node))
            for i, a in enumerate(neighbours)
            for b in neighbours[i + 1 :]
        ]
        torch.testing.assert_close(torch.stack(outputs).mean(0)[0], theirs(x, edges)[node], rtol=1e-4, atol=1e-5)
