"""Own networks for link prediction: against PyG's networks on the message edges, on one rank and on two."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from tests.graphs.link_graphs import both_ways, pair_set
from tests.processes import spawn
from tests.tasks.test_links import ends, graph_without_labels, split_of
from tests.training.helpers import config
from tests.training.own_nets import gcn
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import own
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import GNN, Hops, OwnNetwork
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import LinkTask, make_task
from ugts_dist.tasks import own as own_tasks
from ugts_dist.tasks.own import with_depth
from ugts_dist.training.fit import Result, fit

NETS = "tests.training.own_nets"
WIDTH = 8  # of an embedding
FULL: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
SAMPLED: dict[str, Any] = {"batch__size": 700, "batch__fan_out": [5, 5]}
BATCHES = pytest.mark.parametrize("batches", [FULL, SAMPLED], ids=["full", "sampled"])


def settings(name: str, batches: dict[str, Any], args: dict[str, Any] | None = None, **changes: Any) -> Config:
    """A run of an own network of depth 2."""
    link: dict[str, Any] = {"task__kind": "link", "task__embedding": WIDTH, "supermask__output_rms": 0.5}
    described = config(**{**link, **batches, **changes}).to_dict()
    model = {"factory": name if ":" in name else f"{NETS}:{name}", "args": args or {}}
    return with_depth(Config.from_dict({**described, "model": model}, ""), graph_without_labels())


def own_network(task: Any, chosen: Config) -> OwnNetwork:
    network = task.network(chosen)
    assert isinstance(network, OwnNetwork)
    return network


def edge_index_without(graph: Graph, held_out: Tensor) -> Tensor:
    """All edges of a graph but those of some pairs, in both directions, `[2, num_edges]`."""
    left_out = both_ways(pair_set(held_out))
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    edges = torch.stack([graph.indices.long(), destination])
    kept = [pair not in left_out for pair in zip(*edges.tolist(), strict=True)]
    return edges[:, torch.tensor(kept)]


@pytest.mark.parametrize("how", ["whole", "layers", "parts"])
def test_the_metric_is_that_of_pygs_network_on_the_message_edges(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, chosen = graph_without_labels(), settings("gcn", FULL if how == "whole" else SAMPLED)
    monkeypatch.setattr(own_tasks, "fits_whole", lambda _: False)
    monkeypatch.setattr(own, "_PART_NODES", 30)
    task, split = make_task(graph, chosen), split_of(graph, chosen)
    network = own_network(task, chosen)
    if how == "parts":
        network.trial = replace(network.trial, layer_hops=0)
    measured, _ = task.evaluator(chosen, Ranks()).measure(network, torch.zeros(()))
    plain = gcn(graph.num_features, WIDTH).eval()
    plain.load_state_dict(network.network.state_dict())
    not_yet = torch.cat([split.valid.positives, split.test.positives], 1)
    for part, hidden in (("valid", not_yet), ("test", split.test.positives)):
        held_out = getattr(split, part)
        with torch.no_grad():
            z = plain(graph.x, edge_index_without(graph, hidden))
        logits = torch.cat([(z[a] * z[b]).sum(1) for a, b in (held_out.positives, held_out.negatives)])
        y = torch.arange(logits.numel()) < held_out.positives.shape[1]
        assert measured[part] == pytest.approx(roc_auc_score(y, logits), abs=1e-4)


@pytest.mark.parametrize(("arch", "batches"), [("gcn", FULL), ("sage", FULL), ("sage", SAMPLED)])
def test_the_built_in_network_and_pygs_have_the_same_logits(arch: str, batches: dict[str, Any]) -> None:
    """With equal weights and all neighbours. In a sampled batch a GCN counts other degrees."""
    graph = graph_without_labels()
    changes = {} if batches is FULL else {"batch__fan_out": [-1, -1]}
    chosen = settings(arch, batches, {"bias": False}, **changes)
    task = LinkTask(graph, chosen)
    theirs = own_network(task, chosen)
    described = {**chosen.to_dict(), "model": {"arch": arch, "width": 16, "depth": 2}}
    built_in = Config.from_dict(described, "")
    ours = task.network(built_in)
    assert isinstance(ours, GNN)
    theirs.network.load_state_dict(ours.state_dict())
    one, other = (next(iter(task.batches(each, Ranks()).epoch(1))) for each in (built_in, chosen))
    assert torch.equal(ends(one), ends(other))
    torch.testing.assert_close(task.forward(theirs, other), task.forward(ours, one), rtol=1e-4, atol=1e-5)


@BATCHES
def test_the_network_sees_training_edges_only(batches: dict[str, Any]) -> None:
    graph, chosen = graph_without_labels(), settings("gcn", batches, task__test_edges=0.3)
    task, split = make_task(graph, chosen), split_of(graph, chosen)
    held_out = both_ways(pair_set(split.valid.positives) | pair_set(split.test.positives))
    batches_of_run = task.batches(chosen, Ranks())
    for batch in (*batches_of_run.epoch(0), batches_of_run.calibration_batch()):
        assert isinstance(batch.blocks, Hops)
        union = batch.blocks.union
        nodes = batch.nodes if union.kept is None else batch.nodes[union.kept]
        assert union.edge_index.numel()
        assert not pair_set(nodes[union.edge_index]) & held_out


@BATCHES
def test_two_ranks_share_the_pairs_of_each_step(batches: dict[str, Any]) -> None:
    graph, chosen = graph_without_labels(), settings("gcn", batches)
    task = make_task(graph, chosen)
    alone = list(task.batches(chosen, Ranks()).epoch(1))
    shared = [list(task.batches(chosen, Ranks(rank, 2)).epoch(1)) for rank in range(2)]
    for whole, *parts in zip(alone, *shared, strict=True):
        for label in (1.0, 0.0):
            of_ranks = torch.cat([ends(part)[:, part.y == label] for part in parts], 1)
            assert torch.equal(of_ranks, ends(whole)[:, whole.y == label])


CELLS = list(itertools.product((FULL, SAMPLED), ("dense", "ugts")))


def cell(batches: dict[str, Any], method: str) -> Config:
    learn: dict[str, Any] = {"supermask__sparsity": 0.5, "run__epochs": 8, "optim__lr": 0.02, "run__evaluate_every": 2}
    return settings("gcn", batches, supermask__method=method, **learn)


def fit_cells(rank: int, world_size: int, folder: str) -> list[Result]:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    results = []
    for number, (batches, method) in enumerate(CELLS):
        place = Path(folder, str(number))
        if ranks.is_main:
            place.mkdir(parents=True)
        ranks.barrier()
        results.append(fit(cell(batches, method), graph_without_labels(), ranks, place))
    return results


def test_a_run_learns_on_one_rank_and_on_two_and_is_measured_again(tmp_path: Path) -> None:
    of_two = spawn(2, fit_cells, 2, str(tmp_path / "two"))
    of_one = fit_cells(0, 1, str(tmp_path / "one"))
    for number, ((batches, method), alone, theirs, twin) in enumerate(zip(CELLS, of_one, *of_two, strict=True)):
        assert alone.test > 0.7, f"{batches}, {method}"
        assert theirs.valid == pytest.approx(alone.valid, abs=0.05), f"{batches}, {method}"
        assert (theirs.valid, theirs.test) == (twin.valid, twin.test)
        chosen = cell(batches, method)
        network = load_saved(tmp_path / "one" / str(number)).with_factory(f"{NETS}:gcn").network()
        task = make_task(graph_without_labels(), chosen)
        measured, _ = task.evaluator(chosen, Ranks()).measure(network, torch.zeros(()))
        assert measured == {"valid": alone.valid, "test": alone.test}
    ours, others = (Ticket.load(tmp_path / ranks / "1" / "best.ticket").masks for ranks in ("one", "two"))
    assert all((ours[name] == others[name]).float().mean() > 0.98 for name in ours), "a full batch"


@pytest.mark.parametrize("name", ["gat", "gin", "gcn2", "adjs"])
@BATCHES
def test_other_networks(name: str, batches: dict[str, Any], tmp_path: Path) -> None:
    chosen = settings(name, batches, run__epochs=2)
    graph = graph_without_labels()
    make_task(graph, chosen).check(chosen, Ranks())
    result = fit(chosen, graph, Ranks(), tmp_path)
    assert result.sparsity == pytest.approx(0.9, abs=0.01)
    assert result_network(tmp_path, name).origin.out_channels == WIDTH


def result_network(folder: Path, name: str) -> OwnNetwork:
    network = load_saved(folder).with_factory(f"{NETS}:{name}").network()
    assert isinstance(network, OwnNetwork)
    return network


def test_weights_and_features_of_message_edges_are_read(tmp_path: Path) -> None:
    plain = graph_without_labels()
    graph = replace(plain, edge_weight=torch.rand(plain.num_edges), edge_attr=torch.randn(plain.num_edges, 3))
    described = settings("gcn", SAMPLED, run__epochs=1).to_dict()
    model = {"factory": f"{NETS}:edges", "depth": 2}
    chosen = Config.from_dict({**described, "model": model}, "")
    make_task(graph, chosen).check(chosen, Ranks())
    result = fit(chosen, graph, Ranks(), tmp_path)
    evaluator = make_task(graph, chosen).evaluator(chosen, Ranks())
    assert evaluator.measure(result_network(tmp_path, "edges"), torch.zeros(()))[0]["test"] == result.test
    with pytest.raises(InputError, match=r":edges: forward raises TypeError: .*edge_weight"):
        make_task(plain, chosen).check(chosen, Ranks())


@pytest.mark.parametrize(("name", "args"), [("gcn", {"norm": "batch", "dropout": 0.5}), ("gcn2", {"dropout": 0.5})])
@BATCHES
def test_a_resumed_run_has_the_same_bits(
    name: str, args: dict[str, Any], batches: dict[str, Any], tmp_path: Path
) -> None:
    """With running statistics, and with the noise of torch and of NodeDropout."""
    graph = graph_without_labels()
    chosen = settings(name, batches, args, run__epochs=3, checkpoint__every_steps=1, checkpoint__keep_last=99)
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    fit(chosen, graph, Ranks(), tmp_path / "whole")
    half = checkpoint.at(checkpoint.folders(tmp_path / "whole")[1])
    assert 0 < half.epoch * half.steps_per_epoch + half.step < 3 * half.steps_per_epoch
    fit(chosen, graph, Ranks(), tmp_path / "resumed", half)
    whole, resumed = (checkpoint.at(checkpoint.folders(tmp_path / folder)[-1]) for folder in ("whole", "resumed"))
    assert whole.name == resumed.name
    assert whole.tensors
    for group, tensors in whole.tensors.items():
        assert tensors.keys() == resumed.tensors[group].keys()
        assert all(torch.equal(resumed.tensors[group][name], value) for name, value in tensors.items())
    tickets = [(tmp_path / folder / "best.ticket").read_bytes() for folder in ("whole", "resumed")]
    assert tickets[0] == tickets[1]


class Fixed(nn.Module):
    """A network that ignores how many outputs are asked for."""

    num_layers = 2

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, 5)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.lin(x)
        return out


def fixed(in_channels: int, out_channels: int) -> nn.Module:
    return Fixed(in_channels)


def only_embeddings(in_channels: int, out_channels: int) -> nn.Module:
    """A network with as many layers as it has outputs."""
    network = Fixed(in_channels)
    network.num_layers = out_channels
    return network


def test_the_depth_is_that_of_a_network_of_embeddings() -> None:
    assert settings(f"{__name__}:only_embeddings", FULL).model.depth == WIDTH


def checked(name: str, batches: dict[str, Any]) -> None:
    chosen = settings(name, batches)
    make_task(graph_without_labels(), chosen).check(chosen, Ranks())


@pytest.mark.parametrize(
    ("name", "batches", "message"),
    [
        (f"{__name__}:fixed", FULL, rf"fixed: forward returns shape \(16, 5\), allowed is \(16, {WIDTH}\), nodes and"),
        ("gps", SAMPLED, r"model.depth is 2, but the network of .*:gps reads farther"),
        ("nothing", FULL, r"own_nets:nothing: it has no function nothing"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused_in_a_line(name: str, batches: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        checked(name, batches)
    assert "\n" not in str(refused.value)


def test_a_line_says_once_how_it_is_evaluated(caplog: pytest.LogCaptureFixture) -> None:
    graph, chosen = graph_without_labels(), settings("gcn", FULL).replace({"log.progress": True})
    task = make_task(graph, chosen)
    with caplog.at_level(logging.INFO):
        task.evaluator(chosen, Ranks()).measure(task.network(chosen), torch.zeros(()))
    assert caplog.text.count("evaluation: one forward pass over the whole graph") == 1
