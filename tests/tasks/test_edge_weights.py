"""GCN on a graph whose edges have weights: PyG's `GCNConv` with `edge_weight`, in every kind of batch."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.identity import run_key
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs import configured
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.graphs.traits import Traits
from ugts_dist.models import GNN, Block, GraphDropout
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import build_model
from ugts_dist.tasks.batches import Batch, make_batches
from ugts_dist.tickets.plain import plain_model
from ugts_dist.training.fit import fit
from ugts_dist.training.run import run
from ugts_dist.training.settings import fitted


def weighted_graph() -> Graph:
    """Weights between 0 and 4, a fifth of them 0; and features that are the weight and the edge's position."""
    graph = planted_graph()
    generator = torch.Generator().manual_seed(5)
    weight = 4 * torch.rand(graph.num_edges, generator=generator)
    weight[torch.rand(graph.num_edges, generator=generator) < 0.2] = 0.0
    attr = torch.stack([weight, torch.arange(graph.num_edges)], dim=1)
    return dataclasses.replace(graph, edge_weight=weight, edge_attr=attr)


def with_ones(graph: Graph) -> Graph:
    return dataclasses.replace(graph, edge_weight=torch.ones(graph.num_edges))


def ends_of(graph: Graph) -> Tensor:
    return torch.stack([graph.indices.long(), torch.arange(graph.num_nodes).repeat_interleave(graph.degree)])


def pyg_logits(model: GNN, graph: Graph) -> Tensor:
    """The same network of PyG's own layers, on all nodes."""
    x = graph.x
    for k, conv in enumerate(model.convs):
        plain = pyg.GCNConv(conv.in_channels, conv.out_channels, bias=False)
        plain.load_state_dict(conv.state_dict())
        x = plain(x, ends_of(graph), graph.edge_weight)
        x = x if k == model.depth - 1 else x.relu()
    return x


def first(graph: Graph, settings: Config, ranks: Ranks | None = None) -> Batch:
    batches: Any = make_batches(graph, settings, ranks or Ranks())
    return next(batches.epoch(0))


def matrix(block: Block) -> Tensor:
    """What a layer multiplies its input with, `[num_dst, num_src]`."""
    pattern, _ = block.looped
    dense = torch.zeros(block.num_dst, block.num_src)
    return dense.index_put((pattern.rows, pattern.indices.long()), block.gcn_values, accumulate=True)


def normalised(graph: Graph) -> Tensor:
    """PyG's matrix of the whole graph, `[num_nodes, num_nodes]`."""
    ends, values = gcn_norm(ends_of(graph), graph.edge_weight, num_nodes=graph.num_nodes)
    return torch.zeros(graph.num_nodes, graph.num_nodes).index_put((ends[1], ends[0]), values, accumulate=True)


FULL: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
ALL_NEIGHBOURS: dict[str, Any] = {"batch__fan_out": [-1, -1]}


