"""Own networks through the whole trainer: full batch and sampled, on two ranks, resumed, saved and evaluated."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.processes import spawn
from tests.training.helpers import config, fit_rank, planted_graph
from tests.training.own_nets import gcn
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.saved_network import load_saved, of_ticket
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import own
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import OwnNetwork
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tasks import NodeTask
from ugts_dist.tasks.own import make_evaluator, with_depth
from ugts_dist.training.fit import Result, fit
from ugts_dist.training.trainer import make_trainer

NETS = "tests.training.own_nets"
FULL: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
MODELS = ["gcn", "sage", "gat", "gin", "pna", "edge_cnn", "gcn2", "transformer", "adjs"]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MODELS),
    ("gcn", {"norm": "batch", "dropout": 0.2}),
    ("sage", {"norm": "batch"}),
    ("gcn", {"jk": "cat"}),
]


def settings(name: str, args: dict[str, Any] | None = None, **changes: Any) -> Config:
    """A short run of an own network on the planted graph."""
    described = config(run__epochs=2, **changes).to_dict()
    return Config.from_dict({**described, "model": {"factory": f"{NETS}:{name}", "args": args or {}}}, "")


def fitted(started: Config, graph: Graph, folder: Path) -> tuple[Config, Result]:
    """A run as `run` begins it: with the depth of the network, after the checks."""
    folder.mkdir()
    started = with_depth(started, graph)
    if started.batch.size:
        started = started.replace({"batch.fan_out": [5] * started.model.depth})
    NodeTask(graph).check(started, Ranks())
    return started, fit(started, graph, Ranks(), folder)


@pytest.mark.parametrize("batch", [FULL, {}], ids=["full", "sampled"])
@pytest.mark.parametrize(("name", "args"), OPTIONS, ids=["-".join([name, *args]) for name, args in OPTIONS])
def test_a_ticket_of_any_network_predicts_as_in_training(
    name: str, args: dict[str, Any], batch: dict[str, Any], tmp_path: Path
) -> None:
    graph = planted_graph()
    started, result = fitted(settings(name, args, **batch), graph, tmp_path / "run")
    saved = load_saved(tmp_path / "run").with_factory(f"{NETS}:{name}")
    network = saved.network()
    measured, _ = make_evaluator(graph, started, Ranks()).measure(network, torch.zeros(()))  # type: ignore[arg-type]
    assert measured == {"valid": result.valid, "test": result.test}
    assert isinstance(network, OwnNetwork)
    assert network.depth == started.model.depth
    assert result.sparsity == pytest.approx(0.9, abs=0.01)


def test_a_network_with_global_attention_needs_the_full_batch(tmp_path: Path) -> None:
    graph = planted_graph()
    _, result = fitted(settings("gps", **FULL), graph, tmp_path / "run")
    assert result.sparsity == pytest.approx(0.9, abs=0.01)
    with pytest.raises(InputError, match=r"model.depth is 2, but the network of .*:gps reads farther"):
        fitted(settings("gps"), graph, tmp_path / "sampled")


@pytest.mark.parametrize("batch", [FULL, {}], ids=["full", "sampled"])
def test_weights_and_features_of_edges_are_read(batch: dict[str, Any], tmp_path: Path) -> None:
    plain = planted_graph()
    graph = replace(plain, edge_weight=torch.rand(plain.num_edges), edge_attr=torch.randn(plain.num_edges, 3))
    started, result = fitted(settings("edges", **batch), graph, tmp_path / "run")
    network = load_saved(tmp_path / "run").with_factory(f"{NETS}:edges").network()
    evaluator: Any = make_evaluator(graph, started, Ranks())
    assert evaluator.measure(network, torch.zeros(()))[0] == {"valid": result.valid, "test": result.test}
    other = replace(graph, edge_attr=torch.zeros(plain.num_edges, 3), edge_weight=torch.ones(plain.num_edges))
    others: Any = make_evaluator(other, started, Ranks())
    assert not torch.allclose(evaluator.logits(network), others.logits(network))
    with pytest.raises(InputError, match=r":edges: forward raises TypeError: .*edge_weight"):
        NodeTask(plain).check(started, Ranks())


@pytest.mark.parametrize("by_layers", [True, False], ids=["layers", "parts"])
@pytest.mark.parametrize(
    ("name", "args", "layer_hops"),
    [("gcn", {}, 2), ("gat", {}, 1), ("gcn", {"norm": "batch"}, 2), ("gcn", {"jk": "cat"}, 0), ("adjs", {}, 0)],
)
def test_parts_of_a_graph_have_the_logits_of_the_whole(
    name: str, args: dict[str, Any], layer_hops: int, by_layers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For GCN this needs the degrees of the outermost nodes, which are one hop farther away."""
    graph = planted_graph()
    started = with_depth(settings(name, args, **FULL), graph)
    network: Any = NodeTask(graph).network(started)
    assert network.trial.layer_hops == layer_hops
    if not by_layers:
        network.trial = replace(network.trial, layer_hops=0)
    evaluators: list[Any] = [
        own.OwnEvaluator(graph, Ranks(), torch.device("cpu"), whole=whole) for whole in (True, False)
    ]
    monkeypatch.setattr(own, "_PART_NODES", 7)
    whole, parts = (evaluator.logits(network) for evaluator in evaluators)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def logits_of_rank(rank: int, world_size: int, started: Config) -> torch.Tensor:
    """Logits of a rank's nodes, layer by layer."""
    graph = planted_graph(num_nodes=301)  # no world size divides it
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    network: Any = NodeTask(graph).network(started)
    return own.OwnEvaluator(graph, ranks, torch.device("cpu"), whole=False).logits(network)


