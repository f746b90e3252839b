"""A first layer that is aggregated once, for all nodes and with all neighbours (`batch.first_layer` exact)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.processes import spawn
from tests.tasks.test_edge_weights import weighted_graph
from tests.training.helpers import config, equal_share, fit_rank, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.first_layer import aggregate_features
from ugts_dist.graphs import files
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Aggregated, Dropout, Rows, SparseFeatures
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import NodeTask, build_model
from ugts_dist.tasks.batches import Batch, make_batches
from ugts_dist.tasks.links import LinkTask
from ugts_dist.training.fit import fit

ARCHITECTURES = ("gcn", "sage", "gin", "gin-paper")


def exact(**changes: Any) -> Config:
    return config(batch__first_layer="exact", **changes)


def sparse_graph() -> Graph:
    """Features of which one in twenty is not zero."""
    graph = planted_graph()
    x = torch.cat([graph.x.clamp(min=0), torch.zeros(graph.num_nodes, 100)], dim=1)
    return dataclasses.replace(graph, x=x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5))


def edge_index(graph: Graph) -> Tensor:
    return torch.stack([graph.indices.long(), torch.arange(graph.num_nodes).repeat_interleave(graph.degree)])


def by_pyg(graph: Graph, arch: str) -> Tensor:
    """The aggregation of PyG's own layer, whose linear map is left out."""
    x, edges = graph.x.float(), edge_index(graph)
    if arch == "gcn":
        layer = pyg.GCNConv(x.shape[1], x.shape[1], bias=False)
        layer.lin.weight.data = torch.eye(x.shape[1])
        return layer(x, edges, graph.edge_weight).detach()
    if arch == "sage":
        return pyg.SimpleConv(aggr="mean")(x, edges)
    return pyg.GINConv(nn.Identity(), aggr="add" if arch == "gin" else "mean")(x, edges)


def dense(table: Tensor | SparseFeatures) -> Tensor:
    if isinstance(table, Tensor):
        return table
    pattern = table.pattern
    return torch.sparse_csr_tensor(pattern.indptr, pattern.indices, table.values, table.shape).to_dense()


def first(settings: Config, graph: Graph | None = None) -> Batch:
    batches: Any = make_batches(graph or planted_graph(), settings, Ranks())
    return next(batches.epoch(0))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("graph", [planted_graph(), sparse_graph()], ids=["dense", "sparse"])
def test_the_table_is_the_aggregation_of_pygs_layer(arch: str, graph: Graph) -> None:
    table = aggregate_features(graph, arch, Ranks())
    assert isinstance(table, SparseFeatures) == (graph.num_features > 16)
    torch.testing.assert_close(dense(table), by_pyg(graph, arch), rtol=1e-4, atol=1e-5)


def test_weights_of_edges_count() -> None:
    graph = weighted_graph()
    assert graph.edge_weight is not None
    torch.testing.assert_close(dense(aggregate_features(graph, "gcn", Ranks())), by_pyg(graph, "gcn"))


def table_of_rank(rank: int, world_size: int, arch: str) -> Tensor:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    return dense(aggregate_features(planted_graph(num_nodes=301), arch, ranks)).clone()


def test_ranks_make_the_same_table() -> None:
    alone = dense(aggregate_features(planted_graph(num_nodes=301), "gcn", Ranks()))
    for table in spawn(3, table_of_rank, 3, "gcn"):
        assert torch.equal(table, alone)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("graph", [planted_graph(), sparse_graph()], ids=["dense", "sparse"])
def test_with_all_neighbours_the_logits_are_those_of_sampled_batches(arch: str, graph: Graph) -> None:
    logits = []
    for layer in ("sampled", "exact"):
        settings = config(
            model__arch=arch, model__depth=3, batch__fan_out=[-1, -1, -1], batch__first_layer=layer, model__dropout=0.0
        )
        logits.append(NodeTask(graph).forward(build_model(settings, graph), first(settings, graph)))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_the_last_hop_is_not_sampled() -> None:
    sampled, batch = first(config(batch__fan_out=[5, 5])), first(exact(batch__fan_out=[5, 7]))
    assert isinstance(batch.x, Aggregated)
    assert isinstance(batch.x.neighbours, Rows)
    assert len(batch.blocks) == 1
    assert batch.nodes.numel() == sampled.blocks[1].num_src < sampled.nodes.numel()
    assert torch.equal(batch.nodes, sampled.nodes[: batch.nodes.numel()])
    torch.testing.assert_close(
        batch.x.neighbours.gather(), by_pyg(planted_graph(), "gcn")[batch.nodes], rtol=1e-4, atol=1e-5
    )


