"""Exact evaluation: every node once, for every world size."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch_geometric.nn as pyg
from ogb.nodeproppred import Evaluator as OGBEvaluator
from torch import nn

from tests.processes import spawn
from tests.replay import by_make_fx
from tests.training.helpers import config, measure_rank, planted_graph
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import whole_graph
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.whole_graph import block_of_rows, full_features
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.models import GNN, Rows, SparseFeatures
from ugts_dist.models.convs import GATConv, GCNConv, GINConv, SAGEConv
from ugts_dist.tasks import build_model

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


def pyg_logits(model: GNN, graph: Graph, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The same network, by PyG's own layers."""
    x = graph.x.to(dtype)
    for k, conv in enumerate(model.convs):
        out = plain_layer(conv).to(dtype)(x, edge_index(graph))
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


def _measure_in_chunks(rank: int, world_size: int, arch: str, spill: str, machine: str) -> torch.Tensor:
    """As `measure_rank`, in chunks of at most 7 nodes and about 90 edges."""
    whole_graph.CHUNK_EDGES, whole_graph.CHUNK_ROWS = 90, 7
    graph = planted_graph(num_nodes=301)
    group = dist.group.WORLD if world_size > 1 else None
    ranks = Ranks(rank, world_size, process_group=group, machine=machine.format(rank=rank))
    model = build_model(config(model__arch=arch, model__depth=3, batch__fan_out=[5, 5, 5]), graph)
    return Evaluator(graph, ranks, spill=spill).logits(model)


@pytest.mark.parametrize("machine", ["one", "machine {rank}"])
def test_chunks_spilled_tables_and_machines_do_not_matter(machine: str, tmp_path: Path) -> None:
    for arch in ARCHS:
        _, _, whole = measure_rank(0, 1, arch)
        parts = spawn(2, _measure_in_chunks, 2, arch, str(tmp_path), machine)
        torch.testing.assert_close(torch.cat(parts), whole)
    assert not list(tmp_path.iterdir())


def test_chunks_cover_every_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    for edges, rows in ((1, 1), (50, 1000), (10**9, 13), (10**9, 10**9)):
        monkeypatch.setattr(whole_graph, "CHUNK_EDGES", edges)
        monkeypatch.setattr(whole_graph, "CHUNK_ROWS", rows)
        chunks = list(whole_graph.chunks(graph, 20, 250))
        assert [node for start, stop in chunks for node in range(start, stop)] == list(range(20, 250))
        for start, stop in chunks:
            assert stop - start <= rows
            assert stop - start == 1 or int(graph.indptr[stop] - graph.indptr[start]) <= edges


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", ["sparse", "bfloat16"])
def test_kinds_of_features_do_not_matter(arch: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    x = (graph.x * (graph.x > 2.2)).bfloat16() if kind == "sparse" else graph.x.bfloat16()
    as_float = dataclasses.replace(graph, x=x.float())
    model = build_model(config(model__arch=arch), graph)
    monkeypatch.setattr(whole_graph, "_SPARSE_BELOW", 0.0)
    expected = Evaluator(as_float, Ranks()).logits(model)
    monkeypatch.setattr(whole_graph, "_SPARSE_BELOW", 0.2)
    assert isinstance(full_features(dataclasses.replace(graph, x=x), torch.device("cpu")), SparseFeatures) == (
        kind == "sparse"
    )
    logits = Evaluator(dataclasses.replace(graph, x=x), Ranks()).logits(model)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def star(num_leaves: int) -> Graph:
    """A graph with a node that has all others as in-neighbours; features in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    nodes = torch.arange(num_leaves + 1)
    x = torch.rand(num_leaves + 1, 4, generator=generator)
    edges = torch.stack([nodes[1:], torch.zeros_like(nodes[1:])])
    graph = from_edges("star", x, edges, nodes % 3, nodes[:5], nodes[5:10], nodes[10:], 3)
    return dataclasses.replace(graph, x=graph.x.bfloat16())


@pytest.mark.parametrize("arch", ARCHS)
def test_sums_over_bfloat16_features_are_not_rounded(arch: str) -> None:
    graph = star(1000)
    model = build_model(config(model__arch=arch), graph)
    logits = Evaluator(graph, Ranks()).logits(model)[0].double()
    with torch.no_grad():
        expected = pyg_logits(model.double(), graph, torch.float64)[0]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_a_mean_over_bfloat16_features_is_that_of_float64() -> None:
    graph = star(1000)
    conv = SAGEConv(4, 8)
    torch.nn.init.zeros_(conv.lin_r.weight)
    torch.nn.init.eye_(conv.lin_l.weight)
    block = block_of_rows(graph, graph.degree, 0, 1)
    mean = conv(Rows(graph.x, torch.arange(graph.num_nodes)), block)[0, :4]
    expected = graph.x[1:].double().mean(0)
    torch.testing.assert_close(mean.double(), expected, rtol=1e-6, atol=0.0)


def _measure_ogb(rank: int, world_size: int) -> tuple[dict[str, float], dict[str, float]]:
    graph = planted_graph(num_nodes=301)
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    model = build_model(config(), graph)
    named = dataclasses.replace(graph, name="ogbn-arxiv")
    loss = torch.tensor(1.0)
    return Evaluator(named, ranks).measure(model, loss)[0], Evaluator(graph, ranks).measure(model, loss)[0]


def test_ogbs_evaluator_judges_ogbs_graphs() -> None:
    for theirs, ours in spawn(2, _measure_ogb, 2):
        assert theirs == pytest.approx(ours, abs=1e-12)


@pytest.mark.parametrize("kind", ["dense features", "sparse features, a skip connection", "a norm over all nodes"])
def test_a_recorded_evaluation_measures_the_network_as_it_is_now(kind: str) -> None:
    changes = {"sparse features, a skip connection": {"model__skip": "initial"}, "a norm over all nodes": {}}.get(kind)
    settings = config(model__depth=3, batch__fan_out=[5, 5, 5], **(changes or {}))
    if kind == "a norm over all nodes":
        settings = settings.replace({"model.norm": "pairnorm", "batch.size": 0, "batch.fan_out": ()})
    graph = planted_graph()
    if kind.startswith("sparse"):
        graph = dataclasses.replace(graph, x=graph.x * (torch.rand_like(graph.x) < 0.05))
        assert isinstance(full_features(graph, torch.device("cpu")), SparseFeatures)
    model = build_model(settings, graph)
    recorded, eager = Evaluator(graph, Ranks(), record=by_make_fx), Evaluator(graph, Ranks())
    seen = set()
    for call in range(8):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        measured = recorded.measure(model, torch.tensor(float(call)))
        assert measured == eager.measure(model, torch.tensor(float(call)))
        seen.add(measured[0]["test"])
    assert recorded.repeats
    assert len(seen) > 2