def test_two_ranks_share_the_nodes_of_each_layer() -> None:
    started = with_depth(settings("gcn", {"norm": "batch"}, **FULL), planted_graph())
    together = torch.cat(spawn(2, logits_of_rank, 2, started))
    torch.testing.assert_close(together, logits_of_rank(0, 1, started), rtol=1e-4, atol=1e-5)


def test_the_bits_of_a_ticket_are_those_of_training(tmp_path: Path) -> None:
    graph = planted_graph()
    started = with_depth(settings("gcn", {"norm": "batch"}, **FULL), graph)
    trainer = make_trainer(started, NodeTask(graph), Ranks())
    for epoch in range(3):
        trainer.epoch(epoch, 0.5, 0.01)
    trainer.mask(0.9)
    ticket: Any = trainer.method.mask  # type: ignore[attr-defined]
    Ticket.of(ticket).save(tmp_path / "a.ticket")
    plain = Ticket.load(tmp_path / "a.ticket").apply(gcn(16, 4, norm="batch"))
    evaluator: Any = make_evaluator(graph, started, Ranks())
    row = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    logits = plain(graph.x, torch.stack([graph.indices.long(), row]))
    assert torch.equal(logits, evaluator.logits(trainer.method.model))


@pytest.mark.parametrize(("name", "args"), [("gcn", {"norm": "batch", "dropout": 0.5}), ("gcn2", {"dropout": 0.5})])
def test_a_resumed_run_has_the_same_bits(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    """With running statistics, and with the noise of torch and of NodeDropout."""
    graph = planted_graph()
    started = with_depth(settings(name, args, checkpoint__every_steps=1, checkpoint__keep_last=99), graph)
    started = started.replace({"batch.fan_out": [5] * started.model.depth})
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    fit(started, graph, Ranks(), tmp_path / "whole")
    half = checkpoint.at(checkpoint.folders(tmp_path / "whole")[1])
    assert half.step == 2
    fit(started, graph, Ranks(), tmp_path / "resumed", half)
    whole, resumed = ((tmp_path / folder / "best.ticket").read_bytes() for folder in ("whole", "resumed"))
    assert whole == resumed


@pytest.mark.parametrize("args", [{"norm": "batch"}, {}], ids=["batch-norm", "plain"])
def test_two_ranks_find_the_ticket_of_one(args: dict[str, Any], tmp_path: Path) -> None:
    """In a full batch every rank has the statistics of the whole graph."""
    graph = planted_graph()
    started, result = fitted(settings("gcn", args, **FULL), graph, tmp_path / "1")
    (tmp_path / "2").mkdir()
    results = spawn(2, fit_rank, 2, started, str(tmp_path / "2"))
    ours = Ticket.load(tmp_path / "1" / "best.ticket").masks
    for theirs, masks in results:
        assert theirs.valid == pytest.approx(result.valid, abs=0.02)
        assert all((ours[name] == masks[name]).float().mean() > 0.98 for name in ours)


def test_a_sampled_network_with_running_statistics_is_the_same_on_every_rank(tmp_path: Path) -> None:
    graph = planted_graph()
    started = with_depth(settings("sage", {"norm": "batch"}), graph).replace({"batch.fan_out": [5, 5]})
    tmp_path.joinpath("2").mkdir()
    results = spawn(2, fit_rank, 2, started, str(tmp_path / "2"))
    assert len({(result.valid, result.test) for result, _ in results}) == 1
    network = load_saved(tmp_path / "2").with_factory(f"{NETS}:sage").network()
    evaluator: Any = make_evaluator(graph, started, Ranks())
    measured, _ = evaluator.measure(network, torch.zeros(()))
    assert measured == {"valid": results[0][0].valid, "test": results[0][0].test}


def test_a_ticket_imports_no_code_that_its_reader_did_not_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = planted_graph()
    file = tmp_path / "nets.py"
    text = "from tests.training.own_nets import gcn\nprint('imported')\n"
    file.write_text(text)
    started = settings("gcn", **FULL).replace({"model.factory": f"{file}:gcn"})
    fitted(started, graph, tmp_path / "run")
    file.unlink()
    saved = load_saved(tmp_path / "run")
    with pytest.raises(InputError, match=r"best.ticket: a network of your own code, nets.py:gcn in training; name it"):
        saved.with_factory("")
    other = tmp_path / "other.py"
    other.write_text(f"{text}# changed\n")
    with caplog.at_level(logging.WARNING):
        saved.with_factory(f"{other}:gcn").note_other_data(graph, Ranks())
    assert "was found with other code: SHA-256" in caplog.text
    caplog.clear()
    other.write_text(text)
    with caplog.at_level(logging.WARNING):
        saved.with_factory(f"{other}:gcn").note_other_data(graph, Ranks())
    assert "other code" not in caplog.text


def test_a_dense_network_of_an_own_class(tmp_path: Path) -> None:
    graph = planted_graph()
    started, result = fitted(settings("gcn", supermask__method="dense", **FULL), graph, tmp_path / "run")
    network = load_saved(tmp_path / "run").with_factory(f"{NETS}:gcn").network()
    evaluator: Any = make_evaluator(graph, started, Ranks())
    assert evaluator.measure(network, torch.zeros(()))[0] == {"valid": result.valid, "test": result.test}


def test_the_depth_comes_from_the_network() -> None:
    deep = settings("gcn2", {"layers": 7}, **FULL)
    assert with_depth(deep, planted_graph()).model.depth == 7
    assert with_depth(deep.replace({"model.depth": 5}), planted_graph()).model.depth == 5
    sampled = settings("gcn2", {"layers": 3})
    with pytest.raises(InputError, match=r"batch.fan_out is \[5, 5\], allowed is one number a layer \(3\)"):
        with_depth(sampled, planted_graph())


def test_noise_that_depends_on_the_number_of_ranks_is_told(caplog: pytest.LogCaptureFixture) -> None:
    graph = planted_graph()
    for name, told in (("gcn", True), ("gcn2", False)):
        started = with_depth(settings(name, {"dropout": 0.5}, **FULL), graph).replace({"log.progress": True})
        caplog.clear()
        with caplog.at_level(logging.INFO):
            NodeTask(graph).check(started, Ranks())
        assert ("its noise depends on the number of ranks" in caplog.text) == told


@pytest.mark.parametrize(("name", "layers"), [("gcn2", 1), ("gcn", 2)])
def test_input_layers_have_their_own_sparsity_beside_others(name: str, layers: int, tmp_path: Path) -> None:
    """Also of a network with one layer that reads neighbours, and linear ones beside it."""
    started = settings(name, {"layers": layers}, supermask__input_sparsity=0.3, supermask__sparsity=0.4, **FULL)
    started = started.replace({"model.depth": layers, "supermask.method": "no-gradual"})
    fitted(started, planted_graph(), tmp_path / "run")
    first, *_ = Ticket.load(tmp_path / "run" / "best.ticket").masks.values()
    assert int(first.sum()) == round(0.7 * first.numel())


def test_input_layers_alone_have_no_own_sparsity() -> None:
    started = settings("gcn", {"layers": 1}, supermask__input_sparsity=0.5, **FULL).replace({"model.depth": 1})
    told = f"supermask.input_sparsity is 0.5, allowed is 0 with {NETS}:gcn, all of whose weights read the features"
    with pytest.raises(InputError, match=f"^{told}$"):
        NodeTask(planted_graph()).check(started, Ranks())


def test_a_network_without_a_maskable_weight_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(
        "import torch\n"
        "class Bias(torch.nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.bias = torch.nn.Parameter(torch.zeros(n))\n"
        "    def forward(self, x, edge_index):\n"
        "        return x[:, : len(self.bias)] + self.bias\n"
        "def build(in_channels, out_channels):\n"
        "    return Bias(out_channels)\n"
    )
    started = settings("gcn", **FULL).replace({"model.factory": f"{file}:build", "model.depth": 1})
    with pytest.raises(InputError, match=r"build: the model has no parameter with two or more axes to mask"):
        NodeTask(planted_graph()).check(started, Ranks())
    with pytest.raises(InputError, match=r"model.depth is 0, but the network of .* has no attribute num_layers"):
        with_depth(started.replace({"model.depth": 0}), planted_graph())


@pytest.mark.parametrize(
    "origin",
    [
        None,
        3,
        {},
        {"factory": "a:b"},
        {"factory": 1, "sha256": "", "in_channels": 16, "out_channels": 4},
        "zero",
        "huge",
    ],
)
def test_a_ticket_with_a_damaged_origin_is_refused_in_a_line(origin: Any, tmp_path: Path) -> None:
    known = {"factory": "os:abort", "sha256": "", "in_channels": 16, "out_channels": 4}
    wrong = {"zero": known | {"in_channels": 0}, "huge": known | {"out_channels": 2**60}}
    value = wrong.get(origin, origin) if isinstance(origin, str) else origin
    provenance = {} if value is None else {"network": value}
    described = settings("gcn", **FULL).replace({"model.factory": "os:abort", "model.depth": 2}).portable()
    mask = sparsify(gcn(16, 4), seed=0)
    mask.step(0.5)
    with pytest.raises(InputError, match=r"a.ticket: an own network without its origin") as refused:
        of_ticket(Ticket.of(mask, described, {}, provenance), tmp_path / "a.ticket")
    assert "\n" not in str(refused.value)
    saved = of_ticket(Ticket.of(mask, described, {}, {"network": known}), tmp_path / "a.ticket")
    assert saved.config.model.factory == ""
    with pytest.raises(InputError, match="os:abort in training; name it: --factory"):
        saved.with_factory("")