@pytest.mark.parametrize("changes", [FULL, ALL_NEIGHBOURS, FULL | {"model__depth": 1}], ids=["full", "sampled", "one"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_batches_of_all_neighbours_give_pygs_logits_and_gradients(changes: dict[str, Any], world_size: int) -> None:
    graph, settings = weighted_graph(), config(**changes)
    model = build_model(settings, graph)
    weights = list(model.parameters())
    for rank in range(world_size):
        batch = first(graph, settings, Ranks(rank, world_size))
        out = model(batch.x, batch.blocks)[batch.rows]
        expected = pyg_logits(model, graph)[batch.nodes[batch.rows]]
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        ours, theirs = (torch.autograd.grad(y.square().sum(), weights) for y in (out, _twin(model, graph, batch)))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    plain = dataclasses.replace(graph, edge_weight=None)
    assert not torch.allclose(pyg_logits(model, plain)[batch.nodes[batch.rows]], expected, rtol=0.01)


def _twin(model: GNN, graph: Graph, batch: Batch) -> Tensor:
    """PyG's logits of the seed nodes, with gradients for the weights of `model`."""
    x = graph.x
    for k, conv in enumerate(model.convs):
        assert isinstance(conv, pyg.GCNConv)
        x = normalised(graph) @ x @ conv.lin.weight.t()
        x = x if k == model.depth - 1 else x.relu()
    return x[batch.nodes[batch.rows]]


def logits_of_rank(rank: int, world_size: int) -> Tensor:
    """Exact evaluation of this rank's nodes."""
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    graph = weighted_graph()
    return Evaluator(graph, ranks).logits(build_model(config(model__depth=3, batch__fan_out=[5] * 3), graph))


@pytest.mark.parametrize("world_size", [1, 2])
def test_exact_evaluation_is_pygs(world_size: int) -> None:
    logits = spawn(world_size, logits_of_rank, world_size) if world_size > 1 else [logits_of_rank(0, 1)]
    graph = weighted_graph()
    with torch.no_grad():
        expected = pyg_logits(build_model(config(model__depth=3, batch__fan_out=[5] * 3), graph), graph)
    torch.testing.assert_close(torch.cat(logits), expected, rtol=1e-4, atol=1e-5)


def fit_weighted(rank: int, world_size: int, settings: Config, folder: str) -> float:
    """The validation accuracy of a run on the weighted graph."""
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    return fit(settings, weighted_graph(), ranks, Path(folder)).valid


@pytest.mark.parametrize("changes", [FULL, {}], ids=["full", "sampled"])
def test_pygs_own_network_is_as_accurate_as_a_run_on_two_ranks(changes: dict[str, Any], tmp_path: Path) -> None:
    """That of the run's ticket, with `edge_weight` as its third argument."""
    settings = config(**changes, run__epochs=6)
    told = spawn(2, fit_weighted, 2, settings, str(tmp_path))
    graph, path = weighted_graph(), tmp_path / "best.ticket"
    model = plain_model(Ticket.load(path), path).build()
    predicted = model(graph.x, ends_of(graph), graph.edge_weight).argmax(1)
    accuracy = float((predicted == graph.y)[graph.valid].double().mean())
    assert told == [pytest.approx(accuracy)] * 2
    unweighted = model(graph.x, ends_of(graph)).argmax(1)
    assert not torch.equal(predicted, unweighted)


def test_blocks_have_the_weights_and_features_of_their_edges() -> None:
    graph = weighted_graph()
    position = {(int(a), int(b)): edge for edge, (a, b) in enumerate(ends_of(graph).t())}
    batches = [first(graph, config()), first(graph, config(**FULL))]
    for batch in batches:
        for block in batch.blocks:
            assert block.weight is not None
            assert block.attr is not None
            assert block.weighted_degree is not None
            ids = batch.nodes[: block.num_src]
            rows = torch.arange(block.num_dst).repeat_interleave(block.indptr.diff())
            edges = [
                position[a, b]
                for a, b in zip(ids[block.indices.long()].tolist(), block.destinations(ids)[rows].tolist(), strict=True)
            ]
            assert block.attr[:, 1].tolist() == edges
            assert torch.equal(block.attr[:, 0], block.weight)
            sums = torch.stack([graph.edge_weight[ends_of(graph)[1] == node].sum() for node in ids[:5].tolist()])  # type: ignore[index]
            torch.testing.assert_close(block.weighted_degree[:5], sums)
            assert {id(block.weight), id(block.attr), id(block.weighted_degree)} <= set(map(id, block.tensors()))


def test_the_sampled_norm_is_pygs() -> None:
    batch = first(weighted_graph(), config(batch__norm="sampled"))
    for block in batch.blocks:
        rows = torch.arange(block.num_dst).repeat_interleave(block.indptr.diff())
        ends = torch.stack([block.indices.long(), rows])
        theirs, values = gcn_norm(ends, block.weight, num_nodes=block.num_src)
        kept = theirs[1] < block.num_dst
        expected = torch.zeros(block.num_dst, block.num_src)
        expected[theirs[1, kept], theirs[0, kept]] = values[kept]
        torch.testing.assert_close(matrix(block), expected)


@pytest.mark.parametrize("fan_out", [1, 2])
def test_the_mean_over_all_samples_is_the_full_aggregation(fan_out: int) -> None:
    """Every subset of `fan_out` in-neighbours of some nodes, each as likely as any other."""
    graph = weighted_graph()
    expected = normalised(graph)
    for node in range(8):
        low, high = graph.indptr[node : node + 2].tolist()
        subsets = list(combinations(range(low, high), fan_out))
        mean = torch.zeros(graph.num_nodes)
        for subset in subsets:
            block = Block(
                torch.tensor([0, fan_out]),
                graph.indices[list(subset)].long(),
                graph.degree,
                node,
                weight=graph.edge_weight[list(subset)],  # type: ignore[index]
                weighted_degree=graph.weighted_degree,
            )
            mean += matrix(block)[0] / len(subsets)
        torch.testing.assert_close(mean, expected[node], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["dropedge", "dropnode"])
def test_graph_dropout_normalises_by_the_weights_that_are_left(kind: Any) -> None:
    graph = weighted_graph()
    whole = graph_block(graph, torch.device("cpu"))
    (thin,) = GraphDropout(kind, 0.4, 3)([whole], torch.arange(graph.num_nodes), 1)
    assert thin.kept is not None
    assert thin.weight is not None
    left = thin.kept.bool()
    assert 0 < int(left.sum()) < graph.num_edges
    ends, values = gcn_norm(ends_of(graph)[:, left], thin.weight[left], num_nodes=graph.num_nodes)
    expected = torch.zeros(graph.num_nodes, graph.num_nodes).index_put((ends[1], ends[0]), values)
    torch.testing.assert_close(matrix(thin), expected)
    (guess,) = GraphDropout(kind, 0.4, 3, "expected")([whole], torch.arange(graph.num_nodes), 1)
    assert guess.weighted_degree is not None
    assert graph.weighted_degree is not None
    stays = torch.ones(graph.num_nodes) if kind == "dropedge" else (guess.degree > 0).float()
    torch.testing.assert_close(guess.weighted_degree, graph.weighted_degree * 0.6 * stays)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        FULL,
        {"batch__norm": "sampled", "model__graph_dropout": "dropedge"},
        {"model__graph_dropout": "dropnode"},
        {"batch__size": 0, "batch__fan_out": [], "model__graph_dropout": "dropedge"},
    ],
)
def test_weights_of_one_change_no_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = config(**changes, run__epochs=2)
    saved = []
    for name, graph in (("plain", planted_graph()), ("ones", with_ones(planted_graph()))):
        (tmp_path / name).mkdir()
        fit(settings, graph, Ranks(), tmp_path / name)
        saved.append(checkpoint.at(tmp_path / name).tensors["trained"])
    assert saved[0].keys() == saved[1].keys()
    assert all(torch.equal(value, saved[1][name]) for name, value in saved[0].items())


