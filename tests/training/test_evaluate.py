"""Exact evaluation: every node once, for every world size."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_geometric.nn as pyg
from ogb.nodeproppred import Evaluator as OGBEvaluator
from torch import nn

from tests.processes import spawn
from tests.training.helpers import config, measure_rank, planted_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import GNN
from ugts_dist.models.convs import GATConv, GCNConv, GINConv, SAGEConv
from ugts_dist.training.evaluate import Evaluator
from ugts_dist.training.methods import build_model
from ugts_dist.training.ranks import Ranks

ARCHS = ["gcn", "gin", "gin-paper", "gat", "sage"]


def edge_index(graph: Graph) -> torch.Tensor:
    targets = torch.repeat_interleave(torch.arange(graph.num_nodes), graph.indptr.diff())
    return torch.stack([graph.indices.long(), targets])


def plain_layer(conv: nn.Module) -> nn.Module:
    """PyG's own layer with the same weights."""
    match conv:
        case GCNConv():
            plain = pyg.GCNConv(conv.in_channels, conv.out_channels, bias=False)
        case SAGEConv():
            plain = pyg.SAGEConv(conv.in_channels, conv.out_channels, bias=False)
        case GATConv():
            plain = pyg.GATConv(conv.in_channels, conv.out_channels, conv.heads, conv.concat, bias=False)
        case GINConv():
            plain = pyg.GINConv(copy.deepcopy(conv.nn))
        case _:
            plain = pyg.GINConv(copy.deepcopy(conv.nn), aggr="mean")
    plain.load_state_dict(conv.state_dict())
    return plain


def pyg_logits(model: GNN, graph: Graph) -> torch.Tensor:
    """The same network, by PyG's own layers."""
    x = graph.x
    for k, conv in enumerate(model.convs):
        out = plain_layer(conv)(x, edge_index(graph))
        last = k == model.depth - 1
        if last and model.skip is not None:
            return (out.relu() + model.skip(x)) / 2
        x = out if last else out.relu()
    return x


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_are_those_of_pygs_layers(arch: str) -> None:
    graph = planted_graph()
    model = build_model(config(model__arch=arch), graph)
    logits = Evaluator(graph, Ranks()).logits(model)
    with torch.no_grad():
        torch.testing.assert_close(logits, pyg_logits(model, graph), rtol=1e-4, atol=1e-5)


def test_accuracy_is_ogbs() -> None:
    graph = planted_graph()
    model = build_model(config(), graph)
    evaluator = Evaluator(graph, Ranks())
    measured, loss = evaluator.measure(model, torch.tensor(1.5))
    predicted = evaluator.logits(model).argmax(1, keepdim=True)
    for name, nodes in (("valid", graph.valid), ("test", graph.test)):
        theirs = OGBEvaluator("ogbn-arxiv").eval({"y_true": graph.y[nodes, None], "y_pred": predicted[nodes]})
        assert measured[name] == pytest.approx(theirs["acc"], abs=1e-12)
    assert loss == 1.5


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_nodes(world_size: int) -> None:
    for arch in ("gcn", "gat"):
        alone, _, logits = measure_rank(0, 1, arch)
        results = spawn(world_size, measure_rank, world_size, arch)
        assert all(measured == alone for measured, _, _ in results)
        assert all(loss == sum(range(world_size)) for _, loss, _ in results)
        torch.testing.assert_close(torch.cat([part for _, _, part in results]), logits)
