"""Calibration of the attention of an own network, beside that of the built-in GAT."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.training.helpers import planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.models import GNN, OwnNetwork
from ugts_dist.models.own_attention import AttentionHalves
from ugts_dist.training.methods import TicketSearch

NETS = "tests.training.own_nets"
DATA = planted_graph()
EDGES = torch.stack([DATA.indices.long(), torch.repeat_interleave(torch.arange(DATA.num_nodes), DATA.degree)])


def calibrated(**model: object) -> dict[str, float]:
    """The gains of a calibrated network on the whole graph."""
    config = Config().replace({f"model.{name}": value for name, value in model.items()} | {"model.depth": 2})
    network = (
        OwnNetwork.of(config.model, 16, 4, seed=0)
        if config.model.factory
        else GNN(config.model.arch, 16, 4, 2, config.model.width)
    )
    method = TicketSearch(network, config, Ranks())
    block = graph_block(DATA, torch.device("cpu"))
    with torch.no_grad():
        method.start(lambda: network(DATA.x, [block, block]))
    return method.gains()


def test_the_gains_are_those_of_the_built_in_network() -> None:
    ours = calibrated(arch="gat", width=16)
    own = calibrated(factory=f"{NETS}:gat", args={"bias": False, "heads": 1})
    assert own == pytest.approx(ours, rel=1e-3)
    assert all(gain < 0.2 for name, gain in own.items() if "att" in name), "attention at full scale is noise"


def test_the_halves_are_those_of_the_layer() -> None:
    torch.manual_seed(0)
    layer = pyg.GATConv(16, 5, heads=3)
    halves, seen = AttentionHalves(nn.Sequential(layer)), dict[str, Tensor]()
    assert list(halves.weights.values()) == ["0.att_src", "0.att_dst"]
    for module, name in halves.weights.items():
        module.register_forward_hook(lambda _module, _args, out, name=name: seen.update({name: out}))
    before = layer(DATA.x, EDGES)
    assert not seen
    with halves.measured():
        within = layer(DATA.x, EDGES)
    per_head = layer.lin(DATA.x).view(-1, 3, 5)
    for name, vector in (("0.att_src", layer.att_src), ("0.att_dst", layer.att_dst)):
        torch.testing.assert_close(seen[name], (per_head * vector).sum(-1))
    seen.clear()
    assert torch.equal(before, within)
    assert torch.equal(before, layer(DATA.x, EDGES))
    assert not seen


def test_vectors_that_layers_share_have_one_gain() -> None:
    one, other = pyg.GATConv(16, 16), pyg.GATConv(16, 16)
    other.att_src, other.att_dst = one.att_src, one.att_dst
    assert list(AttentionHalves(nn.ModuleList([one, other])).weights.values()) == ["0.att_src", "0.att_dst"]