# The field


@pytest.fixture
def stored(tmp_path: Path) -> str:
    write_store(weighted_graph(), tmp_path / "weighted")
    return str(tmp_path / "weighted")


def test_an_architecture_that_ignores_weights_is_refused(stored: str, tmp_path: Path) -> None:
    for arch in ("sage", "gin", "gin-paper", "gat"):
        settings = config(data__name=stored, model__arch=arch, run__folder=str(tmp_path / "runs"))
        told = (
            f"^planted: has edge weights, which model.arch {arch} does not read; "
            "allowed: model.arch gcn, or data.edge_weights ignore$"
        )
        with pytest.raises(InputError, match=told):
            run(settings, Ranks())
        assert configured.load_graph(settings.replace({"data.edge_weights": "ignore"})).edge_weight is None
    assert not (tmp_path / "runs").exists()


def test_ignored_weights_are_no_part_of_the_data(stored: str, tmp_path: Path) -> None:
    graph = dataclasses.replace(weighted_graph(), edge_attr=None)
    write_store(graph, tmp_path / "w")
    plain = DataChecksum.of(planted_graph())
    used, ignored = (
        DataChecksum.of(configured.load_graph(config(data__name=str(tmp_path / "w"), data__edge_weights=how)))
        for how in ("use", "ignore")
    )
    assert ignored == plain
    assert used.difference(plain) == "edges"


def test_the_default_is_no_part_of_a_runs_key() -> None:
    assert "data.edge_weights" not in config().determining()
    assert config(data__edge_weights="ignore").determining()["data.edge_weights"] == "ignore"
    assert run_key(config()) != run_key(config(data__edge_weights="ignore"))
    with pytest.raises(InputError, match=r"data.edge_weights is 'drop', allowed are use, ignore"):
        config(data__edge_weights="drop")


def test_rules_choose_no_architecture_that_ignores_weights() -> None:
    traits = dataclasses.replace(Traits.of(weighted_graph()), homophily=0.0, num_known_edges=10**6)
    assert traits.weighted
    assert fitted(config(), traits, ())[0].model.arch == "gcn"
    assert fitted(config(), dataclasses.replace(traits, weighted=False), ())[0].model.arch == "sage"


def test_a_ticket_says_that_its_network_reads_weights(stored: str, tmp_path: Path) -> None:
    settings = config(data__name=stored, run__epochs=2, run__folder=str(tmp_path / "run"), run__select="any")
    ticket = Ticket.load(run(settings, Ranks())[1] / "best.ticket")
    assert ticket.provenance["edge_weights"] is True
    ignored = settings.replace({"data.edge_weights": "ignore", "run.folder": str(tmp_path / "ignored")})
    assert "edge_weights" not in Ticket.load(run(ignored, Ranks())[1] / "best.ticket").provenance