def test_every_tensor_of_a_batch_is_named() -> None:
    batch = first(exact(model__arch="sage"), sparse_graph())
    assert isinstance(batch.x, Aggregated)
    named = {tensor.data_ptr() for tensor in batch.tensors()}
    for part in (batch.x.neighbours, batch.x.own):
        assert isinstance(part, SparseFeatures)
        assert {part.values.data_ptr(), part.pattern.transposed[1].data_ptr()} <= named


def test_dropout_acts_on_the_aggregated_and_on_the_own_features() -> None:
    nodes = torch.arange(200)
    x = Aggregated(Rows(torch.ones(200, 64), nodes), Rows(torch.ones(200, 64), nodes))
    for at in ("every", "input"):
        dropped = Dropout(0.5, 0, 3, nodes, at)(x, 0)
        assert isinstance(dropped, Aggregated)
        neighbours, own = dropped.neighbours, dropped.own
        assert isinstance(neighbours, Tensor)
        assert isinstance(own, Tensor)
        for part in (neighbours, own):
            assert set(part.unique().tolist()) == {0.0, 2.0}
            assert abs(float((part == 0).float().mean()) - 0.5) < 0.02
        assert abs(float((neighbours == own).float().mean()) - 0.5) < 0.02  # independent of each other
    assert Dropout(0.0, 0, 3, nodes)(x, 0) is x


@pytest.mark.parametrize("arch", ["gcn", "sage"])
def test_two_ranks_find_the_ticket_that_one_finds(arch: str, tmp_path: Path) -> None:
    settings = exact(model__arch=arch, model__dropout=0.2, run__epochs=20)
    (tmp_path / "one").mkdir()
    result = fit(settings, planted_graph(), Ranks(), tmp_path / "one")
    assert result.valid > 0.5, "four classes"
    (tmp_path / "two").mkdir()
    results = spawn(2, fit_rank, 2, settings, str(tmp_path / "two"))
    masks = Ticket.load(tmp_path / "one" / "best.ticket").masks
    assert equal_share(results[0][1], masks) >= 0.999


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"batch__norm": "sampled"}, "batch.norm sampled"),
        ({"model__arch": "gat"}, "model.arch gat"),
        ({"model__depth": 1, "batch__fan_out": [5]}, "model.depth 1"),
        ({"model__skip": "residual"}, "model.skip residual"),
        ({"model__graph_dropout": "dropedge"}, "model.graph_dropout dropedge"),
    ],
)
def test_what_has_no_exact_first_layer_is_refused(changes: dict[str, Any], other: str) -> None:
    with pytest.raises(InputError) as error:
        exact(**changes)
    assert str(error.value) == f"batch.first_layer is exact, allowed is sampled with {other}"


def test_in_a_full_batch_every_layer_is_exact() -> None:
    """The option is allowed, so that it can be given before the size of the batch is chosen."""
    whole = {"batch__size": 0, "batch__fan_out": []}
    one, other = first(exact(**whole)), first(config(**whole))
    assert isinstance(one.x, Tensor)
    assert isinstance(other.x, Tensor)
    assert torch.equal(one.x, other.x)
    assert len(one.blocks) == len(other.blocks) == 2


@pytest.mark.parametrize("arch", ["gcn", "sage"])
def test_links_with_all_neighbours_have_the_logits_of_sampled_batches(arch: str) -> None:
    logits = []
    for layer in ("sampled", "exact"):
        settings = config(
            task__kind="link",
            model__arch=arch,
            model__dropout=0.0,
            batch__fan_out=[-1, -1],
            batch__first_layer=layer,
        )
        task = LinkTask(planted_graph(), settings)
        batch = next(iter(task.batches(settings, Ranks()).epoch(0)))
        assert isinstance(batch.x, Aggregated) == (layer == "exact")
        logits.append(task.forward(task.network(settings), batch))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_a_run_on_links_with_an_exact_first_layer(tmp_path: Path) -> None:
    result = fit(exact(task__kind="link", run__epochs=3), planted_graph(), Ranks(), tmp_path)
    assert result.valid > 0.5, "better than chance"


def test_a_table_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    monkeypatch.setattr(files, "available_memory", lambda: graph.x.nbytes - 1)
    with pytest.raises(
        InputError,
        match=r"^batch\.first_layer exact, .*: takes 0\.00 GB .* or batch\.first_layer sampled$",
    ):
        aggregate_features(graph, "gcn", Ranks())
    monkeypatch.setattr(files, "available_memory", lambda: graph.x.nbytes)
    aggregate_features(graph, "gcn", Ranks())
