"""The graph-level network against PyG's and OGB's own layers, one graph at a time."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
import torch_geometric.nn as pyg
from ogb.graphproppred.mol_encoder import AtomEncoder
from ogb.utils.features import get_atom_feature_dims
from torch import Tensor, nn

from tests.models.graphs import block_of
from ugts_dist.models import Dropout
from ugts_dist.models.convs import GATConv, GCNConv, GINConv, SAGEConv
from ugts_dist.models.gnn import Arch
from ugts_dist.models.graph_level import GraphNetwork
from ugts_dist.supermask import Ticket, calibrate, sparsify

SIZES = [5, 1, 9, 4]


def atoms(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(limit, (sum(SIZES),), generator=generator) for limit in get_atom_feature_dims()]
    return torch.stack(columns, dim=1)


def rings() -> list[Tensor]:
    """Edges of each graph: a ring in both directions; none for a single node."""
    edges = []
    for size in SIZES:
        node = torch.arange(size)
        ring = torch.stack([node, (node + 1) % size])
        edges.append(torch.cat([ring, ring.flip(0)], dim=1)[:, : 2 * size if size > 1 else 0])
    return edges


def membership() -> Tensor:
    return torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))


def union() -> Tensor:
    first = [sum(SIZES[:k]) for k in range(len(SIZES))]
    return torch.cat([edges + offset for edges, offset in zip(rings(), first, strict=True)], dim=1)


def logits(model: GraphNetwork, dropout: Dropout | None = None) -> Tensor:
    out: Tensor = model(atoms(), block_of(union(), sum(SIZES)), membership(), len(SIZES), dropout)
    return out


def plain(conv: nn.Module) -> nn.Module:
    """PyG's own layer with the same weights."""
    match conv:
        case GCNConv():
            layer: nn.Module = pyg.GCNConv(conv.in_channels, conv.out_channels, bias=False)
        case SAGEConv():
            layer = pyg.SAGEConv(conv.in_channels, conv.out_channels, bias=False)
        case GATConv():
            layer = pyg.GATConv(conv.in_channels, conv.out_channels, conv.heads, conv.concat, bias=False)
        case GINConv():
            layer = pyg.GINConv(copy.deepcopy(conv.nn))
        case _:
            raise AssertionError(conv)
    layer.load_state_dict(conv.state_dict())
    return layer


@pytest.mark.parametrize("arch", ["gcn", "gin", "gat", "sage"])
def test_logits_are_those_of_pyg_and_ogb_graph_by_graph(arch: Arch) -> None:
    model = GraphNetwork(arch, num_tasks=2, depth=3, width=16)
    encoder = AtomEncoder(16)
    encoder.load_state_dict(model.encoder.state_dict())
    expected = []
    with torch.no_grad():
        for x, edges in zip(atoms().split(SIZES), rings(), strict=True):
            hidden = encoder(x)
            for conv in model.gnn.convs:
                hidden = plain(conv)(hidden, edges).relu()
            expected.append(hidden.mean(0) @ model.head.weight.t())
        torch.testing.assert_close(logits(model), torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", get_args(Arch))
def test_every_weight_has_a_score_that_is_trained(arch: Arch) -> None:
    model = GraphNetwork(arch, num_tasks=1, depth=2, width=12)
    size = sum(parameter.numel() for parameter in model.parameters())
    mask = sparsify(model, seed=3)
    assert mask.num_weights == size
    mask.step(0.4)
    assert round(mask.sparsity() * size) == round(0.4 * size)
    logits(model).square().sum().backward()
    for name, score in zip(mask.weights(), mask.scores(), strict=True):
        assert score.grad is not None
        assert bool(score.grad.any()), name


@pytest.mark.parametrize("arch", get_args(Arch))
def test_calibration_gives_each_layer_its_level(arch: Arch) -> None:
    model = GraphNetwork(arch, num_tasks=1, depth=3, width=16)
    mask = sparsify(model, seed=1)
    levels: dict[nn.Module, float] = {model.head: 0.1}
    calibrate(mask, lambda: logits(model), model.calibrated(), levels=levels)
    assert {name for names in model.calibrated().values() for name in names} == set(mask.weights())
    assert model.outputs() == [model.head]
    assert model.input_layers() == [name for name in mask.weights() if name.startswith("encoder.")]
    seen: dict[nn.Module, float] = {}
    for module in model.calibrated():
        module.register_forward_hook(lambda m, _, out: seen.update({m: float(out.detach().square().mean().sqrt())}))
    logits(model)
    for module in model.calibrated():
        assert seen[module] == pytest.approx(levels.get(module, 1.0), rel=1e-4)
    assert len({mask.gains()[name] for name in model.calibrated()[model.encoder]}) == 1


def test_a_ticket_fills_a_new_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = GraphNetwork("gcn", num_tasks=1, depth=2, width=16)
    mask = sparsify(model, seed=5, weight_init="signed-constant", rescale=True)
    mask.step(0.6)
    path = tmp_path_factory.mktemp("ticket") / "molecules.ticket"
    Ticket.of(mask).save(path)
    other = Ticket.load(path).apply(GraphNetwork("gcn", num_tasks=1, depth=2, width=16))
    assert isinstance(other, GraphNetwork)
    torch.testing.assert_close(logits(other), logits(model))


def test_dropout_of_a_graph_does_not_depend_on_the_others() -> None:
    model = GraphNetwork("gcn", num_tasks=1, depth=2, width=16)
    nodes = torch.arange(100, 100 + sum(SIZES))
    whole = logits(model, Dropout(0.5, 7, 3, nodes))
    assert not torch.allclose(whole, logits(model))
    first = 0
    for k, (size, edges) in enumerate(zip(SIZES, rings(), strict=True)):
        own = slice(first, first + size)
        dropout = Dropout(0.5, 7, 3, nodes[own])
        alone = model(atoms()[own], block_of(edges, size), torch.zeros(size, dtype=torch.long), 1, dropout)
        torch.testing.assert_close(alone[0], whole[k])
        first += size
